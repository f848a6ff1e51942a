"""k-means clusters of representations, compared with the classes."""

import dataclasses
import warnings
from collections.abc import Iterable
from typing import ClassVar, NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import (
    adjusted_rand_score,
    normalized_mutual_info_score,
    silhouette_score,
)
from sklearn.metrics.cluster import contingency_matrix
from sklearn.metrics.pairwise import euclidean_distances
from threadpoolctl import threadpool_limits

from vicreg_keras.errors import InputError
from vicreg_keras.evaluate.accuracy import check_labels, check_representations
from vicreg_keras.evaluate.features import Features
from vicreg_keras.evaluate.normalization import l2_normalize, standardize
from vicreg_keras.evaluate.projection import ProjectionSettings
from vicreg_keras.evaluate.records import Record
from vicreg_keras.evaluate.sampling import draw

_MAX_ITERATIONS = 100  # Of k-means, from one start; the last ones move little.
_MANY_VALUES = 2**22  # Above, a start takes seconds, and three are tried, not ten.
_TOLERANCE = 1e-6  # Vectors of length 1 that differ by less differ by rounding.


@dataclasses.dataclass(frozen=True)
class ClusterMetrics:
    """Quality of clusters; `None` from `adjusted_rand_index` on without labels.

    Attributes:
        silhouette: In [-1, 1]; `None` where every example is its own cluster.
        inertia: Summed squared distances to the centroids.
        cluster_sizes: Examples in each cluster.
        iterations: Iterations of k-means.
        converged: Whether k-means converged.
        adjusted_rand_index: 1 for the same partition, about 0 for chance.
        normalized_mutual_information: In [0, 1], by the arithmetic mean of entropies.
        matched_accuracy: In [0, 1], the share of examples whose cluster is matched with
            their class, for the best one-to-one matching. The examples of a cluster
            that is left without a class, or of a class that is left without a
            cluster, are wrong.
        purity: In [0, 1], the share of examples that have the most frequent class of
            their cluster. It grows with the number of clusters; compare it at equal
            numbers only.
        silhouette_by_class: As `silhouette`, of the true classes; `None` for one class.
        cluster_to_class: The matching, a class or `None` for each cluster.
    """

    silhouette: float | None
    inertia: float
    cluster_sizes: tuple[int, ...]
    iterations: int
    converged: bool
    adjusted_rand_index: float | None = None
    normalized_mutual_information: float | None = None
    matched_accuracy: float | None = None
    purity: float | None = None
    silhouette_by_class: float | None = None
    cluster_to_class: tuple[int | None, ...] | None = None


@dataclasses.dataclass(frozen=True)
class ClusterCandidate:
    """A number of clusters that was tried on the silhouette's sample."""

    num_clusters: int
    silhouette: float
    inertia: float


@dataclasses.dataclass(frozen=True)
class ClusterSettings:
    """How clusters were found.

    Attributes:
        num_clusters: Number of clusters.
        num_clusters_chosen_by: `"given"`, `"classes"` or `"silhouette"`.
        candidates: Numbers that were tried; empty where none were.
        num_starts: Starts of k-means.
        l2_normalized: Whether representations were L2-normalized, or standardized.
        num_silhouette_examples: Size of the silhouette's sample.
        num_examples: Number of examples.
        num_classes: Number of classes; `None` without labels.
        num_classes_present: Number of classes among the labels.
        representation_size: `D`.
        seed: Seed of k-means and of the sample.
    """

    num_clusters: int
    num_clusters_chosen_by: str
    candidates: tuple[ClusterCandidate, ...]
    num_starts: int
    l2_normalized: bool
    num_silhouette_examples: int
    num_examples: int
    num_classes: int | None
    num_classes_present: int
    representation_size: int
    seed: int


@dataclasses.dataclass(frozen=True)
class ClusterResult:
    """Quality of clusters, and how they were found."""

    metrics: ClusterMetrics
    settings: ClusterSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClusterRecord(Record):
    """Clusters of an encoder's representations beside those of its baselines.

    Attributes:
        split: Split of the metrics.
        results: By what was evaluated: the encoder, and each baseline.
        projection: How the encoder's representations were projected for the figure.
    """

    mode: ClassVar[str] = "cluster"
    split: str
    results: dict[str, ClusterResult]
    projection: ProjectionSettings


class Clustering(NamedTuple):
    """Clusters of examples.

    Attributes:
        result: See `ClusterResult`.
        assignments: int64 array of shape `(N,)`, each example's cluster.
        centroids: float32 array of shape `(K, D)`, the mean of each cluster's
            normalized vectors. It is itself shorter than 1, the more so the wider the
            cluster.
    """

    result: ClusterResult
    assignments: np.ndarray
    centroids: np.ndarray


def cluster_eval(
    features: Features,
    *,
    num_clusters: int | None = None,
    num_classes: int | None = None,
    candidates: Iterable[int] = range(2, 21),
    seed: int = 0,
    silhouette_sample: int = 5000,
    l2_normalized: bool = True,
) -> Clustering:
    """Clusters representations by k-means and compares the clusters with the classes.

    Representations are L2-normalized first, so that "near" means what it means in
    retrieval and in the kNN classifier: a small angle. Otherwise a few long vectors
    would draw the centroids to themselves. Those of tables, and what is compared with
    them, are standardized instead.

    The number of clusters is `num_clusters` if given; else as many as there are
    classes among the labels; else, without labels or with one class only, the one
    of the `candidates` with the best silhouette, the fewest of equals. That search
    sees the silhouette's sample alone, and all examples are clustered once it is over.
    Labels do nothing else: the clusters are the same with them and without.

    k-means runs from ten starts (k-means++), from three where there are many values,
    and the one with the lowest inertia is kept. Everything runs in one thread: the
    order in which several add up is not fixed, and so the result would not be either.

    Args:
        features: Representations `(N, D)`, with labels or without.
        num_clusters: At least 2, and no more than there are distinct vectors.
        num_classes: Labels are in `[0, num_classes)`; `None` takes them as they are.
        candidates: Numbers of clusters to choose from. Those that the sample is too
            small for are left out.
        seed: Seed of k-means and of the silhouette's sample.
        silhouette_sample: Number of examples whose pairs the silhouette compares; all
            where there are fewer.
        l2_normalized: Whether representations are L2-normalized, or standardized.

    Returns:
        A `Clustering`.

    Raises:
        ValueError: If there are fewer than two examples, a value is not finite, a
            label is out of range, or there are more clusters than distinct vectors.

    Reference:
        Hubert and Arabie, "Comparing partitions", 1985; Rousseeuw, "Silhouettes",
        1987; Kuhn, "The Hungarian method for the assignment problem", 1955.
    """
    candidates = sorted(set(candidates))
    labels = features.labels
    _check(features, num_clusters, num_classes, candidates, silhouette_sample)
    normalize = l2_normalize if l2_normalized else standardize
    vectors = normalize(features.representations)
    num_present = 0 if labels is None else len(np.unique(labels))

    sample = draw(len(vectors), silhouette_sample, seed)
    # BLAS's threads and OpenMP's would wait for each other in busy loops besides.
    with threadpool_limits(1):
        distances = euclidean_distances(vectors[sample])
        tried = ()
        if num_clusters is not None:
            chosen_by = "given"
        elif num_present > 1:
            num_clusters, chosen_by = num_present, "classes"
        else:
            chosen_by = "silhouette"
            tried = _search(vectors[sample], distances, candidates, seed)
            num_clusters = max(tried, key=lambda one: one.silhouette).num_clusters
        _check_distinct(vectors, num_clusters)
        kmeans = _fit(vectors, num_clusters, seed)
        assignments = kmeans.labels_.astype(np.int64)
        metrics = ClusterMetrics(
            silhouette=_silhouette(distances, assignments[sample]),
            inertia=float(kmeans.inertia_),
            cluster_sizes=tuple(
                np.bincount(assignments, minlength=num_clusters).tolist()
            ),
            iterations=int(kmeans.n_iter_),
            converged=bool(kmeans.n_iter_ < _MAX_ITERATIONS),
            **_agreement(assignments, labels, num_clusters),
            silhouette_by_class=None
            if labels is None
            else _silhouette(distances, labels[sample]),
        )
    if labels is not None and num_classes is None:
        num_classes = labels.max() + 1
    settings = ClusterSettings(
        num_clusters=int(num_clusters),
        num_clusters_chosen_by=chosen_by,
        candidates=tried,
        num_starts=kmeans.n_init,
        l2_normalized=l2_normalized,
        num_silhouette_examples=len(sample),
        num_examples=len(vectors),
        num_classes=None if labels is None else int(num_classes),
        num_classes_present=num_present,
        representation_size=vectors.shape[1],
        seed=int(seed),
    )
    centroids = kmeans.cluster_centers_.astype(np.float32)
    return Clustering(ClusterResult(metrics, settings), assignments, centroids)


def _check(features, num_clusters, num_classes, candidates, silhouette_sample):
    """Refuses what cannot be clustered, before any work."""
    if num_clusters is not None and num_clusters < 2:
        raise InputError(
            "Expected at least two clusters. Received: "
            f"num_clusters={num_clusters}. Leave it out to have the number chosen."
        )
    if not candidates or candidates[0] < 2 or silhouette_sample < 3:
        raise ValueError(
            "Expected candidates of at least two clusters and a sample of at least "
            f"three examples. Received: candidates={candidates}, "
            f"silhouette_sample={silhouette_sample}."
        )
    representations, labels = features
    check_representations("clustered", representations, min_count=2)
    if labels is not None:
        if num_classes is None:
            num_classes = int(np.max(labels, initial=0)) + 1
        check_labels("clustered", labels, num_classes=num_classes)


def _check_distinct(vectors: np.ndarray, num_clusters: int) -> None:
    num_distinct = _num_distinct(vectors, num_clusters)
    if num_distinct < num_clusters:
        raise InputError(
            f"Expected {num_clusters} distinct representations for as many clusters. "
            f"Received: {num_distinct} distinct ones of {len(vectors)}. Ask for fewer "
            "clusters, or see whether the encoder has collapsed."
        )


def _num_distinct(vectors: np.ndarray, enough: int) -> int:
    """Returns how many vectors differ, counted no further than `enough`."""
    distinct = np.empty((0, vectors.shape[1]), vectors.dtype)
    for vector in vectors:
        if (np.abs(distinct - vector).max(axis=1) > _TOLERANCE).all():
            distinct = np.concatenate([distinct, vector[np.newaxis]])
        if len(distinct) >= enough:
            break
    return len(distinct)


def _search(
    vectors: np.ndarray, distances: np.ndarray, candidates: list[int], seed: int
) -> tuple[ClusterCandidate, ...]:
    """Tries each number of clusters that these vectors allow."""
    # The silhouette is not defined where every example is a cluster.
    limit = min(_num_distinct(vectors, candidates[-1]), len(vectors) - 1)
    if candidates[0] > limit:
        raise InputError(
            f"Expected enough distinct representations to try {candidates[0]} clusters "
            f"or more. Received: {len(vectors)} examples, which allow {limit}. Give "
            "num_clusters, or see whether the encoder has collapsed."
        )
    tried = []
    for num_clusters in candidates:
        if num_clusters <= limit:
            kmeans = _fit(vectors, num_clusters, seed)
            silhouette = _silhouette(distances, kmeans.labels_)
            tried.append(
                ClusterCandidate(num_clusters, silhouette, float(kmeans.inertia_))
            )
    return tuple(tried)


def _fit(vectors: np.ndarray, num_clusters: int, seed: int) -> KMeans:
    kmeans = KMeans(
        num_clusters,
        n_init=3 if vectors.size > _MANY_VALUES else 10,
        max_iter=_MAX_ITERATIONS,
        random_state=seed,
    )
    with warnings.catch_warnings():
        # A cluster may end up empty among duplicates; its size says so.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return kmeans.fit(vectors)


def _silhouette(distances: np.ndarray, groups: np.ndarray) -> float | None:
    """Returns the mean silhouette, `None` where it is not defined."""
    if not 2 <= len(np.unique(groups)) < len(groups):
        return None
    return float(silhouette_score(distances, groups, metric="precomputed"))


def _agreement(
    assignments: np.ndarray, labels: np.ndarray | None, num_clusters: int
) -> dict:
    """Returns how well clusters and classes agree, and the matching."""
    if labels is None:
        return {}
    present, classes = np.unique(assignments), np.unique(labels)
    counts = np.zeros((num_clusters, len(classes)), np.int64)
    counts[present] = contingency_matrix(assignments, labels)
    matched = linear_sum_assignment(counts, maximize=True)
    cluster_to_class = [None] * num_clusters
    for cluster, column in zip(*matched, strict=True):
        # Without a common example, the two are paired only because they were left.
        if counts[cluster, column]:
            cluster_to_class[cluster] = int(classes[column])
    return {
        "adjusted_rand_index": float(adjusted_rand_score(labels, assignments)),
        "normalized_mutual_information": float(
            normalized_mutual_info_score(labels, assignments)
        ),
        "matched_accuracy": float(counts[matched].sum() / len(labels)),
        "purity": float(counts.max(axis=1).sum() / len(labels)),
        "cluster_to_class": tuple(cluster_to_class),
    }
