"""Top-k accuracy, and checks of the features that an evaluation is given."""

import dataclasses
from typing import Any

import numpy as np

from vicreg_keras.errors import InputError
from vicreg_keras.evaluate.features import Features, check_representations


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassificationMetrics:
    """Accuracies on a test split.

    Attributes:
        top1: Top-1 accuracy in [0, 1].
        top5: Top-5 accuracy in [0, 1], or `None` for fewer than six classes.
    """

    top1: float
    top5: float | None = None


def top1_and_top5(scores: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Returns `top1` and `top5`, the arguments of `ClassificationMetrics`.

    Args:
        scores: See `top_k_accuracy`.
        labels: See `top_k_accuracy`.
    """
    top5 = top_k_accuracy(scores, labels, 5) if scores.shape[1] > 5 else None
    return {"top1": top_k_accuracy(scores, labels, 1), "top5": top5}


def top_k_accuracy(scores: np.ndarray, labels: np.ndarray, k: int) -> float:
    """Returns the fraction of examples whose label is among the `k` best scores.

    Ties are shared: where `h` classes score higher than the label and `t`, itself
    included, score the same, the example counts `(k - h) / t`, kept within [0, 1].
    That is the mean over all orders of the tied classes, so the order of classes
    does not matter, and constant scores give `k / num_classes`, which is chance.

    Args:
        scores: `(N, num_classes)` logits, votes or probabilities; `-inf` for a class
            that was never seen, which is never right.
        labels: `(N,)` integers in `[0, num_classes)`.
        k: At least 1. `k` of `num_classes` or more counts every label with a score.

    Returns:
        A value in [0, 1].

    Raises:
        ValueError: If shapes do not match, `k` is below 1, a label is out of range,
            or a score is NaN.
    """
    scores, labels = np.asarray(scores), np.asarray(labels)
    if scores.ndim != 2 or labels.shape != scores.shape[:1]:
        raise ValueError(
            "Expected scores (N, num_classes) and labels (N,). Received: "
            f"scores.shape={scores.shape}, labels.shape={labels.shape}"
        )
    if k < 1:
        raise ValueError(f"Expected k of at least 1. Received: k={k}")
    check_labels("scored", labels, num_classes=scores.shape[1])
    if np.isnan(scores).any():
        raise ValueError("Expected scores that are numbers. Received: NaN")
    of_label = scores[np.arange(len(labels)), labels][:, np.newaxis]
    higher = (scores > of_label).sum(axis=1)
    tied = (scores == of_label).sum(axis=1)
    share = np.clip((k - higher) / tied, 0.0, 1.0)
    return float(np.where(np.isneginf(of_label[:, 0]), 0.0, share).mean())


def check_splits(num_classes: int, *, train: Features, **others: Features) -> None:
    """Checks the splits of a classification together, before any work.

    Args:
        num_classes: Labels must be in `[0, num_classes)`.
        train: Labeled features, which must have two classes or more.
        **others: Labeled features of other splits, by name.

    Raises:
        InputError: As `check_features`, if widths differ, or there is one class only.
    """
    check_features("train", train, num_classes=num_classes)
    width = train.representations.shape[1]
    for name, features in others.items():
        check_features(name, features, num_classes=num_classes, width=width)
    if (train.labels == train.labels[0]).all():
        raise InputError(
            "Expected training examples of at least two classes. Received: only label "
            f"{train.labels[0]}. There is nothing to tell apart."
        )


def check_features(
    name: str, features: Features, *, num_classes: int, width: int | None = None
) -> None:
    """Checks labeled features of one split.

    Args:
        name: Description of them in messages.
        features: Representations `(N, D)` and labels `(N,)`.
        num_classes: Labels must be in `[0, num_classes)`.
        width: Expected `D`, or `None` for any.

    Raises:
        InputError: If labels are missing or out of range, there is no example, or a
            value is NaN or infinite.
        ValueError: If there are not as many labels as representations.
    """
    check_labels(name, features.labels, num_classes=num_classes)
    check_representations(name, features.representations, width=width)
    if len(features.representations) != len(features.labels):
        raise ValueError(
            f"Expected {name} representations of shape ({len(features.labels)}, D), "
            "one per label. Received: shape="
            f"{features.representations.shape}"
        )


def check_labels(name: str, labels: np.ndarray | None, *, num_classes: int) -> None:
    """Checks that labels are there and in range.

    Args:
        name: Description of them in messages.
        labels: `(N,)` integers, or `None` where a split has none.
        num_classes: Labels must be in `[0, num_classes)`.

    Raises:
        InputError: If they are not such labels.
    """
    if labels is None:
        raise InputError(
            f"Expected labels for {name}. Received: labels=None. This evaluation needs "
            "a labeled dataset."
        )
    if np.ndim(labels) != 1 or not len(labels):
        raise InputError(
            f"Expected {name} labels of shape (N,), N above 0. Received: "
            f"shape={np.shape(labels)}."
        )
    lowest, highest = int(np.min(labels)), int(np.max(labels))
    if lowest < 0 or highest >= num_classes:
        raise InputError(
            f"Expected {name} labels in [0, {num_classes}). Received: labels from "
            f"{lowest} to {highest}."
        )
