"""Tests of the nearest-neighbour accuracy on points whose answer is visible."""

import json

import numpy as np
import pytest

from vicreg_keras.evaluate.knn import knn_accuracy
from vicreg_keras.features import Features


def features(rows, labels):
    return Features(np.array(rows, np.float32), np.array(labels, np.int64))


def test_nearest_direction_wins_whatever_the_length():
    train = features([[1, 0], [100, 0], [0, 1], [0, 0.01]], [0, 0, 1, 1])
    queries = features([[0.001, 0.0001], [3, 50]], [0, 1])
    result = knn_accuracy(train, queries, num_classes=2, k=2)
    assert result["top1"] == 1.0
    assert result["top5"] is None
    assert result["k"] == 2
    assert result["num_train"] == 4
    json.dumps(result)


def test_weights_are_exponentials_of_similarity():
    # One neighbour at cosine 1 against two at cosine c: they win if 2 exp(c / T) is
    # more than exp(1 / T), that is c above 1 - T log 2 = 0.9515 for T = 0.07.
    for cosine, expected in ((0.96, 1.0), (0.94, 0.0)):
        sine = np.sqrt(1 - cosine**2)
        train = features([[1, 0], [cosine, sine], [cosine, sine]], [0, 1, 1])
        queries = features([[1, 0]], [1])
        result = knn_accuracy(train, queries, num_classes=2, k=3, temperature=0.07)
        assert result["top1"] == expected


def test_against_a_direct_computation():
    random = np.random.default_rng(0)
    train = features(random.normal(size=(60, 5)), random.integers(0, 7, 60))
    queries = features(random.normal(size=(40, 5)), random.integers(0, 7, 40))
    result = knn_accuracy(train, queries, num_classes=7, k=20)
    rows = (
        train.representations / np.linalg.norm(train.representations, axis=1)[:, None]
    )
    correct = []
    for row, label in zip(*queries, strict=True):
        cosines = rows @ row / np.linalg.norm(row)
        nearest = np.argsort(-cosines)[:20]
        votes = np.zeros(7)
        np.add.at(votes, train.labels[nearest], np.exp(cosines[nearest] / 0.07))
        order = np.argsort(-votes)
        correct.append((order[0] == label, label in order[:5]))
    np.testing.assert_allclose(
        (result["top1"], result["top5"]), np.mean(correct, axis=0), atol=1e-9
    )


def test_k_of_one_and_tiny_temperature_follow_the_nearest():
    train = features([[1, 0], [1, 0.2], [1, 0.2]], [0, 1, 1])
    queries = features([[1, 0.01]], [0])
    assert knn_accuracy(train, queries, num_classes=2, k=1)["top1"] == 1.0
    result = knn_accuracy(train, queries, num_classes=2, k=3, temperature=1e-4)
    assert result["top1"] == 1.0


def test_duplicates_all_vote_and_ties_are_shared():
    train = features([[1, 0], [1, 0]], [0, 1])
    queries = features([[1, 0], [1, 0]], [0, 0])
    assert knn_accuracy(train, queries, num_classes=2)["top1"] == 0.5


def test_k_larger_than_the_set_is_clipped_and_said():
    train = features([[1, 0], [0, 1]], [0, 1])
    result = knn_accuracy(train, train, num_classes=2, k=20)
    assert (result["k"], result["k_requested"]) == (2, 20)
    assert result["top1"] == 1.0


def test_zero_rows_and_one_class():
    train = features([[0, 0], [0, 0]], [0, 0])
    assert knn_accuracy(train, train, num_classes=1)["top1"] == 1.0


def test_collapse_is_chance():
    labels = np.arange(40) % 10
    collapsed = features(np.ones((40, 3)), labels)
    result = knn_accuracy(collapsed, collapsed, num_classes=10, k=40)
    np.testing.assert_allclose(result["top1"], 0.1)
    np.testing.assert_allclose(result["top5"], 0.5)


def test_inputs_are_left_as_they_were():
    train = features([[2, 0], [0, 3]], [0, 1])
    before = train.representations.copy()
    knn_accuracy(train, train, num_classes=2)
    np.testing.assert_array_equal(train.representations, before)


def test_huge_and_tiny_values_keep_their_direction():
    train = features([[1e38, 0], [0, 1e-38]], [0, 1])
    queries = features([[3e38, 1e37], [1e-38, 2e-38]], [0, 1])
    assert knn_accuracy(train, queries, num_classes=2, k=1)["top1"] == 1.0


def test_bad_input_is_refused():
    good = features([[1, 0], [0, 1]], [0, 1])
    with pytest.raises(ValueError, match="finite queries"):
        knn_accuracy(good, features([[np.nan, 0]], [0]), num_classes=2)
    with pytest.raises(ValueError, match="finite train"):
        knn_accuracy(features([[np.inf, 0]], [0]), good, num_classes=2)
    with pytest.raises(ValueError, match="Expected labels for train"):
        knn_accuracy(Features(good.representations, None), good, num_classes=2)
    with pytest.raises(ValueError, match="2 wide"):
        knn_accuracy(good, features([[1, 0, 0]], [0]), num_classes=2)
    with pytest.raises(ValueError, match=r"labels in \[0, 1\)"):
        knn_accuracy(good, good, num_classes=1)
    with pytest.raises(ValueError, match="k=0"):
        knn_accuracy(good, good, num_classes=2, k=0)
    with pytest.raises(ValueError, match="temperature=0"):
        knn_accuracy(good, good, num_classes=2, temperature=0)
