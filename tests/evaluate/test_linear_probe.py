"""Tests of the linear probes on points whose answer is visible."""

import functools
import json

import numpy as np
import pytest

from vicreg_keras.evaluate import linear_probe, logistic
from vicreg_keras.evaluate.features import Features
from vicreg_keras.evaluate.linear_probe import (
    cached_probe,
    draw_balanced,
    few_label_probe,
)

# The points below are of six classes.
cached = functools.partial(cached_probe, num_classes=6)
few_labels = functools.partial(few_label_probe, num_classes=6)


def blobs(per_class, num_classes=6, width=4, spread=0.1, seed=0):
    """Clusters about fixed centers, the same whatever the seed."""
    centers = np.random.default_rng(99).normal(size=(num_classes, width)) * 3
    labels = np.tile(np.arange(num_classes), per_class)
    noise = np.random.default_rng(seed).normal(size=(len(labels), width))
    rows = (centers[labels] + spread * noise).astype(np.float32)
    return Features(rows, labels.astype(np.int64))


def splits(**kwargs):
    sizes = {"train": 20, "validation": 5, "test": 10}
    return [
        blobs(size, seed=seed, **kwargs)
        for seed, size in enumerate(sizes.values(), start=1)
    ]


def test_separable_blobs_are_told_apart():
    result = cached(*splits())
    assert result["top1"] == result["top5"] == result["validation_top1"] == 1.0
    assert result["converged"]
    assert (result["num_train"], result["num_test"]) == (120, 60)
    assert result["protocol"] == "cached"
    json.dumps(result)


def test_few_classes_have_no_top5_and_two_classes_work():
    for num_classes in (2, 5):
        result = cached(*splits(num_classes=num_classes), num_classes=num_classes)
        assert result["top1"] == 1.0
        assert result["top5"] is None


def test_path_goes_from_strong_to_weak_until_log_loss_no_longer_falls():
    result = cached(*splits(spread=3.0))
    path = result["path"]
    values = [tried["C"] for tried in path]
    assert values == list(linear_probe.REGULARIZATIONS[: len(values)])
    losses = [tried["validation_log_loss"] for tried in path]
    assert all(np.diff(losses[:-1]) < 0)
    assert losses[-1] > losses[-2]
    assert result["C"] == path[-2]["C"]
    assert result["validation_top1"] == path[-2]["validation_top1"]


def test_strong_regularization_is_not_taken_for_a_tie_in_accuracy():
    # All are perfect on the validation part; a weaker C is surer of it.
    result = cached(*splits())
    assert {tried["validation_top1"] for tried in result["path"][2:]} == {1.0}
    assert result["C"] >= 1.0


def test_choice_does_not_see_test_labels():
    train, validation, test = splits(spread=3.0)
    result = cached(train, validation, test)
    shuffled = Features(test.representations, np.roll(test.labels, 1))
    other = cached(train, validation, shuffled)
    assert other["path"] == result["path"]
    assert other["C"] == result["C"]
    assert other["top1"] != result["top1"]


def test_choice_follows_validation_labels():
    train, validation, test = splits(spread=3.0)
    validation = Features(validation.representations, np.roll(validation.labels, 1))
    path = cached(train, validation, test)["path"]
    other = cached(train, splits(spread=3.0)[1], test)["path"]
    assert path[0]["train_top1"] == other[0]["train_top1"]
    assert path[0]["validation_top1"] != other[0]["validation_top1"]


def test_final_fit_uses_the_validation_examples(monkeypatch):
    monkeypatch.setattr(linear_probe, "REGULARIZATIONS", (10.0,))
    train, validation, test = splits()
    # Class 5 has no training example: only the refit can know it.
    known = train.labels < 5
    train = Features(train.representations[known], train.labels[known])
    result = cached(train, validation, test)
    assert result["validation_top1"] == pytest.approx(5 / 6)
    assert result["top1"] == 1.0


def test_scale_of_the_representations_does_not_matter():
    results = []
    for factor in (1.0, 1e-3, 255.0):
        scaled = [Features(f.representations * factor, f.labels) for f in splits()]
        results.append(cached(*scaled)["path"][0]["validation_top1"])
    assert len(set(results)) == 1


def test_inputs_are_left_as_they_were():
    given = splits()
    before = [features.representations.copy() for features in given]
    cached(*given)
    few_labels(given[0], given[2], labels_per_class=3, num_draws=1)
    for features, rows in zip(given, before, strict=True):
        np.testing.assert_array_equal(features.representations, rows)


def test_no_convergence_is_noted(monkeypatch):
    monkeypatch.setattr(logistic, "MAX_ITERATIONS", 1)
    result = cached(*splits(spread=3.0))
    assert not result["converged"]
    assert not result["path"][-1]["converged"]


def test_bad_features_are_refused():
    train, validation, test = splits()
    one = Features(train.representations, np.zeros_like(train.labels))
    with pytest.raises(ValueError, match="at least two classes.*only label 0"):
        cached(one, validation, test)
    with pytest.raises(ValueError, match="labels for test"):
        cached(train, validation, Features(test.representations, None))
    broken = test.representations.copy()
    broken[2, 1] = np.nan
    with pytest.raises(ValueError, match="finite test.* 1 of 60 rows"):
        cached(train, validation, Features(broken, test.labels))
    with pytest.raises(ValueError, match=r"labels in \[0, 3\)"):
        cached(train, validation, test, num_classes=3)
    narrow = Features(test.representations[:, :2], test.labels)
    with pytest.raises(ValueError, match="4 wide"):
        cached(train, validation, narrow)


def test_draws_are_balanced_and_a_function_of_the_seed():
    labels = np.array([0] * 50 + [1] * 9 + [2] * 30)
    picks = draw_balanced(labels, 9, seed=1)
    assert len(set(picks)) == 27
    np.testing.assert_array_equal(np.bincount(labels[picks]), [9, 9, 9])
    np.testing.assert_array_equal(picks, draw_balanced(labels, 9, seed=1))
    assert set(picks) != set(draw_balanced(labels, 9, seed=2))
    with pytest.raises(ValueError, match="Received: 9 with label 1"):
        draw_balanced(labels, 10, seed=1)


@pytest.mark.parametrize("labels_per_class", [1, 2, 5])
def test_few_labels_give_mean_and_deviation(labels_per_class):
    train, _, test = splits(spread=1.5)
    result = few_labels(
        train, test, labels_per_class=labels_per_class, num_draws=3, seed=7
    )
    values = [draw["top1"] for draw in result["draws"]]
    assert [draw["seed"] for draw in result["draws"]] == [7, 8, 9]
    assert result["top1"] == pytest.approx(np.mean(values))
    assert result["top1_std"] == pytest.approx(np.std(values, ddof=1))
    assert result["num_train"] == 6 * labels_per_class
    fixed = labels_per_class == 1
    assert result["C_chosen_by"] == ("fixed" if fixed else "cross-validation")
    json.dumps(result)


def test_few_labels_use_no_other_label():
    train, _, test = splits(spread=1.5)
    result = few_labels(train, test, labels_per_class=4, num_draws=1)
    picks = draw_balanced(train.labels, 4, seed=0)
    # Wrong labels elsewhere change nothing as long as the draw is the same.
    only = Features(train.representations, train.labels.copy())
    rest = np.setdiff1d(np.arange(len(train.labels)), picks)
    swapped = only.representations.copy()
    swapped[rest] = swapped[rest[::-1]]  # Same columns' figures, other labels.
    other = few_labels(
        Features(swapped, only.labels), test, labels_per_class=4, num_draws=1
    )
    assert other["draws"] == result["draws"]


def test_few_labels_settings_are_checked():
    train, _, test = splits()
    with pytest.raises(ValueError, match="labels_per_class=0"):
        few_labels(train, test, labels_per_class=0)
    with pytest.raises(ValueError, match="num_draws=0"):
        few_labels(train, test, num_draws=0)
