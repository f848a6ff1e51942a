"""Tests of the nearest-neighbor accuracies on points whose answer is visible."""

import json

import numpy as np
import pytest

from vicreg_keras.evaluate.features import Features
from vicreg_keras.evaluate.knn import NEIGHBORS, TEMPERATURES, knn_accuracy, knn_eval


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
    # One neighbor at cosine 1 against two at cosine c: they win if 2 exp(c / T) is
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


def noisy(num_rows, seed, num_classes=7):
    random = np.random.default_rng(seed)
    labels = random.integers(0, num_classes, num_rows)
    rows = np.eye(num_classes)[labels] + 0.6 * random.normal(
        size=(num_rows, num_classes)
    )
    return features(rows, labels)


def test_grid_scores_are_those_of_the_single_classifier():
    train, validation, test = noisy(120, 0), noisy(60, 1), noisy(80, 2)
    result = knn_eval(
        train,
        validation,
        test,
        num_classes=7,
        neighbors=(1, 5, 20, 60),
        temperatures=(0.05, 0.5),
    )
    assert len(result["path"]) == 8
    for tried in result["path"]:
        single = knn_accuracy(
            train,
            validation,
            num_classes=7,
            k=tried["k"],
            temperature=tried["temperature"],
        )
        assert tried["validation_top1"] == pytest.approx(single["top1"])
    assert result["validation_top1"] == max(
        tried["validation_top1"] for tried in result["path"]
    )
    # Training and held-out examples vote together on the test split.
    bank = Features(
        *(np.concatenate(pair) for pair in zip(train, validation, strict=True))
    )
    single = knn_accuracy(
        bank, test, num_classes=7, k=result["k"], temperature=result["temperature"]
    )
    assert (result["top1"], result["top5"]) == (single["top1"], single["top5"])
    assert (result["num_train"], result["num_validation"]) == (120, 60)
    assert json.loads(json.dumps(result)) == result


def test_default_grid_holds_the_published_setting():
    result = knn_eval(noisy(300, 0), noisy(50, 1), noisy(50, 2), num_classes=7)
    tried = [(entry["k"], entry["temperature"]) for entry in result["path"]]
    assert (20, 0.07) in tried
    assert len(tried) == len(NEIGHBORS) * len(TEMPERATURES)
    assert result == knn_eval(noisy(300, 0), noisy(50, 1), noisy(50, 2), num_classes=7)


def test_what_is_chosen_is_what_the_held_out_part_needs():
    # The nearest is right; the two behind it, which outvote it, are wrong.
    train = features([[1, 0], [1, 0.1], [1, 0.1]], [0, 1, 1])
    validation = features([[1, -0.1]], [0])
    settings = {"num_classes": 2, "neighbors": (1, 3), "temperatures": (1.0,)}
    result = knn_eval(train, validation, train, **settings)
    assert (result["k"], result["validation_top1"]) == (1, 1.0)
    # And the other way round.
    validation = features([[1, -0.1]], [1])
    result = knn_eval(train, validation, train, **settings)
    assert (result["k"], result["validation_top1"]) == (3, 1.0)


def test_of_equals_the_nearest_to_the_published_setting_wins():
    # Two classes far apart: every setting is right.
    rows = [[1, 0]] * 60 + [[0, 1]] * 60
    train = features(rows, [0] * 60 + [1] * 60)
    queries = features([[1, 0.01], [0.01, 1]], [0, 1])
    for neighbors, temperatures, expected in (
        (NEIGHBORS, TEMPERATURES, (20, 0.07)),
        ((1, 50), (0.2, 0.03), (50, 0.03)),
        ((100, 5, 15), (0.07,), (15, 0.07)),
        # A step in k by 2 is nearer than one in temperature by 3, and so on.
        ((10, 20), (0.21, 0.035), (20, 0.035)),
    ):
        result = knn_eval(
            train,
            queries,
            queries,
            num_classes=2,
            neighbors=neighbors,
            temperatures=temperatures,
        )
        assert result["validation_top1"] == 1.0
        assert (result["k"], result["temperature"]) == expected


def test_test_labels_choose_nothing():
    train, validation, test = noisy(120, 0), noisy(60, 1), noisy(80, 2)
    chosen = [
        (result["k"], result["temperature"], result["path"])
        for labels in (test.labels, (test.labels + 1) % 7)
        for result in [
            knn_eval(
                train,
                validation,
                Features(test.representations, labels),
                num_classes=7,
            )
        ]
    ]
    assert chosen[0] == chosen[1]


def test_more_neighbors_than_training_examples_become_all_of_them():
    train = features([[1, 0], [0, 1], [1, 0.1]], [0, 1, 0])
    result = knn_eval(train, train, train, num_classes=2)
    assert {tried["k"] for tried in result["path"]} == {1, 3}
    assert result["neighbors"] == list(NEIGHBORS)
    assert result["k"] in (1, 3)


def test_collapse_and_duplicates_are_chance_for_the_grid_too():
    labels = np.arange(40) % 10
    collapsed = features(np.ones((40, 3)), labels)
    result = knn_eval(collapsed, collapsed, collapsed, num_classes=10, neighbors=(80,))
    np.testing.assert_allclose(result["validation_top1"], 0.1)
    one = features([[1, 0], [1, 0]], [0, 1])
    result = knn_eval(one, one, one, num_classes=2, neighbors=(2,))
    assert result["validation_top1"] == 0.5


def test_one_class_and_a_class_without_training_examples():
    one = features([[1, 0], [0, 1]], [0, 0])
    assert knn_eval(one, one, one, num_classes=1)["top1"] == 1.0
    other = features([[1, 0], [0, 1]], [0, 1])
    result = knn_eval(one, one, other, num_classes=2)
    assert result["top1"] == 0.5


def test_bad_input_of_the_grid_is_refused():
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
    for grid, message in (
        ({"neighbors": ()}, "neighbors=()"),
        ({"neighbors": (0, 5)}, r"neighbors=\(0, 5\)"),
        ({"temperatures": ()}, r"temperatures=\(\)"),
        ({"temperatures": (0.1, 0.0)}, r"temperatures=\(0.1, 0.0\)"),
        ({"temperatures": (float("nan"),)}, "temperatures="),
    ):
        with pytest.raises(ValueError, match=message):
            knn_eval(good, good, good, num_classes=2, **grid)
