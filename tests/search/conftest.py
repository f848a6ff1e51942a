"""A search whose trials are quick, on a part of the digits."""

import dataclasses

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution

from vicreg_keras import load_dataset
from vicreg_keras.data.dataset import Dataset, Split
from vicreg_keras.search.study import Search
from vicreg_keras.settings import Settings
from vicreg_keras.workdir.run_folder import RunFolder

SETTINGS = Settings(
    encoder="tiny",
    projector="8-8",
    views="grayscale",
    # One cheap operation, so that little is compiled.
    jitter_probability=0.0,
    crop_scale=(1.0, 1.0),
    flip_probability=0.5,
    epochs=2,
    batch_size=100,
    warmup_epochs=0.0,
    score_every=0,
)
SPACE = {
    "learning_rate": FloatDistribution(1e-4, 1e-2, log=True),
    "projector": CategoricalDistribution(["8-8", "16-16"]),
}


class Untouchable:
    """A test split that nobody may look at."""

    def __getattr__(self, name):
        raise RuntimeError(f"the test part was asked for its {name}")


@pytest.fixture(scope="session")
def digits():
    """A part of the digits: 300 to train on, 60 held out, 90 to test."""
    whole = load_dataset("digits")
    return Dataset(
        name="digits",
        example_shape=whole.example_shape,
        class_names=whole.class_names,
        train=whole.train.take(range(300)),
        validation=whole.validation.take(range(60)),
        test=whole.test.take(range(90)),
    )


@pytest.fixture(scope="session")
def without_test(digits):
    return dataclasses.replace(digits, test=Untouchable())


@pytest.fixture(scope="session")
def unlabeled(digits):
    """The same images without labels, and no test split."""

    def bare(split):
        pixels = split.read(np.arange(split.num_examples))
        return Split(pixels, None, split.names)

    parts = {name: bare(getattr(digits, name)) for name in ("train", "validation")}
    return dataclasses.replace(digits, class_names=None, test=None, **parts)


def claim(part, changes):
    part.claim({name: str(value) for name, value in changes.items()})


@pytest.fixture
def open_search(without_test, tmp_path):
    """Opens, or opens again, the search in a folder of the test's own."""

    def make(settings=SETTINGS, space=SPACE, objective="knn"):
        run = RunFolder(tmp_path)
        return Search(
            settings, without_test, run, objective=objective, space=space, claim=claim
        )

    return make
