"""Nearest neighbors of training examples, which can be their positives."""

import dataclasses
from typing import ClassVar

import numpy as np
from tqdm import tqdm

from vicreg_keras.errors import InputError
from vicreg_keras.evaluate.index import NeighborIndex
from vicreg_keras.evaluate.records import Record

_BLOCK_SIZE = 4096  # Queries between two updates of the progress bar.


@dataclasses.dataclass(frozen=True, kw_only=True)
class PositivesRecord(Record):
    """Neighbors that pretraining takes as positives.

    Attributes:
        neighbors_from: Name of the source that they were found with.
        index: FAISS factory string of the index that found them.
        search_parameters: Search parameters of that index, or `None`.
        num_train: Training examples.
        num_positives: Neighbors of each.
        same_class: Fraction of them that are of the example's own class, or `None`
            without labels.
        same_class_by_chance: The same of examples drawn at random.
    """

    mode: ClassVar[str] = "positives"
    neighbors_from: str
    index: str
    search_parameters: str | None
    num_train: int
    num_positives: int
    same_class: float | None = None
    same_class_by_chance: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunMetrics:
    """Metrics of a run that is compared with another one.

    Attributes:
        effective_rank: Effective rank of the training representations.
        rankme: RankMe of the training representations.
        state: State that `diagnose_collapse` gives them.
        knn_top1: kNN accuracy on the validation split in [0, 1], or `None` without
            labels.
    """

    effective_rank: float
    rankme: float
    state: str
    knn_top1: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompareRecord(Record):
    """A run beside the source of its positives.

    Attributes:
        split: Split of the accuracies.
        neighbors_from: Name of the source.
        results: The source as `"earlier"`, and the run as `"this"`.
        num_neighbors: Neighbors of each example that are compared.
        shared_neighbors: Fraction of them that both agree on.
    """

    mode: ClassVar[str] = "compare"
    split: str
    neighbors_from: str
    results: dict[str, RunMetrics]
    num_neighbors: int
    shared_neighbors: float


def nearest_others(
    index: NeighborIndex, representations: np.ndarray, k: int
) -> np.ndarray:
    """Finds the nearest other examples of each of the first examples in an index.

    Each of several duplicates has the others among its neighbors. Vectors of the index
    behind the examples are passed over.

    Args:
        index: An index whose first vectors are the examples'.
        representations: `(N, D)` representations of the examples, at least two.
        k: Neighbors per example, at least 1; all others where there are fewer.

    Returns:
        int32 `(N, min(k, N - 1))`, numbers of examples, the nearest first. Where an
        approximate index finds fewer, those that it found are repeated.

    Raises:
        InputError: If there are fewer than two examples, or an approximate index finds
            no neighbor of an example.

    Reference:
        Neighbors as positives: Dwibedi et al., "With a Little Help from My Friends",
        ICCV 2021, there from a queue that training itself fills.
    """
    num_examples = len(representations)
    if num_examples < 2:
        raise InputError(
            f"Expected at least two examples. Received: {num_examples} of them. A "
            "single one has no neighbor."
        )
    neighbors = np.empty((num_examples, min(k, num_examples - 1)), np.int32)
    with tqdm(total=num_examples, unit="example", delay=3) as progress:
        for start in range(0, num_examples, _BLOCK_SIZE):
            numbers = np.arange(start, min(start + _BLOCK_SIZE, num_examples))
            _fill(neighbors, numbers, index, representations)
            progress.update(len(numbers))
    return neighbors


def _fill(
    neighbors: np.ndarray,
    numbers: np.ndarray,
    index: NeighborIndex,
    representations: np.ndarray,
) -> None:
    """Fills in the neighbors of some examples, of ever more candidates."""
    num_examples, k = neighbors.shape
    num_candidates = 2 * (k + 1)
    while len(numbers):
        _, found = index.search(representations[numbers], num_candidates)
        valid = (found >= 0) & (found < num_examples) & (found != numbers[:, None])
        exhausted = num_candidates >= index.num_vectors
        done = exhausted | (valid.sum(axis=1) >= k)
        for number, candidates, mask in zip(
            numbers[done], found[done], valid[done], strict=True
        ):
            if not mask.any():
                raise InputError(
                    "Expected neighbors of every example from the index. Received: "
                    f"none of example {number} from index={index.factory_string}. Use "
                    "index=Flat, or other search_parameters."
                )
            neighbors[number] = np.resize(candidates[mask], k)
        numbers = numbers[~done]
        num_candidates = min(4 * num_candidates, index.num_vectors)


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
