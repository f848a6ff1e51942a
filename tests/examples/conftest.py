"""Runs with an encoder and an index, for the examples to serve."""

import pathlib
import sys

import keras
import pytest

from tests.examples.double import ServingDouble
from tests.examples.run_folder import make_photo_run
from vicreg_keras import load_dataset, load_encoder, make_encoder
from vicreg_keras.export.savedmodel import export_savedmodel
from vicreg_keras.modes.context import Context
from vicreg_keras.modes.retrieve import open_index
from vicreg_keras.workdir.run_folder import RunFolder

# As each example does when it is started.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "examples"))

SETTINGS = {"dataset": "digits", "seed": "3", "validation_fraction": "0.2"}


@pytest.fixture(scope="session")
def dataset():
    """The dataset as the runs have it."""
    return load_dataset("digits", seed=3, validation_fraction=0.2)


@pytest.fixture(scope="session")
def make_run(tmp_path_factory, dataset):
    """A function that makes a run with an encoder and an index of digits."""

    def make(weights_seed=0, with_index=True, **changed):
        keras.utils.set_random_seed(weights_seed)
        run = RunFolder(tmp_path_factory.mktemp("runs") / "run")
        run.create()
        run.write_flags(SETTINGS | changed)
        export_savedmodel(make_encoder("tiny", (8, 8, 3)), run.encoder, (8, 8, 3))
        if with_index:
            open_index(Context(load_encoder(run.path), dataset, run))
        return run

    return make


@pytest.fixture(scope="session")
def run(make_run):
    """One such run, not to be changed."""
    return make_run()


@pytest.fixture(scope="session")
def search(run):
    """What the retrieval page asks for neighbors."""
    from retrieval_page.search import open_search

    return open_search(run.path)


@pytest.fixture(scope="session")
def photo_run(tmp_path_factory):
    """A run of photos, with an encoder that has a linear head, too."""
    return make_photo_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="session")
def server(photo_run):
    """A double of TensorFlow Serving."""
    with ServingDouble(photo_run.folder / "encoder") as double:
        yield double


@pytest.fixture(scope="session")
def server_with_head(photo_run):
    """Another, which classifies."""
    with ServingDouble(photo_run.folder / "with_head") as double:
        yield double
