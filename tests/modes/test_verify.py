"""`verify`: numbers that are the same are called so, and all others are found."""

import json
import os
import pathlib
import re
import shutil

import numpy as np
import pytest
from sklearn.datasets import load_digits

from vicreg_keras.cli import main
from vicreg_keras.modes.baselines import CACHE_VARIABLE
from vicreg_keras.modes.findings import check_report, compare
from vicreg_keras.workdir.run_folder import RunFolder


def write_data(path, change=None):
    images, labels = load_digits(return_X_y=True)
    images = (images[:400] * 15).reshape(-1, 8, 8).astype(np.uint8)
    if change == "pixel":
        images[7, 3, 3] ^= 1
    if change == "label":
        labels[7] = (labels[7] + 1) % 10
    np.savez(path, images=images, labels=labels[:400])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("verify")
    write_data(folder / "data.npz")
    recipe = [
        *(f"--dataset=npz:{folder / 'data.npz'}", "--encoder=tiny", "--projector=16"),
        *("--epochs=2", "--batch_size=64", "--score_every=2", "--warmup_epochs=0"),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(folder / "cache"))
        workdir = f"--workdir={folder / 'run'}"
        runs = [f"--runs={folder / 'run'}", f"--output={folder / 'run/report.html'}"]
        for flags in (
            ["--mode=pretrain", *recipe, workdir],
            ["--mode=report", *runs],
            ["--mode=knn_eval", workdir],
        ):
            with pytest.raises(SystemExit) as ended:
                main(["main.py", *flags])
            assert not ended.value.code
    return folder


@pytest.fixture
def moved(finished, tmp_path):
    """The finished run and its data, elsewhere."""
    shutil.copytree(finished, tmp_path / "moved")
    return tmp_path / "moved"


@pytest.fixture
def verified(moved, run_main):
    """Verifies the moved run: the exit status, and results by what was compared."""

    def run():
        data = f"--dataset=npz:{moved / 'data.npz'}"
        workdir = f"--workdir={moved / 'run'}"
        before = sorted(path for path in moved.rglob("*") if path.name != ".lock")
        status, out, _ = run_main("--mode=verify", workdir, data)
        assert before == sorted(p for p in moved.rglob("*") if p.name != ".lock")
        return status, dict(re.findall(r"^(.+?): (same|differs|cannot)", out, re.M))

    return run


def change_record(run, mode, change):
    """Changes the last record of a mode, as if it had been written so."""
    records = run.read_metrics()
    run.metrics.unlink()
    last = max(i for i, record in enumerate(records) if record["mode"] == mode)
    for i, record in enumerate(records):
        if i == last:
            change(record)
        run.append_metrics({k: v for k, v in record.items()})


def test_a_moved_run_that_cannot_be_written_is_the_same(verified, moved, monkeypatch):
    def access(path, mode):
        return not pathlib.Path(path).is_relative_to(moved)

    monkeypatch.setattr(os, "access", access)
    status, results = verified()
    assert status == 0
    assert results["data"] == results["record 3, knn_eval"] == "same"
    # It is of before that record.
    assert results["report.html"] == "same"
    assert results["encoder/1 and checkpoint"] == "same"
    assert results["pretraining, each epoch by itself"] == "same"
    assert results["pretraining, last epoch"] == "same"
    assert results["pretraining, earlier epochs"] == "cannot"
    assert "differs" not in results.values()


def test_changed_numbers_are_found(verified, moved):
    run = RunFolder(moved / "run")

    def top1(record):
        record["results"]["encoder"]["metrics"]["top1"] += 0.01

    def val_loss(record):
        record["metrics"]["val_loss"] *= 1.001

    change_record(run, "knn_eval", top1)
    change_record(run, "pretrain", val_loss)
    status, results = verified()
    found = {name for name, state in results.items() if state == "differs"}
    assert status == 1
    assert found == {
        *("record 3, knn_eval", "pretraining, last epoch"),
        "pretraining, each epoch by itself",
    }


@pytest.mark.parametrize("change", ["pixel", "label"])
def test_changed_data_is_found(change, verified, moved):
    write_data(moved / "data.npz", change)
    status, results = verified()
    assert (status, results.pop("data")) == (1, "differs")
    assert results.keys() == {"files and their checksums", "recipe and checkpoint"}


def test_epochs_without_record_or_with_another_loss_are_found(verified, moved):
    run = RunFolder(moved / "run")
    first, second, *_ = run.read_metrics()
    run.metrics.unlink()
    run.append_metrics({**second, "metrics": {**second["metrics"], "loss": 9.0}})
    status, results = verified()
    assert status == 1
    assert results["pretraining, epochs"] == "differs"
    assert results["pretraining, each epoch by itself"] == "differs"
    run.metrics.unlink()
    run.append_metrics(first)
    status, results = verified()
    assert (status, results["pretraining, epochs"]) == (1, "differs")
    assert results["pretraining, last epoch"] == "cannot"


def test_another_table_of_the_report_is_found(moved):
    path = moved / "run/report.html"
    page = path.read_text()
    (moved / "run").rename(moved / "renamed")
    run = RunFolder(moved / "renamed")
    path = run.path / "report.html"
    assert check_report(run).state == "same"
    page = page.replace("<td>npz", "<td>csv")
    path.write_text(page)
    assert check_report(run).state == "differs"
    path.write_text(page.replace("2 epochs", "3 epochs"))
    assert check_report(run).state == "differs"
    # As if the last epoch had been trained since.
    path.write_text(page.replace('"records" content="2"', '"records" content="1"'))
    assert check_report(run).state == "cannot"


def test_what_is_missing_is_said(verified, moved, monkeypatch):
    run = RunFolder(moved / "run")
    change_record(run, "knn_eval", lambda record: record.update(options=None))
    (run.encoder / "1" / "saved_model.pb").write_bytes(b"")
    assert verified()[1]["encoder/1 and checkpoint"] == "differs"
    shutil.rmtree(run.encoder)
    (run.path / "report.html").unlink()
    _, results = verified()
    assert results["record 3, knn_eval"] == "cannot"
    assert results["encoder"] == results["report.html"] == "cannot"


def test_another_read_out_is_repeated(verified, moved, run_main):
    code, out, err = run_main(
        *("--mode=knn_eval", f"--workdir={moved / 'run'}"),
        *("--representation=pool2x2", "--average=flip"),
    )
    assert code == 0, err
    kept = {path.name for path in (moved / "run/features").iterdir()}
    assert kept == {
        *("encoder", "encoder_read_out", "patches"),
        *("untrained", "untrained_read_out"),
    }
    assert "Representation of the encoders: pool2x2, mean over 2 views." in out
    names = ["encoder", "plain", "patches", "untrained", "raw_input"]
    record = RunFolder(moved / "run").read_metrics("knn_eval")[-1]
    assert sorted(record["results"]) == sorted(names)
    assert verified()[1]["record 4, knn_eval"] == "same"


def test_values_are_compared_by_their_place():
    recorded = json.loads('{"a": [1.0, {"b": 2}], "minutes": 3, "c": "x"}')
    same = {"a": [1.00001, {"b": 2}], "minutes": 4, "c": "x"}
    assert compare("", recorded, same).state == "same"
    assert compare("", recorded, same).num_values == 3
    for other in ({**same, "c": "y"}, {**same, "a": [1.01, {"b": 2}]}, {"a": [1.0]}):
        finding = compare("", recorded, other)
        assert finding.state == "differs"
    assert "a.1.b is 2 there and None now" in finding.detail
