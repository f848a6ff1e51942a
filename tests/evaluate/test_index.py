"""Tests of the index on vectors whose neighbors are visible."""

import re

import faiss
import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from vicreg_keras.evaluate.index import NeighborIndex
from vicreg_keras.evaluate.normalization import l2_normalize

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


def test_distances_are_between_l2_normalized_vectors():
    index = NeighborIndex.build(ROWS)
    distances, neighbors = index.search(np.array([[7, 0.01]]), 4)
    np.testing.assert_array_equal(neighbors, [[0, 3, 1, 2]])
    expected = [0, np.sqrt(2 - np.sqrt(2)), np.sqrt(2), 2]
    np.testing.assert_allclose(distances[0], expected, atol=2e-3)
    assert distances.dtype == np.float32 and neighbors.dtype == np.int64
    assert (index.num_vectors, index.width) == (4, 2)


def test_nearest_by_distance_are_nearest_by_cosine():
    rows, queries = clustered(500), clustered(100, seed=1)
    distances, neighbors = NeighborIndex.build(rows).search(queries, 10)
    brute = NearestNeighbors(n_neighbors=10, metric="cosine", algorithm="brute")
    cosine_distances, expected = brute.fit(rows).kneighbors(queries)
    np.testing.assert_array_equal(neighbors, expected)
    np.testing.assert_allclose(distances, np.sqrt(2 * cosine_distances), atol=1e-3)


def test_all_duplicates_are_found_at_distance_zero():
    rows = np.repeat(clustered(3, width=64), 40, axis=0)
    distances, neighbors = NeighborIndex.build(rows).search(rows[::40], 40)
    for query, found in enumerate(neighbors):
        assert set(found) == set(range(40 * query, 40 * query + 40))
    assert distances.min() >= 0
    assert distances.max() < 1e-3


def test_k_is_at_most_the_number_of_vectors():
    distances, neighbors = NeighborIndex.build(ROWS).search(ROWS[:1], 50)
    assert sorted(neighbors[0]) == [0, 1, 2, 3]
    assert distances.shape == (1, 4)


def test_zero_vector_is_at_distance_one():
    index = NeighborIndex.build(np.array([[0, 0], [0, 3]]))
    distances, neighbors = index.search(np.array([[0, -2.0]]), 2)
    np.testing.assert_array_equal(neighbors, [[0, 1]])
    np.testing.assert_allclose(distances, [[1, 2]])


def test_names_and_labels_are_kept():
    index = NeighborIndex.build(
        ROWS, ("a", "b", "c", "d"), np.array([0, 1, 1, 0], np.int8), ["x", "y"], key="k"
    )
    assert index.names == ["a", "b", "c", "d"]
    assert index.labels.dtype == np.int64
    assert [index.class_names[label] for label in index.labels] == ["x", "y", "y", "x"]
    assert (index.key, index.factory_string, index.search_parameters) == (
        "k",
        "Flat",
        "",
    )
    assert index.build_seconds > 0
    bare = NeighborIndex.build(ROWS)
    assert bare.names == ["0", "1", "2", "3"]
    assert bare.labels is None and bare.class_names is None


def test_num_bytes_is_the_written_size():
    index = NeighborIndex.build(clustered(500), factory_string="IVF16,Flat")
    assert index.num_bytes == len(faiss.serialize_index(index.faiss_index))
    assert index.num_bytes > 500 * 16 * 4


def test_index_holds_a_copy():
    rows = ROWS.copy()
    index = NeighborIndex.build(rows)
    np.testing.assert_array_equal(rows, ROWS)
    rows[:] = 1
    np.testing.assert_array_equal(index.search(ROWS, 1)[1][:, 0], range(4))


@pytest.mark.parametrize("factory_string", APPROXIMATE)
def test_approximate_indexes_find_most_and_are_deterministic(factory_string, capfd):
    rows, queries = clustered(2000), clustered(200, seed=1)
    _, exact = NeighborIndex.build(rows).search(queries, 5)
    index = NeighborIndex.build(rows, factory_string=factory_string)
    distances, found = index.search(queries, 5)
    hits = (found[:, :, np.newaxis] == exact[:, np.newaxis]).any(axis=2)
    assert hits.mean() > APPROXIMATE[factory_string]
    assert (np.diff(distances, axis=1) >= 0).all()
    again = NeighborIndex.build(rows, factory_string=factory_string)
    np.testing.assert_array_equal(
        faiss.serialize_index(index.faiss_index),
        faiss.serialize_index(again.faiss_index),
    )
    # No complaint of too few rows for FAISS's k-means.
    assert capfd.readouterr().err == ""


def test_number_of_threads_is_restored():
    before = faiss.omp_get_max_threads()
    NeighborIndex.build(clustered(100), factory_string="HNSW8")
    assert faiss.omp_get_max_threads() == before


@pytest.mark.parametrize(
    ("factory_string", "default"),
    [
        ("Flat", ""),
        ("IVF16,Flat", "nprobe=2"),
        ("IVF2,Flat", "nprobe=1"),
        ("HNSW8", "efSearch=32"),
        ("PCA8,IVF100,Flat,RFlat", "nprobe=6,k_factor_rf=4"),
    ],
)
def test_default_search_parameters_are_set(factory_string, default):
    index = NeighborIndex.build(clustered(300), factory_string=factory_string)
    assert index.search_parameters == default
    cells = faiss.try_extract_index_ivf(index.faiss_index)
    if cells is not None:
        assert f"nprobe={cells.nprobe}" in default
    if factory_string == "HNSW8":
        assert index.faiss_index.hnsw.efSearch == 32
    if factory_string.endswith("RFlat"):
        assert index.faiss_index.k_factor == 4


def test_more_cells_find_more():
    rows, queries = clustered(2000), clustered(200, seed=1)
    _, exact = NeighborIndex.build(rows).search(queries, 5)
    index = NeighborIndex.build(
        rows, factory_string="IVF64,Flat", search_parameters="nprobe=1"
    )
    assert index.search_parameters == "nprobe=1"
    few = (index.search(queries, 5)[1] == exact).mean()
    index.set_search_parameters("nprobe=64")
    assert index.search_parameters == "nprobe=64"
    assert few < (index.search(queries, 5)[1] == exact).mean() == 1


def test_all_cells_are_searched_where_the_nearest_hold_too_few():
    rows = clustered(200)
    index = NeighborIndex.build(
        rows, factory_string="IVF32,Flat", search_parameters="nprobe=1"
    )
    distances, found = index.search(rows[:20], 150)
    _, exact = NeighborIndex.build(rows).search(rows[:20], 150)
    np.testing.assert_array_equal(found, exact)
    assert np.isfinite(distances).all()
    assert faiss.extract_index_ivf(index.faiss_index).nprobe == 1


def test_unreachable_vectors_are_missing_at_infinite_distance():
    index = NeighborIndex.build(clustered(50), factory_string="HNSW8")
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
    ("factory_string", "message"),
    [
        ("nonsense", "index='nonsense' (could not parse index string nonsense)"),
        ("", "index=''"),
        ("PQ5", "multiple of the number of subquantizers"),
        ("IVF64,Flat", "Number of training points (40) should be at least as large"),
        ("IVF0,Flat", "shape=(40, 16). Received: index='IVF0,Flat'"),
        ("IDMap,Flat", "add does not make sense"),
        ("PCA32,Flat", "cannot output 32 dimensions from 16"),
    ],
)
def test_invalid_factory_strings_are_refused_on_one_line(factory_string, message):
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        NeighborIndex.build(clustered(40), factory_string=factory_string)
    assert "\n" not in str(error.value)
    assert "Error" not in str(error.value) and ".cpp" not in str(error.value)


@pytest.mark.parametrize(
    "parameters", ["efSearch=3", "nprobe=0", "nprobe", "nprobe=many"]
)
def test_invalid_search_parameters_change_nothing(parameters):
    index = NeighborIndex.build(clustered(100), factory_string="IVF4,Flat")
    with pytest.raises(ValueError, match=r"IVF4,Flat \(nprobe\).*Received: search_par"):
        index.set_search_parameters(parameters)
    assert index.search_parameters == "nprobe=1"
    assert faiss.extract_index_ivf(index.faiss_index).nprobe == 1
    with pytest.raises(ValueError, match=r"Flat \(it has none\)"):
        NeighborIndex.build(ROWS, search_parameters=parameters)


def test_invalid_representations_and_queries_are_refused():
    for rows, message in (
        ([[1, np.nan], [0, 1]], "finite indexed.*1 of 2"),
        ([[1, np.inf]], "finite indexed"),
        ([1, 2], r"shape=\(2,\)"),
        (np.zeros((0, 2)), r"shape=\(0, 2\)"),
    ):
        with pytest.raises(ValueError, match=message):
            NeighborIndex.build(np.array(rows))
    for extra, message in (
        ({"names": ["a"]}, r"Expected names for 4 representations.*shape=\(1,\)"),
        ({"labels": np.zeros(5, int)}, "Expected labels for 4 representations"),
        ({"labels": [0, 1, 2, 0], "class_names": ["x", "y"]}, "labels from 0 to 2"),
    ):
        with pytest.raises(ValueError, match=message):
            NeighborIndex.build(ROWS, **extra)
    index = NeighborIndex.build(ROWS)
    for queries, message in (
        ([[1, np.nan]], "finite queries"),
        ([[1, 2, 3]], "queries representations 2 wide"),
    ):
        with pytest.raises(ValueError, match=message):
            index.search(np.array(queries), 1)


def test_l2_normalization_of_large_small_and_zero_vectors():
    vectors = l2_normalize(np.array([[3e200, 4e200], [3e-44, 0], [0, 0]]))
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, [[0.6, 0.8], [1, 0], [0, 0]], rtol=1e-6)
    vectors = l2_normalize(np.array([[1.5e38, 2e38]], np.float32))
    np.testing.assert_allclose(vectors, [[0.6, 0.8]], rtol=1e-6)
