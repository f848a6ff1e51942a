"""Files that are recognized when they are damaged, and what killed writers left."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from tests.workdir.test_versions import DAMAGES
from vicreg_keras.errors import DamagedError
from vicreg_keras.workdir.files import (
    parse_json,
    read_json,
    read_npz,
    with_checksum,
    write_file,
    write_json,
    write_text,
)

VALUES = {"b": [1, 2.5, None], "a": {"ü": "\udc80"}, "nan": float("inf")}


@pytest.fixture
def npz(tmp_path):
    path = tmp_path / "arrays.npz"
    arrays = {"numbers": np.arange(3000.0), "names": np.array(["a", "ü"])}
    with write_file(path) as file:
        np.savez(file, **arrays)
    read = read_npz(path)
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array)
    return path


@pytest.mark.parametrize("damage", ["cut", "zeroed", "empty"])
def test_damaged_npz_is_named(npz, damage):
    npz.write_bytes(DAMAGES[damage](npz.read_bytes()))
    with pytest.raises(DamagedError, match=f"Expected {npz} as it was") as info:
        read_npz(npz)
    assert info.value.fault.startswith(f"{npz} is damaged (")
    assert "\n" not in str(info.value)


def test_every_flipped_byte_of_an_npz_is_noticed_or_harmless(npz):
    content = npz.read_bytes()
    whole = read_npz(npz)
    positions = [*range(0, len(content), 97), *range(200), *range(-400, 0)]
    for position in positions:
        flipped = bytearray(content)
        flipped[position] ^= 0x10
        npz.write_bytes(flipped)
        try:
            read = read_npz(npz)
        except DamagedError:
            continue
        for name, array in read.items():
            np.testing.assert_array_equal(array, whole[name])


def test_an_array_with_fewer_rows_in_its_header_is_noticed(npz):
    content = npz.read_bytes()
    assert content.count(b"(3000,)") == 1
    npz.write_bytes(content.replace(b"(3000,)", b"(2000,)"))
    with pytest.raises(DamagedError):
        read_npz(npz)


def test_a_missing_npz_is_none(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_npz(tmp_path / "none.npz")


def test_json_can_be_read_again(tmp_path):
    write_json(tmp_path / "a.json", VALUES)
    assert read_json(tmp_path / "a.json") == VALUES
    assert list(json.loads((tmp_path / "a.json").read_text()))[:3] == [*VALUES]
    assert parse_json(json.dumps(VALUES), "of an earlier version") == VALUES
    again = json.dumps(with_checksum(VALUES), ensure_ascii=False, indent=7)
    assert parse_json(again, "in another form") == VALUES


@pytest.mark.parametrize("damage", ["cut", "zeroed", "empty"])
def test_damaged_json_is_named(tmp_path, damage):
    path = tmp_path / "a.json"
    write_json(path, VALUES)
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    with pytest.raises(DamagedError, match=f"Expected {path} as it was"):
        read_json(path)


def test_every_flipped_byte_of_json_is_noticed_or_harmless(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, VALUES)
    content = path.read_bytes()
    for position in range(len(content)):
        flipped = bytearray(content)
        flipped[position] ^= 4
        path.write_bytes(flipped)
        try:
            read = read_json(path)
        except DamagedError:
            continue
        assert {name: read[name] for name in VALUES} == VALUES


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path):
    path = tmp_path / "file.txt"
    script = (
        "import os, pathlib, signal, sys\n"
        "from vicreg_keras.workdir.files import write_file\n"
        "with write_file(pathlib.Path(sys.argv[1])) as file:\n"
        "    file.write(b'half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    process = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert process.returncode == -9
    assert [one.name.startswith(".file.txt.") for one in tmp_path.iterdir()] == [True]
    write_text(path, "whole")
    assert list(tmp_path.iterdir()) == [path]


def test_what_another_process_writes_is_left_alone(tmp_path, monkeypatch):
    path = tmp_path / "file.txt"
    with write_file(path, "w") as file:
        file.write("slow")
        with monkeypatch.context() as other:
            other.setattr(os, "getpid", lambda: -1)
            write_text(path, "quick")
    assert path.read_text() == "slow"
    assert list(tmp_path.iterdir()) == [path]
