"""Linear evaluation on cached representations: logistic regression from all labels.

The regularization is chosen by log loss on the validation split; test labels only score
the result. Log loss rather than accuracy, since a small split has too few errors to
tell a good value from a bad one (benchmarks/LOG.md).
"""

import dataclasses
from typing import NamedTuple

import numpy as np

from vicreg_keras.evaluate.accuracy import (
    ClassificationMetrics,
    check_splits,
    top1_and_top5,
    top_k_accuracy,
)
from vicreg_keras.evaluate.features import Features
from vicreg_keras.evaluate.logistic import (
    MAX_ITERATIONS,
    TOLERANCE,
    Logistic,
    Problem,
    mean_and_std,
)

# Values of C, from strong to weak regularization.
REGULARIZATIONS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)


class LinearHead(NamedTuple):
    """A linear classifier of representations as the encoder returns them.

    Attributes:
        mean: `(D,)` float32, subtracted from every representation.
        scale: `(D,)` float32, by which the difference is divided.
        weights: `(D, num_classes)` float32.
        biases: `(num_classes,)` float32; `-inf` for a class without an example.
    """

    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    biases: np.ndarray

    def scores(self, representations: np.ndarray) -> np.ndarray:
        """Returns `(N, num_classes)` float32 logits of `(N, D)` representations."""
        return (representations - self.mean) / self.scale @ self.weights + self.biases


@dataclasses.dataclass(frozen=True, kw_only=True)
class RegularizationTrial:
    """A value of C that was tried.

    Attributes:
        C: Inverse regularization, as scikit-learn's `LogisticRegression` has it.
        validation_log_loss: Mean log loss on the validation split, in nats.
        validation_top1: Accuracy on the validation split in [0, 1].
        train_top1: Accuracy on the training examples in [0, 1].
        num_iterations: Iterations of L-BFGS.
        converged: Whether they sufficed.
    """

    C: float
    validation_log_loss: float
    validation_top1: float
    train_top1: float
    num_iterations: int
    converged: bool


class Choice(NamedTuple):
    """The best of several regularizations.

    Attributes:
        fit: Its fit on the training examples.
        trial: Its trial.
        sweep: All trials, from strong to weak regularization.
    """

    fit: Logistic
    trial: RegularizationTrial
    sweep: tuple[RegularizationTrial, ...]


class FittedHead(NamedTuple):
    """A linear head, and how it was chosen.

    Attributes:
        head: Fitted on the training and validation splits together.
        choice: The fit on the training split alone.
        converged: Whether both fits converged.
    """

    head: LinearHead
    choice: Choice
    converged: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class LinearProbeMetrics(ClassificationMetrics):
    """Accuracies of logistic regression.

    Attributes:
        validation_top1: Accuracy on the validation split in [0, 1], of the chosen fit
            on training examples alone.
    """

    validation_top1: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class LinearProbeSettings:
    """How a logistic regression was chosen and fitted.

    Attributes:
        C: The chosen inverse regularization.
        converged: Whether the chosen and the final fit converged.
        sweep: The values of C that were tried, from strong to weak regularization.
        regularizations: The values of C that there were to try.
        max_iterations: Limit of each fit.
        tolerance: Gradient norm at which a fit ends.
        num_train: Labeled training examples.
        num_validation: Validation examples.
        num_test: Test examples.
        num_classes: Number of classes.
        representation_size: Width of the representations.
        labels_per_class: Labeled training examples of each class, where only a part of
            the labels is used.
        label_fraction: That part, in (0, 1].
        seed: Seed that chose that part.
    """

    C: float
    converged: bool
    sweep: tuple[RegularizationTrial, ...]
    regularizations: tuple[float, ...] = REGULARIZATIONS
    max_iterations: int = MAX_ITERATIONS
    tolerance: float = TOLERANCE
    num_train: int
    num_validation: int
    num_test: int
    num_classes: int
    representation_size: int
    labels_per_class: tuple[int, ...] | None = None
    label_fraction: float | None = None
    seed: int | None = None


@dataclasses.dataclass(frozen=True)
class LinearProbeResult:
    """Result of `linear_probe` or `few_labels.frozen_probe`."""

    metrics: LinearProbeMetrics
    settings: LinearProbeSettings


def linear_probe(
    train: Features,
    validation: Features,
    test: Features,
    *,
    num_classes: int,
    fitted: FittedHead | None = None,
) -> LinearProbeResult:
    """Measures the test accuracy of the linear head that `fit_head` returns.

    Args:
        train: Labeled features, at least two classes.
        validation: Labeled features held out of training; C is chosen on them.
        test: Labeled features. A class without a training example is always missed.
        num_classes: Labels are in `[0, num_classes)`.
        fitted: What `fit_head` returned for these, if it is known already.

    Returns:
        Metrics and settings.

    Raises:
        InputError: As `fit_head`.
    """
    check_splits(num_classes, train=train, validation=validation, test=test)
    head, choice, converged = fitted or fit_head(
        train, validation, num_classes=num_classes
    )
    return LinearProbeResult(
        LinearProbeMetrics(
            **top1_and_top5(head.scores(test.representations), test.labels),
            validation_top1=choice.trial.validation_top1,
        ),
        LinearProbeSettings(
            C=choice.trial.C,
            converged=converged,
            sweep=choice.sweep,
            num_train=len(train.labels),
            num_validation=len(validation.labels),
            num_test=len(test.labels),
            num_classes=num_classes,
            representation_size=train.representations.shape[1],
        ),
    )


def fit_head(train: Features, validation: Features, *, num_classes: int) -> FittedHead:
    """Fits multinomial logistic regression, its regularization chosen on validation.

    Every column is standardized with the training split's mean and standard deviation;
    nothing is whitened, so C means the same as in scikit-learn after its
    `StandardScaler`. The best fit is repeated on training and validation examples
    together, standardized in the same way.

    The optimization is convex and starts at zero: there is no randomness, and no seed.

    Args:
        train: Labeled features, at least two classes.
        validation: Labeled features held out of training; C is chosen on them.
        num_classes: Labels are in `[0, num_classes)`.

    Returns:
        The head, and how it was chosen.

    Raises:
        InputError: If labels are missing or out of range, there are fewer than two
            classes, a value is not finite, or widths differ.
    """
    check_splits(num_classes, train=train, validation=validation)
    num_train = len(train.labels)
    # One array, standardized in place; the training part is a view of its start.
    inputs = np.concatenate(
        [train.representations, validation.representations], dtype=np.float32
    )
    labels = np.concatenate([train.labels, validation.labels])
    mean, scale = mean_and_std(inputs[:num_train])
    inputs -= mean
    inputs /= scale

    problem = Problem(inputs[:num_train], train.labels)
    choice = choose_regularization(
        problem,
        Features(inputs[:num_train], train.labels),
        Features(inputs[num_train:], validation.labels),
        num_classes,
    )
    final = Problem(inputs, labels, problem).fit(choice.trial.C, choice.fit)
    return FittedHead(
        LinearHead(mean, scale, *final.coefficients(num_classes)),
        choice,
        choice.trial.converged and final.converged,
    )


def choose_regularization(
    problem: Problem, train: Features, validation: Features, num_classes: int
) -> Choice:
    """Chooses C by log loss on validation examples.

    C goes from strong to weak regularization, each fit starting at the one before, and
    stops once the log loss no longer falls: the weakest take longest.

    Args:
        problem: The training examples' problem.
        train: Standardized training examples.
        validation: Validation examples, standardized in the same way.
        num_classes: Labels are in `[0, num_classes)`.
    """
    sweep, fits = [], []
    for fit in problem.path(REGULARIZATIONS):
        train_top1, validation_top1 = (
            top_k_accuracy(fit.scores(inputs, num_classes), labels, 1)
            for inputs, labels in (train, validation)
        )
        trial = RegularizationTrial(
            C=fit.C,
            validation_log_loss=fit.log_loss(*validation),
            validation_top1=validation_top1,
            train_top1=train_top1,
            num_iterations=fit.num_iterations,
            converged=fit.converged,
        )
        sweep.append(trial)
        if fits and trial.validation_log_loss >= sweep[-2].validation_log_loss:
            break
        fits.append(fit)
    return Choice(fits[-1], sweep[len(fits) - 1], tuple(sweep))
