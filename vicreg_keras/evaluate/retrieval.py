"""Retrieval metrics of representations, and of an approximate index.

Queries are not in the database, so no neighbor is dropped as the query itself: with
duplicates in a database, the first neighbor need not be the query.
"""

import dataclasses
import statistics
import time
from typing import ClassVar

import numpy as np
from scipy.stats import hypergeom
from tqdm import tqdm

from vicreg_keras.evaluate.accuracy import check_splits
from vicreg_keras.evaluate.features import Features
from vicreg_keras.evaluate.index import NeighborIndex
from vicreg_keras.evaluate.normalization import l2_normalize
from vicreg_keras.evaluate.records import Record
from vicreg_keras.evaluate.sampling import draw_balanced

KS = (1, 5, 10, 20, 100)

_BLOCK_VALUES = 2**24  # Similarities kept at a time, 64 MiB as float32.
_NUM_ROUNDS = 3
# Cosines of equal vectors differ by a few roundings of float32.
_TOLERANCE = 2e-6


@dataclasses.dataclass(frozen=True)
class RetrievalMetrics:
    """Means over queries, all in [0, 1]; see `retrieval_eval`.

    Attributes:
        precision: By `k`, the share of the `k` nearest that is relevant.
        recall: By `k`, the share of all relevant examples among the `k` nearest.
        hit_rate: By `k`, whether any of the `k` nearest is relevant.
        mean_average_precision: Mean of the average precision.
    """

    precision: dict[int, float]
    recall: dict[int, float]
    hit_rate: dict[int, float]
    mean_average_precision: float


@dataclasses.dataclass(frozen=True)
class IndexMetrics:
    """What an index finds and costs, see `compare_index`.

    Attributes:
        recall: Share of the exact neighbors that the index found.
        queries_per_second: Speed of the index.
        exact_queries_per_second: Speed of exact search.
        build_seconds: Time that building the index took.
        num_bytes: Size of the index.
        exact_num_bytes: Size of the exact index.
    """

    recall: float
    queries_per_second: float
    exact_queries_per_second: float
    build_seconds: float
    num_bytes: int
    exact_num_bytes: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class RetrieveRecord(Record):
    """Retrieval by an encoder beside its baselines.

    Attributes:
        split: Split of the metrics.
        num_database: Examples that were searched.
        num_queries: Examples that were searched for.
        num_classes: Number of classes.
        results: By what was evaluated: the encoder, and each baseline.
        index: FAISS's factory string.
        search_parameters: Search parameters of the index.
        num_neighbors: Neighbors per query of `index_metrics`.
        index_metrics: The index beside exact search; `None` for an exact index.
        chance_precision: Precision of a random order, the mean over queries of their
            class's share of the database; `None` in older records, of even classes.
    """

    mode: ClassVar[str] = "retrieve"
    split: str
    num_database: int
    num_queries: int
    num_classes: int
    results: dict[str, RetrievalMetrics]
    index: str
    search_parameters: str
    num_neighbors: int
    index_metrics: IndexMetrics | None = None
    chance_precision: float | None = None


def retrieval_eval(
    database: Features,
    queries: Features,
    *,
    num_classes: int,
    index: NeighborIndex | None = None,
) -> RetrievalMetrics:
    """Measures how well cosine similarity finds examples of the query's class.

    An example of the database is relevant if it has the query's label. Of each query,
    for each `k` of `KS`, or the whole database where it is smaller:

    - precision at `k`: the share of the `k` nearest that is relevant;
    - recall at `k`: the share of all relevant examples among the `k` nearest;
    - hit rate at `k`: 1 if any of the `k` nearest is relevant, else 0 (what the
      literature on metric learning calls recall at k);
    - average precision: the precision down to each relevant example, its ties
      included, averaged over all of them, from the exact ranking of the whole
      database, as `sklearn.metrics.average_precision_score` has it.

    Examples that tie for the last of the `k` positions share them: precision, recall
    and hit rate are means over all their orders, so the order of the database is no
    help, and constant representations give chance. A query whose class is not in the
    database counts 0 throughout.

    Args:
        database: Labeled features that are searched.
        queries: Labeled features, none of them in the database.
        num_classes: Number of classes; labels are in `[0, num_classes)`.
        index: Index of the database in its order. Where given, precision, recall and
            hit rate are of the neighbors that it finds, in the order in which it
            returns them; the average precision is of the exact ranking all the same.

    Returns:
        Metrics, see `RetrievalMetrics`.

    Raises:
        InputError: If labels are missing or out of range, a value is not finite, or the
            widths differ.
    """
    database_labels, labels = check_splits(
        num_classes, database=database, queries=queries
    )
    counts = np.array(sorted({min(k, len(database_labels)) for k in KS}))
    # Sorted by class, so that what is relevant to a query is side by side.
    order = np.argsort(database_labels, kind="stable")
    starts = np.searchsorted(database_labels[order], labels)
    ends = np.searchsorted(database_labels[order], labels, side="right")
    vectors = l2_normalize(database.representations)[order]
    average_precision, found, hits = _rank_all(
        vectors, queries.representations, starts, ends, counts
    )
    if index is not None:
        _, neighbors = index.search(queries.representations, int(counts[-1]))
        relevant = database_labels[neighbors] == labels[:, np.newaxis]
        relevant &= neighbors >= 0  # -1 stands for none.
        found = np.cumsum(relevant, axis=1)[:, counts - 1]
        hits = (found > 0).astype(np.float64)

    def by_k(values):
        means = values.mean(axis=0)
        return {int(k): float(mean) for k, mean in zip(counts, means, strict=True)}

    return RetrievalMetrics(
        precision=by_k(found / counts),
        recall=by_k(found / np.maximum(ends - starts, 1)[:, np.newaxis]),
        hit_rate=by_k(hits),
        mean_average_precision=float(average_precision.mean()),
    )


def chance_precision(database_labels: np.ndarray, labels: np.ndarray) -> float:
    """Returns the precision that a random order of the database has.

    Args:
        database_labels: `(N,)` integers.
        labels: `(Q,)` integers, those of the queries.
    """
    size = 1 + max(int(database_labels.max()), int(labels.max()))
    shares = np.bincount(database_labels, minlength=size) / len(database_labels)
    return float(shares[labels].mean())


def compare_index(
    index: NeighborIndex, database: np.ndarray, queries: np.ndarray, *, k: int = 5
) -> IndexMetrics:
    """Measures recall and speed of an index beside exact search.

    A neighbor counts as found if it is no farther than the exact `k`-th, so that
    equal vectors can stand for each other. Both search all queries at once, in turn,
    so that what else the machine does slows both alike; the median round counts.

    Args:
        index: Index of the database, in its order.
        database: `(N, D)` representations.
        queries: `(Q, D)` representations, none of them in the database.
        k: Neighbors per query.

    Returns:
        Metrics, see `IndexMetrics`.
    """
    exact = NeighborIndex.build(database)
    seconds: dict[NeighborIndex, list[float]] = {index: [], exact: []}
    found = {}
    for _ in range(_NUM_ROUNDS):
        for searched, times in seconds.items():
            start = time.perf_counter()
            _, found[searched] = searched.search(queries, k)
            times.append(time.perf_counter() - start)
    database, queries = l2_normalize(database), l2_normalize(queries)
    farthest = _cosines(database, queries, found[exact][:, -1:])
    correct = _cosines(database, queries, found[index]) >= farthest - _TOLERANCE
    return IndexMetrics(
        recall=float(correct.mean()),
        queries_per_second=len(queries) / statistics.median(seconds[index]),
        exact_queries_per_second=len(queries) / statistics.median(seconds[exact]),
        build_seconds=index.build_seconds,
        num_bytes=index.num_bytes,
        exact_num_bytes=exact.num_bytes,
    )


def pick_queries(labels: np.ndarray, seed: int) -> np.ndarray:
    """Draws one random example of each class that has any.

    Args:
        labels: `(N,)` integers.
        seed: Seed of the draw; that of one class does not depend on the others.

    Returns:
        int64 array of indices, in the order of classes.
    """
    chosen = draw_balanced(labels, len(np.unique(labels)), seed)
    return chosen[np.argsort(labels[chosen])]


def _rank_all(
    vectors: np.ndarray,
    queries: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    counts: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns average precision `(Q,)`, and found and hits at each count `(Q, K)`.

    To query `i` the vectors from `starts[i]` to before `ends[i]` are relevant.
    """
    block = max(1, _BLOCK_VALUES // len(vectors))
    average_precision = np.zeros(len(queries))
    found, hits = np.zeros((2, len(queries), len(counts)))
    for first in tqdm(
        range(0, len(queries), block), unit=" blocks", delay=3, disable=None
    ):
        cosines = l2_normalize(queries[first : first + block]) @ vectors.T  # (block, N)
        for number, every in enumerate(cosines, start=first):
            relevant = np.sort(every[starts[number] : ends[number]])
            every.sort()
            average_precision[number] = _average_precision(every, relevant)
            found[number], hits[number] = _at_counts(every, relevant, counts)
    return average_precision, found, hits


def _average_precision(every: np.ndarray, relevant: np.ndarray) -> float:
    """Of one query, from ascending cosines with all examples and with the relevant."""
    if not len(relevant):
        return 0.0
    # Down to each relevant example, and to what ties with it.
    num_relevant = len(relevant) - np.searchsorted(relevant, relevant)
    num_every = len(every) - np.searchsorted(every, relevant)
    return float(np.mean(num_relevant / num_every))


def _at_counts(
    every: np.ndarray, relevant: np.ndarray, counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Relevant examples among the first, and the chance that there are any, `(K,)`.

    Both are means over the orders of those that tie for the last position.
    """
    last = every[len(every) - counts]
    up_to, below = (
        np.stack([np.searchsorted(values, last, side) for values in (every, relevant)])
        for side in ("right", "left")
    )
    above, relevant_above = np.array([[len(every)], [len(relevant)]]) - up_to
    tied, relevant_tied = up_to - below
    positions = counts - above
    found = relevant_above + positions * relevant_tied / tied
    hits = (found > 0).astype(np.float64)
    luck = (relevant_above == 0) & (0 < relevant_tied) & (relevant_tied < tied)
    if luck.any():
        drawn = tied[luck], relevant_tied[luck], positions[luck]
        hits[luck] = 1 - hypergeom.pmf(0, *drawn)
    return found, hits


def _cosines(
    database: np.ndarray, queries: np.ndarray, neighbors: np.ndarray
) -> np.ndarray:
    """Of each query with its neighbors, `(Q, k)`; -inf for those that are -1."""
    columns = [np.einsum("qd,qd->q", queries, database[one]) for one in neighbors.T]
    return np.where(neighbors < 0, -np.inf, np.stack(columns, axis=1))
