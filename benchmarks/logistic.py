"""Seconds to fit logistic regression: scikit-learn's L-BFGS beside the package's.

    python -m benchmarks.logistic
    python -m benchmarks.logistic --sizes 45000x3072 --C 1e-3 --rounds 1

Every round fits each contender once, in turn, from zero, so that what else the machine
does falls on both alike; the median round counts. Both have the same C, the same
limit of iterations and the tolerance that each defines for itself: scikit-learn stops
at a largest entry of the gradient of 1e-4, the package at a largest norm of a class's,
which is stricter. Loss is what both minimize: the mean over examples and the penalty,
computed in float64. scikit-learn gets one thread of OpenMP, whose busy loops would
wait for those of BLAS.

The rows are made up: as many hidden directions as columns, whose variance falls as a
power of the index, mixed into columns and standardized, as pixels and representations
are; labels are drawn with the probabilities of a linear model of the hidden values.
"""

import argparse
import os
import statistics
import time
import warnings
from collections.abc import Callable

import numpy as np
import scipy
import sklearn
from scipy.special import log_softmax, softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from vicreg_keras.evaluate.logistic import MAX_ITERATIONS, fit_logistic, mean_and_std

NUM_CLASSES = 10
BASELINE = "scikit-learn"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--sizes", nargs="+", default=["10000x512", "5000x3072"], help="rows x columns"
    )
    parser.add_argument("--C", type=float, default=1e-2)
    parser.add_argument(
        "--power", type=float, default=1.5, help="of the index, dividing the variance"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    contenders = {BASELINE: scikit_learns, "vicreg_keras": ours}

    print(
        f"{NUM_CLASSES} classes, C {options.C:g}, seed {options.seed}, "
        f"{options.rounds} rounds, {os.cpu_count()} cores, scikit-learn "
        f"{sklearn.__version__}, scipy {scipy.__version__}\n"
        f"{'rows x columns':16}{'':14}{'seconds':>9}{'lowest':>9}{'highest':>9}"
        f"{'ratio':>7}{'iterations':>17}{'loss':>11}"
    )
    for size in options.sizes:
        num_rows, width = map(int, size.split("x"))
        rows, labels = problem(num_rows, width, options)
        seconds, fits = measure(contenders, rows, labels, options)
        print_rows(size, seconds, fits, rows, labels, options)


def problem(
    num_rows: int, width: int, options: argparse.Namespace
) -> tuple[np.ndarray, np.ndarray]:
    """Returns rows as the module's docstring describes them, float32, and labels."""
    random = np.random.default_rng(options.seed)
    scales = np.arange(1, width + 1, dtype=np.float32) ** (-options.power / 2)
    hidden = random.standard_normal((num_rows, width), np.float32)
    logits = hidden[:, :64] @ random.normal(size=(min(64, width), NUM_CLASSES)) / 4
    chances = softmax(logits, axis=1).cumsum(axis=1)
    labels = (random.random((num_rows, 1)) > chances[:, :-1]).sum(axis=1)
    rows = hidden * scales @ random.standard_normal((width, width), np.float32)
    mean, scale = mean_and_std(rows)
    rows -= mean
    rows /= scale
    return rows, labels


def scikit_learns(rows: np.ndarray, labels: np.ndarray, C: float) -> tuple:
    """Returns weights `(D, K)`, biases `(K,)`, iterations and whether they sufficed."""
    fit = LogisticRegression(C=C, tol=1e-4, max_iter=MAX_ITERATIONS)
    with warnings.catch_warnings(), threadpool_limits(1, "openmp"):
        warnings.simplefilter("ignore", ConvergenceWarning)
        fit.fit(rows, labels)
    (iterations,) = fit.n_iter_
    return fit.coef_.T, fit.intercept_, iterations, iterations < MAX_ITERATIONS


def ours(rows: np.ndarray, labels: np.ndarray, C: float) -> tuple:
    """Returns the same."""
    fit = fit_logistic(rows, labels, C)
    return fit.weights, fit.biases, fit.iterations, fit.converged


def measure(
    contenders: dict[str, Callable],
    rows: np.ndarray,
    labels: np.ndarray,
    options: argparse.Namespace,
) -> tuple[dict[str, list[float]], dict[str, tuple]]:
    """Returns every round's seconds, and the fit, per contender."""
    seconds, fits = {name: [] for name in contenders}, {}
    for _ in range(options.rounds):
        for name, fit in contenders.items():
            start = time.perf_counter()
            fits[name] = fit(rows, labels, options.C)
            seconds[name].append(time.perf_counter() - start)
    return seconds, fits


def print_rows(
    size: str,
    seconds: dict[str, list[float]],
    fits: dict[str, tuple],
    rows: np.ndarray,
    labels: np.ndarray,
    options: argparse.Namespace,
):
    """Prints one row a contender; the ratio is the baseline's median to its own."""
    for name, values in seconds.items():
        weights, biases, iterations, converged = fits[name]
        median = statistics.median(values)
        ratio = statistics.median(seconds[BASELINE]) / median
        count = f"{iterations}{'' if converged else ', not enough'}"
        reached = loss(weights, biases, rows, labels, options)
        print(
            f"{size:16}{name:14}{median:9.2f}{min(values):9.2f}{max(values):9.2f}"
            f"{ratio:7.1f}{count:>17}{reached:11.6f}"
        )


def loss(
    weights: np.ndarray,
    biases: np.ndarray,
    rows: np.ndarray,
    labels: np.ndarray,
    options: argparse.Namespace,
) -> float:
    """Returns the mean loss with its penalty, in nats."""
    log_probabilities = log_softmax(rows @ weights.astype(np.float64) + biases, axis=1)
    own = log_probabilities[np.arange(len(rows)), labels]
    return -own.mean() + np.square(weights).sum() / (2 * options.C * len(rows))


if __name__ == "__main__":
    main()
