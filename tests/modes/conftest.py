"""An encoder on digits, with a run's folder, for the modes."""

import importlib

import keras
import numpy as np
import pytest
from PIL import Image

from vicreg_keras import load_dataset, make_encoder
from vicreg_keras.data.dataset import Dataset
from vicreg_keras.data.split import Split
from vicreg_keras.evaluate.accuracy import top_k_accuracy
from vicreg_keras.modes import MODES
from vicreg_keras.modes.context import Context
from vicreg_keras.settings import DataOptions
from vicreg_keras.workdir.run_folder import RunFolder


@pytest.fixture(scope="session")
def run_mode():
    """A function that runs a mode with options by name."""

    def run(mode, context, **options):
        module = importlib.import_module(f"vicreg_keras.modes.{mode}")
        if hasattr(module, "run"):
            return module.run(context, MODES[mode].options(**options))
        return getattr(module, f"run_{mode}")(context, **options)

    return run


@pytest.fixture(scope="session")
def digits():
    """A part of the digits: 300 training, 60 validation and 90 test images."""
    whole = load_dataset("digits")
    return Dataset(
        options=DataOptions(dataset="digits"),
        class_names=whole.class_names,
        train=whole.train.take(range(300)),
        validation=whole.validation.take(range(60)),
        test=whole.test.take(range(90)),
    )


@pytest.fixture(scope="session")
def encoders():
    """Two encoders of other weights: the evaluated one, and its untrained baseline."""
    keras.utils.set_random_seed(0)
    return [make_encoder("tiny", (8, 8, 3)) for _ in range(2)]


@pytest.fixture
def context(digits, encoders, tmp_path):
    """A run with both; afterwards the encoder must be as it was, bit for bit."""
    encoder, untrained = encoders
    before = [variable.numpy() for variable in encoder.variables]
    run = RunFolder(tmp_path / "run")
    yield Context(encoder, digits, run, make_encoder=lambda trained: untrained)
    for variable, value in zip(encoder.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


@pytest.fixture
def linear_top1(context):
    """The accuracy of the context's linear head on the test split."""
    scores = context.head.scores(context.features["test"].representations)
    return top_k_accuracy(scores, context.test.labels, 1)


@pytest.fixture
def unlabeled(digits, encoders, tmp_path):
    """The same images without labels, and no test split."""

    def bare(split, count):
        return Split(split.read(range(count)), None, split.names[:count])

    dataset = Dataset(
        options=DataOptions(dataset="photos"),
        class_names=None,
        train=bare(digits.train, 100),
        validation=bare(digits.validation, 40),
        test=None,
    )
    return Context(encoders[0], dataset, RunFolder(tmp_path / "run"))


@pytest.fixture
def photos(digits, tmp_path):
    """Five training images as files."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, image in enumerate(digits.train.read(range(5))):
        Image.fromarray(image).save(folder / f"{number}.png")
    return folder
