"""Trials are counted, pruned, continued, cleaned up, and shared by processes."""

import contextlib
import dataclasses
import os
import pathlib
import signal
import sqlite3
import subprocess
import sys
import time

import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

from tests.search.conftest import SETTINGS
from tests.workdir.test_versions import DAMAGES
from vicreg_keras.errors import DamagedError, InputError, NonFiniteError
from vicreg_keras.search import study
from vicreg_keras.search.trial import TrialCrash
from vicreg_keras.workdir.run_folder import RunFolder

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
ROOT = pathlib.Path(__file__).resolve().parents[2]


def params(search):
    return [trial.params for trial in search.study.trials]


def test_same_command_continues_the_search(trainings, open_search, tmp_path, capsys):
    open_search().optimize(3)
    again = open_search()
    again.optimize(6)
    assert trainings.folders == [f"{number:04d}" for number in range(6)]
    again.optimize(4)
    assert len(trainings.folders) == 6
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    # The first trial is the recipe itself.
    assert params(again)[0] == {"learning_rate": 1e-3, "projector": "8-8"}
    assert lines[0].startswith("trial 0, knn 0.10, best 0.10 (trial 0), ")
    assert lines[0].endswith(" s")
    rates = [one["learning_rate"] for one in params(again)]
    assert len(set(rates)) == 6
    assert again.number_of(again.best()) == rates.index(max(rates))
    # A search that was never interrupted tries the same.
    whole = tmp_path / "whole"
    whole.mkdir()
    uninterrupted = open_search(folder=whole)
    uninterrupted.optimize(6)
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
def test_folder_of_another_search_is_refused(changed, part, open_search):
    open_search()
    with pytest.raises(InputError, match="another workdir") as error:
        open_search(**changed)
    assert part in str(error.value) and "\n" not in str(error.value)
    open_search(settings=dataclasses.replace(SETTINGS, checkpoint_minutes=1.0))


def test_trial_worse_than_the_median_is_pruned(trainings, open_search, capsys):
    trainings.score = lambda name, settings: 0.1 if name == "0005" else 0.9
    search = open_search(settings=dataclasses.replace(SETTINGS, epochs=30))
    search.optimize(7)
    states = [trial.state.name for trial in search.study.trials]
    assert states == ["COMPLETE"] * 5 + ["PRUNED", "COMPLETE"]
    # Nine scores before that of the trained encoder.
    scores = search.study.trials[0].intermediate_values
    assert list(scores) == list(range(3, 30, 3))
    assert list(search.study.trials[5].intermediate_values) == [3]
    assert "trial 5, pruned, best 90.00" in capsys.readouterr().out


def test_divergence_and_crash_end_a_trial_only(trainings, open_search, capsys):
    trainings.ends = {1: NonFiniteError("loss=nan"), 2: TrialCrash("killed by SIGKILL")}
    search = open_search()
    search.optimize(4)
    states = [trial.state.name for trial in search.study.trials]
    assert states == ["COMPLETE", "PRUNED", "FAIL", "COMPLETE"]
    out = capsys.readouterr().out
    assert "trial 1, diverged, best" in out and "trial 2, failed, see " in out
    assert os.path.join("trials", "0002", "trial.log") in out


def test_a_damaged_database_is_named(trainings, open_search):
    trainings.ends = {1: NonFiniteError("loss=nan")}
    search = open_search(settings=dataclasses.replace(SETTINGS, epochs=4))
    search.optimize(3)
    (search.run.path / "trials").mkdir(exist_ok=True)
    open_search(settings=search.settings)
    path = search.run.path / "study.db"
    content = path.read_bytes()
    for damage in DAMAGES.values():
        path.unlink(missing_ok=True)
        if damage:
            path.write_bytes(damage(content))
        with pytest.raises(DamagedError, match=f"Expected {path} as it was") as error:
            open_search(settings=search.settings)
        assert "\n" not in str(error.value)
    for change in (
        "UPDATE trial_values SET value = value + 0.001 WHERE trial_id = 1",
        "UPDATE trial_params SET param_value = param_value * 2 WHERE trial_id = 2",
        "UPDATE trial_intermediate_values SET intermediate_value = 0.77",
    ):
        path.write_bytes(content)
        with contextlib.closing(sqlite3.connect(path)) as connection:
            assert connection.execute(change).rowcount
            connection.commit()
        with pytest.raises(DamagedError, match=r"trial \d is not as it ended"):
            open_search(settings=search.settings)


@pytest.mark.parametrize("end", [KeyboardInterrupt, InputError], ids=str)
def test_interrupted_trial_is_continued(end, trainings, open_search):
    search = open_search()
    trainings.ends = {1: end(), 2: end()}
    for _ in range(2):
        with pytest.raises(end):
            search.optimize(3)
        search = open_search()
    search.optimize(3)
    assert trainings.folders == ["0000", "0001", "0001", "0001", "0002"]
    trials = search.study.trials
    assert [search.number_of(one) for one in trials] == [0, 1, 1, 1, 2]
    tries = [one for one in trials if search.number_of(one) == 1]
    assert len({str(one.params) for one in tries}) == 1
    assert tries[-1].state == TrialState.COMPLETE


def test_interrupted_search_tries_the_same(trainings, open_search, tmp_path):
    tried, best = [], []
    # The third trial is as good as the second, which is continued after it.
    trainings.score = lambda name, settings: 0.9 if name in ("0001", "0002") else 0.1
    for name, ends in (("whole", {}), ("interrupted", {1: KeyboardInterrupt()})):
        trainings.tasks, trainings.ends = [], ends
        (tmp_path / name).mkdir()
        search = open_search(folder=tmp_path / name)
        if ends:
            with pytest.raises(KeyboardInterrupt):
                search.optimize(12)
        search.optimize(12)
        tried.append([str(one.params) for one in search.trials().values()])
        best.append((search.number_of(search.best()), search.best().params))
    assert tried[0] == tried[1] and len(tried[0]) == 12
    assert best[0] == best[1] and best[0][0] == 1


def test_only_the_best_trial_keeps_its_large_folders(trainings, open_search, tmp_path):
    values = [0.2, 0.5, 0.4, 0.6, 0.1]
    trainings.score = lambda name, settings: values[int(name)]
    open_search().optimize(5)

    def folders(name):
        found = (tmp_path / "trials").glob(f"*/{name}")
        return sorted(path.parent.name for path in found)

    assert folders("checkpoints") == ["0003"]
    assert len(folders("figures")) == 5


# Another process that shares the search: its trainings take no time, or are real.
PROCESS = """
import dataclasses, time
from tests.search.conftest import DATA, SETTINGS, SPACE
from vicreg_keras.search import study
from vicreg_keras.evaluate.records import RecipeMetrics
from vicreg_keras.workdir.run_folder import RunFolder
study.HEARTBEAT_INTERVAL, study.GRACE_PERIOD = 1, 3
{quick}
settings = dataclasses.replace(SETTINGS, epochs={epochs})
search = study.Search(
    settings, DATA, RunFolder({folder!r}), objective="knn", space=SPACE)
print("open", flush=True)
search.optimize({trials})
"""
QUICK = """
def run_task(task, report):
    time.sleep(0.3)
    return RecipeMetrics(seed=0, validation_score=task.settings.learning_rate)
study.run_task = run_task
"""


def start(folder, trials, quick="", epochs=2):
    script = PROCESS.format(
        folder=str(folder), trials=trials, quick=quick, epochs=epochs
    )
    return subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )


@pytest.fixture
def short_heartbeats(monkeypatch):
    monkeypatch.setattr(study, "HEARTBEAT_INTERVAL", 1)
    monkeypatch.setattr(study, "GRACE_PERIOD", 3)


def test_two_processes_share_a_search(
    trainings, open_search, tmp_path, short_heartbeats
):
    other = start(tmp_path, 12, QUICK)
    try:
        assert other.stdout.readline() == "open\n"

        def slow(name, settings):
            time.sleep(0.1)
            return settings.learning_rate

        trainings.score = slow
        search = open_search()
        search.optimize(12)
        theirs, _ = other.communicate(timeout=120)
    finally:
        other.kill()
    assert other.returncode == 0
    ours = len(trainings.folders)
    lines = [line for line in theirs.splitlines() if line.startswith("trial ")]
    trials = search.study.trials
    # Both may have begun their last one at the same time.
    assert ours > 0 and lines and ours + len(lines) == len(trials)
    assert 12 <= len(trials) <= 13
    assert {trial.state.name for trial in trials} <= {"COMPLETE", "PRUNED"}
    assert len({str(trial.params) for trial in trials}) == len(trials)


def test_trial_of_a_killed_search_is_continued(open_search, tmp_path, short_heartbeats):
    killed = start(tmp_path, 1, epochs=40)
    run = RunFolder(tmp_path / "trials" / "0000")
    try:
        deadline = time.monotonic() + 240
        while len(run.read_metrics("pretrain")) < 3:
            assert killed.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    finally:
        killed.kill()
    begun = run.read_metrics("pretrain")
    search = open_search(settings=dataclasses.replace(SETTINGS, epochs=40))
    search.optimize(1)
    first, second = search.study.trials
    assert (first.state, second.state) == (TrialState.FAIL, TrialState.COMPLETE)
    assert search.number_of(second) == 0 and second.params == first.params
    assert [path.name for path in (tmp_path / "trials").iterdir()] == ["0000"]
    records = run.read_metrics("pretrain")
    assert [record["epoch"] for record in records] == list(range(1, 41))
    assert records[:2] == begun[:2]
    assert 0.1 < second.value <= 1
    # The training ended with the search that had started it.
    assert "Continuing" in (run.path / "trial.log").read_text()
