"""Which examples lie together, and are those groups the classes?"""

import warnings
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import (
    adjusted_rand_score,
    normalized_mutual_info_score,
    silhouette_score,
)
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from vicreg_keras.evaluate.accuracy import check_features
from vicreg_keras.evaluate.features import Features
from vicreg_keras.evaluate.index import l2_normalize

_MAX_ITERATIONS = 100  # Of k-means, from one start; the last ones move little.
_MANY_ENTRIES = 2**22  # Above, a start takes seconds, and three are tried, not ten.
_SAME = 1e-6  # Unit-length rows that differ by less differ by float32's rounding.


class Clustering(NamedTuple):
    """What k-means found.

    Attributes:
        numbers: A dict that JSON can hold, see `cluster_eval`.
        assignments: int64 array of shape `(N,)`, each example's cluster.
        centroids: float32 array of shape `(K, D)`, the mean of each cluster's rows
            of length 1. It is itself shorter than 1, the more so the wider the
            cluster.
    """

    numbers: dict
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
    unit_length: bool = True,
) -> Clustering:
    """Clusters representations by k-means and compares the clusters with the classes.

    Rows are brought to length 1 first, so that "near" means what it means in
    retrieval and in the kNN classifier: a small angle. Otherwise a few long rows
    would draw the centroids to themselves. Rows of tables, and what is to be compared
    with them, have every column brought to mean 0 and standard deviation 1 instead.

    The number of clusters is `num_clusters` if given; else as many as there are
    classes among the labels; else, without labels or with one class only, the one
    of the `candidates` with the best silhouette, the fewest of equals. That search
    sees the silhouette's sample alone, and all rows are clustered once it is over.
    Labels do nothing else: the clusters are the same with them and without.

    k-means runs from ten starts (k-means++), from three where the rows are many, and
    the one with the least inertia is kept. Everything runs in one thread: the order
    in which several add up is not fixed, and so the result would not be either.

    Args:
        features: Representations `(N, D)`, with labels or without.
        num_clusters: At least 2, and no more than there are distinct rows.
        num_classes: Labels are in `[0, num_classes)`; `None` takes them as they are.
        candidates: Numbers of clusters to choose from. Those that the sample is too
            small for are left out.
        seed: Of k-means and of the silhouette's sample.
        silhouette_sample: The silhouette compares all pairs; where there are more
            examples than this, it is taken of so many, drawn at random.
        unit_length: Whether rows are brought to length 1, or columns to one scale.

    Returns:
        A `Clustering`, whose `numbers` are `silhouette` in [-1, 1] (`None` where
        every example of the sample is its own cluster), `inertia` (summed squared
        distance to the centroids), `iterations`, `converged`, `cluster_sizes`, and
        the settings: `protocol`, `num_clusters`, `num_clusters_chosen_by` (`given`,
        `classes` or `silhouette`), `candidates` (each one's `num_clusters`,
        `silhouette` and `inertia` on the sample; `None` if none was tried), counts,
        `num_starts`, `max_iterations`, `unit_length`, `seed`. With labels also:

        - `adjusted_rand_index`: 1 for the same partition, about 0 for chance.
        - `normalized_mutual_information` in [0, 1], arithmetic mean of entropies.
        - `matched_accuracy` in [0, 1]: the share of examples whose cluster is
          matched with their class, for the best one-to-one matching. The examples
          of a cluster that is left without a class, or of a class that is left
          without a cluster, are wrong.
        - `purity` in [0, 1]: the share that has its cluster's most frequent class.
          It grows with the number of clusters; compare it at equal numbers only.
        - `silhouette_by_class`: as `silhouette`, of the true classes (`None` if the
          sample has one class).
        - `cluster_to_class`: the matching, a class or `None` for each cluster.

    Raises:
        ValueError: If there are fewer than two examples, a value is not finite, a
            label is out of range, or there are more clusters than distinct rows.

    Reference:
        Hubert and Arabie, "Comparing partitions", 1985; Rousseeuw, "Silhouettes",
        1987; Kuhn, "The Hungarian method for the assignment problem", 1955.
    """
    candidates = sorted(set(candidates))
    _check(features, num_clusters, num_classes, candidates, silhouette_sample)
    rows, labels = features
    rows = l2_normalize(rows) if unit_length else standardized(rows)
    num_present = 0 if labels is None else len(np.unique(labels))

    random = np.random.default_rng(seed)
    sample = np.sort(random.permutation(len(rows))[:silhouette_sample])
    # BLAS's threads and OpenMP's would wait for each other in busy loops besides.
    with threadpool_limits(1):
        distances = euclidean_distances(rows[sample])
        tried = None
        if num_clusters is not None:
            chosen_by = "given"
        elif num_present > 1:
            num_clusters, chosen_by = num_present, "classes"
        else:
            tried = _search(rows[sample], distances, candidates, seed)
            num_clusters = max(tried, key=lambda one: one["silhouette"])["num_clusters"]
            chosen_by = "silhouette"
        num_distinct = _num_distinct(rows, num_clusters)
        if num_distinct < num_clusters:
            raise ValueError(
                f"Expected {num_clusters} distinct representations for as many "
                f"clusters. Received: {num_distinct} distinct ones of {len(rows)}. Ask "
                "for fewer clusters, or see whether the encoder has collapsed."
            )
        fitted = _fit(rows, num_clusters, seed)
        assignments = fitted.labels_.astype(np.int64)
        numbers = {
            "protocol": "kmeans",
            "silhouette": _silhouette(distances, assignments[sample]),
        }
        if labels is not None:
            by_class = _silhouette(distances, labels[sample])
            numbers |= {"silhouette_by_class": by_class}
            numbers |= _agreement(assignments, labels, num_clusters)
            numbers |= {"num_classes": int(num_classes or labels.max() + 1)}
            numbers |= {"num_classes_present": num_present}
    sizes = np.bincount(assignments, minlength=num_clusters)
    numbers |= {
        "num_clusters": int(num_clusters),
        "num_clusters_chosen_by": chosen_by,
        "candidates": tried,
        "cluster_sizes": sizes.tolist(),
        "inertia": float(fitted.inertia_),
        "iterations": int(fitted.n_iter_),
        "converged": bool(fitted.n_iter_ < _MAX_ITERATIONS),
        "num_starts": fitted.n_init,
        "max_iterations": _MAX_ITERATIONS,
        "unit_length": unit_length,
        "silhouette_num_examples": len(sample),
        "num_examples": len(rows),
        "representation_size": rows.shape[1],
        "seed": int(seed),
    }
    centroids = fitted.cluster_centers_.astype(np.float32)
    return Clustering(numbers, assignments, centroids)


def standardized(rows: np.ndarray) -> np.ndarray:
    """A float32 copy, every column of mean 0 and standard deviation 1, or of zeros.

    Args:
        rows: `(N, D)`, finite.
    """
    scaled = StandardScaler().fit_transform(np.asarray(rows, np.float64))
    return scaled.astype(np.float32)


def _check(
    features: Features,
    num_clusters: int | None,
    num_classes: int | None,
    candidates: list[int],
    silhouette_sample: int,
) -> None:
    """Refuses what cannot be clustered, before any work."""
    rows, labels = features
    if num_clusters is not None and num_clusters < 2:
        raise ValueError(
            "Expected at least two clusters. Received: "
            f"num_clusters={num_clusters}. Leave it out to have the number chosen."
        )
    if not candidates or candidates[0] < 2 or silhouette_sample < 3:
        raise ValueError(
            "Expected candidates of at least two clusters and a sample of at least "
            f"three examples. Received: candidates={candidates}, "
            f"silhouette_sample={silhouette_sample}"
        )
    if len(rows) < 2:
        raise ValueError(
            f"Expected at least two examples to cluster. Received: {len(rows)}"
        )
    if labels is None:
        # What rows must be is the same without labels; these stand in for them.
        labels, num_classes = np.zeros(len(rows), np.int64), 1
    elif num_classes is None:
        num_classes = int(np.max(labels, initial=0)) + 1
    check_features("clustered", Features(rows, labels), num_classes=num_classes)


def _num_distinct(rows: np.ndarray, enough: int) -> int:
    """How many rows differ, counted no further than `enough`."""
    distinct = np.empty((0, rows.shape[1]), rows.dtype)
    for row in rows:
        if (np.abs(distinct - row).max(axis=1) > _SAME).all():
            distinct = np.concatenate([distinct, row[np.newaxis]])
        if len(distinct) >= enough:
            break
    return len(distinct)


def _search(
    rows: np.ndarray, distances: np.ndarray, candidates: list[int], seed: int
) -> list[dict]:
    """Each candidate that these rows allow, with its silhouette."""
    # The silhouette is not defined where every example is a cluster.
    most = min(_num_distinct(rows, candidates[-1]), len(rows) - 1)
    tried = []
    for num_clusters in candidates:
        if num_clusters > most:
            break
        fitted = _fit(rows, num_clusters, seed)
        tried.append(
            {
                "num_clusters": int(num_clusters),
                "silhouette": _silhouette(distances, fitted.labels_),
                "inertia": float(fitted.inertia_),
            }
        )
    if not tried:
        raise ValueError(
            f"Expected enough distinct representations to try {candidates[0]} clusters "
            f"or more. Received: {len(rows)} examples, which allow {most}. Give "
            "num_clusters, or see whether the encoder has collapsed."
        )
    return tried


def _fit(rows: np.ndarray, num_clusters: int, seed: int) -> KMeans:
    """k-means, fitted."""
    fitted = KMeans(
        num_clusters,
        n_init=3 if rows.size > _MANY_ENTRIES else 10,
        max_iter=_MAX_ITERATIONS,
        random_state=seed,
    )
    with warnings.catch_warnings():
        # A cluster may end up empty among duplicates; its size says so.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return fitted.fit(rows)


def _silhouette(distances: np.ndarray, groups: np.ndarray) -> float | None:
    """The mean silhouette, `None` where it is not defined."""
    if not 2 <= len(np.unique(groups)) < len(groups):
        return None
    return float(silhouette_score(distances, groups, metric="precomputed"))


def _agreement(assignments: np.ndarray, labels: np.ndarray, num_clusters: int) -> dict:
    """How well clusters and classes agree, and which cluster is which class."""
    classes, columns = np.unique(labels, return_inverse=True)
    counts = np.zeros((num_clusters, len(classes)), np.int64)
    np.add.at(counts, (assignments, columns), 1)
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
        "cluster_to_class": cluster_to_class,
    }
