"""Tests of which labels are used, and of linear probes on them."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from vicreg_keras.evaluate.features import Features
from vicreg_keras.evaluate.few_labels import draw_labeled, few_label_probe
from vicreg_keras.evaluate.linear_probe import REGULARIZATIONS, linear_probe
from vicreg_keras.evaluate.sampling import draw_balanced


def counts_per_class(labels, num_classes):
    return tuple(np.bincount(labels, minlength=num_classes))


LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(5), 40))


def blobs(num_rows, seed, num_classes=6):
    random = np.random.default_rng(seed)
    labels = np.arange(num_rows) % num_classes
    rows = 3 * np.eye(num_classes)[labels] + random.normal(size=(num_rows, num_classes))
    # Columns of different means and scales.
    rows = rows * np.arange(1, num_classes + 1) + 10
    return Features(rows.astype(np.float32), labels)


def test_every_class_gives_as_many():
    picks = draw_labeled(LABELS, 0.1, seed=0)
    assert counts_per_class(LABELS[picks], 5) == (4,) * 5
    assert len(set(picks)) == 20
    assert (np.diff(picks) > 0).all()
    # 23 images of 5 classes: three classes have one more.
    picks = draw_labeled(LABELS, 0.115, seed=0)
    assert sorted(counts_per_class(LABELS[picks], 5)) == [4, 4, 5, 5, 5]


def test_draw_is_a_function_of_seed_and_fraction():
    first, again, other = (draw_labeled(LABELS, 0.2, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert set(first) != set(other)


def test_smaller_fractions_are_within_larger_ones_and_one_is_all():
    draws = [
        set(draw_labeled(LABELS, part, seed=3)) for part in (0.01, 0.1, 0.33, 0.9, 1.0)
    ]
    for smaller, larger in zip(draws, draws[1:], strict=False):
        assert smaller < larger
    assert draws[-1] == set(range(200))


def test_every_class_is_drawn():
    picks = draw_labeled(LABELS, 1e-6, seed=0)
    assert counts_per_class(LABELS[picks], 5) == (1,) * 5
    # A class without examples has none, and there is room for it in the count.
    assert counts_per_class(LABELS[picks], 6) == (1, 1, 1, 1, 1, 0)


def test_classes_that_are_used_up_leave_the_rest_to_others():
    labels = np.array([0] * 2 + [1] * 30 + [2] * 68)
    picks = draw_labeled(labels, 0.4, seed=0)
    assert counts_per_class(labels[picks], 3) == (2, 19, 19)
    picks = draw_labeled(labels, 0.9, seed=0)
    assert counts_per_class(labels[picks], 3) == (2, 30, 58)


def test_bad_draws_are_refused():
    for fraction in (0.0, -0.1, 1.01, float("nan")):
        with pytest.raises(ValueError, match=f"label_fraction={fraction}"):
            draw_labeled(LABELS, fraction, seed=0)
    with pytest.raises(ValueError, match="at least two classes"):
        draw_labeled(np.zeros(9, np.int64), 0.5, seed=0)


def test_probe_is_logistic_regression_on_the_drawn_labels():
    train, validation, test = blobs(240, 0), blobs(60, 1), blobs(90, 2)
    result = linear_probe(
        train, validation, test, num_classes=6, label_fraction=0.1, seed=5
    )
    # Directly, with scikit-learn.
    picks = draw_labeled(train.labels, 0.1, seed=5)
    mean = train.representations.mean(axis=0)
    scale = train.representations.std(axis=0)

    def standardized(features):
        return (features.representations - mean) / scale

    losses, correct, validated = {}, {}, {}
    for value in REGULARIZATIONS:
        fit = LogisticRegression(C=value, max_iter=1000).fit(
            standardized(train)[picks], train.labels[picks]
        )
        probabilities = fit.predict_proba(standardized(validation))
        losses[value] = log_loss(validation.labels, probabilities)
        correct[value] = fit.score(standardized(test), test.labels)
        validated[value] = fit.score(standardized(validation), validation.labels)
    best = min(losses, key=losses.get)
    metrics, settings = result.metrics, result.settings
    assert settings.C == best
    assert metrics.validation_top1 == pytest.approx(validated[best], abs=0.02)
    assert metrics.top1 == pytest.approx(correct[best], abs=0.02)
    assert metrics.top1 > 0.8
    assert settings.num_train == 24
    assert settings.label_fraction == 0.1
    assert settings.converged


def test_probe_gets_better_with_labels_and_is_a_function_of_its_seed():
    splits = blobs(600, 0), blobs(60, 1), blobs(300, 2)

    def probe(**settings):
        return linear_probe(*splits, num_classes=6, **settings)

    few, all_of_them = probe(label_fraction=0.01), probe(label_fraction=1.0)
    assert few.settings.num_train == 6
    assert all_of_them.settings.num_train == 600
    assert few.metrics.top1 + 0.05 < all_of_them.metrics.top1
    assert few == probe(label_fraction=0.01)
    assert few.metrics != probe(label_fraction=0.01, seed=1).metrics


def test_test_labels_choose_nothing():
    train, validation, test = blobs(240, 0), blobs(60, 1), blobs(90, 2)
    wrong = Features(test.representations, np.roll(test.labels, 1))
    first, second = (
        linear_probe(train, validation, part, num_classes=6, label_fraction=0.2)
        for part in (test, wrong)
    )
    assert first.settings == second.settings
    assert first.metrics.top1 > second.metrics.top1


def test_bad_input_of_the_probe_is_refused():
    train, validation, test = blobs(60, 0), blobs(30, 1), blobs(30, 2)
    settings = {"num_classes": 6, "label_fraction": 0.5}
    nan = Features(np.full((2, 6), np.nan, np.float32), np.array([0, 1]))
    with pytest.raises(ValueError, match="finite test"):
        linear_probe(train, validation, nan, **settings)
    unlabeled = Features(validation.representations, None)
    with pytest.raises(ValueError, match="labels for validation"):
        linear_probe(train, unlabeled, test, **settings)
    narrow = Features(test.representations[:, :3], test.labels)
    with pytest.raises(ValueError, match="6 wide"):
        linear_probe(train, validation, narrow, **settings)
    with pytest.raises(ValueError, match="label_fraction=2"):
        linear_probe(train, validation, test, num_classes=6, label_fraction=2)


def few_labels(train, test, **settings):
    return few_label_probe(train, test, num_classes=6, **settings)


@pytest.mark.parametrize("labels_per_class", [1, 2, 5])
def test_few_labels_give_mean_and_deviation(labels_per_class):
    result = few_labels(
        blobs(120, 0),
        blobs(60, 1),
        labels_per_class=labels_per_class,
        num_draws=3,
        seed=7,
    )
    settings = result.settings
    values = [draw.top1 for draw in settings.draws]
    assert [draw.seed for draw in settings.draws] == [7, 8, 9]
    assert result.metrics.top1 == pytest.approx(np.mean(values))
    assert result.metrics.top1_std == pytest.approx(np.std(values, ddof=1))
    assert settings.labels_per_class == labels_per_class
    fixed = labels_per_class == 1
    assert settings.C_chosen_by == ("fixed" if fixed else "cross-validation")


def test_one_draw_has_no_deviation_and_few_classes_have_no_top5():
    splits = blobs(120, 0, num_classes=5), blobs(60, 1, num_classes=5)
    metrics = few_label_probe(*splits, num_classes=5, num_draws=1).metrics
    assert (metrics.top1_std, metrics.top5, metrics.top5_std) == (None, None, None)


def test_few_labels_use_no_other_label():
    train, test = blobs(120, 0), blobs(60, 1)
    result = few_labels(train, test, labels_per_class=4, num_draws=1)
    picks = draw_balanced(train.labels, 24, seed=0)
    assert counts_per_class(train.labels[picks], 6) == (4,) * 6
    # Wrong labels elsewhere change nothing as long as the draw is the same.
    rest = np.setdiff1d(np.arange(len(train.labels)), picks)
    swapped = train.representations.copy()
    swapped[rest] = swapped[rest[::-1]]  # The same mean and deviation, other labels.
    other = few_labels(
        Features(swapped, train.labels), test, labels_per_class=4, num_draws=1
    )
    assert other.settings.draws == result.settings.draws


def test_few_labels_leave_their_inputs_as_they_were():
    splits = blobs(120, 0), blobs(60, 1)
    before = [features.representations.copy() for features in splits]
    few_labels(*splits, labels_per_class=3, num_draws=1)
    for features, expected in zip(splits, before, strict=True):
        np.testing.assert_array_equal(features.representations, expected)


@pytest.mark.parametrize(
    ("counts", "rare", "chosen_by"),
    [
        ((20, 20, 3), (1, 3), "cross-validation"),
        ((20, 1), (1, 1), "cross-validation"),
        ((2, 1), (2, 1), "cross-validation"),
        ((1, 1, 1), (3, 1), "fixed"),
        ((20, 20, 20), (0, None), "cross-validation"),
    ],
)
def test_of_a_rare_class_all_labels_are_taken(counts, rare, chosen_by):
    labels = np.repeat(np.arange(len(counts)), counts)
    train = Features(np.eye(6, dtype=np.float32)[labels], labels)
    result = few_labels(train, train, labels_per_class=10)
    settings = result.settings
    assert (settings.rare_classes, settings.min_labels_per_class) == rare
    assert settings.C_chosen_by == chosen_by and settings.labels_per_class == 10
    assert result.metrics.top1 == 1
