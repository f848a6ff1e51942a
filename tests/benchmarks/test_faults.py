"""Damaged files of a small run are recognized, as the command's table counts them."""

import pytest

from benchmarks import faults
from vicreg_keras.workdir.run_folder import RunFolder


def make_run(bench, path, seed):
    """Leaves what a report reads, without a training."""
    run = RunFolder(path)
    run.create()
    run.write_flags({"dataset": "digits", "epochs": "2", "seed": f"{seed}"})
    for epoch in (1, 2):
        place = {"epoch": epoch, "step": 10 * epoch, "minutes": 0.1}
        metrics = {"loss": 1.0 + seed + 1 / epoch, "val_loss": 2.0}
        record = {"mode": "pretrain", "dataset": "digits", "seed": seed}
        run.append_metrics({**record, **place, "metrics": metrics})


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(faults.Bench, "_make", make_run)
        return faults.Bench(tmp_path_factory.mktemp("faults"))


def test_every_file_is_damaged_in_every_way(bench):
    cases = [case for case in bench.cases() if case.command == "report"]
    assert {case.file for case in cases} == {"flags.flags", "metrics.jsonl"}
    assert len(cases) == 2 * len(faults.DAMAGES)


@pytest.mark.parametrize(
    ("file", "damage", "expected"),
    [
        ("metrics.jsonl", "flipped", "named"),
        ("metrics.jsonl", "swapped", "named"),
        ("metrics.jsonl", "zeroed", "named"),
        ("flags.flags", "cut", "refused"),
    ],
)
def test_a_damaged_file_is_recognized(bench, file, damage, expected):
    outcome, text = bench.outcome(faults.Case(file, damage, "report"))
    assert outcome == expected and str(bench.folder / "run" / file) in text


def test_other_numbers_without_a_word_are_silent(bench, monkeypatch):
    case = faults.Case("metrics.jsonl", "cut", "report")
    bench.outcome(case)
    monkeypatch.setattr(RunFolder, "_read_lines", lambda run: [])
    monkeypatch.setattr(RunFolder, "check_epochs", lambda run, epoch: None)
    assert bench.outcome(case)[0] == "SILENT"
