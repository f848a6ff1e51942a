"""A training in a process of its own: what it gives, and how it ends."""

import dataclasses

import numpy as np
import pytest

from tests.search.conftest import DATA, SETTINGS
from vicreg_keras.errors import InputError, NonFiniteError
from vicreg_keras.evaluate.records import RecipeMetrics
from vicreg_keras.search import trial
from vicreg_keras.workdir.run_folder import RunFolder

ERROR = 'print(\'{"error": "%s", "diverged": %s}\')'


def make_task(folder, **changes):
    options = {"settings": SETTINGS, "data": DATA, "split_seed": 0, "objective": "knn"}
    return trial.Task(folder=str(folder), **(options | changes))


def ignore(epoch, score):
    pass


@pytest.fixture
def run_program(tmp_path, monkeypatch):
    """Runs a program in place of a training."""
    monkeypatch.setattr(trial, "__name__", "program")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def run(text, report=ignore):
        (tmp_path / "program.py").write_text(text)
        return trial.run_task(make_task(tmp_path / "run"), report)

    return run


def test_reports_and_result_are_read(run_program):
    reports = []
    result = run_program(
        'print(\'{"epoch": 1, "score": null}\')\n'
        'print(\'{"epoch": 2, "score": 0.5}\')\n'
        'print(\'{"metrics": {"seed": 3, "rankme": 0.75}}\')',
        lambda *report: reports.append(report),
    )
    assert reports == [(1, None), (2, 0.5)]
    assert result == RecipeMetrics(seed=3, rankme=0.75)


@pytest.mark.parametrize("error", [KeyboardInterrupt, InputError])
def test_training_is_stopped_and_waited_for(error, run_program, tmp_path):
    def report(epoch, score):
        raise error

    with pytest.raises(error):
        run_program(
            "import pathlib, signal, sys, time\n"
            # As a training does, which then saves.
            "signal.signal(signal.SIGTERM, lambda *_: None)\n"
            'print(\'{"epoch": 1, "score": 0.5}\', flush=True)\n'
            "sys.stdin.read()\ntime.sleep(0.5)\n"
            f"pathlib.Path({str(tmp_path / 'saved')!r}).touch()",
            report,
        )
    assert (tmp_path / "saved").exists()


@pytest.mark.parametrize(
    ("program", "error", "message"),
    [
        ("import os; os.kill(os.getpid(), 9)", trial.TrialCrash, "ended with -9"),
        ("1 / 0", trial.TrialCrash, "ended with 1, see .*trial.log"),
        (ERROR % ("Expected more", "false"), InputError, "Expected more"),
        (ERROR % ("loss=nan", "true"), NonFiniteError, "loss=nan"),
    ],
)
def test_failures_are_told_apart(program, error, message, run_program, tmp_path):
    with pytest.raises(error, match=message):
        run_program(program)
    log = (tmp_path / "run" / "trial.log").read_text()
    assert ("ZeroDivisionError" in log) == (program == "1 / 0")


def test_a_process_trains_and_evaluates(tmp_path):
    task = make_task(tmp_path / "run", score_every=1, test=True)
    reports = []
    result = trial.run_task(task, lambda *report: reports.append(report))
    assert [epoch for epoch, _ in reports] == [1, 2]
    assert 0.1 < reports[0][1] <= 1 and reports[1][1] is None
    assert all(
        0.1 < x <= 1
        for x in (result.validation_score, result.linear_top1, result.knn_top1)
    )
    records = RunFolder(task.folder).read_metrics("pretrain")
    assert len(records) == 2
    assert result.effective_rank > 1 and 0 < result.embedding_std < 2
    assert (RunFolder(task.folder).encoder / "1").exists()
    # The same again only evaluates.
    again = trial.run_task(dataclasses.replace(task, test=False), ignore)
    assert again.validation_score == result.validation_score
    assert again.linear_top1 is None
    assert RunFolder(task.folder).read_metrics("pretrain") == records


def test_unusable_data_is_an_input_error(tmp_path):
    data = dataclasses.replace(DATA, dataset=f"folder:{tmp_path / 'none'}")
    with pytest.raises(InputError, match="none"):
        trial.run_task(make_task(tmp_path / "run", data=data), ignore)


def test_untrained_encoder_is_evaluated_without_training(tmp_path):
    task = make_task(tmp_path / "run", objective=None, test=True, untrained=True)
    result = trial.train(task, ignore)
    assert 0.1 < result.linear_top1 <= 1 and result.rankme > 1
    assert result.validation_score is None and result.embedding_std is None
    assert not (tmp_path / "run").exists()


def test_every_run_has_the_same_neighbors(tmp_path):
    settings = dataclasses.replace(
        SETTINGS, epochs=1, positives="neighbors", neighbors_from="input"
    )
    found = []
    for number, rate in enumerate((1e-3, 1e-2)):
        folder = tmp_path / str(number)
        folder.mkdir()
        changed = dataclasses.replace(settings, learning_rate=rate)
        trial.train(make_task(folder, settings=changed), ignore)
        with np.load(folder / "positives.npz", allow_pickle=False) as file:
            found.append(file["positives"])
    assert found[0].shape[1] == 5
    np.testing.assert_array_equal(*found)
