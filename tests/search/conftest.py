"""Searches whose trials are quick, on digits."""

import dataclasses
import pathlib

import matplotlib
import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution

from vicreg_keras import load_dataset
from vicreg_keras.data.dataset import Dataset, Split
from vicreg_keras.evaluate.records import RecipeMetrics
from vicreg_keras.search import compare, study
from vicreg_keras.settings import DataOptions, Settings
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
DATA = DataOptions(dataset="digits")
SPACE = {
    "learning_rate": FloatDistribution(1e-4, 1e-2, log=True),
    "projector": CategoricalDistribution(["8-8", "16-16"]),
}


class Untouchable:
    """A test split that must not be read."""

    def __getattr__(self, name):
        raise RuntimeError(f"the test split was asked for its {name}")


@pytest.fixture(scope="session")
def digits():
    """A part of the digits: 300 training, 60 validation and 90 test examples."""
    whole = load_dataset("digits")
    return Dataset(
        options=DataOptions(dataset="digits"),
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


class Trainings:
    """Stands for the processes of trainings: results without work.

    Attributes:
        tasks: What was asked for.
        score: Function of a folder's name and settings.
        ends: Exceptions in place of a score, by the place among the tasks.
        accuracies: Test accuracies of every run.
    """

    def __init__(self):
        self.tasks = []
        self.score = lambda name, settings: settings.learning_rate
        self.ends = {}
        self.accuracies = {"linear_top1": 0.9, "knn_top1": 0.8}

    @property
    def folders(self):
        return [pathlib.Path(task.folder).name for task in self.tasks]

    def __call__(self, task, report):
        end = self.ends.get(len(self.tasks))
        self.tasks.append(task)
        if end is not None:
            raise end
        folder = pathlib.Path(task.folder)
        for name in ("checkpoints", "figures"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        score = self.score(folder.name, task.settings)
        for epoch in range(1, task.settings.epochs):
            due = task.score_every and epoch % task.score_every == 0
            report(epoch, score if due else None)
        accuracies = self.accuracies if task.test else {}
        seed = task.settings.seed
        return RecipeMetrics(seed=seed, validation_score=score, **accuracies)


@pytest.fixture(autouse=True)
def _matplotlib_style():
    """Optuna's plots change it."""
    with matplotlib.rc_context():
        yield


@pytest.fixture
def trainings(monkeypatch):
    trainings = Trainings()
    for module in (compare, study):
        monkeypatch.setattr(module, "run_task", trainings)
    return trainings


@pytest.fixture
def open_search(tmp_path):
    """Opens, or opens again, a search in the test's folder."""

    def make(settings=SETTINGS, space=SPACE, objective="knn", folder=tmp_path):
        return study.Search(
            settings,
            DATA,
            RunFolder(folder),
            objective=objective,
            space=space,
        )

    return make
