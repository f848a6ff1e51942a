"""Tests of logistic regression on optima that are known, and against scikit-learn."""

import warnings

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from vicreg_keras.evaluate import logistic
from vicreg_keras.evaluate.logistic import Problem, mean_and_std


def fit_logistic(rows, labels, C, start=None):
    return Problem(rows, labels).fit(C, start)


def test_moments_leave_constant_columns_at_zero():
    rows = np.array([[1, 5, 0.1], [3, 5, 0.1]], np.float32)
    mean, scale = mean_and_std(rows)
    np.testing.assert_allclose(mean, [2, 5, 0.1], rtol=1e-6)
    np.testing.assert_array_equal(scale, [1, 1, 1])
    many = np.random.default_rng(0).normal(3, 2, (9000, 2)).astype(np.float32)
    mean, scale = mean_and_std(many)
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


@pytest.mark.parametrize("width", [20, 60])  # One is narrower, one wider than all.
def test_part_is_the_problem_of_its_examples(width, monkeypatch):
    monkeypatch.setattr(logistic, "TOLERANCE", 1e-6)
    rows, labels = correlated(50, width, num_classes=3)
    chosen = np.arange(0, 50, 2)
    of_part = Problem(rows, labels).part(chosen).fit(0.1)
    alone = fit_logistic(rows[chosen], labels[chosen], 0.1)
    assert of_part.converged and alone.converged
    np.testing.assert_allclose(of_part.weights, alone.weights, atol=1e-4)
    np.testing.assert_allclose(of_part.biases, alone.biases, atol=1e-4)


def noisy_classes(num_examples=200, num_classes=3):
    random = np.random.default_rng(0)
    labels = np.arange(num_examples) % num_classes
    rows = random.normal(size=(num_examples, 8)) + np.eye(8)[labels]
    return rows.astype(np.float32), labels


def test_path_reaches_what_each_fit_reaches_alone_and_sooner():
    rows, labels = noisy_classes()
    values = (0.1, 0.3, 1.0)
    path = list(Problem(rows, labels).path(values))
    alone = [fit_logistic(rows, labels, value) for value in values]
    assert [fit.C for fit in path] == list(values)
    for warm, cold in zip(path, alone, strict=True):
        np.testing.assert_allclose(
            warm.scores(rows, 3), cold.scores(rows, 3), atol=2e-2
        )
    assert sum(f.num_iterations for f in path) < sum(f.num_iterations for f in alone)


def test_path_makes_no_fit_that_is_not_asked_for(monkeypatch):
    rows, labels = noisy_classes()
    searches = []

    def search(*args, **kwargs):
        searches.append(args)
        return minimize(*args, **kwargs)

    monkeypatch.setattr(logistic, "minimize", search)
    path = Problem(rows, labels).path((0.1, 1.0, 10.0))
    assert [next(path).C, len(searches)] == [0.1, 1]
    assert [next(path).C, len(searches)] == [1.0, 2]


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
    assert fit.num_iterations == 1


def correlated(num_examples=400, width=30, num_classes=10, seed=0):
    """Rows whose columns differ little, as neighboring pixels do."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, num_classes, num_examples)
    hidden = random.normal(size=(num_examples, width))
    hidden[:, : min(num_classes, width)] += np.eye(num_classes)[labels][:, :width]
    # Variances over six orders of magnitude, in directions that mix all columns.
    mixing = np.linalg.qr(random.normal(size=(width, width)))[0]
    rows = hidden * np.logspace(0, -3, width) @ mixing
    rows = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    return rows.astype(np.float32), labels


def uncentered():
    """With columns that are constant, doubled, or far from zero."""
    rows, labels = correlated(width=8, num_classes=3)
    ones = np.ones_like(rows[:, :1])
    return np.concatenate([rows, rows[:, :2], 0 * ones, 5 * ones, rows + 20], 1), labels


def missing_class():
    rows, labels = correlated(num_classes=4)
    return rows[labels != 2], labels[labels != 2]


def rare_class():
    rows, labels = correlated(num_classes=3)
    common = (labels != 1) | (np.arange(len(labels)) < 20)
    return rows[common], labels[common]


PROBLEMS = {
    "ten classes": correlated,
    "two classes": lambda: correlated(num_classes=2),
    "wider than long": lambda: correlated(60, 150, num_classes=3),
    "wider than long, two classes": lambda: correlated(20, 90, num_classes=2),
    "missing class": missing_class,
    "rare class": rare_class,
    "uncentered": uncentered,
}


def in_float64(problem):
    rows, labels = PROBLEMS[problem]()
    return rows.astype(np.float64), labels


def loss_and_gradient(fit, rows, labels):
    """Of the mean loss and scikit-learn's penalty, written for any fit's weights."""
    rows = rows.astype(np.float64)
    own = fit.classes == labels[:, np.newaxis]
    logits = rows @ fit.weights + fit.biases
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    penalty = (2 if len(fit.classes) == 2 else 1) / (fit.C * len(rows))
    loss = -np.log(probabilities[own]).mean() + penalty / 2 * (fit.weights**2).sum()
    gradient = rows.T @ (probabilities - own) / len(rows) + penalty * fit.weights
    return loss, np.vstack([gradient, (probabilities - own).mean(axis=0)])


@pytest.mark.parametrize("C", [1e-3, 1.0, 10.0])
@pytest.mark.parametrize("problem", PROBLEMS)
def test_optimum_is_scikit_learns(problem, C, monkeypatch):
    monkeypatch.setattr(logistic, "TOLERANCE", 1e-7)
    rows, labels = in_float64(problem)
    theirs = LogisticRegression(C=C, solver="newton-cg", tol=1e-9, max_iter=1000)
    theirs.fit(rows, labels)
    ours = fit_logistic(rows, labels, C)
    assert ours.converged
    np.testing.assert_array_equal(ours.classes, theirs.classes_)
    weights, biases = ours.weights, ours.biases
    if len(ours.classes) == 2:
        # scikit-learn has the difference only; each class takes one half of it.
        np.testing.assert_allclose(weights[:, 0], -weights[:, 1], atol=1e-5)
        weights, biases = np.diff(weights), np.diff(biases)
    np.testing.assert_allclose(weights.T, theirs.coef_, atol=2e-5)
    np.testing.assert_allclose(biases, theirs.intercept_, atol=2e-5)
    probabilities = np.exp(ours.scores(rows, 10))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(
        probabilities[:, ours.classes], theirs.predict_proba(rows), atol=5e-6
    )


@pytest.mark.parametrize("C", [1e-3, 1.0, 10.0])
@pytest.mark.parametrize("problem", PROBLEMS)
def test_what_has_converged_is_flat_and_lies_low(problem, C, monkeypatch):
    rows, labels = PROBLEMS[problem]()
    fit = fit_logistic(rows, labels, C)
    loss, gradient = loss_and_gradient(fit, rows, labels)
    assert fit.converged
    assert np.linalg.norm(gradient, axis=0).max() < 1.01 * logistic.TOLERANCE
    monkeypatch.setattr(logistic, "TOLERANCE", 1e-7)
    optimum = fit_logistic(rows.astype(np.float64), labels, C)
    lowest, _ = loss_and_gradient(optimum, rows, labels)
    assert loss < lowest + 1e-5


def test_correlated_columns_take_few_iterations():
    rows, labels = correlated(1000, 40)
    theirs = LogisticRegression(C=1.0, max_iter=3000).fit(rows, labels)
    fit = fit_logistic(rows, labels, 1.0)
    assert fit.converged
    assert fit.num_iterations < 20
    assert theirs.n_iter_[0] > 60


def test_rounding_of_float32_does_not_end_the_search(monkeypatch):
    monkeypatch.setattr(logistic, "TOLERANCE", 3e-7)
    rows, labels = correlated(1000, 40)
    for C in (0.01, 1.0):
        assert fit_logistic(rows, labels, C).converged


def test_start_at_the_optimum_stays_there(monkeypatch):
    monkeypatch.setattr(logistic, "TOLERANCE", 1e-7)
    for problem in ("ten classes", "wider than long"):
        rows, labels = in_float64(problem)
        fit = fit_logistic(rows, labels, 1.0)
        again = fit_logistic(rows, labels, 1.0, fit)
        assert again.converged
        assert again.num_iterations <= 1
        np.testing.assert_allclose(again.weights, fit.weights, atol=1e-6)


def test_labels_that_no_column_tells_apart_get_their_frequencies():
    rows, labels = np.zeros((8, 3), np.float32), np.array([0, 0, 0, 0, 1, 1, 2, 2])
    fit = fit_logistic(rows, labels, 1.0)
    assert fit.converged
    assert not fit.weights.any()
    expected = np.log([0.5, 0.25, 0.25])
    np.testing.assert_allclose(
        fit.biases - fit.biases.mean(), expected - expected.mean(), atol=1e-3
    )
    even = fit_logistic(rows, np.arange(8) % 2, 1.0)
    assert even.converged
    np.testing.assert_allclose(even.scores(rows, 2), 0, atol=1e-12)


def test_parts_and_threads_change_nothing(monkeypatch):
    rows, labels = correlated(2500)
    alone = fit_logistic(rows, labels, 1.0)
    monkeypatch.setattr(logistic, "_MULTITHREADED_SIZE", 0)
    shared = fit_logistic(rows, labels, 1.0)
    monkeypatch.setattr(logistic, "_BLOCK_SIZE", 7)
    in_parts = fit_logistic(rows, labels, 1.0)
    for fit in (shared, in_parts):
        assert fit.converged
        np.testing.assert_allclose(fit.weights, alone.weights, atol=1e-3)


def test_fit_goes_on_from_one_of_fewer_rows():
    # With 9 rows of 30 columns the first one is turned to the rows' own space.
    rows, labels = correlated(num_classes=3)
    rows, labels = rows.astype(np.float64), np.roll(np.sort(labels), -5)
    alone = fit_logistic(rows, labels, 1.0)
    for num_first in (350, 9):
        first = fit_logistic(rows[-num_first:], labels[-num_first:], 1.0)
        fit = fit_logistic(rows, labels, 1.0, first)
        assert fit.converged
        np.testing.assert_allclose(
            fit.scores(rows, 3), alone.scores(rows, 3), atol=2e-2
        )
