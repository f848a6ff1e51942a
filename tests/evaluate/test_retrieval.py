"""Tests of retrieval metrics by hand and against scikit-learn."""

import itertools
import json

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from vicreg_keras.evaluate import retrieval
from vicreg_keras.evaluate.features import Features
from vicreg_keras.evaluate.index import NeighborIndex
from vicreg_keras.evaluate.records import from_json, to_json
from vicreg_keras.evaluate.retrieval import (
    RetrievalMetrics,
    compare_index,
    pick_queries,
    retrieval_eval,
)


@pytest.fixture
def set_ks(monkeypatch):
    """A function that replaces the numbers of neighbors that are measured."""
    return lambda *ks: monkeypatch.setattr(retrieval, "KS", ks)


def at(degrees, labels):
    """Rows in the plane at these angles."""
    angles = np.deg2rad(np.array(degrees, np.float64))
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    return Features(rows, np.array(labels, np.int64))


def random_features(num_rows, seed, num_classes=5, width=6):
    random = np.random.default_rng(seed)
    labels = random.integers(0, num_classes, num_rows)
    rows = np.eye(num_classes, width)[labels] + 0.7 * random.normal(
        size=(num_rows, width)
    )
    return Features(rows.astype(np.float32), labels.astype(np.int64))


def test_metrics_of_a_ranking_by_hand(set_ks):
    # Seen from 0 degrees the labels are 1, 0, 1, 0, 0.
    database = at([50, 10, 40, 20, 30], [0, 1, 0, 0, 1])
    set_ks(1, 2, 3, 5)
    result = retrieval_eval(database, at([0], [0]), num_classes=2)
    assert result.precision == pytest.approx({1: 0, 2: 1 / 2, 3: 1 / 3, 5: 3 / 5})
    assert result.recall == pytest.approx({1: 0, 2: 1 / 3, 3: 1 / 3, 5: 1})
    assert result.hit_rate == {1: 0, 2: 1, 3: 1, 5: 1}
    expected = (1 / 2 + 2 / 4 + 3 / 5) / 3
    assert result.mean_average_precision == pytest.approx(expected)
    assert (
        from_json(RetrievalMetrics, json.loads(json.dumps(to_json(result)))) == result
    )


def test_metrics_are_means_over_queries(set_ks):
    database = at([0, 10, 90, 100, 80], [0, 0, 1, 1, 0])
    queries = at([5, 85, 95], [0, 0, 1])
    set_ks(2)
    result = retrieval_eval(database, queries, num_classes=3)
    # The second query lies between a row of its class and one of the other.
    assert result.precision[2] == pytest.approx((1 + 0.5 + 1) / 3)


def test_average_precision_matches_sklearn():
    database, queries = random_features(300, 0), random_features(60, 1)
    result = retrieval_eval(database, queries, num_classes=5)
    rows = database.representations / np.linalg.norm(
        database.representations, axis=1, keepdims=True
    )
    expected = [
        average_precision_score(database.labels == label, rows @ row)
        for row, label in zip(*queries, strict=True)
    ]
    np.testing.assert_allclose(
        result.mean_average_precision, np.mean(expected), atol=1e-6
    )


def test_average_precision_of_ties_matches_sklearn():
    # Rows along the axes have cosines that are exact, and equal to many others.
    random = np.random.default_rng(0)
    signs = np.concatenate([np.eye(4), -np.eye(4)]).astype(np.float32)
    database = Features(signs[random.integers(0, 8, 90)], random.integers(0, 3, 90))
    queries = Features(signs[random.integers(0, 8, 40)], random.integers(0, 3, 40))
    result = retrieval_eval(database, queries, num_classes=3)
    expected = [
        average_precision_score(
            database.labels == label, database.representations @ row
        )
        for row, label in zip(*queries, strict=True)
    ]
    np.testing.assert_allclose(
        result.mean_average_precision, np.mean(expected), rtol=1e-12
    )


def test_metrics_at_k_match_direct_computation(set_ks):
    database, queries = random_features(200, 2), random_features(50, 3)
    ks = (1, 3, 10, 100)
    set_ks(*ks)
    result = retrieval_eval(database, queries, num_classes=5)
    rows = database.representations / np.linalg.norm(
        database.representations, axis=1, keepdims=True
    )
    order = np.argsort(-queries.representations @ rows.T, axis=1)
    relevant = database.labels[order] == queries.labels[:, np.newaxis]
    for k in ks:
        first = relevant[:, :k]
        assert result.precision[k] == pytest.approx(first.mean())
        shares = first.sum(axis=1) / relevant.sum(axis=1)
        assert result.recall[k] == pytest.approx(shares.mean())
        assert result.hit_rate[k] == pytest.approx(first.any(axis=1).mean())


def test_ties_for_the_last_position_are_shared(set_ks):
    # One row in front, of another class, then four that tie, two of them relevant.
    database = at([0, 90, 90, 90, 90, 180], [1, 0, 0, 1, 1, 0])
    set_ks(1, 2, 3, 5)
    result = retrieval_eval(database, at([0], [0]), num_classes=2)
    orders = list(itertools.permutations([1, 1, 0, 0]))
    for k in (2, 3, 5):
        found = [sum(order[: k - 1]) for order in orders]
        assert result.precision[k] == pytest.approx(np.mean(found) / k)
        assert result.recall[k] == pytest.approx(np.mean(found) / 3)
        hits = [count > 0 for count in found]
        assert result.hit_rate[k] == pytest.approx(np.mean(hits))
    assert result.precision[1] == result.hit_rate[1] == 0


def test_collapsed_representations_give_chance(set_ks):
    rows = np.tile(np.array([[0.25, 0.5]], np.float32), (40, 1))
    database = Features(rows, np.repeat(np.arange(4), 10))
    queries = Features(rows[:8], np.arange(8) % 4)
    set_ks(1, 7)
    result = retrieval_eval(database, queries, num_classes=4)
    assert result.precision == pytest.approx({1: 0.25, 7: 0.25})
    assert result.recall == pytest.approx({1: 1 / 40, 7: 7 / 40})
    assert result.mean_average_precision == pytest.approx(0.25)


def test_copy_of_the_query_counts_as_a_neighbor(set_ks):
    database = at([0, 90], [0, 1])
    set_ks(1)
    result = retrieval_eval(database, at([0], [0]), num_classes=2)
    assert result.precision[1] == 1.0
    result = retrieval_eval(database, at([0], [1]), num_classes=2)
    assert result.precision[1] == 0.0


def test_class_that_is_not_in_the_database_counts_zero(set_ks):
    database = at([0, 10], [0, 0])
    set_ks(1, 2)
    result = retrieval_eval(database, at([0, 5], [0, 2]), num_classes=3)
    for name in ("precision", "hit_rate"):
        assert getattr(result, name) == {1: 0.5, 2: 0.5}
    assert result.recall == {1: 0.25, 2: 0.5}
    assert result.mean_average_precision == 0.5


def test_one_class_and_k_above_the_database_size(set_ks):
    database = at([0, 90], [0, 0])
    set_ks(1, 5, 20)
    result = retrieval_eval(database, at([0], [0]), num_classes=1)
    assert result.precision == {1: 1.0, 2: 1.0}
    assert result.recall == {1: 0.5, 2: 1.0}
    assert result.mean_average_precision == 1.0


def test_result_does_not_depend_on_the_block_size(monkeypatch):
    database, queries = random_features(100, 4), random_features(23, 5)
    whole = retrieval_eval(database, queries, num_classes=5)
    monkeypatch.setattr(retrieval, "_BLOCK_VALUES", 700)
    parts = retrieval_eval(database, queries, num_classes=5)
    for name in ("precision", "recall", "hit_rate", "mean_average_precision"):
        assert getattr(parts, name) == pytest.approx(getattr(whole, name), abs=1e-3)


def test_index_is_evaluated_by_what_it_finds():
    database, queries = random_features(300, 6), random_features(50, 7)
    settings = {"num_classes": 5}
    exact = retrieval_eval(database, queries, **settings)
    flat = NeighborIndex.build(database.representations)
    same = retrieval_eval(database, queries, index=flat, **settings)
    for name in ("precision", "recall", "hit_rate"):
        assert getattr(same, name) == pytest.approx(getattr(exact, name))
    # Rows of another class under the right number: the index finds the wrong ones.
    wrong = NeighborIndex.build(-database.representations)
    worse = retrieval_eval(database, queries, index=wrong, **settings)
    assert worse.precision[5] < exact.precision[5] / 2
    assert worse.mean_average_precision == exact.mean_average_precision


def test_missing_neighbors_are_not_relevant(set_ks):
    class Blind(NeighborIndex):
        def search(self, queries, k):
            missing = np.full((len(queries), k), -1)
            return np.full(missing.shape, np.inf, np.float32), missing

    database = at([0, 90], [1, 0])
    index = Blind(**vars(NeighborIndex.build(database.representations)))
    # The last row, which -1 would stand for elsewhere, is of the query's class.
    set_ks(1)
    result = retrieval_eval(database, at([0], [0]), num_classes=2, index=index)
    assert result.hit_rate[1] == result.precision[1] == 0
    comparison = compare_index(
        index, database.representations, at([90], [0]).representations, k=1
    )
    assert comparison.recall == 0


def test_index_is_compared_with_exact_search():
    rows = random_features(500, 8).representations
    queries = random_features(40, 9).representations
    index = NeighborIndex.build(
        rows, factory_string="IVF16,Flat", search_parameters="nprobe=1"
    )
    few = compare_index(index, rows, queries)
    _, exact = NeighborIndex.build(rows).search(queries, 5)
    _, found = index.search(queries, 5)
    shared = [len(set(a) & set(b)) for a, b in zip(exact, found, strict=True)]
    assert few.recall == pytest.approx(np.mean(shared) / 5)
    assert few.recall < 1
    index.set_search_parameters("nprobe=16")
    every = compare_index(index, rows, queries)
    assert every.recall == 1
    assert every.num_bytes == index.num_bytes > every.exact_num_bytes


def test_equal_vectors_count_as_found():
    class Mirrored(NeighborIndex):
        """Finds the copy in the other half."""

        def search(self, queries, k):
            distances, neighbors = super().search(queries, k)
            return distances, (neighbors + 50) % 100

    half = random_features(50, 10, width=64).representations
    rows = np.concatenate([half, half])
    index = Mirrored(**vars(NeighborIndex.build(rows)))
    queries = random_features(30, 11, width=64).representations
    assert compare_index(index, rows, queries, k=3).recall == 1


def test_picked_queries_are_one_of_each_class():
    labels = np.array([0] * 30 + [2] * 30 + [3])
    picks = pick_queries(labels, seed=0)
    np.testing.assert_array_equal(labels[picks], [0, 2, 3])
    np.testing.assert_array_equal(picks, pick_queries(labels, seed=0))
    assert len({tuple(pick_queries(labels, seed)) for seed in range(5)}) > 1
    # What is drawn of one class does not depend on the others.
    assert pick_queries(np.where(labels == 0, 1, labels), seed=0)[1] == picks[1]


def test_inputs_are_not_modified():
    database, queries = random_features(30, 12), random_features(10, 13)
    before = [database.representations.copy(), queries.representations.copy()]
    retrieval_eval(database, queries, num_classes=5)
    np.testing.assert_array_equal(before[0], database.representations)
    np.testing.assert_array_equal(before[1], queries.representations)


def test_invalid_input_is_refused():
    good = at([0, 90], [0, 1])
    for database, queries, message in (
        (Features(good.representations, None), good, "Expected labels for database"),
        (good, Features(good.representations, None), "Expected labels for queries"),
        (good, Features(np.array([[np.nan, 0]]), np.array([0])), "finite queries"),
        (good, Features(np.ones((1, 3)), np.array([0])), "2 wide"),
        (good, at([0], [2]), r"labels in \[0, 2\)"),
    ):
        with pytest.raises(ValueError, match=message):
            retrieval_eval(database, queries, num_classes=2)
