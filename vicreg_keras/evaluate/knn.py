"""Accuracy of the weighted k-nearest-neighbor classifier."""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import ClassVar

import faiss
import numpy as np

from vicreg_keras.evaluate.accuracy import (
    ClassificationMetrics,
    check_features,
    top1_and_top5,
    top_k_accuracy,
)
from vicreg_keras.evaluate.features import Features, concatenate_features
from vicreg_keras.evaluate.normalization import l2_normalize
from vicreg_keras.evaluate.records import Record

PUBLISHED_K, PUBLISHED_TEMPERATURE = 20, 0.07

# Grid that is tried on the validation split.
NUM_NEIGHBORS = (1, 5, 10, 20, 50, 100, 200)
TEMPERATURES = (0.03, 0.07, 0.2)


@dataclasses.dataclass(frozen=True, kw_only=True)
class KnnMetrics(ClassificationMetrics):
    """Accuracies in [0, 1], see `knn_accuracy` and `knn_eval`.

    Attributes:
        validation_top1: Of the chosen setting, on the validation split; `None` where
            nothing was chosen.
    """

    validation_top1: float | None = None


@dataclasses.dataclass(frozen=True)
class KnnTrial:
    """One setting of the grid, and its accuracy on the validation split."""

    k: int
    temperature: float
    validation_top1: float


@dataclasses.dataclass(frozen=True)
class KnnSettings:
    """How a kNN accuracy was measured.

    Attributes:
        k: Neighbors that voted.
        temperature: Temperature of their weights.
        num_train: Training examples that voted.
        num_validation: Validation examples that chose the setting, then voted as well.
        num_test: Classified examples.
        num_classes: Number of classes.
        representation_size: `D`.
        sweep: Every setting that was tried; empty where nothing was chosen.
    """

    k: int
    temperature: float
    num_train: int
    num_test: int
    num_classes: int
    representation_size: int
    num_validation: int = 0
    sweep: tuple[KnnTrial, ...] = ()


@dataclasses.dataclass(frozen=True)
class KnnResult:
    """Accuracy of the weighted kNN classifier, and how it was measured."""

    metrics: KnnMetrics
    settings: KnnSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class KnnEvalRecord(Record):
    """kNN accuracy of an encoder beside its baselines.

    Attributes:
        split: Split of the metrics.
        results: By what was evaluated: the encoder, and each baseline.
    """

    mode: ClassVar[str] = "knn_eval"
    split: str
    results: dict[str, KnnResult]


def knn_accuracy(
    train: Features,
    test: Features,
    *,
    num_classes: int,
    k: int = PUBLISHED_K,
    temperature: float = PUBLISHED_TEMPERATURE,
) -> KnnResult:
    """Computes the accuracy of the weighted kNN classifier with cosine similarity.

    Each of the `k` nearest training examples votes for its class with weight
    `exp(similarity / temperature)`. The search is exact (FAISS `IndexFlatIP` over
    L2-normalized representations). A vector of zeros has similarity 0 to all others.
    Ties are shared, see `top_k_accuracy`.

    Args:
        train: Labeled features that vote.
        test: Labeled features that are classified. None of them may be among the
            training examples: it would find itself.
        num_classes: Number of classes; labels are in `[0, num_classes)`.
        k: Number of neighbors that vote; all training examples where there are fewer.
        temperature: Above 0; the smaller, the more the nearest neighbors decide.

    Returns:
        A `KnnResult`.

    Raises:
        ValueError: If labels are missing or out of range, a value is not finite, the
            widths differ, or `k` or `temperature` is not positive.

    Reference:
        Wu et al., "Unsupervised Feature Learning via Non-Parametric Instance
        Discrimination", CVPR 2018, section 3.4; k = 20 as in DINO (Caron et al.,
        ICCV 2021) and in solo-learn's `WeightedKNNClassifier` at commit 9187ea3.
    """
    _check(num_classes, (k,), (temperature,), train=train, test=test)
    k = min(k, len(train.labels))
    votes = _votes(*_nearest(train, test, k), temperature, num_classes)
    return KnnResult(
        KnnMetrics(**top1_and_top5(votes, test.labels)),
        KnnSettings(
            k=int(k),
            temperature=float(temperature),
            num_train=len(train.labels),
            num_test=len(test.labels),
            num_classes=int(num_classes),
            representation_size=train.representations.shape[1],
        ),
    )


def knn_eval(
    train: Features,
    validation: Features,
    test: Features,
    *,
    num_classes: int,
    num_neighbors: Sequence[int] = NUM_NEIGHBORS,
    temperatures: Sequence[float] = TEMPERATURES,
) -> KnnResult:
    """Computes `knn_accuracy` with settings chosen on the validation split.

    Every `k` with every temperature is tried on the validation split, where only
    training examples vote; the best top-1 accuracy wins. Of equals, the one nearest to
    the published `k = 20` and temperature 0.07 wins, by the sum of the absolute
    logarithms of both ratios. Then training and validation examples vote together, and
    the test split is classified once.

    Args:
        train: Labeled features that vote.
        validation: Labeled features of other examples.
        test: Labeled features of other examples again.
        num_classes: Number of classes; labels are in `[0, num_classes)`.
        num_neighbors: Values of `k`; all training examples where there are fewer.
        temperatures: Values of the temperature, above 0.

    Returns:
        A `KnnResult` with the chosen setting and the whole sweep.

    Raises:
        ValueError: If labels are missing or out of range, a value is not finite, the
            widths differ, or a grid is empty or has a value that is not positive.
    """
    splits = {"train": train, "validation": validation, "test": test}
    _check(num_classes, num_neighbors, temperatures, **splits)
    counts = sorted({min(k, len(train.labels)) for k in num_neighbors})
    # One search serves all: the nearest 5 are the first of the nearest 200.
    similarities, labels = _nearest(train, validation, counts[-1])
    sweep = []
    for k, temperature in itertools.product(counts, temperatures):
        votes = _votes(similarities[:, :k], labels[:, :k], temperature, num_classes)
        top1 = top_k_accuracy(votes, validation.labels, 1)
        sweep.append(KnnTrial(int(k), float(temperature), top1))
    best = min(sweep, key=_preference)
    result = knn_accuracy(
        concatenate_features([train, validation]),
        test,
        num_classes=num_classes,
        k=best.k,
        temperature=best.temperature,
    )
    return KnnResult(
        dataclasses.replace(result.metrics, validation_top1=best.validation_top1),
        dataclasses.replace(
            result.settings,
            num_train=len(train.labels),
            num_validation=len(validation.labels),
            sweep=tuple(sweep),
        ),
    )


def _check(num_classes, num_neighbors, temperatures, *, train, **others):
    if not num_neighbors or min(num_neighbors) < 1:
        raise ValueError(
            "Expected numbers of neighbors of at least 1. Received: "
            f"k={tuple(num_neighbors)}."
        )
    if not temperatures or not all(0 < one < math.inf for one in temperatures):
        raise ValueError(
            "Expected finite temperatures above 0. Received: "
            f"temperature={tuple(temperatures)}."
        )
    check_features("train", train, num_classes=num_classes)
    width = train.representations.shape[1]
    for name, features in others.items():
        check_features(name, features, num_classes=num_classes, width=width)


def _preference(trial: KnnTrial) -> tuple[float, float]:
    """Sorts the best accuracy first, of equals the nearest to the published setting."""
    distance = abs(math.log(trial.k / PUBLISHED_K))
    distance += abs(math.log(trial.temperature / PUBLISHED_TEMPERATURE))
    # Accuracies are sums of shares, and equal ones may differ by rounding.
    return -round(trial.validation_top1, 9), distance


def _nearest(
    train: Features, queries: Features, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns similarities and labels of the nearest examples, `(num_queries, k)`."""
    index = faiss.IndexFlatIP(train.representations.shape[1])
    index.add(l2_normalize(train.representations))
    similarities, found = index.search(l2_normalize(queries.representations), k)
    return similarities, train.labels[found]


def _votes(
    similarities: np.ndarray, labels: np.ndarray, temperature: float, num_classes: int
) -> np.ndarray:
    """Returns each class's sum of weights, `(num_queries, num_classes)` float64."""
    # Divided by the nearest one's weight: the order of classes stays as it is, and a
    # small temperature does not overflow.
    relative = similarities.astype(np.float64) - similarities[:, :1]
    weights = np.exp(relative / temperature)
    num_queries = len(labels)
    flat = np.arange(num_queries)[:, np.newaxis] * num_classes + labels
    votes = np.bincount(flat.ravel(), weights.ravel(), num_queries * num_classes)
    return votes.reshape(num_queries, num_classes)
