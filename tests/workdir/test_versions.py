"""Numbered folders: the newest is found, and each one appears whole or not at all."""

import os
import subprocess
import sys
import threading
import time

import pytest

from vicreg_keras.workdir import versions
from vicreg_keras.workdir.versions import newest_version, version_numbers, write_version


def write(text):
    return lambda aside: (aside / "file").write_text(text)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_versions_are_numbered(tmp_path):
    folder = tmp_path / "a" / "b"
    assert version_numbers(folder) == [] and newest_version(folder) is None
    paths = [write_version(folder, write(text)) for text in "ab"]
    assert paths == [folder / "1", folder / "2"]
    assert [(path / "file").read_text() for path in paths] == ["a", "b"]
    assert names(folder) == ["1", "2"]
    assert newest_version(folder) == folder / "2"


def test_newest_version_has_the_largest_number(tmp_path):
    for name in ("9", "10", "notes", "011x", "٣"):
        (tmp_path / name).mkdir()
    (tmp_path / "77").write_text("a file")
    assert version_numbers(tmp_path) == [9, 10]
    assert write_version(tmp_path, write("a")) == tmp_path / "11"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_failed_write_leaves_the_folder_as_it_was(error, tmp_path):
    write_version(tmp_path, write("first"))

    def fail(aside):
        (aside / "file").write_text("half")
        raise error

    with pytest.raises(error):
        write_version(tmp_path, fail)
    assert names(tmp_path) == ["1"]
    assert (tmp_path / "1" / "file").read_text() == "first"


def test_unfinished_versions_are_removed(tmp_path):
    (tmp_path / ".unfinished-0").mkdir()
    (tmp_path / ".unfinished-0" / "file").write_text("half")
    assert version_numbers(tmp_path) == []
    write_version(tmp_path, write("whole"))
    assert names(tmp_path) == ["1"]


def test_version_is_flushed_before_it_is_renamed(tmp_path, monkeypatch):
    events = []
    sync, rename = os.fsync, os.rename

    def note_sync(handle):
        events.append(os.readlink(f"/proc/self/fd/{handle}").rsplit("/", 1)[-1])
        sync(handle)

    def note_rename(source, target):
        events.append("rename")
        rename(source, target)

    monkeypatch.setattr(versions.os, "fsync", note_sync)
    monkeypatch.setattr(versions.os, "rename", note_rename)

    def fill(aside):
        (aside / "below").mkdir()
        (aside / "below" / "file").write_text("a")

    write_version(tmp_path, fill)
    before, after = events[: events.index("rename")], events[events.index("rename") :]
    assert {"below", "file"} < set(before) and len(before) == 3
    assert after == ["rename", tmp_path.name]


def test_a_second_writer_waits_for_the_first(tmp_path):
    inside, go = threading.Event(), threading.Event()

    def slow(aside):
        inside.set()
        go.wait()
        (aside / "file").write_text("slow")

    first = threading.Thread(target=write_version, args=(tmp_path, slow))
    second = threading.Thread(target=write_version, args=(tmp_path, write("quick")))
    first.start()
    inside.wait()
    second.start()
    time.sleep(0.2)
    assert version_numbers(tmp_path) == []  # The quick one does not overtake.
    go.set()
    first.join()
    second.join()
    assert (tmp_path / "1" / "file").read_text() == "slow"
    assert (tmp_path / "2" / "file").read_text() == "quick"


def test_lock_of_a_killed_writer_is_released(tmp_path):
    script = (
        "import os, signal, sys\n"
        "from vicreg_keras.workdir import versions\n"
        "kill = lambda aside: os.kill(os.getpid(), signal.SIGKILL)\n"
        "versions.write_version(sys.argv[1], kill)"
    )
    process = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert process.returncode == -9
    assert names(tmp_path)[0].startswith(".unfinished-")
    assert write_version(tmp_path, write("a")) == tmp_path / "1"
    assert names(tmp_path) == ["1"]
