"""Tests of the nearest other examples on points whose neighbors are visible."""

import numpy as np
import pytest

from vicreg_keras.evaluate.index import NeighborIndex
from vicreg_keras.training.positives import nearest_others


def on_a_circle(num_rows):
    """Vectors at equal angles: the nearest others of `i` are `i - 1` and `i + 1`."""
    angles = 2 * np.pi * np.arange(num_rows) / num_rows
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def nearest(rows, k):
    return nearest_others(NeighborIndex.build(rows), rows, k)


def test_neighbors_on_a_circle():
    found = nearest(on_a_circle(12), 2)
    assert found.shape == (12, 2) and found.dtype == np.int32
    for i, pair in enumerate(found):
        assert set(pair) == {(i - 1) % 12, (i + 1) % 12}


def test_the_nearest_comes_first():
    rows = np.array([[1, 0], [1, 0.1], [1, 0.3], [1, 0.7]], np.float32)
    np.testing.assert_array_equal(
        nearest(rows, 3), [[1, 2, 3], [0, 2, 3], [1, 0, 3], [2, 1, 0]]
    )


def test_no_example_is_its_own_neighbor_among_duplicates():
    rows = np.repeat(on_a_circle(5), 30, axis=0)
    found = nearest(rows, 4)
    own = np.arange(len(rows))[:, None]
    assert not (found == own).any()
    # All 29 others at distance 0 come before any other.
    np.testing.assert_array_equal(found // 30, np.broadcast_to(own // 30, found.shape))


def test_k_is_at_most_the_number_of_others():
    found = nearest(on_a_circle(4), 10)
    assert [set(row) for row in found] == [{0, 1, 2, 3} - {i} for i in range(4)]


def test_neighbors_match_direct_computation_over_several_blocks():
    rows = np.random.default_rng(0).normal(size=(5000, 6)).astype(np.float32)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    found = nearest(rows, 3)
    for i in (0, 17, 4095, 4096, 4999):
        cosines = unit @ unit[i]
        cosines[i] = -2
        assert list(found[i]) == list(np.argsort(-cosines)[:3])


def test_neighbors_are_repeated_where_an_index_finds_too_few(monkeypatch):
    rows = on_a_circle(6)
    index = NeighborIndex.build(rows)
    exact = NeighborIndex.search

    def short(self, queries, k):
        distances, neighbors = exact(self, queries, k)
        neighbors[:, 3:] = -1
        return distances, neighbors

    monkeypatch.setattr(NeighborIndex, "search", short)
    found = nearest_others(index, rows, 5)
    for i, row in enumerate(found):
        assert set(row) == {(i - 1) % 6, (i + 1) % 6}

    def nothing(self, queries, k):
        distances, neighbors = exact(self, queries, k)
        return distances, np.full_like(neighbors, -1)

    monkeypatch.setattr(NeighborIndex, "search", nothing)
    with pytest.raises(ValueError, match="none of example 0 .*Use index=Flat"):
        nearest_others(index, rows, 2)
