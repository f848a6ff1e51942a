"""Multinomial logistic regression, preconditioned.

The problem, its C and so its optimum are those of scikit-learn's `LogisticRegression`,
whose L-BFGS needs hundreds of passes over columns as correlated as pixels are. Here
scipy's L-BFGS works in coordinates in which the loss is about equally curved in all
directions: those of a Cholesky factor of the Hessian where all classes are equally
likely, which takes one product of the inputs with themselves.
"""

import concurrent.futures
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import NamedTuple

import numpy as np
from scipy.linalg import cholesky, get_blas_funcs, solve_triangular
from scipy.optimize import OptimizeResult, minimize
from threadpoolctl import ThreadpoolController

from vicreg_keras.evaluate.accuracy import log_loss

TOLERANCE = 1e-4  # Of the largest norm of a class's gradient of the mean loss.
MAX_ITERATIONS = 300  # Of L-BFGS, for one C.

_BLOCK_SIZE = 1024  # Examples that stay in a core's cache from one product to the next.
_MULTITHREADED_SIZE = 2**22  # Above, several threads are faster.

# `map` of a function of the first example of a block to its loss and gradients.
_Map = Callable[..., Iterable[tuple[float, np.ndarray, np.ndarray]]]

# Of numpy and of scipy: two pools, whose idle threads wait in busy loops.
_BLAS = ThreadpoolController().select(user_api="blas")


class Logistic(NamedTuple):
    """A fitted classifier.

    Attributes:
        C: Inverse of the L2 penalty on a loss summed over examples, as scikit-learn
            has it.
        num_iterations: Iterations of L-BFGS.
        converged: Whether it reached the tolerance.
        classes: `(K,)`, the labels that have examples, ascending.
        weights: `(D, K)`.
        biases: `(K,)`.
    """

    C: float
    num_iterations: int
    converged: bool
    classes: np.ndarray
    weights: np.ndarray
    biases: np.ndarray

    def coefficients(self, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns float32 weights `(D, num_classes)` and biases `(num_classes,)`.

        The bias of a class without training examples is `-inf`.
        """
        weights = np.zeros((len(self.weights), num_classes), np.float32)
        weights[:, self.classes] = self.weights
        biases = np.full(num_classes, -np.inf, np.float32)
        biases[self.classes] = self.biases
        return weights, biases

    def scores(self, inputs: np.ndarray, num_classes: int) -> np.ndarray:
        """Returns `(N, num_classes)` logits, `-inf` for classes without examples."""
        weights, biases = self.coefficients(num_classes)
        return inputs @ weights + biases

    def log_loss(self, inputs: np.ndarray, labels: np.ndarray) -> float:
        """Returns the mean negative log-likelihood of the labels, in nats.

        Labels without a training example are left out, as their loss is infinite
        whatever C is; 0 where there are no others.
        """
        known = np.isin(labels, self.classes)
        if not known.any():
            return 0.0
        logits = inputs[known] @ self.weights.astype(inputs.dtype) + self.biases
        targets = np.searchsorted(self.classes, labels[known])
        return log_loss(logits, targets)


def mean_and_std(inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and standard deviation of each column, float32 of shape `(D,)`.

    A constant column has a standard deviation of 1, and so becomes a column of zeros.

    Args:
        inputs: `(N, D)` array.
    """
    mean = inputs.mean(axis=0, dtype=np.float64)
    variance = np.zeros_like(mean)
    # A part at a time, so that there is no second array in float64.
    for start in range(0, len(inputs), 4096):
        deviation = inputs[start : start + 4096] - mean
        variance += np.square(deviation).sum(axis=0)
    scale = np.sqrt(variance / len(inputs))
    # What float32 cannot tell from its mean is rounding, not a signal to blow up.
    constant = scale <= 1e-6 * np.abs(mean)
    scale[constant] = 1.0
    return mean.astype(np.float32), scale.astype(np.float32)


def one_blas_thread() -> AbstractContextManager[object]:
    """Returns a context in which BLAS uses one thread, for callers with their own."""
    return _BLAS.limit(limits=1)


class Problem:
    """Multinomial logistic regression of inputs, prepared once for every C.

    Args:
        inputs: `(N, D)` float32, standardized.
        labels: `(N,)` integers, at least two classes.
        similar: A problem whose inputs are most of these; its second moments, which
            take about ten iterations to compute, only set the pace.
    """

    # Coefficients are `(K, D + 1)` float64, the biases last.

    def __init__(
        self,
        inputs: np.ndarray,
        labels: np.ndarray,
        similar: "Problem | None" = None,
    ):
        self.classes, self.targets = np.unique(labels, return_inverse=True)
        self.basis = None
        with _BLAS.limit(limits=None if _is_large(inputs) else 1):
            if inputs.shape[1] > len(inputs):
                # The best weights are a sum of the inputs, so in the space that these
                # span the problem is the same, and smaller.
                self.basis = np.linalg.qr(inputs.T)[0]  # (D, N)
                inputs = inputs @ self.basis
            same_basis = similar is not None and self.basis is similar.basis is None
            self.second_moments: np.ndarray = (
                similar.second_moments
                if similar is not None and same_basis
                else _second_moments(inputs)
            )
        self.inputs: np.ndarray = inputs

    def part(self, indices: np.ndarray) -> "Problem":
        """Returns the problem of some examples, in the space of all of them.

        Args:
            indices: Which examples, of at least two classes.
        """
        part = Problem(self.inputs[indices], self.classes[self.targets[indices]])
        if self.basis is not None:
            part.basis = self.basis if part.basis is None else self.basis @ part.basis
        return part

    def path(
        self, values: Iterable[float], tolerance: float | None = None
    ) -> Iterator[Logistic]:
        """Yields a fit for each value of C, each starting at the fit before.

        From strong to weak regularization that is quicker than starting anew. Each fit
        is made when it is asked for, so that the caller can stop.

        Args:
            values: Values of C, ascending.
            tolerance: See `fit`.
        """
        fit = None
        for value in values:
            fit = self.fit(value, fit, tolerance)
            yield fit

    def fit(
        self,
        C: float,
        start: Logistic | None = None,
        tolerance: float | None = None,
    ) -> Logistic:
        """Fits with an L2 penalty on weights, not biases.

        Too few iterations are not warned about; see `converged` of the fit.

        Args:
            C: Inverse regularization, as scikit-learn has it.
            start: A fit to start from; one on other classes is ignored.
            tolerance: Largest norm of a class's gradient of the mean loss; by default
                `TOLERANCE`.
        """
        tolerance = TOLERANCE if tolerance is None else tolerance
        num_threads = (os.cpu_count() or 1) if _is_large(self.inputs) else 1
        with concurrent.futures.ThreadPoolExecutor(num_threads) as pool:
            apply = pool.map if num_threads > 1 else map
            search = _Search(self, C, tolerance, apply)
            # Products this narrow gain nothing from BLAS's own threads.
            with _BLAS.limit(limits=1):
                result = minimize(
                    search,
                    search.scaled(self._coefficients(start)),
                    jac=True,
                    method="L-BFGS-B",
                    callback=search.stop_when_flat,
                    options={"maxiter": MAX_ITERATIONS, "gtol": 0, "ftol": 0},
                )
                # Otherwise the last point that was tried may not be the best.
                if search.gradient_norm > tolerance:
                    search(result.x)
        converged = search.gradient_norm <= tolerance
        weights, biases = search.coefficients[:, :-1].T, search.coefficients[:, -1]
        if self.basis is not None:
            weights = self.basis @ weights.astype(self.basis.dtype)
        return Logistic(C, result.nit, converged, self.classes, weights, biases)

    def _coefficients(self, start: Logistic | None) -> np.ndarray:
        """Coefficients of a start, in the coordinates of these inputs, or zeros."""
        if start is None or not np.array_equal(start.classes, self.classes):
            return np.zeros((len(self.classes), self.inputs.shape[1] + 1))
        weights = start.weights
        if self.basis is not None:
            weights = self.basis.T @ weights.astype(self.basis.dtype)
        return np.column_stack([weights.T, start.biases])


class _Search:
    """The penalized mean loss for one C, as L-BFGS calls it.

    Args:
        problem: Inputs and labels.
        C: Inverse regularization, as scikit-learn has it.
        tolerance: See `Problem.fit`.
        apply: `map`, or one that distributes parts of the inputs over threads.

    Attributes:
        coefficients: Those of the last call.
        gradient_norm: Largest norm of a class's gradient there.
    """

    def __init__(self, problem: Problem, C: float, tolerance: float, apply: _Map):
        self._problem, self._tolerance, self._apply = problem, tolerance, apply
        num_classes = len(problem.classes)
        # Of two classes, scikit-learn penalizes the difference of the weights, whose
        # square is twice the sum of their squares.
        self._penalty = (2 if num_classes == 2 else 1) / (C * len(problem.inputs))
        # Where all classes are equally likely, every class has this Hessian, less what
        # moves all of them alike and changes nothing.
        hessian = problem.second_moments / num_classes
        penalized = np.arange(len(hessian) - 1)
        hessian[penalized, penalized] += self._penalty
        # What rounding may have taken from an eigenvalue.
        precision = np.finfo(problem.inputs.dtype).eps
        np.einsum("ii->i", hessian)[:] += precision * np.trace(hessian)
        with _BLAS.limit(limits=None if _is_large(problem.inputs) else 1):
            self._factor = cholesky(
                hessian, lower=True, overwrite_a=True, check_finite=False
            )
        self._logits = np.zeros((num_classes, len(problem.inputs)))
        self.coefficients = np.zeros((num_classes, len(hessian)))
        self.gradient_norm = np.inf

    def __call__(self, scaled: np.ndarray) -> tuple[float, np.ndarray]:
        """Loss and gradient, summed in float64 and always in the same order.

        Logits are updated by the step from the last point: so the rounding of float32
        shrinks with the steps, and the line search sees which of two near points has
        the smaller loss.
        """
        coefficients = self._solve(scaled.reshape(self.coefficients.shape), trans=1)
        step = coefficients - self.coefficients
        self.coefficients = coefficients
        step_weights = step[:, :-1].astype(self._problem.inputs.dtype)

        def loss_and_gradient(first):
            part = slice(first, first + _BLOCK_SIZE)
            inputs, targets = self._problem.inputs[part], self._problem.targets[part]
            logits = self._logits[:, part]  # (K, block)
            logits += step_weights @ inputs.T
            logits += step[:, -1:]
            # The same for all classes of an example, which changes no probability.
            logits -= logits.max(axis=0)
            of_label = targets, np.arange(len(inputs))
            residuals = np.exp(logits)
            sums = residuals.sum(axis=0)
            loss = np.log(sums).sum() - logits[of_label].sum()
            residuals /= sums
            residuals[of_label] -= 1
            products = residuals.astype(inputs.dtype) @ inputs
            return loss, products, residuals.sum(axis=1)

        num_examples = len(self._problem.inputs)
        loss, gradient = 0.0, np.zeros_like(coefficients)
        for part in self._apply(loss_and_gradient, range(0, num_examples, _BLOCK_SIZE)):
            loss += part[0]
            gradient[:, :-1] += part[1]
            gradient[:, -1] += part[2]
        loss /= num_examples
        gradient /= num_examples
        weights = coefficients[:, :-1]
        loss += self._penalty / 2 * np.square(weights).sum()
        gradient[:, :-1] += self._penalty * weights
        # No rotation of the inputs changes the norm of a class's gradient.
        self.gradient_norm = float(np.linalg.norm(gradient, axis=1).max())
        return loss, self._solve(gradient).ravel()

    def stop_when_flat(self, intermediate_result: OptimizeResult) -> None:
        """Ends L-BFGS; it is called after each iteration, at the last point."""
        if self.gradient_norm <= self._tolerance:
            raise StopIteration

    def scaled(self, coefficients: np.ndarray) -> np.ndarray:
        """Returns flat coefficients in the coordinates of L-BFGS."""
        return (coefficients @ self._factor).ravel()

    def _solve(self, right, trans=0):
        """Solves for each row of `(K, D + 1)`."""
        solution = solve_triangular(
            self._factor, right.T, trans=trans, lower=True, check_finite=False
        )
        return np.ascontiguousarray(solution.T)


def _second_moments(inputs: np.ndarray) -> np.ndarray:
    """Mean outer product `(D + 1, D + 1)` of the inputs with a one appended.

    Only the lower triangle is filled, which is all that a Cholesky factor needs.

    The products have the inputs' precision, their sum is in float64.
    """
    total = np.zeros((inputs.shape[1] + 1,) * 2)
    for first in range(0, len(inputs), 4096):
        part = inputs[first : first + 4096]
        part = np.pad(part, ((0, 0), (0, 1)), constant_values=1)
        # BLAS's syrk, half the work of a product, wants columns side by side.
        syrk = get_blas_funcs("syrk", (part,))
        total += syrk(1.0, part.T, trans=0, lower=1)
    return total / len(inputs)


def _is_large(inputs: np.ndarray) -> bool:
    """Whether several threads are faster."""
    return inputs.size > _MULTITHREADED_SIZE
