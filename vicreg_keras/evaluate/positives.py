"""Which other examples could stand in for each one? Its nearest neighbors."""

import numpy as np

from vicreg_keras.evaluate.features import Progress
from vicreg_keras.evaluate.index import NeighborIndex

_QUERIES = 4096  # Between two signs of progress.


def nearest_others(
    index: NeighborIndex, rows: np.ndarray, k: int, *, verbose: int | bool = 1
) -> np.ndarray:
    """The nearest of the other examples, for each of the first ones in an index.

    Example `i` is row `i` of the index. Of duplicates each has the others among its
    neighbors. Rows of the index behind the examples are passed over.

    Args:
        index: Its first rows are the examples'.
        rows: `(N, D)`, the examples' representations.
        k: How many neighbors; more than there are others become all of them.
        verbose: 0 is silent.

    Returns:
        int32 `(N, min(k, N - 1))`, indices of examples, the nearest first. Where an
        approximate index finds fewer, those that it found are repeated.

    Raises:
        ValueError: If `k` is below 1, there are fewer than two examples, the index is
            smaller, or finds nothing at all near one.

    Reference:
        Neighbors as positives: Dwibedi et al., "With a Little Help from My Friends",
        ICCV 2021, there from a queue that training itself fills.
    """
    num_examples = len(rows)
    if k < 1 or num_examples < 2 or num_examples > index.num_rows:
        raise ValueError(
            "Expected one neighbor or more of two examples or more, all of them in "
            f"the index. Received: k={k}, {num_examples} examples, an index of "
            f"{index.num_rows}."
        )
    k = min(k, num_examples - 1)
    found = np.empty((num_examples, k), np.int32)
    progress = Progress(num_examples, verbose=verbose)
    for start in range(0, num_examples, _QUERIES):
        numbers = np.arange(start, min(start + _QUERIES, num_examples))
        found[numbers] = _others(index, rows[numbers], numbers, num_examples, k)
        progress.add(len(numbers))
    progress.close()
    return found


def _others(
    index: NeighborIndex,
    rows: np.ndarray,
    numbers: np.ndarray,
    num_examples: int,
    k: int,
) -> np.ndarray:
    """`nearest_others` of some examples."""
    chosen = np.empty((len(rows), k), np.int64)
    waiting = np.arange(len(rows))
    count = 2 * (k + 1)
    while len(waiting):
        _, neighbors = index.search(rows[waiting], count)
        fits = (neighbors >= 0) & (neighbors < num_examples)
        fits &= neighbors != numbers[waiting, None]
        everything = count >= index.num_rows
        enough = fits.sum(axis=1) >= k
        # Fitting neighbors to the front, in their order.
        order = np.argsort(~fits, axis=1, kind="stable")
        sorted_neighbors = np.take_along_axis(neighbors, order, axis=1)
        chosen[waiting[enough]] = sorted_neighbors[enough, :k]
        if everything:
            for place in np.flatnonzero(~enough):
                some = sorted_neighbors[place, : fits[place].sum()]
                if not len(some):
                    raise ValueError(
                        f"Expected neighbors of every example from {index.spec}. "
                        f"Received: none of example {numbers[waiting[place]]}. Use "
                        "--index=Flat, or a wider search (--search_parameters)."
                    )
                chosen[waiting[place]] = np.resize(some, k)
            break
        waiting = waiting[~enough]
        count = min(4 * count, index.num_rows)
    return chosen


def shared_neighbors(first: np.ndarray, second: np.ndarray) -> float:
    """Mean share of an example's neighbors that are its neighbors elsewhere, too.

    Args:
        first: Integers `(N, k)`, distinct in a row.
        second: The same of another encoder.

    Returns:
        In [0, 1].
    """
    equal = first[:, :, None] == second[:, None, :]
    return float(equal.any(axis=2).mean())
