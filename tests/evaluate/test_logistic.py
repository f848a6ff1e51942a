"""Tests of logistic regression on optima that are known."""

import warnings

import numpy as np
import pytest

from vicreg_keras.evaluate import logistic
from vicreg_keras.evaluate.logistic import fit_logistic, fit_path, moments


def test_moments_leave_constant_columns_at_zero():
    rows = np.array([[1, 5, 0.1], [3, 5, 0.1]], np.float32)
    mean, scale = moments(rows)
    np.testing.assert_allclose(mean, [2, 5, 0.1], rtol=1e-6)
    np.testing.assert_array_equal(scale, [1, 1, 1])
    many = np.random.default_rng(0).normal(3, 2, (9000, 2)).astype(np.float32)
    mean, scale = moments(many)
    np.testing.assert_allclose(mean, many.mean(0, np.float64), rtol=1e-5)
    np.testing.assert_allclose(scale, many.std(0, dtype=np.float64), rtol=1e-5)


def test_logistic_regression_reaches_the_known_optimum():
    # Two points at -1 and 1: the optimum solves w = C * 2 * sigmoid(-w) for the
    # difference of logits w. A softmax applied twice would stop elsewhere.
    rows = np.array([[-1.0], [1.0]] * 50, np.float32)
    labels = np.array([0, 1] * 50)
    fit = fit_logistic(rows, labels, C=0.02)
    logits = fit.scores(rows[:2], 2)
    weight = float(logits[1, 1] - logits[1, 0])
    assert weight == pytest.approx(0.02 * 100 / (1 + np.exp(weight)), rel=1e-2)
    assert logits[0, 1] - logits[0, 0] == pytest.approx(-weight, rel=1e-3)


def test_rotation_to_the_rows_own_space_changes_nothing():
    random = np.random.default_rng(0)
    rows = random.normal(size=(12, 40)).astype(np.float32)
    queries = random.normal(size=(9, 40)).astype(np.float32)
    labels = np.arange(12) % 3
    basis = np.linalg.qr(rows.T)[0]
    whole = fit_logistic(rows, labels, 1.0).scores(queries, 3)
    rotated = fit_logistic(rows @ basis, labels, 1.0).scores(queries @ basis, 3)
    np.testing.assert_allclose(whole, rotated, atol=2e-2)


def noisy_classes(num_examples=200, num_classes=3):
    random = np.random.default_rng(0)
    labels = np.arange(num_examples) % num_classes
    rows = random.normal(size=(num_examples, 8)) + np.eye(8)[labels]
    return rows.astype(np.float32), labels


def test_path_reaches_what_each_fit_reaches_alone_and_sooner():
    rows, labels = noisy_classes()
    values = (0.1, 0.3, 1.0)
    path = list(fit_path(rows, labels, values))
    alone = [fit_logistic(rows, labels, value) for value in values]
    assert [fit.C for fit in path] == list(values)
    for warm, cold in zip(path, alone, strict=True):
        np.testing.assert_allclose(
            warm.scores(rows, 3), cold.scores(rows, 3), atol=2e-2
        )
    assert sum(f.iterations for f in path) < sum(f.iterations for f in alone)


def test_path_makes_no_fit_that_is_not_asked_for(monkeypatch):
    rows, labels = noisy_classes()
    seen = []

    def fit(rows, labels, C, start):
        seen.append(C)
        return fit_logistic(rows, labels, C, start)

    monkeypatch.setattr(logistic, "fit_logistic", fit)
    next(fit_path(rows, labels, (0.1, 1.0)))
    assert seen == [0.1]


def test_start_on_other_classes_is_passed_over():
    rows, labels = noisy_classes()
    start = fit_logistic(rows, labels, 1.0)
    two = labels < 2
    fit = fit_logistic(rows[two], labels[two], 1.0, start)
    alone = fit_logistic(rows[two], labels[two], 1.0)
    np.testing.assert_array_equal(fit.scores(rows, 3), alone.scores(rows, 3))


def test_classes_without_examples_get_the_lowest_score():
    rows, labels = noisy_classes()
    scores = fit_logistic(rows, labels + 1, 1.0).scores(rows, 5)
    assert np.isneginf(scores[:, [0, 4]]).all()
    assert np.isfinite(scores[:, 1:4]).all()
    assert scores.dtype == np.float32


def test_log_loss_is_the_labels_mean_negative_log_probability():
    rows, labels = noisy_classes()
    fit = fit_logistic(rows[:100], labels[:100], 1.0)
    scores = fit.scores(rows[100:], 3).astype(np.float64)
    log_sums = np.log(np.exp(scores).sum(axis=1))
    expected = np.mean(log_sums - scores[np.arange(100), labels[100:]])
    assert fit.log_loss(rows[100:], labels[100:]) == pytest.approx(expected, rel=1e-5)


def test_log_loss_passes_over_classes_without_training_examples():
    rows, labels = noisy_classes()
    two = labels < 2
    fit = fit_logistic(rows[two], labels[two], 1.0)
    assert fit.log_loss(rows, labels) == fit.log_loss(rows[two], labels[two])
    assert fit.log_loss(rows[~two], labels[~two]) == 0.0


def test_no_convergence_is_noted_not_warned(monkeypatch):
    monkeypatch.setattr(logistic, "MAX_ITERATIONS", 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit = fit_logistic(*noisy_classes(), 1.0)
    assert not fit.converged
    assert fit.iterations == 1
