"""Tests of kNN accuracies on points whose answer is visible."""

import itertools
import json

import numpy as np
import pytest

from vicreg_keras.evaluate import knn
from vicreg_keras.evaluate.features import Features, concatenate_features
from vicreg_keras.evaluate.knn import (
    NUM_NEIGHBORS,
    TEMPERATURES,
    KnnResult,
    knn_accuracy,
    knn_eval,
)
from vicreg_keras.evaluate.records import from_json, to_json


def features(rows, labels):
    return Features(np.array(rows, np.float32), np.array(labels, np.int64))


@pytest.fixture
def set_grid(monkeypatch):
    """A function that replaces the grid that is tried."""

    def replace(num_neighbors, temperatures=TEMPERATURES):
        monkeypatch.setattr(knn, "NUM_NEIGHBORS", num_neighbors)
        monkeypatch.setattr(knn, "TEMPERATURES", temperatures)

    return replace


def test_vector_lengths_do_not_matter():
    train = features([[1, 0], [100, 0], [0, 1], [0, 0.01]], [0, 0, 1, 1])
    queries = features([[0.001, 0.0001], [3, 50]], [0, 1])
    result = knn_accuracy(train, queries, num_classes=2, k=2)
    assert result.metrics.top1 == 1.0
    assert result.metrics.top5 is None
    assert result.settings.k == 2


def test_votes_are_weighted_by_exponentials_of_similarity():
    # One neighbor at cosine 1 against two at cosine c: they win if 2 exp(c / T) is
    # more than exp(1 / T), that is c above 1 - T log 2 = 0.9515 for T = 0.07.
    for cosine, expected in ((0.96, 1.0), (0.94, 0.0)):
        sine = np.sqrt(1 - cosine**2)
        train = features([[1, 0], [cosine, sine], [cosine, sine]], [0, 1, 1])
        queries = features([[1, 0]], [1])
        result = knn_accuracy(train, queries, num_classes=2, k=3, temperature=0.07)
        assert result.metrics.top1 == expected


def test_knn_matches_direct_computation():
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
        (result.metrics.top1, result.metrics.top5), np.mean(correct, axis=0), atol=1e-9
    )


def test_k_of_one_and_small_temperature_follow_the_nearest():
    train = features([[1, 0], [1, 0.2], [1, 0.2]], [0, 1, 1])
    queries = features([[1, 0.01]], [0])
    assert knn_accuracy(train, queries, num_classes=2, k=1).metrics.top1 == 1.0
    result = knn_accuracy(train, queries, num_classes=2, k=3, temperature=1e-4)
    assert result.metrics.top1 == 1.0


def test_ties_are_shared():
    train = features([[1, 0], [1, 0]], [0, 1])
    queries = features([[1, 0], [1, 0]], [0, 0])
    assert knn_accuracy(train, queries, num_classes=2).metrics.top1 == 0.5


def test_k_is_at_most_the_number_of_training_examples():
    train = features([[1, 0], [0, 1]], [0, 1])
    result = knn_accuracy(train, train, num_classes=2, k=20)
    assert result.settings.k == 2
    assert result.metrics.top1 == 1.0


def test_zero_vectors_and_one_class():
    train = features([[0, 0], [0, 0]], [0, 0])
    assert knn_accuracy(train, train, num_classes=1).metrics.top1 == 1.0


def test_collapsed_representations_give_chance():
    labels = np.arange(40) % 10
    collapsed = features(np.ones((40, 3)), labels)
    result = knn_accuracy(collapsed, collapsed, num_classes=10, k=40)
    np.testing.assert_allclose(result.metrics.top1, 0.1)
    np.testing.assert_allclose(result.metrics.top5, 0.5)


def test_inputs_are_not_modified():
    train = features([[2, 0], [0, 3]], [0, 1])
    before = train.representations.copy()
    knn_accuracy(train, train, num_classes=2)
    np.testing.assert_array_equal(train.representations, before)


def test_large_and_small_values_keep_their_direction():
    train = features([[1e38, 0], [0, 1e-38]], [0, 1])
    queries = features([[3e38, 1e37], [1e-38, 2e-38]], [0, 1])
    assert knn_accuracy(train, queries, num_classes=2, k=1).metrics.top1 == 1.0


def test_invalid_input_is_refused():
    good = features([[1, 0], [0, 1]], [0, 1])
    with pytest.raises(ValueError, match="finite test"):
        knn_accuracy(good, features([[np.nan, 0]], [0]), num_classes=2)
    with pytest.raises(ValueError, match="finite train"):
        knn_accuracy(features([[np.inf, 0]], [0]), good, num_classes=2)
    with pytest.raises(ValueError, match="Expected labels for train"):
        knn_accuracy(Features(good.representations, None), good, num_classes=2)
    with pytest.raises(ValueError, match="2 wide"):
        knn_accuracy(good, features([[1, 0, 0]], [0]), num_classes=2)
    with pytest.raises(ValueError, match=r"labels in \[0, 1\)"):
        knn_accuracy(good, good, num_classes=1)


def noisy(num_rows, seed, num_classes=7):
    random = np.random.default_rng(seed)
    labels = random.integers(0, num_classes, num_rows)
    rows = np.eye(num_classes)[labels] + 0.6 * random.normal(
        size=(num_rows, num_classes)
    )
    return features(rows, labels)


def test_sweep_matches_single_accuracies(set_grid):
    train, validation, test = noisy(120, 0), noisy(60, 1), noisy(80, 2)
    grid = (1, 5, 20, 60), (0.05, 0.5)
    set_grid(*grid)
    result = knn_eval(train, validation, test, num_classes=7)

    def single(train, test, k, temperature):
        settings = {"k": k, "temperature": temperature}
        return knn_accuracy(train, test, num_classes=7, **settings).metrics

    accuracies = {
        setting: single(train, validation, *setting).top1
        for setting in itertools.product(*grid)
    }
    chosen = result.settings.k, result.settings.temperature
    best = max(accuracies.values())
    assert result.metrics.validation_top1 == pytest.approx(best)
    assert accuracies[chosen] == pytest.approx(best)
    # Training and validation examples vote together on the test split.
    metrics = single(concatenate_features([train, validation]), test, *chosen)
    assert (result.metrics.top1, result.metrics.top5) == (metrics.top1, metrics.top5)
    assert (result.settings.num_test, result.settings.num_classes) == (80, 7)
    assert from_json(KnnResult, json.loads(json.dumps(to_json(result)))) == result


def test_default_grid_includes_the_published_setting():
    assert knn.PUBLISHED_K in NUM_NEIGHBORS
    assert knn.PUBLISHED_TEMPERATURE in TEMPERATURES
    splits = noisy(300, 0), noisy(50, 1), noisy(50, 2)
    assert knn_eval(*splits, num_classes=7) == knn_eval(*splits, num_classes=7)


def test_best_setting_of_the_validation_split_is_chosen(set_grid):
    # The nearest is right; the two behind it, which outvote it, are wrong.
    train = features([[1, 0], [1, 0.1], [1, 0.1]], [0, 1, 1])
    validation = features([[1, -0.1]], [0])
    set_grid((1, 3), (1.0,))
    result = knn_eval(train, validation, train, num_classes=2)
    assert (result.settings.k, result.metrics.validation_top1) == (1, 1.0)
    # And the other way round.
    validation = features([[1, -0.1]], [1])
    result = knn_eval(train, validation, train, num_classes=2)
    assert (result.settings.k, result.metrics.validation_top1) == (3, 1.0)


def test_among_equals_the_setting_nearest_to_the_published_one_is_chosen(set_grid):
    # Two classes far apart: every setting is right.
    rows = [[1, 0]] * 60 + [[0, 1]] * 60
    train = features(rows, [0] * 60 + [1] * 60)
    queries = features([[1, 0.01], [0.01, 1]], [0, 1])
    for num_neighbors, temperatures, expected in (
        (NUM_NEIGHBORS, TEMPERATURES, (20, 0.07)),
        ((1, 50), (0.2, 0.03), (50, 0.03)),
        ((100, 5, 15), (0.07,), (15, 0.07)),
        # A step in k by 2 is nearer than one in temperature by 3, and so on.
        ((10, 20), (0.21, 0.035), (20, 0.035)),
    ):
        set_grid(num_neighbors, temperatures)
        result = knn_eval(train, queries, queries, num_classes=2)
        assert result.metrics.validation_top1 == 1.0
        assert (result.settings.k, result.settings.temperature) == expected


def test_choice_does_not_depend_on_test_labels():
    train, validation, test = noisy(120, 0), noisy(60, 1), noisy(80, 2)
    results = [
        knn_eval(
            train, validation, Features(test.representations, labels), num_classes=7
        )
        for labels in (test.labels, (test.labels + 1) % 7)
    ]
    assert results[0].settings == results[1].settings
    assert len({result.metrics.validation_top1 for result in results}) == 1


def test_sweep_is_limited_by_the_number_of_training_examples():
    train = features([[1, 0], [0, 1], [1, 0.1]], [0, 1, 0])
    result = knn_eval(train, train, train, num_classes=2)
    assert result.settings.k in (1, 3)


def test_sweep_of_collapsed_representations_gives_chance(set_grid):
    labels = np.arange(40) % 10
    collapsed = features(np.ones((40, 3)), labels)
    set_grid((80,))
    result = knn_eval(collapsed, collapsed, collapsed, num_classes=10)
    np.testing.assert_allclose(result.metrics.validation_top1, 0.1)
    one = features([[1, 0], [1, 0]], [0, 1])
    set_grid((2,))
    result = knn_eval(one, one, one, num_classes=2)
    assert result.metrics.validation_top1 == 0.5


def test_one_class_and_class_without_training_examples():
    one = features([[1, 0], [0, 1]], [0, 0])
    assert knn_eval(one, one, one, num_classes=1).metrics.top1 == 1.0
    other = features([[1, 0], [0, 1]], [0, 1])
    result = knn_eval(one, one, other, num_classes=2)
    assert result.metrics.top1 == 0.5


def test_invalid_input_of_the_sweep_is_refused():
    good = features([[1, 0], [0, 1]], [0, 1])
    bad = features([[np.nan, 0]], [0])
    for splits, message in (
        ((bad, good, good), "finite train"),
        ((good, bad, good), "finite validation"),
        ((good, good, bad), "finite test"),
        ((good, Features(good.representations, None), good), "labels for validation"),
        ((good, good, features([[1, 0, 0]], [0])), "2 wide"),
        ((good, good, features([[1, 0]], [2])), r"labels in \[0, 2\)"),
    ):
        with pytest.raises(ValueError, match=message):
            knn_eval(*splits, num_classes=2)
