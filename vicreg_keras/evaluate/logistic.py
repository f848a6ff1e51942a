"""Which linear classifier fits these rows best? Multinomial logistic regression.

The problem, its C and so its optimum are those of scikit-learn's `LogisticRegression`,
whose L-BFGS needs hundreds of passes over columns as correlated as pixels are. Here
scipy's L-BFGS sees the problem in coordinates in which it is about equally curved in
all directions: those of a Cholesky factor of the Hessian that the loss has where all
classes are equally likely, which takes one product of the rows with themselves.
"""

import concurrent.futures
import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import OptimizeResult, minimize
from scipy.special import log_softmax
from threadpoolctl import ThreadpoolController

TOLERANCE = 1e-4  # Largest norm of a class's gradient of the mean loss.
MAX_ITERATIONS = 300  # Of L-BFGS, for one C.

_ROWS_AT_ONCE = 1024  # They stay in a core's cache from one product to the next.
_MANY_ENTRIES = 2**22  # Above, a fit lasts long enough for several threads to pay.

# Of numpy and of scipy: two pools, whose idle threads wait in busy loops.
_BLAS = ThreadpoolController().select(user_api="blas")


class Logistic(NamedTuple):
    """A fitted classifier.

    Attributes:
        C: scikit-learn's: the inverse of the L2 penalty on a loss summed over
            examples.
        iterations: How many L-BFGS took.
        converged: Whether it reached the tolerance.
        classes: `(K,)`, the labels that have examples, ascending.
        weights: `(D, K)`.
        biases: `(K,)`.
    """

    C: float
    iterations: int
    converged: bool
    classes: np.ndarray
    weights: np.ndarray
    biases: np.ndarray

    def coefficients(self, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
        """Weights `(D, num_classes)` and biases `(num_classes,)`, float32.

        Of a class without training examples the bias is `-inf`.
        """
        weights = np.zeros((len(self.weights), num_classes), np.float32)
        weights[:, self.classes] = self.weights
        biases = np.full(num_classes, -np.inf, np.float32)
        biases[self.classes] = self.biases
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
        known = np.isin(labels, self.classes)
        if not known.any():
            return 0.0
        logits = rows[known] @ self.weights.astype(rows.dtype) + self.biases
        targets = np.searchsorted(self.classes, labels[known])
        log_probabilities = log_softmax(logits, axis=1)
        return -float(log_probabilities[np.arange(len(targets)), targets].mean())


def fit_path(
    rows: np.ndarray, labels: np.ndarray, values: Iterable[float]
) -> Iterator[Logistic]:
    """A fit for each value of C, starting at the fit before.

    From strong to weak regularization that is quicker than starting anew. Each fit is
    made when it is asked for, so that whoever has seen enough can stop.

    Args:
        rows: As of `fit_logistic`.
        labels: As of `fit_logistic`.
        values: Of C, ascending.

    Yields:
        The fits, in order.
    """
    return Problem(rows, labels).path(values)


def fit_logistic(
    rows: np.ndarray, labels: np.ndarray, C: float, start: Logistic | None = None
) -> Logistic:
    """Multinomial logistic regression with an L2 penalty on weights, not biases.

    That the iterations did not suffice is noted in the fit, and not warned about.

    Args:
        rows: `(N, D)` float32, standardized.
        labels: `(N,)` integers, at least two classes.
        C: scikit-learn's inverse regularization.
        start: A fit to start from; one on other classes is passed over.

    Returns:
        The fit.
    """
    return Problem(rows, labels).fit(C, start)


def mean_and_std(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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


class Problem:
    """Rows and labels, and what serves the fits of every C.

    Args:
        rows: As of `fit_logistic`.
        labels: As of `fit_logistic`.
        first: The problem of as many of these rows as it has, the first ones. What is
            known of them is not computed again.
    """

    # Coefficients are `(D + 1, K)` float64, the biases last.

    def __init__(
        self, rows: np.ndarray, labels: np.ndarray, first: "Problem | None" = None
    ):
        self.classes, self.targets = np.unique(labels, return_inverse=True)
        self.basis = None
        with _blas_threads(rows):
            if rows.shape[1] > len(rows):
                # The best weights are a sum of the rows, so in the space that these
                # span the problem is the same, and smaller.
                self.basis = np.linalg.qr(rows.T)[0]  # (D, N)
                rows = rows @ self.basis
            if first is None or first.basis is not None:
                self.second_moments = _second_moments(rows)
            else:
                share = len(first.rows) / len(rows)
                others = _second_moments(rows[len(first.rows) :])
                self.second_moments = (
                    share * first.second_moments + (1 - share) * others
                )
        self.rows = rows

    def path(self, values: Iterable[float]) -> Iterator[Logistic]:
        """As `fit_path`."""
        fit = None
        for value in values:
            fit = self.fit(value, fit)
            yield fit

    def fit(self, C: float, start: Logistic | None) -> Logistic:
        """As `fit_logistic`."""
        num_threads = _num_threads(self.rows)
        with concurrent.futures.ThreadPoolExecutor(num_threads) as pool:
            search = _Search(self, C, pool.map if num_threads > 1 else map)
            # Products this narrow gain nothing from BLAS's own threads.
            with _BLAS.limit(limits=1):
                found = minimize(
                    search,
                    search.scaled(self._coefficients(start)),
                    jac=True,
                    method="L-BFGS-B",
                    callback=search.stop_when_flat,
                    options={"maxiter": MAX_ITERATIONS, "gtol": 0, "ftol": 0},
                )
                coefficients = search.unscaled(found.x)
                # A start that cannot be bettered is not called back about.
                converged = search.arrived or search.is_flat(found.jac)
        weights, biases = coefficients[:-1], coefficients[-1]
        if self.basis is not None:
            weights = self.basis @ weights.astype(self.basis.dtype)
        return Logistic(C, found.nit, converged, self.classes, weights, biases)

    def _coefficients(self, start: Logistic | None) -> np.ndarray:
        """A start's, in the coordinates of these rows, or zeros."""
        if start is None or not np.array_equal(start.classes, self.classes):
            return np.zeros((self.rows.shape[1] + 1, len(self.classes)))
        weights = start.weights
        if self.basis is not None:
            weights = self.basis.T @ weights.astype(self.basis.dtype)
        return np.concatenate([weights, start.biases[np.newaxis]])


class _Search:
    """The penalised mean loss for one C as L-BFGS calls it, one place at a time.

    Args:
        problem: Rows and labels.
        C: scikit-learn's inverse regularization.
        apply: `map`, or one that shares the parts of the rows among threads.

    Attributes:
        arrived: Whether L-BFGS has moved to a place that is flat enough.
    """

    def __init__(self, problem: Problem, C: float, apply: Callable):
        self._problem, self._apply = problem, apply
        num_classes = len(problem.classes)
        # Of two classes, scikit-learn penalises the difference of the weights, whose
        # square is twice the sum of their squares.
        self._penalty = (2 if num_classes == 2 else 1) / (C * len(problem.rows))
        # Where all classes are equally likely, every class has this Hessian, less what
        # moves all of them alike and changes nothing.
        hessian = problem.second_moments / num_classes
        penalised = np.arange(len(hessian) - 1)
        hessian[penalised, penalised] += self._penalty
        # What rounding may have taken from an eigenvalue.
        precision = np.finfo(problem.rows.dtype).eps
        np.einsum("ii->i", hessian)[:] += precision * np.trace(hessian)
        with _blas_threads(problem.rows):
            self._factor = cholesky(
                hessian, lower=True, overwrite_a=True, check_finite=False
            )
        self._coefficients = np.zeros((len(hessian), num_classes))
        self._logits = np.zeros((num_classes, len(problem.rows)))
        self._gradient = None
        self.arrived = False

    def __call__(self, scaled: np.ndarray) -> tuple[float, np.ndarray]:
        """Loss and gradient, summed in float64 and always in the same order.

        Logits are moved from where they were last to where they are wanted: so the
        rounding of float32 shrinks with the steps, and does not hide from the line
        search which of two near places lies lower.
        """
        coefficients = self.unscaled(scaled)
        step = coefficients - self._coefficients
        self._coefficients = coefficients
        step_weights = step[:-1].astype(self._problem.rows.dtype)

        def of_part(first):
            part = slice(first, first + _ROWS_AT_ONCE)
            rows, targets = self._problem.rows[part], self._problem.targets[part]
            logits = self._logits[:, part]
            logits += (rows @ step_weights).T + step[-1][:, np.newaxis]
            residuals = log_softmax(logits, axis=0)  # (K, rows)
            own = targets, np.arange(len(rows))
            loss = -residuals[own].sum()
            np.exp(residuals, out=residuals)
            residuals[own] -= 1
            return loss, rows.T @ residuals.T.astype(rows.dtype), residuals.sum(axis=1)

        num_examples = len(self._problem.rows)
        loss, gradient = 0.0, np.zeros_like(coefficients)
        for part in self._apply(of_part, range(0, num_examples, _ROWS_AT_ONCE)):
            loss += part[0]
            gradient[:-1] += part[1]
            gradient[-1] += part[2]
        loss /= num_examples
        gradient /= num_examples
        weights = coefficients[:-1]
        loss += self._penalty / 2 * np.square(weights).sum()
        gradient[:-1] += self._penalty * weights
        self._gradient = gradient
        return loss, self._solve(gradient).ravel()

    def stop_when_flat(self, intermediate_result: OptimizeResult):
        """Called where L-BFGS has moved to, which is where it looked last."""
        self.arrived = _norm(self._gradient) <= TOLERANCE
        if self.arrived:
            raise StopIteration

    def is_flat(self, scaled_gradient: np.ndarray) -> bool:
        """Whether a gradient by scaled coefficients is."""
        shape = self._coefficients.shape
        return _norm(self._factor @ scaled_gradient.reshape(shape)) <= TOLERANCE

    def scaled(self, coefficients: np.ndarray) -> np.ndarray:
        """Coefficients as L-BFGS has them, flat."""
        return (self._factor.T @ coefficients).ravel()

    def unscaled(self, scaled: np.ndarray) -> np.ndarray:
        """The other way."""
        return self._solve(scaled.reshape(self._coefficients.shape), trans=1)

    def _solve(self, right, trans=0):
        return solve_triangular(
            self._factor, right, trans=trans, lower=True, check_finite=False
        )


def _second_moments(rows: np.ndarray) -> np.ndarray:
    """Mean outer product `(D + 1, D + 1)` of the rows with a one at their end.

    The products have the rows' precision, their sum is in float64.
    """
    total = np.zeros((rows.shape[1] + 1,) * 2)
    for first in range(0, len(rows), 4096):
        part = rows[first : first + 4096]
        part = np.pad(part, ((0, 0), (0, 1)), constant_values=1)
        total += part.T @ part
    return total / max(len(rows), 1)


def _norm(gradient: np.ndarray) -> float:
    """The largest of the classes', which no rotation of the rows changes."""
    return float(np.linalg.norm(gradient, axis=0).max())


def _blas_threads(rows: np.ndarray) -> contextlib.AbstractContextManager:
    return _BLAS.limit(limits=None if rows.size > _MANY_ENTRIES else 1)


def _num_threads(rows: np.ndarray) -> int:
    return (os.cpu_count() or 1) if rows.size > _MANY_ENTRIES else 1
