"""Numbered folders: the newest is found, and each one appears whole or not at all."""

import os
import subprocess
import sys
import threading
import time

import pytest

from vicreg_keras.errors import DamagedError, InputError
from vicreg_keras.workdir import versions
from vicreg_keras.workdir.versions import (
    check_version,
    newest_version,
    saved_model_folder,
    version_numbers,
    write_version,
)


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
    assert {"SHA256SUMS", "below", "file"} < set(before) and len(before) == 4
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


def fill(aside):
    (aside / "below").mkdir()
    (aside / "below" / "naïve file").write_bytes(b"content" * 9)
    (aside / "saved_model.pb").write_bytes(bytes(range(256)) + b"\n")


DAMAGES = {
    "cut": lambda content: content[: len(content) // 2],
    "flipped": lambda content: content[:20] + bytes([content[20] ^ 1]) + content[21:],
    "zeroed": lambda content: bytes(len(content)),
    "empty": lambda content: b"",
    "a line less": lambda content: content[: content.rfind(b"\n", 0, -1) + 1],
    "lost": None,
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["below/naïve file", "saved_model.pb"])
def test_a_damaged_file_of_a_version_is_named(name, damage, tmp_path):
    version = write_version(tmp_path, fill)
    check_version(version)
    path = version / name
    content = path.read_bytes()
    path.unlink()
    if DAMAGES[damage]:
        path.write_bytes(DAMAGES[damage](content))
    with pytest.raises(DamagedError, match=f"Expected {path} as it was.*Do it again."):
        check_version(version, "Do it again.")


@pytest.mark.parametrize("damage", ["cut", "flipped", "zeroed", "empty", "a line less"])
def test_damaged_checksums_are_named(damage, tmp_path):
    version = write_version(tmp_path, fill)
    sums = version / "SHA256SUMS"
    sums.write_bytes(DAMAGES[damage](sums.read_bytes()))
    with pytest.raises(DamagedError, match=f"Expected {version}/"):
        check_version(version)


def test_sha256sum_reads_the_checksums(tmp_path):
    version = write_version(tmp_path, fill)
    (version / "added.txt").write_text("by somebody")
    check_version(version)
    command = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"]
    subprocess.run(command, cwd=version, check=True)


def test_a_version_of_another_program_is_taken_as_it_is(tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"any")
    check_version(tmp_path / "1")
    assert saved_model_folder(tmp_path) == tmp_path / "1"


def test_an_earlier_saved_model_does_not_stand_for_a_damaged_one(tmp_path):
    first, second = (write_version(tmp_path, fill) for _ in range(2))
    assert saved_model_folder(tmp_path) == second
    (second / "saved_model.pb").unlink()
    with pytest.raises(DamagedError, match=f"Expected {second}/saved_model.pb"):
        saved_model_folder(tmp_path)
    write_version(tmp_path / "other", write("no model"))
    with pytest.raises(InputError, match="which has none"):
        saved_model_folder(tmp_path / "other")
