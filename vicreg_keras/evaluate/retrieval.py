"""How many of the nearest examples are of the query's class, and at what speed?

The queries are no part of the data base, so no neighbor is dropped as the query
itself: to drop the first one would be wrong, with duplicates in a data base even where
the query is part of it.
"""

import statistics
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import hypergeom

from vicreg_keras.evaluate.accuracy import check_features
from vicreg_keras.evaluate.features import Features, Progress
from vicreg_keras.evaluate.index import NeighborIndex, l2_normalize

KS = (1, 5, 10, 20, 100)

_BLOCK_ENTRIES = 2**24  # Similarities kept at a time, 64 MiB as float32.
_TIMED_ROUNDS = 3
# Cosines of equal rows differ by a few roundings of float32.
_SAME = 2e-6


def retrieval_metrics(
    database: Features,
    queries: Features,
    *,
    num_classes: int,
    ks: Sequence[int] = KS,
    index: NeighborIndex | None = None,
    verbose: int | bool = 1,
) -> dict:
    """How well cosine similarity finds examples of the query's class, over queries.

    A row of the data base is relevant if it has the query's label. Of each query:

    - precision at k: the share of the `k` nearest that is relevant;
    - recall at k: the share of all relevant rows that is among the `k` nearest;
    - hit rate at k: 1 if any of the `k` nearest is relevant, else 0 (what the
      literature on metric learning calls recall at k);
    - average precision: the precision down to each relevant row, its ties included,
      averaged over all of them, from the exact ranking of the whole data base, as
      `sklearn.metrics.average_precision_score` has it.

    All are means over queries. Rows that tie for the last of the `k` places share
    them: precision, recall and hit rate are the means over all their orders, so the
    order of the data base is no help, and constant representations give chance.
    A query whose class is not in the data base counts 0 throughout.

    Args:
        database: Labeled features that are searched.
        queries: Labeled features, none of them in the data base.
        num_classes: Labels are in `[0, num_classes)`.
        ks: Values of `k`, at least 1. More than there are rows become all of them.
        index: Of the data base's rows in their order. Where given, precision, recall
            and hit rate are of the neighbors that it finds, in the order in which it
            gives them; the average precision is of the exact ranking all the same.
        verbose: 0 is silent; otherwise a progress bar appears once the work has taken
            a few seconds.

    Returns:
        A dict that JSON can hold: `precision`, `recall` and `hit_rate`, each a dict
        from `k` as text to a value in [0, 1]; `mean_average_precision` in [0, 1];
        `average_precision_by_class` and `precision_by_class` (at the largest `k` up
        to 10, which is `precision_by_class_at`), dicts from a class number as text to
        the mean over that class's queries (`None` where there is none);
        `num_unmatched_queries`, those whose class is not in the data base; and
        `protocol`, counts and settings.

    Raises:
        ValueError: If labels are missing or out of range, a value is not finite, the
            widths differ, `ks` is empty or below 1, or the index is of other rows.
    """
    if not ks or min(ks) < 1:
        raise ValueError(
            f"Expected numbers of neighbors of at least 1. Received: ks={tuple(ks)}"
        )
    check_features("data base", database, num_classes=num_classes)
    width = database.representations.shape[1]
    check_features("queries", queries, num_classes=num_classes, width=width)
    num_rows = len(database.labels)
    if index is not None:
        _check_index(index, database.representations)
    counts = np.array(sorted({min(k, num_rows) for k in ks}))

    num_relevant = np.bincount(database.labels, minlength=num_classes)[queries.labels]
    ranked = _rank_all(database, queries, counts, num_classes, verbose)
    average_precision, found, hits = ranked
    if index is not None:
        found = _found_by_index(index, database, queries, counts)
        hits = (found > 0).astype(np.float64)
    precision = found / counts
    recall = found / np.maximum(num_relevant, 1)[:, np.newaxis]
    # Where `ks` has none up to 10, the smallest.
    column = max(int(np.searchsorted(counts, 10, side="right")) - 1, 0)

    def by_k(values):
        means = values.mean(axis=0)
        return {str(k): float(mean) for k, mean in zip(counts, means, strict=True)}

    def by_class(values):
        return {
            str(label): float(values[queries.labels == label].mean())
            if (queries.labels == label).any()
            else None
            for label in range(num_classes)
        }

    return {
        "protocol": "retrieval",
        "precision": by_k(precision),
        "recall": by_k(recall),
        "hit_rate": by_k(hits),
        "mean_average_precision": float(average_precision.mean()),
        "average_precision_by_class": by_class(average_precision),
        "precision_by_class": by_class(precision[:, column]),
        "precision_by_class_at": int(counts[column]),
        "ks": [int(k) for k in counts],
        "ks_requested": [int(k) for k in ks],
        "similarity": "cosine",
        "index": "exact" if index is None else index.spec,
        "search_parameters": None if index is None else index.search_parameters,
        "num_unmatched_queries": int((num_relevant == 0).sum()),
        "num_database": num_rows,
        "num_queries": len(queries.labels),
        "num_classes": int(num_classes),
        "representation_size": width,
    }


def compare_index(
    index: NeighborIndex, rows: np.ndarray, queries: np.ndarray, *, k: int = 5
) -> dict:
    """What an index finds and how fast, beside exact search of the same rows.

    A neighbor counts as found if it is no farther than the exact `k`-th, so that
    equal rows can stand for each other. Both search all queries at once, in turn, so
    that what else the machine does falls on both alike; the median round counts.

    Args:
        index: Of `rows`, in their order.
        rows: `(N, D)` representations.
        queries: `(Q, D)` representations, none of them among the rows.
        k: Neighbors a query.

    Returns:
        A dict that JSON can hold: `recall`, the share of the exact neighbors that
        was found; `queries_per_second` and `exact_queries_per_second`, the `speedup`
        that is their ratio; `build_seconds`, `num_bytes` and the exact index's
        `exact_num_bytes`; and `protocol`, counts and settings.

    Raises:
        ValueError: If the index is of other rows, or as `NeighborIndex.search`.
    """
    _check_index(index, rows)
    exact = NeighborIndex.build(rows)
    seconds = {index: [], exact: []}
    found = {}
    for _ in range(_TIMED_ROUNDS):
        for contender, times in seconds.items():
            start = time.perf_counter()
            _, found[contender] = contender.search(queries, k)
            times.append(time.perf_counter() - start)
    rates = {
        contender: len(queries) / statistics.median(times)
        for contender, times in seconds.items()
    }
    rows, queries = l2_normalize(rows), l2_normalize(queries)
    last = _cosines(rows, queries, found[exact][:, -1:])
    right = _cosines(rows, queries, found[index]) >= last - _SAME
    return {
        "protocol": "index",
        "spec": index.spec,
        "search_parameters": index.search_parameters,
        "recall": float(right.mean()),
        "k": found[exact].shape[1],
        "queries_per_second": rates[index],
        "exact_queries_per_second": rates[exact],
        "speedup": rates[index] / rates[exact],
        "build_seconds": index.build_seconds,
        "num_bytes": index.num_bytes,
        "exact_num_bytes": exact.num_bytes,
        "num_rounds": _TIMED_ROUNDS,
        "num_rows": len(rows),
        "num_queries": len(queries),
        "representation_size": rows.shape[1],
    }


def pick_queries(labels: np.ndarray, num_classes: int, seed: int) -> np.ndarray:
    """One random example of each class that has any, for a picture.

    Args:
        labels: `(N,)` integers in `[0, num_classes)`.
        num_classes: How many classes there are.
        seed: Which draw; that of one class does not depend on the others.

    Returns:
        int64 array of indices, in the order of classes.
    """
    picks = []
    for label in range(num_classes):
        (members,) = np.nonzero(labels == label)
        if len(members):
            random = np.random.default_rng((seed, label))
            picks.append(random.choice(members))
    return np.array(picks, np.int64)


def _rank_all(
    database: Features,
    queries: Features,
    counts: np.ndarray,
    num_classes: int,
    verbose: int | bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Average precision `(Q,)`, and at each count relevant rows and hits `(Q, K)`."""
    # Sorted by class, so that what is relevant to a query lies side by side.
    order = np.argsort(database.labels, kind="stable")
    rows = l2_normalize(database.representations)[order]
    ends = np.cumsum(np.bincount(database.labels, minlength=num_classes))
    starts = np.concatenate([[0], ends[:-1]])

    num_queries = len(queries.labels)
    block = max(1, _BLOCK_ENTRIES // len(rows))
    average_precision = np.zeros(num_queries)
    found, hits = np.zeros((2, num_queries, len(counts)))
    progress = Progress(num_queries, verbose=verbose)
    for first in range(0, num_queries, block):
        part = slice(first, first + block)
        cosines = l2_normalize(queries.representations[part]) @ rows.T  # (block, N)
        for number, label in enumerate(queries.labels[part], start=first):
            every = cosines[number - first]
            relevant = np.sort(every[starts[label] : ends[label]])
            every.sort()
            average_precision[number] = _average_precision(every, relevant)
            found[number], hits[number] = _at_counts(every, relevant, counts)
        progress.add(len(cosines))
    progress.close()
    return average_precision, found, hits


def _average_precision(every: np.ndarray, relevant: np.ndarray) -> float:
    """Of one query, from its cosines with all rows and with the relevant, ascending."""
    if not len(relevant):
        return 0.0
    # Down to each relevant row, and to what ties with it.
    num_relevant = len(relevant) - np.searchsorted(relevant, relevant)
    num_every = len(every) - np.searchsorted(every, relevant)
    return float(np.mean(num_relevant / num_every))


def _at_counts(
    every: np.ndarray, relevant: np.ndarray, counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Relevant rows among the first, and the chance that there are any, `(K,)` each.

    Both in the mean over the orders of those that tie for the last place.
    """
    last = every[len(every) - counts]
    above, relevant_above = (
        len(values) - np.searchsorted(values, last, side="right")
        for values in (every, relevant)
    )
    tied, relevant_tied = (
        np.searchsorted(values, last, side="right") - np.searchsorted(values, last)
        for values in (every, relevant)
    )
    places = counts - above
    found = relevant_above + places * relevant_tied / tied
    hits = (found > 0).astype(np.float64)
    luck = (relevant_above == 0) & (0 < relevant_tied) & (relevant_tied < tied)
    if luck.any():
        draw = tied[luck], relevant_tied[luck], places[luck]
        hits[luck] = 1 - hypergeom.pmf(0, *draw)
    return found, hits


def _found_by_index(
    index: NeighborIndex, database: Features, queries: Features, counts: np.ndarray
) -> np.ndarray:
    """Relevant rows among the first that an index gives, `(Q, K)`."""
    _, neighbors = index.search(queries.representations, int(counts[-1]))
    relevant = database.labels[neighbors] == queries.labels[:, np.newaxis]
    relevant &= neighbors >= 0  # -1 stands for none.
    return np.cumsum(relevant, axis=1)[:, counts - 1]


def _cosines(
    rows: np.ndarray, queries: np.ndarray, neighbors: np.ndarray
) -> np.ndarray:
    """Of each query with its neighbors, `(Q, k)`; -inf for those that are -1."""
    columns = [np.einsum("qd,qd->q", queries, rows[column]) for column in neighbors.T]
    return np.where(neighbors < 0, -np.inf, np.stack(columns, axis=1))


def _check_index(index: NeighborIndex, rows: Any) -> None:
    """Refuses an index that is not of these rows, as far as its size tells."""
    if (index.num_rows, index.width) != np.shape(rows):
        raise ValueError(
            f"Expected an index of the data base, of shape {np.shape(rows)}. Received: "
            f"one of shape {(index.num_rows, index.width)}. Build it anew."
        )
