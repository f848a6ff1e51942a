"""Which linear classifier fits these rows best? Multinomial logistic regression.

scikit-learn does the fitting; here are what it starts from, how many threads it gets
and whether it arrived.
"""

import os
import warnings
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from threadpoolctl import threadpool_limits

TOLERANCE = 1e-4  # Largest entry of the gradient of the mean loss.
MAX_ITERATIONS = 300  # Of L-BFGS, for one C.

_MANY_ENTRIES = 2**22  # Above, a fit lasts long enough for several threads to pay.


class Logistic(NamedTuple):
    """A fitted classifier.

    Attributes:
        C: scikit-learn's: the inverse of the L2 penalty on a loss summed over
            examples.
        iterations: How many L-BFGS took.
        converged: Whether it reached the tolerance.
        estimator: scikit-learn's own object.
    """

    C: float
    iterations: int
    converged: bool
    estimator: LogisticRegression

    def coefficients(self, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
        """Weights `(D, num_classes)` and biases `(num_classes,)`, float32.

        Of a class without training examples the bias is `-inf`.
        """
        known = self.estimator.classes_
        slopes, offsets = self.estimator.coef_, self.estimator.intercept_
        if len(known) == 2:
            # Of two classes, scikit-learn keeps the second's logit less the first's.
            slopes = np.concatenate([-slopes / 2, slopes / 2])
            offsets = np.concatenate([-offsets / 2, offsets / 2])
        weights = np.zeros((slopes.shape[1], num_classes), np.float32)
        weights[:, known] = slopes.T
        biases = np.full(num_classes, -np.inf, np.float32)
        biases[known] = offsets
        return weights, biases

    def scores(self, rows: np.ndarray, num_classes: int) -> np.ndarray:
        """Logits `(N, num_classes)`, `-inf` for classes without training examples."""
        weights, biases = self.coefficients(num_classes)
        return rows @ weights + biases

    def log_loss(self, rows: np.ndarray, labels: np.ndarray) -> float:
        """Mean negative log-likelihood of the labels, in nats.

        Of those whose class had a training example, as the loss of any other is
        infinite whatever C is; 0 where there is none.
        """
        known = np.isin(labels, self.estimator.classes_)
        if not known.any():
            return 0.0
        probabilities = self.estimator.predict_proba(rows[known])
        return log_loss(labels[known], probabilities, labels=self.estimator.classes_)


def fit_path(
    rows: np.ndarray, labels: np.ndarray, values: Iterable[float]
) -> Iterator[Logistic]:
    """A fit for each value of C, starting at the fit before.

    From strong to weak regularisation that is quicker than starting anew. Each fit is
    made when it is asked for, so that whoever has seen enough can stop.

    Args:
        rows: As of `fit_logistic`.
        labels: As of `fit_logistic`.
        values: Of C, ascending.

    Yields:
        The fits, in order.
    """
    fit = None
    for value in values:
        fit = fit_logistic(rows, labels, value, fit)
        yield fit


def fit_logistic(
    rows: np.ndarray, labels: np.ndarray, C: float, start: Logistic | None = None
) -> Logistic:
    """Multinomial logistic regression with an L2 penalty on weights, not biases.

    That the iterations did not suffice is noted in the fit, and not warned about.

    Args:
        rows: `(N, D)` float32, standardised.
        labels: `(N,)` integers, at least two classes.
        C: scikit-learn's inverse regularisation.
        start: A fit to start from; one on other classes is passed over.

    Returns:
        The fit.
    """
    estimator = LogisticRegression(
        C=C, tol=TOLERANCE, max_iter=MAX_ITERATIONS, warm_start=True
    )
    if start is not None:
        classes = start.estimator.classes_
        if np.array_equal(classes, np.unique(labels)):
            estimator.coef_ = start.estimator.coef_
            estimator.intercept_ = start.estimator.intercept_
            estimator.classes_ = classes
    with (
        warnings.catch_warnings(record=True) as caught,
        threadpool_limits(_threads(rows)),
    ):
        warnings.simplefilter("always", ConvergenceWarning)
        estimator.fit(rows, labels)
    converged = True
    for warning in caught:
        if issubclass(warning.category, ConvergenceWarning):
            converged = False
        else:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
    return Logistic(C, int(estimator.n_iter_[0]), converged, estimator)


def moments(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each column, float32 of shape `(D,)`.

    A constant column gets a deviation of 1, and so becomes a column of zeros.

    Args:
        rows: `(N, D)`.
    """
    mean = rows.mean(axis=0, dtype=np.float64)
    variance = np.zeros_like(mean)
    # A part at a time, so that there is no second array in float64.
    for start in range(0, len(rows), 4096):
        deviation = rows[start : start + 4096] - mean
        variance += np.square(deviation).sum(axis=0)
    scale = np.sqrt(variance / len(rows))
    # What float32 cannot tell from its mean is rounding, not a signal to blow up.
    constant = scale <= 1e-6 * np.abs(mean)
    scale[constant] = 1.0
    return mean.astype(np.float32), scale.astype(np.float32)


def _threads(rows: np.ndarray) -> dict[str, int]:
    """Limits of threads for a fit.

    The pools of OpenMP and of BLAS wait for each other in busy loops: on two cores
    with other work, small fits took fifty times longer and large ones four times
    longer with them than without. Large fits take half of many cores.
    """
    large = rows.size > _MANY_ENTRIES
    return {"openmp": 1, "blas": max(1, (os.cpu_count() or 1) // 2) if large else 1}
