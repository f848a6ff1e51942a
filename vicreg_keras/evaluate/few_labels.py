"""How far does a part of the labels go? Which images they are of, and a linear probe.

The same images, drawn by the same seed, serve every protocol that is compared on them.
"""

import dataclasses

import numpy as np

from vicreg_keras.evaluate.accuracy import (
    ClassificationMetrics,
    check_features,
    top1_and_top5,
    top_k_accuracy,
)
from vicreg_keras.evaluate.features import Features
from vicreg_keras.evaluate.linear_probe import REGULARIZATIONS
from vicreg_keras.evaluate.logistic import (
    MAX_ITERATIONS,
    TOLERANCE,
    fit_path,
    mean_and_std,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FewLabelMetrics(ClassificationMetrics):
    """Mean accuracies over draws of a few labels.

    Attributes:
        top1_std: Sample standard deviation over draws, or `None` for one draw.
        top5_std: Likewise.
    """

    top1_std: float | None = None
    top5_std: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class FewLabelDraw(ClassificationMetrics):
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
        labels_per_class: Labels of each class.
        num_draws: Number of draws.
        draws: Each draw.
        C_chosen_by: `"cross-validation"`, or `"fixed"` for one label per class.
        regularizations: The values of C that there were to try.
        num_train: Labeled examples of a draw.
        num_test: Test examples.
        num_classes: Number of classes.
        representation_size: Width of the representations.
        seed: Seed of the first draw.
    """

    labels_per_class: int
    num_draws: int
    draws: tuple[FewLabelDraw, ...]
    C_chosen_by: str
    regularizations: tuple[float, ...]
    num_train: int
    num_test: int
    num_classes: int
    representation_size: int
    seed: int

    @property
    def converged(self) -> bool:
        """Whether all fits converged."""
        return all(draw.converged for draw in self.draws)


@dataclasses.dataclass(frozen=True)
class FewLabelResult:
    """Result of `few_label_probe`."""

    metrics: FewLabelMetrics
    settings: FewLabelSettings


def frozen_probe(
    train: Features,
    validation: Features,
    test: Features,
    *,
    num_classes: int,
    label_fraction: float,
    seed: int = 0,
) -> dict:
    """Test accuracy of logistic regression on the labels that `finetune` would use.

    Columns are standardized with the figures of all training representations, which
    needs no labels. C goes from strong to weak regularization until the log loss on
    the validation part no longer falls; the validation part is not trained on.

    Args:
        train: Labeled features of the training split, in its order.
        validation: Labeled features; C is chosen on them.
        test: Labeled features.
        num_classes: Labels are in `[0, num_classes)`.
        label_fraction: As of `finetune`.
        seed: As of `finetune`.

    Returns:
        A dict that JSON can hold: `top1`, `top5`, `validation_top1`,
        `validation_log_loss`, the chosen `C` and whether its fit `converged`, the
        `path` of what was tried, `num_labeled`, `labels_per_class`, and `protocol`,
        counts and settings.

    Raises:
        ValueError: If labels are missing or out of range, there are fewer than two
            classes, a value is not finite, widths differ, or the fraction is out of
            range.
    """
    width = train.representations.shape[-1]
    for name, features in (
        ("train", train),
        ("validation", validation),
        ("test", test),
    ):
        check_features(name, features, num_classes=num_classes, width=width)
    picks = draw_labeled(train.labels, label_fraction, seed)
    mean, scale = mean_and_std(train.representations)

    def standardized(rows):
        return (rows - mean) / scale

    held_out = standardized(validation.representations)
    path, best, best_fit = [], None, None
    for fit in fit_path(
        standardized(train.representations[picks]), train.labels[picks], REGULARIZATIONS
    ):
        scores = fit.scores(held_out, num_classes)
        tried = {
            "C": fit.C,
            "validation_log_loss": float(fit.log_loss(held_out, validation.labels)),
            "validation_top1": top_k_accuracy(scores, validation.labels, 1),
            "converged": fit.converged,
        }
        path.append(tried)
        if not is_better(tried, best):
            break
        best, best_fit = tried, fit
    scores = best_fit.scores(standardized(test.representations), num_classes)
    return {
        "protocol": "frozen",
        **top1_and_top5(scores, test.labels),
        **best,
        "label_fraction": float(label_fraction),
        "num_labeled": len(picks),
        "labels_per_class": counts_per_class(train.labels[picks], num_classes),
        "path": path,
        "regularizations": list(REGULARIZATIONS),
        "criterion": "log loss",
        "max_iterations": MAX_ITERATIONS,
        "tolerance": TOLERANCE,
        "standardized": True,
        "num_train": len(train.labels),
        "num_validation": len(validation.labels),
        "num_test": len(test.labels),
        "num_classes": num_classes,
        "representation_size": width,
        "seed": seed,
    }


def draw_labeled(labels: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Indices of the training images whose labels are used.

    As many of every class as there are, to one: classes take turns, each giving its
    examples in a random order, and one that has no more is passed over. So every class
    has at least one, a smaller fraction's images are among a larger one's, and a
    fraction of 1 is all of them.

    Args:
        labels: `(N,)` integers of at least two classes.
        fraction: Of the images, in (0, 1].
        seed: Which draw.

    Returns:
        int64 array, ascending.

    Raises:
        ValueError: If the fraction is out of range, or there is only one class.
    """
    if not 0 < fraction <= 1:
        raise ValueError(
            "Expected a fraction of the labels above 0 and up to 1. Received: "
            f"label_fraction={fraction}. Use e.g. 0.1."
        )
    classes = np.unique(labels)
    if len(classes) < 2:
        raise ValueError(
            "Expected training examples of at least two classes. Received: only label "
            f"{classes}. There is nothing to tell apart."
        )
    # RandomState's stream is frozen by numpy: the same images under any version.
    order = np.random.RandomState(seed).permutation(len(labels))
    turn = np.empty(len(labels), np.int64)
    for label in classes:
        (members,) = np.nonzero(labels[order] == label)
        turn[members] = np.arange(len(members))
    count = max(round(fraction * len(labels)), len(classes))
    return np.sort(order[np.argsort(turn, kind="stable")[:count]])


def counts_per_class(labels: np.ndarray, num_classes: int) -> list[int]:
    """How many examples of each class there are, as JSON holds it."""
    return np.bincount(labels, minlength=num_classes).tolist()


def is_better(tried: dict, best: dict | None) -> bool:
    """Whether one trial has the lower log loss on held-out images.

    Args:
        tried: Its `validation_log_loss` is `None` where it diverged.
        best: The best one before it, if any; of equals it stays.
    """
    loss = tried["validation_log_loss"]
    return loss is not None and (best is None or loss < best["validation_log_loss"])
