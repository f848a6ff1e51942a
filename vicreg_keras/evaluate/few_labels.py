"""Which labels are used where not all are, and linear probes on a few of them.

The same examples, drawn by the same seed, serve every protocol that is compared.
"""

import dataclasses
import os
import statistics
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from sklearn.model_selection import StratifiedKFold

from vicreg_keras.errors import InputError
from vicreg_keras.evaluate import accuracy
from vicreg_keras.evaluate.features import Features
from vicreg_keras.evaluate.logistic import (
    Problem,
    mean_and_std,
    one_blas_thread,
)
from vicreg_keras.evaluate.records import Result
from vicreg_keras.evaluate.sampling import draw_balanced, draw_of_each_class

# A hundred examples need less regularization than 45,000 to reach the same mean loss.
FEW_LABEL_REGULARIZATIONS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
_ROUGH_TOLERANCE = 1e-3  # Enough to compare these, whose log losses lie closer.


@dataclasses.dataclass(frozen=True, kw_only=True)
class FewLabelMetrics(accuracy.ClassificationMetrics):
    """Mean accuracies over draws of a few labels.

    Attributes:
        top1_std: Sample standard deviation over draws, or `None` for one draw.
        top5_std: Likewise.
    """

    top1_std: float | None = None
    top5_std: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class FewLabelDraw(accuracy.ClassificationMetrics):
    """One draw of a few labels.

    Attributes:
        seed: Seed of the draw.
        C: The chosen inverse regularization.
        converged: Whether the fit converged.
    """

    seed: int
    C: float
    converged: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class FewLabelSettings:
    """How accuracy from a few labels was measured.

    Attributes:
        labels_per_class: Labels of each class that has so many.
        draws: Each draw.
        C_chosen_by: `"cross-validation"`, or `"fixed"` for one label per class.
        rare_classes: Number of classes that have fewer, all of which were used.
        min_labels_per_class: Labels of the smallest of these; `None` without any.
    """

    labels_per_class: int
    draws: tuple[FewLabelDraw, ...]
    C_chosen_by: str
    rare_classes: int = 0
    min_labels_per_class: int | None = None

    @property
    def converged(self) -> bool:
        """Whether all fits converged."""
        return all(draw.converged for draw in self.draws)


FewLabelResult = Result[FewLabelMetrics, FewLabelSettings]


def few_label_probe(
    train: Features,
    test: Features,
    *,
    num_classes: int,
    labels_per_class: int = 10,
    num_draws: int = 5,
    seed: int = 0,
) -> FewLabelResult:
    """Measures the accuracy of logistic regression from a few labels per class.

    Of a class with fewer training examples, all are taken. Only the drawn labels are
    used, for fitting and for choosing alike: C is chosen by stratified cross-validation
    inside the draw (up to five folds; an example whose class is in no other fold does
    not count), since a choice on a whole validation split would use more labels than
    are reported. One label per class can't be divided, and C is 1. Columns are
    standardized with the mean and standard deviation of all training representations,
    which needs no labels.

    Args:
        train: Labeled features to draw from.
        test: Labeled features.
        num_classes: Labels are in `[0, num_classes)`.
        labels_per_class: Examples drawn of every class that `train` has, at most.
        num_draws: Number of draws.
        seed: Seed of the first draw; draw `i` depends on labels and `seed + i` alone,
            so encoders of the same dataset are compared on the same examples.

    Returns:
        Metrics and settings.

    Raises:
        InputError: If labels are missing or out of range, all training labels are the
            same, a value is not finite, or widths differ.
    """
    labels, test_labels = accuracy.check_splits(num_classes, train=train, test=test)
    accuracy.check_two_classes(labels)
    counts = np.unique(labels, return_counts=True)[1]
    rare = counts[counts < labels_per_class]
    num_folds = min(5, labels_per_class, int(counts.max()))
    mean, scale = mean_and_std(train.representations)
    test_inputs = (test.representations - mean) / scale

    def measure(draw_seed):
        picks = draw_of_each_class(labels, labels_per_class, draw_seed)
        inputs = (train.representations[picks] - mean) / scale
        problem, C = Problem(inputs, labels[picks]), 1.0
        if num_folds > 1:
            C = _cross_validate(problem, inputs, labels[picks], num_folds, draw_seed)
        fit = problem.fit(C)
        scores = fit.scores(test_inputs, num_classes)
        accuracies = accuracy.top1_and_top5(scores, test_labels)
        return FewLabelDraw(seed=draw_seed, C=C, converged=fit.converged, **accuracies)

    with warnings.catch_warnings():
        # Of a class with fewer examples than there are folds.
        warnings.simplefilter("ignore", UserWarning)
        # A draw is too little for BLAS's threads: a thread for each is faster.
        with one_blas_thread(), ThreadPoolExecutor(os.cpu_count()) as pool:
            draws = list(pool.map(measure, range(seed, seed + num_draws)))
    return FewLabelResult(
        _mean_metrics(draws),
        FewLabelSettings(
            labels_per_class=labels_per_class,
            draws=tuple(draws),
            C_chosen_by="cross-validation" if num_folds > 1 else "fixed",
            rare_classes=len(rare),
            min_labels_per_class=int(rare.min()) if len(rare) else None,
        ),
    )


def draw_labeled(labels: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Draws the training examples whose labels are used.

    As many of every class, plus or minus one, and at least one; a smaller fraction's
    examples are among a larger one's, and a fraction of 1 is all of them.

    Args:
        labels: `(N,)` integers of at least two classes.
        fraction: Fraction of the examples, in (0, 1].
        seed: Seed of the draw.

    Returns:
        int64 array of ascending indices.

    Raises:
        InputError: If the fraction is out of range, or there is only one class.
    """
    if not 0 < fraction <= 1:
        raise InputError(
            "Expected a fraction of the labels in (0, 1]. Received: "
            f"label_fraction={fraction}. Use e.g. 0.1."
        )
    accuracy.check_two_classes(labels)
    num_classes = len(np.unique(labels))
    return draw_balanced(labels, max(round(fraction * len(labels)), num_classes), seed)


def _cross_validate(
    problem: Problem, inputs: np.ndarray, labels: np.ndarray, num_folds: int, seed: int
) -> float:
    """The C with the smallest mean log loss over folds, the smallest of equals.

    Where no fold tells anything, it is 1.
    """
    folds = StratifiedKFold(num_folds, shuffle=True, random_state=seed)
    parts = [
        (inside, outside)
        for inside, outside in folds.split(inputs, labels)
        if (labels[inside] != labels[inside[0]]).any()
    ]
    paths = [
        problem.part(inside).path(FEW_LABEL_REGULARIZATIONS, _ROUGH_TOLERANCE)
        for inside, _ in parts
    ]
    losses: dict[float, float] = {}
    for fits in zip(*paths, strict=True):
        loss = sum(
            fit.log_loss(inputs[outside], labels[outside]) * len(outside)
            for fit, (_, outside) in zip(fits, parts, strict=True)
        )
        # As on a validation split, weaker regularization is not tried any more.
        if losses and loss >= min(losses.values()):
            break
        losses[fits[0].C] = loss
    return min(losses, key=lambda C: losses[C]) if any(losses.values()) else 1.0


def _mean_metrics(draws: list[FewLabelDraw]) -> FewLabelMetrics:
    means: dict[str, float] = {}
    for name in ("top1", "top5"):
        values = [getattr(draw, name) for draw in draws]
        if None in values:
            continue
        means[name] = statistics.fmean(values)
        if len(values) > 1:
            means[f"{name}_std"] = statistics.stdev(values)
    return FewLabelMetrics(**means)
