"""Trials: counted, pruned, put back, cleared up, and shared by processes."""

import dataclasses
import gc
import os
import pathlib
import signal
import subprocess
import sys
import time
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

from tests.search.conftest import SETTINGS, SPACE
from vicreg_keras import make_encoder
from vicreg_keras.search import objectives, study
from vicreg_keras.search.memory import forgotten_models
from vicreg_keras.workdir.run_folder import RunFolder

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
ROOT = pathlib.Path(__file__).resolve().parents[2]


class Trainings:
    """Stands for pretraining: a trial's scores are what `score` gives, and no work."""

    def __init__(self, monkeypatch):
        self.score = lambda number, settings: settings.learning_rate
        self.folders = []
        self.ends = {}  # What a training is ended by, by how many were before it.
        monkeypatch.setattr(study, "pretrain", self)
        monkeypatch.setattr(study, "trained_encoder", self.encoder)
        monkeypatch.setattr(
            objectives, "make_judge", lambda *args, **kwargs: lambda encoder: encoder
        )

    def __call__(self, settings, dataset, run, *, extra_callbacks, **options):
        end = self.ends.get(len(self.folders))
        self.folders.append(run.path.name)
        if isinstance(end, Exception):
            raise end
        for name in ("checkpoints", "figures"):
            (run.path / name).mkdir(exist_ok=True)
        score = self.encoder(settings, dataset, run)
        for callback in extra_callbacks:
            callback.set_model(types.SimpleNamespace(encoder=score))
            for epoch in range(settings.epochs):
                callback.on_epoch_end(epoch, {"loss": 1.0})
        return {"stopped_by": end}

    def encoder(self, settings, dataset, run):
        return self.score(int(run.path.name), settings)


@pytest.fixture
def trainings(monkeypatch):
    return Trainings(monkeypatch)


def params(search):
    return [trial.params for trial in search.study.trials]


def test_the_same_command_counts_on(trainings, open_search, tmp_path, capsys):
    search = open_search()
    search.go(3)
    again = open_search()
    again.go(6)
    assert trainings.folders == [f"{number:04d}" for number in range(6)]
    again.go(4)
    assert len(trainings.folders) == 6
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    # The first trial is the recipe itself.
    assert params(again)[0] == {"learning_rate": 1e-3, "projector": "8-8"}
    assert lines[0].startswith("trial 0, knn 0.10, best 0.10 (trial 0), ")
    assert lines[0].endswith(" left")
    rates = [one["learning_rate"] for one in params(again)]
    assert len(set(rates)) == 6
    assert again.best().number == rates.index(max(rates))
    # A search that was never stopped tries the same.
    whole = tmp_path / "whole"
    whole.mkdir()
    uninterrupted = study.Search(
        SETTINGS,
        search._dataset,
        RunFolder(whole),
        objective="knn",
        space=SPACE,
        claim=lambda part, changes: None,
    )
    uninterrupted.go(6)
    assert params(uninterrupted) == params(again)


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"objective": "rankme"}, "objective=knn"),
        ({"space": {"learning_rate": FloatDistribution(0.0, 1.0)}}, "space="),
        ({"settings": dataclasses.replace(SETTINGS, batch_size=50)}, "batch_size=100"),
        ({"settings": dataclasses.replace(SETTINGS, epochs=3)}, "trial_epochs=2"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_another_search_does_not_get_the_folder(changed, part, open_search):
    open_search()
    with pytest.raises(ValueError, match="--workdir") as error:
        open_search(**changed)
    assert part in str(error.value) and "\n" not in str(error.value)
    open_search(settings=dataclasses.replace(SETTINGS, checkpoint_minutes=1.0))


def test_a_trial_that_is_worse_than_most_is_cut_short(trainings, open_search, capsys):
    trainings.score = lambda number, settings: 0.1 if number == 5 else 0.9
    search = open_search(settings=dataclasses.replace(SETTINGS, epochs=30))
    search.go(7)
    states = [trial.state.name for trial in search.study.trials]
    assert states == ["COMPLETE"] * 5 + ["PRUNED", "COMPLETE"]
    # Ten looks at most, and the last epoch is judged by itself.
    looks = search.study.trials[0].intermediate_values
    assert list(looks) == list(range(3, 30, 3))
    assert list(search.study.trials[5].intermediate_values) == [3]
    assert "trial 5, cut short after epoch 3, best 90.00" in capsys.readouterr().out


def test_divergence_ends_a_trial_and_not_the_search(trainings, open_search, capsys):
    trainings.ends[1] = FloatingPointError("loss=nan")
    search = open_search()
    search.go(3)
    states = [trial.state for trial in search.study.trials]
    assert states == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.COMPLETE]
    assert "trial 1, diverged, best" in capsys.readouterr().out


@pytest.mark.parametrize("end", ["SIGINT", OSError("no space left")], ids=str)
def test_a_stopped_trial_is_put_back_and_goes_on(end, trainings, open_search):
    search = open_search()
    trainings.ends = {1: end, 2: end}
    for _ in range(2):
        with pytest.raises((KeyboardInterrupt, OSError)):
            search.go(3)
        search = open_search()
    search.go(3)
    assert trainings.folders == ["0000", "0001", "0001", "0001", "0002"]
    trials = search.study.trials
    assert [study.number_of(one) for one in trials] == [0, 1, 1, 1, 2]
    tries = [one for one in trials if study.number_of(one) == 1]
    assert len({str(one.params) for one in tries}) == 1
    assert tries[-1].state == TrialState.COMPLETE


def test_only_the_best_keeps_what_fills_a_disk(trainings, open_search, tmp_path):
    values = [0.2, 0.5, 0.4, 0.6, 0.1]
    trainings.score = lambda number, settings: values[number]
    open_search().go(5)

    def folders(name):
        found = (tmp_path / "trials").glob(f"*/{name}")
        return sorted(path.parent.name for path in found)

    assert folders("checkpoints") == ["0003"]
    assert len(folders("figures")) == len(folders("flags.flags")) == 5


def test_models_are_forgotten_and_the_precision_is_not():
    def graphs():
        gc.collect()
        return [one for one in gc.get_objects() if type(one).__name__ == "FuncGraph"]

    # Held on to: those of other tests may go at any time.
    earlier = graphs()
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        with forgotten_models():
            encoder = make_encoder("tiny", (8, 8, 3))
            # As training calls it: each trace registers gradients of its own.
            step = tf.function(encoder)
            step(np.zeros((2, 8, 8, 3), np.float32), training=True)
            del encoder, step
            assert len(graphs()) > len(earlier)
        assert len(graphs()) == len(earlier)
        assert keras.mixed_precision.dtype_policy().name == "mixed_bfloat16"
    finally:
        keras.mixed_precision.set_dtype_policy("float32")


# What another process does: its trials are quick, or real.
PROCESS = """
import dataclasses, time, warnings
warnings.simplefilter("ignore")
from tests.search.conftest import SETTINGS, SPACE, claim
from vicreg_keras import load_dataset
from vicreg_keras.search import objectives, study
from vicreg_keras.workdir import RunFolder
study.HEARTBEAT_SECONDS, study.DEAD_AFTER_SECONDS = 1, 3
digits = load_dataset("digits")
parts = dict(train=digits.train.take(range(300)), test=None)
digits = dataclasses.replace(
    digits, validation=digits.validation.take(range(60)), **parts)
settings = dataclasses.replace(SETTINGS, epochs={epochs})
{quick}
search = study.Search(settings, digits, RunFolder({folder!r}), objective="knn",
                      space=SPACE, claim=claim)
print("open", flush=True)
search.go({trials})
"""
QUICK = """
def pretrain(*args, **kwargs):
    time.sleep(0.3)
    return {"stopped_by": None}
study.pretrain = pretrain
study.trained_encoder = lambda settings, dataset, run: settings.learning_rate
objectives.make_judge = lambda *args, **kwargs: lambda encoder: encoder
"""


def start(folder, trials, quick="", epochs=2):
    script = PROCESS.format(
        folder=str(folder),
        trials=trials,
        quick=quick,
        epochs=epochs,
    )
    return subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )


@pytest.fixture
def soon_dead(monkeypatch):
    monkeypatch.setattr(study, "HEARTBEAT_SECONDS", 1)
    monkeypatch.setattr(study, "DEAD_AFTER_SECONDS", 3)


def test_two_processes_share_a_search(trainings, open_search, tmp_path, soon_dead):
    other = start(tmp_path, 12, QUICK)
    try:
        assert other.stdout.readline() == "open\n"
        whole = trainings.encoder

        def slow(settings, dataset, run):
            time.sleep(0.1)
            return whole(settings, dataset, run)

        trainings.encoder = slow
        search = open_search()
        search.go(12)
        theirs, _ = other.communicate(timeout=120)
    finally:
        other.kill()
    assert other.returncode == 0
    mine = len(trainings.folders)
    lines = [line for line in theirs.splitlines() if line.startswith("trial ")]
    assert mine > 0 and lines and mine + len(lines) == 12
    trials = search.study.trials
    assert {trial.state.name for trial in trials} <= {"COMPLETE", "PRUNED"}
    assert [study.number_of(trial) for trial in trials] == list(range(12))
    assert len({str(trial.params) for trial in trials}) == 12


def test_a_killed_trial_is_continued_where_it_was(open_search, tmp_path, soon_dead):
    killed = start(tmp_path, 1, epochs=40)
    part = RunFolder(tmp_path / "trials" / "0000")
    try:
        deadline = time.monotonic() + 240
        while len(part.read_metrics("pretrain")) < 3:
            assert killed.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    finally:
        killed.kill()
    begun = part.read_metrics("pretrain")
    assert len(begun) < 40
    search = open_search(settings=dataclasses.replace(SETTINGS, epochs=40))
    search.go(1)
    first, second = search.study.trials
    assert (first.state, second.state) == (TrialState.FAIL, TrialState.COMPLETE)
    assert study.number_of(second) == 0 and second.params == first.params
    assert [path.name for path in (tmp_path / "trials").iterdir()] == ["0000"]
    rows = part.read_metrics("pretrain")
    assert [row["epoch"] for row in rows] == list(range(1, 41))
    assert rows[:2] == begun[:2]
    assert 0.1 < second.value <= 1
    assert any("search_score" in row for row in rows)
