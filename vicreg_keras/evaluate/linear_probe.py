"""Linear evaluation on cached representations: logistic regression.

The regularization is chosen by log loss on the validation split; test labels only score
the result. Log loss rather than accuracy, since a small split has too few errors to
tell a good value from a bad one (benchmarks/LOG.md).
"""

import dataclasses
from typing import NamedTuple

import numpy as np

from vicreg_keras.evaluate import accuracy
from vicreg_keras.evaluate.features import Features
from vicreg_keras.evaluate.few_labels import draw_labeled
from vicreg_keras.evaluate.logistic import (
    Logistic,
    Problem,
    mean_and_std,
)
from vicreg_keras.evaluate.records import Result

# Values of C, from strong to weak regularization.
REGULARIZATIONS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
# Enough to compare these: it moves log losses by at most 1e-3 near the best, where they
# differ by 1e-1, in about half of the iterations or fewer (benchmarks/LOG.md,
# 2026-11-27, how rough may the fits be).
_ROUGH_TOLERANCE = 2e-3


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


class FittedHead(NamedTuple):
    """A linear head, and how it was chosen.

    Attributes:
        head: The linear head.
        C: The chosen inverse regularization, as scikit-learn's `LogisticRegression`
            has it.
        log_losses: Mean log loss in nats on the validation split of each C that was
            tried, from strong to weak regularization.
        validation_top1: Accuracy on the validation split in [0, 1], of the chosen fit
            on training examples alone.
        converged: Whether the chosen and the final fit converged.
    """

    head: LinearHead
    C: float
    log_losses: dict[float, float]
    validation_top1: float
    converged: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class LinearProbeSettings:
    """How a logistic regression was chosen and fitted.

    Attributes:
        C: The chosen inverse regularization.
        converged: Whether the chosen and the final fit converged.
        num_train: Labeled training examples.
        label_fraction: Part of the training examples that are labeled, in (0, 1].
    """

    C: float
    converged: bool
    num_train: int
    label_fraction: float = 1.0


LinearProbeResult = Result[accuracy.ClassificationMetrics, LinearProbeSettings]


def linear_probe(
    train: Features,
    validation: Features,
    test: Features,
    *,
    num_classes: int,
    fitted: FittedHead | None = None,
    label_fraction: float | None = None,
    seed: int = 0,
) -> LinearProbeResult:
    """Measures the test accuracy of the linear head that `fit_head` returns.

    Args:
        train: Labeled features, at least two classes.
        validation: Labeled features held out of training; C is chosen on them.
        test: Labeled features. A class without a training example is always missed.
        num_classes: Labels are in `[0, num_classes)`.
        fitted: What `fit_head` returned for these, if it is known already.
        label_fraction: Trains on the labels that `finetune` uses, this part of those of
            the training split; see `draw_labeled`. `None` trains on all of them, and in
            the end on those of the validation split, too.
        seed: Seed of the labeled examples.

    Returns:
        Metrics and settings.

    Raises:
        InputError: As `fit_head`, or if the fraction is out of range.
    """
    splits = {"train": train, "validation": validation, "test": test}
    train_labels, _, test_labels = accuracy.check_splits(num_classes, **splits)
    labeled = None
    if label_fraction is not None:
        labeled = draw_labeled(train_labels, label_fraction, seed)
    if fitted is None:
        fitted = fit_head(train, validation, num_classes=num_classes, labeled=labeled)
    scores = fitted.head.scores(test.representations)
    return LinearProbeResult(
        accuracy.ClassificationMetrics(
            **accuracy.top1_and_top5(scores, test_labels),
            validation_top1=fitted.validation_top1,
        ),
        LinearProbeSettings(
            C=fitted.C,
            converged=fitted.converged,
            num_train=len(train_labels if labeled is None else labeled),
            label_fraction=1.0 if label_fraction is None else label_fraction,
        ),
    )


def fit_head(
    train: Features,
    validation: Features,
    *,
    num_classes: int,
    labeled: np.ndarray | None = None,
) -> FittedHead:
    """Fits multinomial logistic regression, its regularization chosen on validation.

    Every column is standardized with the training split's mean and standard deviation,
    which needs no labels; nothing is whitened, so C means the same as in scikit-learn
    after its `StandardScaler`. With all labels the best fit is repeated on training and
    validation examples together, standardized in the same way.

    The optimization is convex and starts at zero: there is no randomness, and no seed.

    Args:
        train: Labeled features, at least two classes.
        validation: Labeled features held out of training; C is chosen on them.
        num_classes: Labels are in `[0, num_classes)`.
        labeled: Indices of the training examples to fit; `None` for all.

    Returns:
        The head, and how it was chosen.

    Raises:
        InputError: If labels are missing or out of range, there are fewer than two
            classes, a value is not finite, or widths differ.
    """
    train_labels, validation_labels = accuracy.check_splits(
        num_classes, train=train, validation=validation
    )
    accuracy.check_two_classes(train_labels)
    num_train = len(train_labels)
    # One array, standardized in place; its parts are views.
    inputs = np.concatenate(
        [train.representations, validation.representations], dtype=np.float32
    )
    mean, scale = mean_and_std(inputs[:num_train])
    inputs -= mean
    inputs /= scale
    train_inputs, validation_inputs = np.split(inputs, [num_train])

    if labeled is None:
        problem = Problem(train_inputs, train_labels)
    else:
        problem = Problem(train_inputs[labeled], train_labels[labeled])
    fit, log_losses = _choose_regularization(
        problem, validation_inputs, validation_labels
    )
    final = fit
    if labeled is None:
        labels = np.concatenate([train_labels, validation_labels])
        final = Problem(inputs, labels, similar=problem).fit(fit.C, fit)
    validation_scores = fit.scores(validation_inputs, num_classes)
    return FittedHead(
        LinearHead(mean, scale, *final.coefficients(num_classes)),
        C=fit.C,
        log_losses=log_losses,
        validation_top1=accuracy.top_k_accuracy(
            validation_scores, validation_labels, 1
        ),
        converged=fit.converged and final.converged,
    )


def _choose_regularization(
    problem: Problem, inputs: np.ndarray, labels: np.ndarray
) -> tuple[Logistic, dict[float, float]]:
    """Chooses C by log loss on validation examples.

    C goes from strong to weak regularization, each fit starting at the one before, and
    stops once the log loss no longer falls: the weakest take longest. To compare them
    rough fits do; the best is then fitted to the end.

    Args:
        problem: The training examples' problem.
        inputs: Validation examples, standardized as the training examples are.
        labels: Their labels.

    Returns:
        The best fit, and the log loss of each C that was tried.
    """
    fits = problem.path(REGULARIZATIONS, _ROUGH_TOLERANCE)
    best = next(fits)
    log_losses = {best.C: best.log_loss(inputs, labels)}
    for fit in fits:
        log_losses[fit.C] = fit.log_loss(inputs, labels)
        if log_losses[fit.C] >= log_losses[best.C]:
            break
        best = fit
    return problem.fit(best.C, best), log_losses
