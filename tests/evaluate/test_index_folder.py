"""Tests of the folder of an index, which is replaced as a whole."""

import json

import faiss
import numpy as np
import pytest

from vicreg_keras.errors import DamagedError
from vicreg_keras.evaluate import index as module
from vicreg_keras.evaluate.index import NeighborIndex

ROWS = np.random.default_rng(0).normal(size=(200, 16)).astype(np.float32)


@pytest.mark.parametrize("factory_string", ["Flat", "IVF8,Flat", "HNSW8"])
def test_saved_index_is_loaded(factory_string, tmp_path):
    rows, queries = ROWS, ROWS[:20] + 0.1
    names = [f"{number} ü \udc80.png" for number in range(200)]
    index = NeighborIndex.build(
        rows,
        names,
        np.arange(200) % 3,
        ["a", "b", "c"],
        factory_string=factory_string,
        key="abc",
    )
    if factory_string == "IVF8,Flat":
        index.set_search_parameters("nprobe=5")
    index.save(tmp_path / "runs" / "index")
    loaded = NeighborIndex.load(tmp_path / "runs" / "index")
    for ours, theirs in zip(
        index.search(queries, 5), loaded.search(queries, 5), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    expected, received = dict(vars(index)), dict(vars(loaded))
    np.testing.assert_array_equal(expected.pop("labels"), received.pop("labels"))
    del expected["faiss_index"], received["faiss_index"]
    assert received == expected
    assert received["key"] == "abc"
    size = (tmp_path / "runs" / "index" / "1" / "index.faiss").stat().st_size
    assert index.num_bytes == size


def test_index_without_labels_is_loaded(tmp_path):
    NeighborIndex.build(ROWS).save(tmp_path)
    loaded = NeighborIndex.load(tmp_path)
    assert loaded.labels is None and loaded.class_names is None and loaded.key == ""


def test_earlier_version_is_replaced(tmp_path):
    for key in ("first", "second", "third"):
        NeighborIndex.build(ROWS, key=key).save(tmp_path)
        assert NeighborIndex.load(tmp_path).key == key
    assert [child.name for child in tmp_path.iterdir()] == ["3"]


@pytest.mark.parametrize("place", ["write_index", "rename", "rmtree"])
def test_killed_save_leaves_a_whole_version(place, tmp_path, monkeypatch):
    NeighborIndex.build(ROWS, key="first").save(tmp_path)

    def kill(*arguments, **settings):
        raise KeyboardInterrupt

    owner = {"write_index": faiss, "rename": module.os, "rmtree": module.shutil}[place]
    index = NeighborIndex.build(ROWS, key="second")
    monkeypatch.setattr(owner, place, kill)
    with pytest.raises(KeyboardInterrupt):
        index.save(tmp_path)
    monkeypatch.undo()
    found = NeighborIndex.load(tmp_path)
    assert found.key == ("second" if place == "rmtree" else "first")
    assert found.num_vectors == 200
    index.save(tmp_path)
    assert NeighborIndex.load(tmp_path).key == "second"


def test_index_replaced_during_loading_is_loaded_again(tmp_path, monkeypatch):
    NeighborIndex.build(ROWS, key="first").save(tmp_path)
    newer = NeighborIndex.build(ROWS, key="second")
    read = faiss.read_index

    def replaced(path):
        monkeypatch.setattr(faiss, "read_index", read)
        newer.save(tmp_path)
        return read(path)

    monkeypatch.setattr(faiss, "read_index", replaced)
    assert NeighborIndex.load(tmp_path).key == "second"


def test_folder_without_an_index_is_refused(tmp_path):
    for folder in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(ValueError, match=f"folder={folder}, which has none"):
            NeighborIndex.load(folder)


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("index.faiss", lambda content: content[:50]),
        ("index.faiss", lambda content: b"nonsense" + content),
        ("index.faiss", None),
        ("index.faiss", lambda content: content[:-9] + b"x" + content[-8:]),
        ("entries.json", lambda content: content[:50]),
        ("entries.json", lambda content: b"[]"),
        ("entries.json", lambda content: b"{}"),
        ("entries.json", None),
    ],
)
def test_damaged_index_is_refused_by_name(file, damage, tmp_path):
    NeighborIndex.build(ROWS).save(tmp_path)
    path = tmp_path / "1" / file
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DamagedError, match=f"Expected {path} .*Build it") as error:
        NeighborIndex.load(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("file", ["index.faiss", "entries.json"])
def test_damaged_index_of_an_earlier_version_is_refused(file, tmp_path):
    NeighborIndex.build(ROWS).save(tmp_path)
    (tmp_path / "1" / "SHA256SUMS").unlink()
    (tmp_path / "1" / file).write_bytes(b"nonsense")
    with pytest.raises(DamagedError, match=f"Expected {tmp_path / '1'} .*Build it"):
        NeighborIndex.load(tmp_path)


def test_names_of_another_index_are_refused(tmp_path):
    NeighborIndex.build(ROWS).save(tmp_path)
    path = tmp_path / "1" / "entries.json"
    entries = json.loads(path.read_text())
    path.write_text(json.dumps({**entries, "names": ["a"]}))
    (tmp_path / "1" / "SHA256SUMS").unlink()
    with pytest.raises(DamagedError, match="Expected names for 200 representations"):
        NeighborIndex.load(tmp_path)
