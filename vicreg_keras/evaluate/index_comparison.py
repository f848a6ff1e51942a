"""Recall, speed and size of an approximate index beside exact search."""

import dataclasses
import statistics
import time

import numpy as np

from vicreg_keras.evaluate.index import NeighborIndex
from vicreg_keras.evaluate.normalization import l2_normalize

_NUM_ROUNDS = 3
# Cosines of equal vectors differ by a few roundings of float32.
_TOLERANCE = 2e-6


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

    @property
    def speedup(self) -> float:
        """Speed of the index over that of exact search."""
        return self.queries_per_second / self.exact_queries_per_second


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


def _cosines(
    database: np.ndarray, queries: np.ndarray, neighbors: np.ndarray
) -> np.ndarray:
    """Of each query with its neighbors, `(Q, k)`; -inf for those that are -1."""
    columns = [np.einsum("qd,qd->q", queries, database[one]) for one in neighbors.T]
    return np.where(neighbors < 0, -np.inf, np.stack(columns, axis=1))
