"""Results of linear evaluation: the encoder, its baselines, and chance."""

import dataclasses
from typing import ClassVar

import numpy as np

from vicreg_keras.data.dataset import Dataset
from vicreg_keras.evaluate.accuracy import ClassificationMetrics, ClassificationRecord
from vicreg_keras.evaluate.augmented_probe import AugmentedProbeResult
from vicreg_keras.evaluate.few_labels import FewLabelResult
from vicreg_keras.evaluate.linear_probe import LinearProbeResult


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChanceMetrics(ClassificationMetrics):
    """Accuracies without looking at the examples.

    `top1` and `top5` are of guessing evenly.

    Attributes:
        majority_top1: Accuracy of always choosing the most frequent class of the
            training split, in [0, 1].
    """

    majority_top1: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class LinearEvalResult:
    """Linear accuracy of one kind of representation, by each protocol that was run.

    Attributes:
        cached: Logistic regression on representations of plain examples.
        augmented: A linear head trained by SGD on random crops.
        few_labels: Logistic regression from a few labels per class.
    """

    cached: LinearProbeResult | None = None
    augmented: AugmentedProbeResult | None = None
    few_labels: FewLabelResult | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class LinearEvalRecord(ClassificationRecord):
    """Linear accuracies of the encoder and its baselines.

    Attributes:
        protocol: Protocol that was asked for.
        chance: Accuracies without looking.
        results: By a key of `records.NAMES`: `"encoder"`, `"untrained"` and
            `"raw_input"`.
        raw_input_omitted: Why `"raw_input"` is missing, if it was too large.
    """

    mode: ClassVar[str] = "linear_eval"
    protocol: str
    chance: ChanceMetrics
    results: dict[str, LinearEvalResult]
    raw_input_omitted: str | None = None


def chance(dataset: Dataset) -> ChanceMetrics:
    """Returns the accuracies of guessing evenly and of the most frequent class.

    Args:
        dataset: A labeled dataset with a test split.
    """
    num_classes = len(dataset.class_names)
    majority = np.bincount(dataset.train.labels).argmax()
    return ChanceMetrics(
        top1=1 / num_classes,
        top5=5 / num_classes if num_classes > 5 else None,
        majority_top1=float(np.mean(dataset.test.labels == majority)),
    )
