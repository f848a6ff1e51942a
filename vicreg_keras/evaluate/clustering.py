"""k-means clusters of representations, compared with the classes."""

import dataclasses
import warnings
from typing import ClassVar, NamedTuple

import numpy as np
import sklearn.metrics
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from vicreg_keras.errors import InputError
from vicreg_keras.evaluate.accuracy import check_labels
from vicreg_keras.evaluate.features import Features, check_representations
from vicreg_keras.evaluate.normalization import l2_normalize, standardize
from vicreg_keras.evaluate.records import Record, Result
from vicreg_keras.evaluate.sampling import draw

_CANDIDATES = range(2, 21)  # Numbers of clusters to choose from.
_SILHOUETTE_SAMPLE = 5000  # Examples whose pairs the silhouette compares.
_MAX_ITERATIONS = 100  # Of k-means, from one start; the last ones move little.
_MANY_VALUES = 2**22  # Above, a start takes seconds, and three are tried, not ten.
_TOLERANCE = 1e-6  # Vectors of length 1 that differ by less differ by rounding.


@dataclasses.dataclass(frozen=True)
class ClusterMetrics:
    """Quality of clusters; `None` from `adjusted_rand_index` on without labels.

    Where every example is its own cluster, `silhouette_by_class` alone is there.

    Attributes:
        silhouette: In [-1, 1]; `None` where every example is its own cluster.
        adjusted_rand_index: 1 for the same partition, about 0 for chance.
        normalized_mutual_information: In [0, 1], by the arithmetic mean of entropies.
        matched_accuracy: In [0, 1], the share of examples whose cluster is matched with
            their class, for the best one-to-one matching. The examples of a cluster
            that is left without a class, or of a class that is left without a
            cluster, are wrong.
        silhouette_by_class: As `silhouette`, of the true classes; `None` for one class.
        cluster_to_class: The matching, a class or `None` for each cluster.
    """

    silhouette: float | None
    adjusted_rand_index: float | None = None
    normalized_mutual_information: float | None = None
    matched_accuracy: float | None = None
    silhouette_by_class: float | None = None
    cluster_to_class: tuple[int | None, ...] | None = None


@dataclasses.dataclass(frozen=True)
class ClusterSettings:
    """How clusters were found.

    Attributes:
        num_clusters: Number of clusters.
        num_clusters_chosen_by: `"given"`, `"classes"` or `"silhouette"`.
        silhouettes: Silhouette of each number that was tried; empty where none were.
        num_examples: Number of examples.
        num_classes: Number of classes; `None` where it was not given.
    """

    num_clusters: int
    num_clusters_chosen_by: str
    silhouettes: dict[int, float]
    num_examples: int
    num_classes: int | None


ClusterResult = Result[ClusterMetrics, ClusterSettings]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClusterRecord(Record):
    """Clusters of an encoder's representations beside those of its baselines.

    Attributes:
        split: Split of the metrics.
        results: By what was evaluated: the encoder, and each baseline.
    """

    mode: ClassVar[str] = "cluster"
    split: str
    results: dict[str, ClusterResult]


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
    seed: int = 0,
    l2_normalized: bool = True,
) -> Clustering:
    """Clusters representations by k-means and compares the clusters with the classes.

    Representations are L2-normalized first, so that "near" means what it means in
    retrieval and in the kNN classifier: a small angle. Otherwise a few long vectors
    would draw the centroids to themselves. Those of tables, and what is compared with
    them, are standardized instead.

    The number of clusters is `num_clusters` if given; else as many as there are
    classes among the labels; else, without labels or with one class only, the one
    from 2 to 20 with the best silhouette, the fewest of equals. That search sees a
    sample of 5,000 alone, and all examples are clustered once it is over. Labels do
    nothing else: the clusters are the same with them and without.

    k-means runs from ten starts (k-means++), from three where there are many values,
    and the one with the lowest inertia is kept. Everything runs in one thread: the
    order in which several add up is not fixed, and so the result would not be either.

    Args:
        features: Representations `(N, D)`, with labels or without.
        num_clusters: At least 2, and no more than there are distinct vectors.
        num_classes: Labels are in `[0, num_classes)`; `None` takes them as they are.
        seed: Seed of k-means and of the silhouette's sample.
        l2_normalized: Whether representations are L2-normalized, or standardized.

    Returns:
        A `Clustering`.

    Raises:
        InputError: If there are fewer than two examples, a value is not finite, a
            label is out of range, or there are more clusters than distinct vectors.

    Reference:
        Hubert and Arabie, "Comparing partitions", 1985; Rousseeuw, "Silhouettes",
        1987; Kuhn, "The Hungarian method for the assignment problem", 1955.
    """
    representations, labels = features
    check_representations("clustered", representations, min_count=2)
    if labels is not None and num_classes is not None:
        check_labels("clustered", labels, num_classes=num_classes)
    vectors = (l2_normalize if l2_normalized else standardize)(representations)
    num_present = 0 if labels is None else len(np.unique(labels))

    sample = draw(len(vectors), _SILHOUETTE_SAMPLE, seed)
    # BLAS's threads and OpenMP's would wait for each other in busy loops besides.
    with threadpool_limits(1):
        distances = sklearn.metrics.euclidean_distances(vectors[sample])
        silhouettes: dict[int, float] = {}
        if num_clusters is not None:
            chosen_by = "given"
        elif num_present > 1:
            num_clusters, chosen_by = num_present, "classes"
        else:
            silhouettes = _search(vectors[sample], distances, seed)
            num_clusters = max(silhouettes, key=lambda number: silhouettes[number])
            chosen_by = "silhouette"
        _check_distinct(_num_distinct(vectors, num_clusters), num_clusters, vectors)
        kmeans = _fit(vectors, num_clusters, seed)
        assignments = kmeans.labels_.astype(np.int64)
        metrics = ClusterMetrics(_silhouette(distances, assignments[sample]))
        if labels is not None:
            by_class = _silhouette(distances, labels[sample])
            metrics = dataclasses.replace(metrics, silhouette_by_class=by_class)
            # Where every example is a cluster of its own, any clusters agree.
            if num_clusters < len(vectors):
                metrics = _with_agreement(metrics, assignments, labels, num_clusters)
    settings = ClusterSettings(
        num_clusters=num_clusters,
        num_clusters_chosen_by=chosen_by,
        silhouettes=silhouettes,
        num_examples=len(vectors),
        num_classes=num_classes,
    )
    centroids = kmeans.cluster_centers_.astype(np.float32)
    return Clustering(ClusterResult(metrics, settings), assignments, centroids)


def _check_distinct(num_possible: int, num_clusters: int, vectors: np.ndarray) -> None:
    if num_possible < num_clusters:
        raise InputError(
            f"Expected distinct representations for {num_clusters} clusters. Received: "
            f"{len(vectors)}, which allow {num_possible}. Ask for fewer clusters, or "
            "see whether the encoder has collapsed."
        )


def _num_distinct(vectors: np.ndarray, enough: int) -> int:
    """Returns how many vectors differ, counted no further than `enough`."""
    distinct = vectors[:1]
    for vector in vectors:
        if len(distinct) == enough:
            break
        if np.abs(distinct - vector).max(axis=1).min() > _TOLERANCE:
            distinct = np.vstack([distinct, vector])
    return len(distinct)


def _search(vectors: np.ndarray, distances: np.ndarray, seed: int) -> dict[int, float]:
    """Returns the silhouette of each number of clusters that these vectors allow."""
    # The silhouette is not defined where every example is a cluster.
    if len(vectors) == _CANDIDATES[0]:
        raise InputError(
            "Expected three examples or more, to choose the number of clusters. "
            "Received: 2. Add examples, or use num_clusters=2."
        )
    limit = min(_num_distinct(vectors, _CANDIDATES[-1]), len(vectors) - 1)
    _check_distinct(limit, _CANDIDATES[0], vectors)
    fits = {n: _fit(vectors, n, seed) for n in _CANDIDATES if n <= limit}
    return {n: _silhouette_score(distances, fit.labels_) for n, fit in fits.items()}


def _fit(vectors: np.ndarray, num_clusters: int, seed: int) -> KMeans:
    kmeans = KMeans(
        num_clusters,
        n_init=3 if vectors.size > _MANY_VALUES else 10,
        max_iter=_MAX_ITERATIONS,
        random_state=seed,
    )
    with warnings.catch_warnings():
        # A cluster may end up empty among duplicates.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return kmeans.fit(vectors)


def _silhouette(distances: np.ndarray, groups: np.ndarray) -> float | None:
    """Returns the mean silhouette, `None` where it is not defined."""
    if not 2 <= len(np.unique(groups)) < len(groups):
        return None
    return _silhouette_score(distances, groups)


def _silhouette_score(distances: np.ndarray, groups: np.ndarray) -> float:
    score = sklearn.metrics.silhouette_score
    return float(score(distances, groups, metric="precomputed"))


def _with_agreement(
    metrics: ClusterMetrics,
    assignments: np.ndarray,
    labels: np.ndarray,
    num_clusters: int,
) -> ClusterMetrics:
    """Adds how well clusters and classes agree, and the matching."""
    classes, columns = np.unique(labels, return_inverse=True)
    counts = np.zeros((num_clusters, len(classes)), np.int64)
    np.add.at(counts, (assignments, columns), 1)
    matched = linear_sum_assignment(counts, maximize=True)
    cluster_to_class: list[int | None] = [None] * num_clusters
    for cluster, column in zip(*matched, strict=True):
        # Without a common example, the two are paired only because they were left.
        if counts[cluster, column]:
            cluster_to_class[cluster] = int(classes[column])
    rand_index = sklearn.metrics.adjusted_rand_score(labels, assignments)
    information = sklearn.metrics.normalized_mutual_info_score(labels, assignments)
    return dataclasses.replace(
        metrics,
        adjusted_rand_index=float(rand_index),
        normalized_mutual_information=float(information),
        matched_accuracy=float(counts[matched].sum() / len(labels)),
        cluster_to_class=tuple(cluster_to_class),
    )
