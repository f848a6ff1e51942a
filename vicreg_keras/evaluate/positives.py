"""Nearest neighbors of training examples, which can be their positives."""

import numpy as np
from tqdm import tqdm

from vicreg_keras.errors import InputError
from vicreg_keras.evaluate.index import NeighborIndex

_BLOCK_SIZE = 4096  # Queries between two updates of the progress bar.


def nearest_others(
    index: NeighborIndex,
    representations: np.ndarray,
    k: int,
    *,
    verbose: int | bool = 1,
) -> np.ndarray:
    """Finds the nearest other examples of each of the first examples in an index.

    Each of several duplicates has the others among its neighbors. Vectors of the index
    behind the examples are passed over.

    Args:
        index: An index whose first vectors are the examples'.
        representations: `(N, D)` representations of the examples.
        k: Neighbors per example; all others where there are fewer.
        verbose: 0 is silent.

    Returns:
        int32 `(N, min(k, N - 1))`, numbers of examples, the nearest first. Where an
        approximate index finds fewer, those that it found are repeated.

    Raises:
        ValueError: If `k` is below 1, there are fewer than two examples, or the index
            is smaller.
        InputError: If an approximate index finds no neighbor of an example.

    Reference:
        Neighbors as positives: Dwibedi et al., "With a Little Help from My Friends",
        ICCV 2021, there from a queue that training itself fills.
    """
    num_examples = len(representations)
    if k < 1 or num_examples < 2 or num_examples > index.num_vectors:
        raise ValueError(
            "Expected one neighbor or more of two examples or more, all of them in "
            f"the index. Received: k={k}, {num_examples} examples, an index of "
            f"{index.num_vectors}."
        )
    neighbors = np.empty((num_examples, min(k, num_examples - 1)), np.int32)
    with tqdm(
        total=num_examples, unit="example", delay=3, disable=not verbose
    ) as progress:
        for start in range(0, num_examples, _BLOCK_SIZE):
            numbers = np.arange(start, min(start + _BLOCK_SIZE, num_examples))
            _fill(neighbors, numbers, index, representations)
            progress.update(len(numbers))
    return neighbors


def _fill(neighbors, numbers, index, representations):
    """Fills in the neighbors of some examples, of ever more candidates."""
    num_examples, k = neighbors.shape
    num_candidates = 2 * (k + 1)
    while len(numbers):
        _, found = index.search(representations[numbers], num_candidates)
        valid = (found >= 0) & (found < num_examples) & (found != numbers[:, None])
        exhausted = num_candidates >= index.num_vectors
        done = exhausted | (valid.sum(axis=1) >= k)
        for number, row, mask in zip(
            numbers[done], found[done], valid[done], strict=True
        ):
            neighbors[number] = _first(row[mask], k, number, index)
        numbers = numbers[~done]
        num_candidates = min(4 * num_candidates, index.num_vectors)


def _first(candidates, k, number, index):
    if not len(candidates):
        raise InputError(
            f"Expected neighbors of every example from the index. Received: none of "
            f"example {number} from index={index.factory_string}. Use index=Flat, or "
            "other search_parameters."
        )
    return candidates[:k] if len(candidates) >= k else np.resize(candidates, k)


def shared_neighbors(first: np.ndarray, second: np.ndarray) -> float:
    """Computes the mean share of an example's neighbors that two encoders agree on.

    Args:
        first: `(N, k)` integers, distinct for each example.
        second: The same of another encoder.

    Returns:
        A value in [0, 1].
    """
    equal = first[:, :, None] == second[:, None, :]
    return float(equal.any(axis=2).mean())
