"""What a run leaves on disk, above all when it is cut off in the middle."""

import contextlib
import json
import math
import os
import re
import subprocess
import sys
import types
import warnings

import pytest
import tensorflow as tf

from tests.conftest import ROOT
from vicreg_keras.errors import InputError
from vicreg_keras.workdir import run_folder
from vicreg_keras.workdir.files import csv_text, folder_name, write_file, write_text
from vicreg_keras.workdir.run_folder import RunFolder, RunLockedError

SETTINGS = {"epochs": "10", "learning_rate": "0.3", "mlp": ""}


@pytest.fixture
def run(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.create()
    return folder


def pretrain_record(step, **numbers):
    return {"mode": "pretrain", "epoch": step // 10, "step": step, **numbers}


def test_write_file_leaves_no_other_file(tmp_path):
    path = tmp_path / "new" / "folder" / "file.txt"
    write_text(path, "first\n")
    write_text(path, "second\n")
    assert path.read_text() == "second\n"
    assert list(path.parent.iterdir()) == [path]


def test_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file.txt"
    write_text(path, "old\n")

    def killed(source, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_text(path, "new\n")
    assert path.read_text() == "old\n"


def test_text_is_flushed_before_it_is_renamed(tmp_path, monkeypatch):
    path = tmp_path / "file.txt"
    found = []

    def look(source, target):
        found.append((source.read_text(), target.exists()))

    monkeypatch.setattr(os, "replace", look)
    write_text(path, "new\n")
    assert found == [("new\n", False)]


def test_failed_write_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "file.bin"
    with write_file(path) as file:
        file.write(b"old")
    with pytest.raises(RuntimeError), write_file(path) as file:
        file.write(b"half")
        raise RuntimeError
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_folder_names_are_readable_and_unique():
    assert folder_name("cifar10") == "cifar10"
    names = [folder_name(text) for text in ("folder:/a/b", "folder:/a_b", "x" * 99)]
    assert len(set(names)) == 3
    for name in names:
        assert re.fullmatch(r"[A-Za-z0-9_]+-[0-9a-f]{8}", name)


def test_create_makes_every_folder_and_may_be_repeated(tmp_path):
    run = RunFolder(tmp_path / "a" / "b")
    run.create()
    run.create()
    assert run.path.is_dir()
    assert list(run.path.iterdir()) == []


@pytest.mark.parametrize("name", ["file", "file/run"])
def test_create_under_a_file_is_an_input_error(tmp_path, name):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        InputError, match="created and written. Received: workdir="
    ) as info:
        RunFolder(tmp_path / name).create()
    assert str(tmp_path / name) in str(info.value)
    assert "Choose another workdir." in str(info.value)
    assert "\n" not in str(info.value)


def test_flags_can_be_read_again(run):
    run.write_flags(SETTINGS)
    assert run.read_flags() == SETTINGS
    header, *lines = run.flags.read_text().splitlines()
    assert lines == ["--epochs=10", "--learning_rate=0.3", "--mlp="]
    assert re.fullmatch(f"# run {run.run_id}, checksum [0-9a-f]{{16}}", header)


def test_no_flags_without_a_run(tmp_path):
    run = RunFolder(tmp_path / "none")
    assert (run.read_flags(), run.run_id) == ({}, "")


def test_every_run_has_an_id_that_stays(run, tmp_path):
    run.write_flags(SETTINGS)
    run_id = run.run_id
    run.write_flags(SETTINGS | {"epochs": "20"})
    assert run.run_id == run_id and len(run_id) == 16
    other = RunFolder(tmp_path / "other")
    other.write_flags(SETTINGS)
    assert other.run_id != run_id


def test_environment_has_versions_and_facts_of_the_run(run):
    run.write_environment(precision="float32", seed=3)
    environment = json.loads(run.environment.read_text())
    assert environment["tensorflow"] == tf.__version__
    assert environment["cores"] == os.cpu_count()
    assert any("CPU" in device for device in environment["devices"])
    assert (environment["precision"], environment["seed"]) == ("float32", 3)


def test_commit_is_of_this_checkout_or_of_what_pip_installed(monkeypatch, tmp_path):
    assert re.fullmatch("[0-9a-f]{40}", run_folder._commit())
    # A wheel's files, in an environment inside of another project's repository.
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    package = tmp_path / "site-packages" / "vicreg_keras" / "workdir"
    package.mkdir(parents=True)
    monkeypatch.setattr(run_folder, "__file__", str(package / "run_folder.py"))
    source = {"url": "https://host/repository", "vcs_info": {"commit_id": "abc"}}
    installed = types.SimpleNamespace(read_text=lambda name: json.dumps(source))
    monkeypatch.setattr(
        run_folder.importlib.metadata, "distribution", lambda name: installed
    )
    assert run_folder._commit() == "abc"
    source.pop("vcs_info")
    assert run_folder._commit() is None


def test_metrics_are_read_in_order_and_by_mode(run):
    assert run.read_metrics() == []
    rows = [pretrain_record(10, loss=3.5), {"mode": "linear_eval", "top1": 0.5}]
    for row in rows:
        run.append_metrics(row)
    assert run.read_metrics() == rows
    assert run.read_metrics("pretrain") == rows[:1]
    assert run.read_metrics("linear_eval") == rows[1:]
    assert run.read_metrics("retrieve") == []
    assert len(run.metrics.read_text().splitlines()) == 2


def test_metrics_may_be_nan(run):
    run.append_metrics(pretrain_record(10, loss=float("nan")))
    assert math.isnan(run.read_metrics()[0]["loss"])


def tear(run):
    with open(run.metrics, "a") as file:
        file.write('{"mode": "pretrain", "epoch": 2, "st')


def test_torn_last_line_is_left_out(run):
    run.append_metrics(pretrain_record(10))
    tear(run)
    with pytest.warns(match=r"1 of 2 lines left out, which are damaged \(line 2\)"):
        assert run.read_metrics() == [pretrain_record(10)]


@pytest.mark.filterwarnings("ignore:.*left out")
def test_line_after_a_torn_one_is_not_lost(run):
    run.append_metrics(pretrain_record(10))
    tear(run)
    run.append_metrics({"mode": "linear_eval", "top1": 0.5})
    assert run.read_metrics() == [
        pretrain_record(10),
        {"mode": "linear_eval", "top1": 0.5},
    ]


@pytest.mark.filterwarnings("ignore:.*left out")
def test_truncate_metrics_removes_records_of_later_epochs(run):
    probe = {"mode": "linear_eval", "top1": 0.5}
    for row in (pretrain_record(10), probe, pretrain_record(20), pretrain_record(30)):
        run.append_metrics(row)
    tear(run)
    run.truncate_metrics(2)
    assert run.read_metrics() == [pretrain_record(10), probe, pretrain_record(20)]
    assert len(run.metrics.read_text().splitlines()) == 3  # The torn line is gone.
    run.truncate_metrics(0)
    assert run.read_metrics() == [probe]


def test_truncate_metrics_without_metrics(run):
    run.truncate_metrics(0)
    assert not run.metrics.exists()


def test_epochs_without_a_record_are_named(run):
    for step in (10, 30):
        run.append_metrics(pretrain_record(step))
    with pytest.warns(match=r"no records of 2 of the 4 epochs .*\(2, 4\)"):
        run.truncate_metrics(4)
    run.metrics.unlink()
    with pytest.warns(match=r"3 of the 3 epochs .*\(1, 2, 3\)"):
        run.truncate_metrics(3)


def test_every_flipped_byte_of_metrics_is_noticed_or_harmless(run):
    run.write_flags(SETTINGS)
    records = [pretrain_record(step, loss=1 / step) for step in (10, 20, 30)]
    for record in records:
        run.append_metrics(record)
    content = run.metrics.read_bytes()
    for position in range(len(content)):
        flipped = bytearray(content)
        flipped[position] ^= 1 << position % 8
        run.metrics.write_bytes(flipped)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            found = run.read_metrics()
        for record in found:
            assert {name: record.get(name) for name in records[0]} in records
        assert len(found) == 3 or "left out" in str(said[0].message)


def test_lines_of_another_run_are_named_and_kept(run, tmp_path):
    other = RunFolder(tmp_path / "other")
    for number, one in enumerate((run, other), start=1):
        one.write_flags(SETTINGS)
        one.append_metrics(pretrain_record(10 * number))
    with open(run.metrics, "ab") as file:
        file.write(other.metrics.read_bytes())
    run.append_metrics(pretrain_record(20))
    content = run.metrics.read_bytes()
    with pytest.warns(match=r"1 of 3 lines left out, .* another run \(line 2\)"):
        assert run.read_metrics() == [pretrain_record(10), pretrain_record(20)]
    with pytest.warns(match="another run"):
        run.truncate_metrics(2)
    assert run.metrics.read_bytes() == content


def test_metrics_of_an_earlier_version_are_read(run):
    run.metrics.write_text(json.dumps(pretrain_record(10)) + "\n")
    run.write_flags(SETTINGS)
    run.append_metrics(pretrain_record(20))
    assert run.read_metrics() == [pretrain_record(10), pretrain_record(20)]


def test_lock_has_one_holder_at_a_time(run):
    other = RunFolder(run.path)
    with run.lock():
        with pytest.raises(RunLockedError, match="no other process trains in") as info:
            with other.lock():
                pytest.fail("The second holder got the lock.")
        assert f"workdir={run.path}" in str(info.value)
    with other.lock():
        pass


def test_lock_of_another_process_ends_when_it_is_killed(run):
    with run.lock():
        [path] = run.path.iterdir()
    code = (
        "import fcntl, sys, time\n"
        "file = open(sys.argv[1], 'w')\n"
        "fcntl.flock(file, fcntl.LOCK_EX)\n"
        "print('held', flush=True)\n"
        "time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE
    ) as other:
        try:
            assert other.stdout.readline() == b"held\n"
            with pytest.raises(RunLockedError, match="no other process"), run.lock():
                pytest.fail("The second holder got the lock.")
        finally:
            other.kill()
    with run.lock():
        pass


def test_lock_ends_with_an_error_inside_it(run):
    with contextlib.suppress(RuntimeError), run.lock():
        raise RuntimeError
    with run.lock():
        pass


@pytest.mark.parametrize("text", ["=1+1", "+a", "-photo.png", "@sum", "\tx", "\rx"])
def test_text_of_a_csv_is_no_formula(text):
    assert csv_text(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "a=b", "-1", "+2.5", "-1e-3", "7", "photo.png"])
def test_other_texts_of_a_csv_stay(text):
    assert csv_text(text) == text


def test_a_record_that_the_disk_has_no_room_for_leaves_no_part(tmp_path):
    run = RunFolder(tmp_path)
    run.append_metrics({"mode": "first"})
    before = run.metrics.read_bytes()
    program = (
        "import resource, sys\n"
        "from vicreg_keras.errors import machine_error\n"
        "from vicreg_keras.workdir.run_folder import RunFolder\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: RunFolder(sys.argv[1]).append_metrics({'mode': 2000 * 'x'})\n"
        "except OSError as error: print(machine_error(error))\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert str(run.metrics) in result.stdout, result.stderr
    assert run.metrics.read_bytes() == before
