"""How many examples does a classifier get right, and can it be judged at all?"""

import dataclasses
from typing import Any

import numpy as np

from vicreg_keras.errors import InputError
from vicreg_keras.evaluate.features import Features


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassificationMetrics:
    """Accuracies on a test split.

    Attributes:
        top1: Top-1 accuracy in [0, 1].
        top5: Top-5 accuracy in [0, 1], or `None` for fewer than six classes.
    """

    top1: float
    top5: float | None = None


def top1_and_top5(scores: np.ndarray, labels: np.ndarray) -> dict:
    """`top1` and `top5`, as every protocol reports them.

    Args:
        scores: As of `top_k_accuracy`.
        labels: As of `top_k_accuracy`.

    Returns:
        Both in [0, 1]; `top5` is `None` for fewer than six classes, where it is 1.
    """
    top5 = top_k_accuracy(scores, labels, 5) if scores.shape[1] > 5 else None
    return {"top1": top_k_accuracy(scores, labels, 1), "top5": top5}


def top_k_accuracy(scores: np.ndarray, labels: np.ndarray, k: int) -> float:
    """The share of examples whose label is among the `k` best scores.

    Ties are shared: where `h` classes score higher than the label and `t`, itself
    included, score the same, the example counts `(k - h) / t`, kept within [0, 1].
    That is the mean over all orders of the tied classes, so the order of classes
    is no help, and constant scores give `k / num_classes`, which is chance.

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
    own = scores[np.arange(len(labels)), labels][:, np.newaxis]
    higher = (scores > own).sum(axis=1)
    tied = (scores == own).sum(axis=1)
    share = np.clip((k - higher) / tied, 0.0, 1.0)
    return float(np.where(np.isneginf(own[:, 0]), 0.0, share).mean())


def check_features(
    name: str, features: Features, *, num_classes: int, width: int | None = None
) -> None:
    """Refuses features that no classifier can use.

    Args:
        name: What they are called in messages.
        features: Representations `(N, D)` and labels `(N,)`.
        num_classes: Labels must be in `[0, num_classes)`.
        width: `D` must be it, where given.

    Raises:
        ValueError: If labels are missing or out of range, shapes do not match, there
            is no example, or a value is NaN or infinite.
    """
    check_labels(name, features.labels, num_classes=num_classes)
    check_representations(name, features.representations, width=width)
    if len(features.representations) != len(features.labels):
        raise ValueError(
            f"Expected {name} representations of shape ({len(features.labels)}, D), "
            "one per label. Received: shape="
            f"{features.representations.shape}"
        )


def check_representations(
    name: str,
    representations: np.ndarray,
    *,
    min_count: int = 1,
    width: int | None = None,
) -> None:
    """Refuses representations that cannot be compared.

    Args:
        name: What they are called in messages.
        representations: `(N, D)` array.
        min_count: Smallest `N`.
        width: `D` must be it, where given.

    Raises:
        InputError: If the shape is another, or a value is NaN or infinite.
    """
    shape = np.shape(representations)
    if len(shape) != 2 or shape[0] < min_count or not shape[1]:
        raise InputError(
            f"Expected {name} representations of shape (N, D), at least {min_count} of "
            f"them. Received: shape={shape}."
        )
    if width is not None and shape[1] != width:
        raise InputError(
            f"Expected {name} representations {width} wide, like the others. "
            f"Received: shape={shape}. All must come from one encoder."
        )
    finite = np.isfinite(representations).all(axis=1)
    if not finite.all():
        raise InputError(
            f"Expected finite {name} representations. Received: NaN or infinity in "
            f"{(~finite).sum()} of {len(finite)}. The training of the encoder has "
            "diverged; use an earlier checkpoint, or a lower learning rate."
        )


def check_labels(name: str, labels: Any, *, num_classes: int) -> None:
    """Refuses labels that are missing, empty or out of range.

    Args:
        name: What they are called in messages.
        labels: `(N,)` integers, or `None` where a split has none.
        num_classes: Labels must be in `[0, num_classes)`.

    Raises:
        ValueError: If they are not such labels.
    """
    if labels is None:
        raise ValueError(
            f"Expected labels for {name}. Received: labels=None. This evaluation needs "
            "a labeled dataset."
        )
    if np.ndim(labels) != 1 or not len(labels):
        raise ValueError(
            f"Expected {name} labels of shape (N,), N above 0. Received: "
            f"shape={np.shape(labels)}"
        )
    lowest, highest = int(np.min(labels)), int(np.max(labels))
    if lowest < 0 or highest >= num_classes:
        raise ValueError(
            f"Expected {name} labels in [0, {num_classes}). Received: labels from "
            f"{lowest} to {highest}"
        )
