"""Nearest neighbors of the training examples, which pretraining takes as positives."""

import dataclasses
from typing import ClassVar

import numpy as np
from tqdm import tqdm

from vicreg_keras.data.dataset import Dataset
from vicreg_keras.errors import DamagedError, InputError
from vicreg_keras.evaluate import features
from vicreg_keras.evaluate.feature_cache import FeatureCache
from vicreg_keras.evaluate.index import NeighborIndex
from vicreg_keras.evaluate.records import Record, to_json
from vicreg_keras.figures.text_table import percent
from vicreg_keras.models.saved_encoder import load_encoder
from vicreg_keras.settings import Settings
from vicreg_keras.settings.recipe import INPUT
from vicreg_keras.training.checkpoints import newest_checkpoint
from vicreg_keras.workdir.files import read_npz, write_file
from vicreg_keras.workdir.run_folder import RunFolder

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


def prepare_positives(
    settings: Settings,
    dataset: Dataset,
    run: RunFolder,
    *,
    index: str = "Flat",
    search_parameters: str | None = None,
) -> np.ndarray | None:
    """Finds the positives of a run, and prints and logs what they are.

    They are saved in the run's `positives.npz`. A run with a checkpoint continues with
    those it was started with, whatever has become of the earlier run since; only where
    it goes on with changed data are they found anew.

    Args:
        settings: Recipe of the run.
        dataset: Dataset that it is trained on.
        run: Folder of the run.
        index: FAISS factory string of the index that is searched.
        search_parameters: Search parameters of the index, or `None` for its defaults.

    Returns:
        int32 array of shape `(num_train, num_positives)`, the nearest first; `None` if
        the recipe has no neighbors as positives.

    Raises:
        InputError: If the earlier run has no encoder, or one for examples of another
            shape; if the input is too large to search; if there is no such index; or if
            the file of a run that has a checkpoint is lost or of other data.
    """
    if settings.neighbors_from is None:
        return None
    path = run.path / "positives.npz"
    fingerprint, positives = dataset.pretraining.examples_fingerprint, None
    if newest_checkpoint(run) is not None:
        positives = _read(path, fingerprint, run.run_id)
    if positives is None:
        representations = _representations(settings.neighbors_from, dataset)
        built = NeighborIndex.build(
            representations, factory_string=index, search_parameters=search_parameters
        )
        positives = nearest_others(built, representations, settings.num_positives)
        with write_file(path) as file:
            np.savez(file, positives=positives, fingerprint=fingerprint, run=run.run_id)
    same, chance = _same_class(dataset.pretraining.labels, positives)
    is_input = settings.neighbors_from == INPUT
    record = PositivesRecord(
        dataset=dataset.name,
        seed=settings.seed,
        neighbors_from="the raw input" if is_input else settings.neighbors_from,
        index=index,
        search_parameters=search_parameters,
        num_train=len(positives),
        num_positives=positives.shape[1],
        same_class=same,
        same_class_by_chance=chance,
    )
    text = (
        f"Second views are of the {record.num_positives} nearest of "
        f"{record.num_train:,} training examples, according to {record.neighbors_from}"
    )
    if same is not None:
        text += (
            f"; {percent(same)} % of them are of the example's own class "
            f"({percent(chance)} % by chance)"
        )
    print(f"{text}.")
    run.append_metrics(to_json(record))
    return positives


def nearest_others(
    index: NeighborIndex, representations: np.ndarray, k: int
) -> np.ndarray:
    """Finds the nearest other examples of every example.

    Args:
        index: An index of the representations.
        representations: `(N, D)` representations of the examples, at least two.
        k: Neighbors per example, at least 1; all others where there are fewer.

    Returns:
        int32 `(N, min(k, N - 1))`, numbers of examples, the nearest first. Where an
        approximate index finds fewer, those that it found are repeated.

    Raises:
        InputError: If an approximate index finds no neighbor of an example.

    Reference:
        Neighbors as positives: Dwibedi et al., "With a Little Help from My Friends",
        ICCV 2021, there from a queue that training itself fills.
    """
    num_examples = len(representations)
    k = min(k, num_examples - 1)
    neighbors = np.empty((num_examples, k), np.int32)
    for start in tqdm(
        range(0, num_examples, _BLOCK_SIZE), unit="block", delay=3, disable=None
    ):
        block = representations[start : start + _BLOCK_SIZE]
        # More than are needed: an approximate index may find fewer.
        _, found = index.search(block, 2 * (k + 1))
        for number, candidates in enumerate(found, start):
            others = candidates[(candidates >= 0) & (candidates != number)]
            if not len(others):
                raise InputError(
                    "Expected neighbors of every example from the index. Received: "
                    f"none of example {number} from index={index.factory_string}. Use "
                    "index=Flat, or other search_parameters."
                )
            neighbors[number] = np.resize(others, k)
    return neighbors


def _representations(neighbors_from: str, dataset: Dataset) -> np.ndarray:
    """Returns training representations of an earlier run, or the scaled input."""
    split = "train" if dataset.unlabeled is None else "pretraining"
    if neighbors_from != INPUT:
        run = RunFolder(neighbors_from)
        encoder = load_encoder(run.path)
        features.check_example_shape(encoder, dataset.example_shape)
        features.check_columns(encoder, dataset)
        cache = FeatureCache(encoder, dataset, run.features / "encoder")
        return cache[split].representations
    if reason := features.input_size_problem(dataset):
        raise InputError(
            "Expected neighbors_from=RUN for so much data. Received: "
            f"neighbors_from={INPUT}, {reason}. Train a run on it first."
        )
    return features.input_features(dataset, split).representations


def _same_class(labels, positives):
    """Returns the share of neighbors of the same class, and that by chance."""
    if labels is None:
        return None, None
    same = np.mean(labels[positives] == labels[:, None])
    # For information: nothing is trained on labels.
    return float(same), float(np.square(np.bincount(labels) / len(labels)).sum())


def _read(path, fingerprint, run_id):
    """Returns the positives in a file, or `None` where they are of other data."""
    remedy = (
        "Restore the neighbors that this run was started with, or start a new run in "
        "another workdir."
    )
    try:
        file = read_npz(path, remedy)
    except FileNotFoundError:
        raise DamagedError(path, "it is missing", remedy) from None
    if run_id and str(file.get("run", "")) not in ("", run_id):
        raise DamagedError(path, "it is of another run", remedy)
    return file["positives"] if str(file["fingerprint"]) == fingerprint else None
