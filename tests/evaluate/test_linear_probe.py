"""Tests of the linear probes on points whose answer is visible."""

import functools

import numpy as np
import pytest

from vicreg_keras.evaluate import linear_probe, logistic
from vicreg_keras.evaluate.features import Features
from vicreg_keras.evaluate.linear_probe import linear_probe as probe

# The points below are of six classes.
cached = functools.partial(probe, num_classes=6)
fit = functools.partial(linear_probe.fit_head, num_classes=6)


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
    metrics, settings = result.metrics, result.settings
    assert metrics.top1 == metrics.top5 == metrics.validation_top1 == 1.0
    assert settings.converged
    assert settings.num_train == 120


def test_few_classes_have_no_top5_and_two_classes_work():
    for num_classes in (2, 5):
        result = cached(*splits(num_classes=num_classes), num_classes=num_classes)
        assert result.metrics.top1 == 1.0
        assert result.metrics.top5 is None


def test_sweep_goes_from_strong_to_weak_until_log_loss_no_longer_falls():
    given = splits(spread=3.0)
    fitted = fit(*given[:2])
    values, losses = zip(*fitted.log_losses.items(), strict=True)
    assert values == linear_probe.REGULARIZATIONS[: len(values)]
    assert all(np.diff(losses[:-1]) < 0)
    assert losses[-1] > losses[-2]
    assert fitted.C == values[-2]
    result = cached(*given)
    assert result.settings.C == fitted.C
    assert result.metrics.validation_top1 == fitted.validation_top1
    assert cached(*given, fitted=fitted) == result


def test_strong_regularization_is_not_taken_for_a_tie_in_accuracy():
    # All are perfect on the validation part; a weaker C is surer of it.
    result = cached(*splits())
    assert result.metrics.validation_top1 == 1.0
    assert result.settings.C >= 1.0


def test_choice_does_not_see_test_labels():
    train, validation, test = splits(spread=3.0)
    result = cached(train, validation, test)
    shuffled = Features(test.representations, np.roll(test.labels, 1))
    other = cached(train, validation, shuffled)
    assert other.settings == result.settings
    assert other.metrics.top1 != result.metrics.top1


def test_choice_follows_validation_labels():
    train, validation, _ = splits(spread=3.0)
    wrong = Features(validation.representations, np.roll(validation.labels, 1))
    fitted, other = fit(train, validation), fit(train, wrong)
    strongest = linear_probe.REGULARIZATIONS[0]
    assert fitted.log_losses[strongest] < other.log_losses[strongest]
    assert fitted.validation_top1 > other.validation_top1
    assert fitted.C > other.C


def test_final_fit_uses_the_validation_examples(monkeypatch):
    monkeypatch.setattr(linear_probe, "REGULARIZATIONS", (10.0,))
    train, validation, test = splits()
    # Class 5 has no training example: only the refit can know it.
    known = train.labels < 5
    train = Features(train.representations[known], train.labels[known])
    result = cached(train, validation, test)
    assert result.metrics.validation_top1 == pytest.approx(5 / 6)
    assert result.metrics.top1 == 1.0


def test_scale_of_the_representations_does_not_matter():
    results = []
    for factor in (1.0, 1e-3, 255.0):
        scaled = [Features(f.representations * factor, f.labels) for f in splits()]
        results.append(cached(*scaled))
    assert results[0] == results[1] == results[2]


def test_inputs_are_left_as_they_were():
    given = splits()
    before = [features.representations.copy() for features in given]
    cached(*given)
    for features, rows in zip(given, before, strict=True):
        np.testing.assert_array_equal(features.representations, rows)


def test_no_convergence_is_noted(monkeypatch):
    monkeypatch.setattr(logistic, "MAX_ITERATIONS", 1)
    assert not cached(*splits(spread=3.0)).settings.converged


def test_bad_features_are_refused():
    train, validation, test = splits()
    one = Features(train.representations, np.zeros_like(train.labels))
    with pytest.raises(ValueError, match="at least two classes.*only label 0"):
        cached(one, validation, test)
    with pytest.raises(ValueError, match="labels for test"):
        cached(train, validation, Features(test.representations, None))
    broken = test.representations.copy()
    broken[2, 1] = np.nan
    with pytest.raises(ValueError, match="finite test.* 1 of 60"):
        cached(train, validation, Features(broken, test.labels))
    with pytest.raises(ValueError, match=r"labels in \[0, 3\)"):
        cached(train, validation, test, num_classes=3)
    narrow = Features(test.representations[:, :2], test.labels)
    with pytest.raises(ValueError, match="4 wide"):
        cached(train, validation, narrow)
