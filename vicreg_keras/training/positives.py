"""Neighbors of the training examples, which pretraining takes as positives."""

import dataclasses
import zipfile

import keras
import numpy as np

from vicreg_keras.data.dataset import Dataset
from vicreg_keras.errors import InputError
from vicreg_keras.evaluate.feature_cache import FeatureCache
from vicreg_keras.evaluate.features import check_example_shape, input_size_problem
from vicreg_keras.evaluate.index import NeighborIndex
from vicreg_keras.evaluate.positives import nearest_others
from vicreg_keras.models.saved_encoder import SavedEncoder, load_encoder
from vicreg_keras.models.table_encoder import make_input_encoder
from vicreg_keras.settings import Settings
from vicreg_keras.settings.recipe import INPUT
from vicreg_keras.workdir.files import write_file
from vicreg_keras.workdir.run_folder import RunFolder


@dataclasses.dataclass(frozen=True, eq=False)
class NeighborSource:
    """An encoder whose representations tell which training examples are near.

    Attributes:
        name: Path of an earlier run, or "the raw input".
        encoder: That run's encoder, or a model that only scales the input.
        dataset: Dataset whose training split is searched.
        run: Folder of the earlier run, or `None`.
    """

    name: str
    encoder: SavedEncoder | keras.Model
    dataset: Dataset
    run: RunFolder | None = None


def neighbor_source(settings: Settings, dataset: Dataset) -> NeighborSource | None:
    """Returns what positives are found with, or `None` if no positives are wanted.

    Args:
        settings: Recipe of the run that is to be trained.
        dataset: Dataset that it is to be trained on.

    Raises:
        InputError: If the earlier run has no encoder, or one for examples of another
            shape, or the input is too large to search.
    """
    if settings.neighbors_from is None:
        return None
    if settings.neighbors_from == INPUT:
        if reason := input_size_problem(dataset):
            raise InputError(
                "Expected neighbors_from=RUN for so much data. Received: "
                f"neighbors_from={INPUT}, {reason}. Train a run on it first."
            )
        return NeighborSource("the raw input", make_input_encoder(dataset), dataset)
    run = RunFolder(settings.neighbors_from)
    encoder = load_encoder(run.path)
    check_example_shape(encoder, dataset.example_shape)
    return NeighborSource(str(run.path), encoder, dataset, run)


def find_positives(
    source: NeighborSource,
    run: RunFolder,
    num_positives: int,
    *,
    index: str = "Flat",
    search_parameters: str | None = None,
) -> np.ndarray:
    """Returns the nearest training examples of each one, without itself.

    They are saved in the new run's `positives.npz`. A run with a checkpoint continues
    with those it was started with, whatever has become of the earlier run since.

    Args:
        source: See `neighbor_source`.
        run: Folder of the new run.
        num_positives: Neighbors of each example.
        index: FAISS factory string of the index that is searched.
        search_parameters: Search parameters of the index, or `None` for its defaults.

    Returns:
        int32 array of shape `(num_train, num_positives)`, the nearest first.

    Raises:
        InputError: If there is no such index, or the file of a run that has a
            checkpoint is lost or was made from other data.
    """
    path = run.path / "positives.npz"
    if any(run.checkpoints.glob("*.index")):
        return _read(path, source.dataset.train.num_examples)
    folder = source.run.features / "encoder" if source.run else None
    features = FeatureCache(source.encoder, source.dataset, folder)
    representations = features["train"].representations
    built = NeighborIndex.build(
        representations, factory_string=index, search_parameters=search_parameters
    )
    positives = nearest_others(built, representations, num_positives)
    with write_file(path) as file:
        np.savez(file, positives=positives)
    return positives


def _read(path, num_train):
    try:
        with np.load(path, allow_pickle=False) as file:
            positives = file["positives"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(
            f"Expected {path}, the neighbors that this run was started with. Received: "
            f"{error}. Restore the file, or start a new run in another workdir."
        ) from error
    if len(positives) != num_train:
        raise InputError(
            f"Expected neighbors of {num_train} training examples. Received: "
            f"{len(positives)} in {path}. If the data has changed, start a new run in "
            "another workdir."
        )
    return positives
