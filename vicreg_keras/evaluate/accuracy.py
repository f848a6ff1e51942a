"""Accuracies and their records, and checks of the features that are classified."""

import dataclasses
from typing import TypedDict

import numpy as np
from scipy.special import log_softmax

from vicreg_keras.errors import InputError
from vicreg_keras.evaluate.features import Features, check_representations
from vicreg_keras.evaluate.records import Record


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassificationMetrics:
    """Accuracies on a test split.

    Attributes:
        top1: Top-1 accuracy in [0, 1].
        top5: Top-5 accuracy in [0, 1], or `None` for fewer than six classes.
        validation_top1: Top-1 accuracy in [0, 1] of the chosen setting on the
            validation split, before any training on that split; `None` where nothing
            was chosen.
    """

    top1: float
    top5: float | None = None
    validation_top1: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassificationRecord(Record):
    """Accuracies on a labeled dataset.

    Attributes:
        split: Split of the accuracies.
        num_train: Training examples.
        num_validation: Validation examples.
        num_test: Test examples.
        num_classes: Number of classes.
    """

    split: str
    num_train: int
    num_validation: int
    num_test: int
    num_classes: int


class Accuracies(TypedDict):
    """The arguments of `ClassificationMetrics`."""

    top1: float
    top5: float | None


def top1_and_top5(scores: np.ndarray, labels: np.ndarray) -> Accuracies:
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
        ValueError: If a score is NaN.
    """
    if np.isnan(scores).any():
        raise ValueError("Expected scores that are numbers. Received: NaN")
    of_label = scores[np.arange(len(labels)), labels][:, np.newaxis]
    higher = (scores > of_label).sum(axis=1)
    tied = (scores == of_label).sum(axis=1)
    share = np.clip((k - higher) / tied, 0.0, 1.0)
    return float(np.where(np.isneginf(of_label[:, 0]), 0.0, share).mean())


def log_loss(logits: np.ndarray, labels: np.ndarray) -> float:
    """Returns the mean negative log-likelihood of the labels, in nats.

    Args:
        logits: `(N, num_classes)` array.
        labels: `(N,)` integers in `[0, num_classes)`.
    """
    log_probabilities = log_softmax(logits.astype(np.float64), axis=1)
    return -float(log_probabilities[np.arange(len(labels)), labels].mean())


def check_splits(num_classes: int, **splits: Features) -> list[np.ndarray]:
    """Checks the splits of a classification together, before any work.

    Args:
        num_classes: Labels must be in `[0, num_classes)`.
        **splits: Representations `(N, D)` and labels `(N,)` by the split's name.

    Returns:
        Labels of each split.

    Raises:
        InputError: If labels are missing or out of range, there is no example, a value
            is NaN or infinite, or widths differ.
    """
    all_labels: list[np.ndarray] = []
    width = None
    for name, (representations, labels) in splits.items():
        all_labels.append(check_labels(name, labels, num_classes=num_classes))
        check_representations(name, representations, width=width)
        width = representations.shape[1]
        if len(representations) != len(all_labels[-1]):
            raise ValueError(
                f"Expected {name} representations of shape ({len(all_labels[-1])}, D), "
                f"one per label. Received: shape={representations.shape}"
            )
    return all_labels


def check_two_classes(labels: np.ndarray) -> None:
    """Raises an `InputError` if training labels are all the same."""
    if (labels == labels[0]).all():
        raise InputError(
            "Expected training examples of at least two classes. Received: only label "
            f"{labels[0]}. There is nothing to tell apart."
        )


def check_labels(
    name: str, labels: np.ndarray | None, *, num_classes: int
) -> np.ndarray:
    """Checks that labels are there and in range.

    Args:
        name: Description of them in messages.
        labels: `(N,)` integers, or `None` where a split has none.
        num_classes: Labels must be in `[0, num_classes)`.

    Returns:
        The labels.

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
    if labels.min() < 0 or labels.max() >= num_classes:
        raise InputError(
            f"Expected {name} labels in [0, {num_classes}). Received: labels from "
            f"{labels.min()} to {labels.max()}."
        )
    return labels
