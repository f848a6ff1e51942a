"""Tests of the index: neighbors that are visible, and a folder that is never half."""

import json
import re

import faiss
import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from vicreg_keras.evaluate import index as module
from vicreg_keras.evaluate import index_factory
from vicreg_keras.evaluate.index import NeighborIndex, l2_normalize

# Directions at 0, 90, 180 and 45 degrees, of lengths that must not count.
ROWS = np.array([[1, 0], [0, 5], [-0.1, 0], [30, 30]], np.float32)

# And what share of the nearest each finds at least; chance is 0.0025.
APPROXIMATE = {
    "IVF16,Flat": 0.6,
    "HNSW16": 0.9,
    "PCA12,IVF8,Flat,RFlat": 0.6,
    "IVF8,PQ2x4,RFlat": 0.1,
}


def clustered(num_rows, seed=0, width=16):
    random = np.random.default_rng(seed)
    centers = np.random.default_rng(99).normal(size=(20, width))
    rows = centers[random.integers(0, 20, num_rows)]
    return (rows + 0.3 * random.normal(size=rows.shape)).astype(np.float32)


def test_distances_are_of_rows_of_length_one():
    index = NeighborIndex.build(ROWS)
    distances, neighbors = index.search(np.array([[7, 0.01]]), 4)
    np.testing.assert_array_equal(neighbors, [[0, 3, 1, 2]])
    expected = [0, np.sqrt(2 - np.sqrt(2)), np.sqrt(2), 2]
    np.testing.assert_allclose(distances[0], expected, atol=2e-3)
    assert distances.dtype == np.float32 and neighbors.dtype == np.int64
    assert (index.num_rows, index.width) == (4, 2)


def test_nearest_by_distance_are_nearest_by_cosine():
    rows, queries = clustered(500), clustered(100, seed=1)
    distances, neighbors = NeighborIndex.build(rows).search(queries, 10)
    brute = NearestNeighbors(n_neighbors=10, metric="cosine", algorithm="brute")
    cosine_distances, expected = brute.fit(rows).kneighbors(queries)
    np.testing.assert_array_equal(neighbors, expected)
    np.testing.assert_allclose(distances, np.sqrt(2 * cosine_distances), atol=1e-3)


def test_duplicates_are_all_found_and_distances_are_not_below_zero():
    rows = np.repeat(clustered(3, width=64), 40, axis=0)
    distances, neighbors = NeighborIndex.build(rows).search(rows[::40], 40)
    for query, found in enumerate(neighbors):
        assert set(found) == set(range(40 * query, 40 * query + 40))
    assert distances.min() >= 0
    assert distances.max() < 1e-3


def test_more_neighbors_than_rows_become_all_rows():
    distances, neighbors = NeighborIndex.build(ROWS).search(ROWS[:1], 50)
    assert sorted(neighbors[0]) == [0, 1, 2, 3]
    assert distances.shape == (1, 4)


def test_a_row_of_zeros_is_at_distance_one():
    index = NeighborIndex.build(np.array([[0, 0], [0, 3]]))
    distances, neighbors = index.search(np.array([[0, -2.0]]), 2)
    np.testing.assert_array_equal(neighbors, [[0, 1]])
    np.testing.assert_allclose(distances, [[1, 2]])


def test_what_stands_beside_the_rows():
    index = NeighborIndex.build(
        ROWS, ("a", "b", "c", "d"), np.array([0, 1, 1, 0], np.int8), ["x", "y"], key="k"
    )
    assert index.names == ["a", "b", "c", "d"]
    assert index.labels.dtype == np.int64
    assert [index.class_names[label] for label in index.labels] == ["x", "y", "y", "x"]
    assert (index.key, index.spec, index.search_parameters) == ("k", "Flat", "")
    assert index.build_seconds > 0
    bare = NeighborIndex.build(ROWS)
    assert bare.names == ["0", "1", "2", "3"]
    assert bare.labels is None and bare.class_names is None


def test_size_is_that_of_what_is_written():
    index = NeighborIndex.build(clustered(500), spec="IVF16,Flat")
    assert index.num_bytes == len(faiss.serialize_index(index.faiss_index))
    assert index.num_bytes > 500 * 16 * 4


def test_rows_are_left_as_they_were_and_later_changes_do_not_count():
    rows = ROWS.copy()
    index = NeighborIndex.build(rows)
    np.testing.assert_array_equal(rows, ROWS)
    rows[:] = 1
    np.testing.assert_array_equal(index.search(ROWS, 1)[1][:, 0], range(4))


@pytest.mark.parametrize("spec", APPROXIMATE)
def test_approximate_indexes_find_most_and_are_the_same_each_time(spec, capfd):
    rows, queries = clustered(2000), clustered(200, seed=1)
    _, exact = NeighborIndex.build(rows).search(queries, 5)
    index = NeighborIndex.build(rows, spec=spec)
    distances, found = index.search(queries, 5)
    hits = (found[:, :, np.newaxis] == exact[:, np.newaxis]).any(axis=2)
    assert hits.mean() > APPROXIMATE[spec]
    assert (np.diff(distances, axis=1) >= 0).all()
    again = NeighborIndex.build(rows, spec=spec)
    np.testing.assert_array_equal(
        faiss.serialize_index(index.faiss_index),
        faiss.serialize_index(again.faiss_index),
    )
    # No complaint of too few rows for FAISS's k-means.
    assert capfd.readouterr().err == ""


def test_the_number_of_threads_is_as_it_was():
    before = faiss.omp_get_max_threads()
    NeighborIndex.build(clustered(100), spec="HNSW8")
    assert faiss.omp_get_max_threads() == before


def test_many_rows_are_sampled_to_learn_from(monkeypatch):
    monkeypatch.setattr(index_factory, "_NUM_TRAINING_ROWS", 50)
    monkeypatch.setattr(index_factory, "_TRAINING_ROWS_A_CELL", 20)
    seen = []
    train = faiss.IndexIVFFlat.train
    monkeypatch.setattr(
        faiss.IndexIVFFlat,
        "train",
        lambda self, rows: (seen.append(len(rows)), train(self, rows)),
    )
    rows = clustered(300)
    index = NeighborIndex.build(rows, spec="IVF4,Flat", search_parameters="nprobe=4")
    assert seen == [80]
    assert index.num_rows == 300
    np.testing.assert_array_equal(index.search(rows, 1)[1][:, 0], range(300))


@pytest.mark.parametrize(
    ("spec", "default"),
    [
        ("Flat", ""),
        ("IVF16,Flat", "nprobe=2"),
        ("IVF2,Flat", "nprobe=1"),
        ("HNSW8", "efSearch=32"),
        ("PCA8,IVF100,Flat,RFlat", "nprobe=6,k_factor_rf=4"),
    ],
)
def test_default_search_parameters_are_set_and_said(spec, default):
    index = NeighborIndex.build(clustered(300), spec=spec)
    assert index.search_parameters == default
    cells = faiss.try_extract_index_ivf(index.faiss_index)
    if cells is not None:
        assert f"nprobe={cells.nprobe}" in default
    if spec == "HNSW8":
        assert index.faiss_index.hnsw.efSearch == 32
    if spec.endswith("RFlat"):
        assert index.faiss_index.k_factor == 4


@pytest.mark.parametrize("spec", ["IVF16,Flat", "HNSW16"])
def test_many_queries_find_what_each_finds_alone(spec, monkeypatch):
    random = np.random.default_rng(3)
    rows = random.normal(size=(2000, 12))
    queries = random.normal(size=(1100, 12))
    index = NeighborIndex.build(rows, spec=spec)
    at_once = index.search(queries, 4)
    monkeypatch.setattr(module, "_MANY_QUERIES", 10**9)
    for found, alone in zip(at_once, index.search(queries, 4), strict=True):
        np.testing.assert_array_equal(found, alone)


def test_more_cells_find_more():
    rows, queries = clustered(2000), clustered(200, seed=1)
    _, exact = NeighborIndex.build(rows).search(queries, 5)
    index = NeighborIndex.build(rows, spec="IVF64,Flat", search_parameters="nprobe=1")
    assert index.search_parameters == "nprobe=1"
    few = (index.search(queries, 5)[1] == exact).mean()
    index.set_search_parameters("nprobe=64")
    assert index.search_parameters == "nprobe=64"
    assert few < (index.search(queries, 5)[1] == exact).mean() == 1


def test_cells_with_too_few_rows_are_not_the_end():
    rows = clustered(200)
    index = NeighborIndex.build(rows, spec="IVF32,Flat", search_parameters="nprobe=1")
    distances, found = index.search(rows[:20], 150)
    _, exact = NeighborIndex.build(rows).search(rows[:20], 150)
    np.testing.assert_array_equal(found, exact)
    assert np.isfinite(distances).all()
    assert faiss.extract_index_ivf(index.faiss_index).nprobe == 1


def test_rows_that_no_edge_leads_to_are_missing_at_infinity():
    index = NeighborIndex.build(clustered(50), spec="HNSW8")
    # Every edge is cut, so that only the row where the search starts is found.
    edges = faiss.vector_to_array(index.faiss_index.hnsw.neighbors)
    faiss.copy_array_to_vector(
        np.full_like(edges, -1), index.faiss_index.hnsw.neighbors
    )
    distances, found = index.search(clustered(50)[:3], 4)
    assert (found[:, 0] >= 0).all()
    assert (found[:, 1:] == -1).all()
    assert np.isinf(distances[:, 1:]).all() and np.isfinite(distances[:, 0]).all()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nonsense", "spec='nonsense' (could not parse index string nonsense)"),
        ("", "spec=''"),
        ("PQ5", "multiple of the number of subquantizers"),
        ("IVF64,Flat", "Number of training points (40) should be at least as large"),
        ("IVF0,Flat", "spec='IVF0,Flat' and rows of shape (40, 16)"),
        ("IDMap,Flat", "add does not make sense"),
        ("PCA32,Flat", "cannot output 32 dimensions from 16"),
    ],
)
def test_specs_that_do_not_do_are_one_line(spec, message):
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        NeighborIndex.build(clustered(40), spec=spec)
    assert "\n" not in str(error.value)
    assert "Error" not in str(error.value) and ".cpp" not in str(error.value)


@pytest.mark.parametrize(
    "parameters", ["efSearch=3", "nprobe=0", "nprobe", "nprobe=many"]
)
def test_search_parameters_that_do_not_do_change_nothing(parameters):
    index = NeighborIndex.build(clustered(100), spec="IVF4,Flat")
    with pytest.raises(ValueError, match=r"IVF4,Flat \(nprobe\).*Received: search_par"):
        index.set_search_parameters(parameters)
    assert index.search_parameters == "nprobe=1"
    assert faiss.extract_index_ivf(index.faiss_index).nprobe == 1
    with pytest.raises(ValueError, match=r"Flat \(it has none\)"):
        NeighborIndex.build(ROWS, search_parameters=parameters)


def test_bad_rows_and_queries_are_refused():
    for rows, message in (
        ([[1, np.nan], [0, 1]], "finite rows.*1 of 2"),
        ([[1, np.inf]], "finite rows"),
        ([[1, 1e300]], "finite rows"),
        ([1, 2], r"shape=\(2,\)"),
        (np.zeros((0, 2)), r"shape=\(0, 2\)"),
    ):
        with pytest.raises(ValueError, match=message):
            NeighborIndex.build(np.array(rows))
    for extra, message in (
        ({"names": ["a"]}, r"Expected names for 4 rows.*shape=\(1,\)"),
        ({"labels": np.zeros(5, int)}, "Expected labels for 4 rows"),
        ({"labels": [0, 1, 2, 0], "class_names": ["x", "y"]}, "labels from 0 to 2"),
    ):
        with pytest.raises(ValueError, match=message):
            NeighborIndex.build(ROWS, **extra)
    index = NeighborIndex.build(ROWS)
    for queries, k, message in (
        ([[1, np.nan]], 1, "finite queries"),
        ([[1, 2, 3]], 1, r"queries of shape \(N, 2\)"),
        (ROWS, 0, "k=0"),
    ):
        with pytest.raises(ValueError, match=message):
            index.search(np.array(queries), k)


@pytest.mark.parametrize("spec", ["Flat", "IVF8,Flat", "HNSW8"])
def test_a_saved_index_comes_back(spec, tmp_path):
    rows, queries = clustered(200), clustered(20, seed=1)
    names = [f"{number} ü \udc80.png" for number in range(200)]
    index = NeighborIndex.build(
        rows, names, np.arange(200) % 3, ["a", "b", "c"], spec=spec, key="abc"
    )
    if spec == "IVF8,Flat":
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


def test_an_index_without_labels_comes_back_without(tmp_path):
    NeighborIndex.build(ROWS).save(tmp_path)
    loaded = NeighborIndex.load(tmp_path)
    assert loaded.labels is None and loaded.class_names is None and loaded.key == ""


def test_an_earlier_version_is_replaced(tmp_path):
    for key in ("first", "second", "third"):
        NeighborIndex.build(ROWS, key=key).save(tmp_path)
        assert NeighborIndex.load(tmp_path).key == key
    assert [child.name for child in tmp_path.iterdir()] == ["3"]


@pytest.mark.parametrize("place", ["write_index", "rename", "rmtree"])
def test_a_kill_anywhere_leaves_a_whole_version(place, tmp_path, monkeypatch):
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
    assert found.num_rows == 4
    index.save(tmp_path)
    assert NeighborIndex.load(tmp_path).key == "second"


def test_what_is_replaced_while_it_is_read_is_read_anew(tmp_path, monkeypatch):
    NeighborIndex.build(ROWS, key="first").save(tmp_path)
    newer = NeighborIndex.build(ROWS, key="second")
    read = faiss.read_index

    def replaced(path):
        monkeypatch.setattr(faiss, "read_index", read)
        newer.save(tmp_path)
        return read(path)

    monkeypatch.setattr(faiss, "read_index", replaced)
    assert NeighborIndex.load(tmp_path).key == "second"


def test_folders_without_an_index_are_one_line(tmp_path):
    for folder in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(ValueError, match=f"folder={folder}, which has none"):
            NeighborIndex.load(folder)


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("index.faiss", lambda content: content[:50]),
        ("index.faiss", lambda content: b"nonsense" + content),
        ("index.faiss", None),
        ("entries.json", lambda content: content[:50]),
        ("entries.json", lambda content: b"[]"),
        ("entries.json", lambda content: b"{}"),
        ("entries.json", None),
    ],
)
def test_broken_folders_are_one_line(file, damage, tmp_path):
    NeighborIndex.build(ROWS).save(tmp_path)
    path = tmp_path / "1" / file
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match="whose version 1 cannot .*Build it") as error:
        NeighborIndex.load(tmp_path)
    assert "\n" not in str(error.value)


def test_names_that_do_not_fit_the_index_are_noticed(tmp_path):
    NeighborIndex.build(ROWS).save(tmp_path)
    path = tmp_path / "1" / "entries.json"
    entries = json.loads(path.read_text())
    path.write_text(json.dumps({**entries, "names": ["a"]}))
    with pytest.raises(ValueError, match="Expected names for 4 rows"):
        NeighborIndex.load(tmp_path)


def test_unit_rows_of_huge_tiny_and_zero_rows():
    rows = l2_normalize(
        np.array([[3e38, 4e38], [3e-44, 0], [0, 0]]) * [[0.5], [1], [1]]
    )
    np.testing.assert_allclose(rows, [[0.6, 0.8], [1, 0], [0, 0]], rtol=1e-6)
