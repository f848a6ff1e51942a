"""Accuracy of the weighted k-nearest-neighbor classifier."""

import dataclasses
import itertools
import math
from typing import ClassVar

import faiss
import numpy as np

from vicreg_keras.evaluate import accuracy
from vicreg_keras.evaluate.features import Features, concatenate_features
from vicreg_keras.evaluate.normalization import l2_normalize
from vicreg_keras.evaluate.records import Record, Result

PUBLISHED_K, PUBLISHED_TEMPERATURE = 20, 0.07

# Grid that is tried on the validation split.
NUM_NEIGHBORS = (1, 5, 10, 20, 50, 100, 200)
TEMPERATURES = (0.03, 0.07, 0.2)


@dataclasses.dataclass(frozen=True)
class KnnSettings:
    """How a kNN accuracy was measured.

    Attributes:
        k: Neighbors that voted.
        temperature: Temperature of their weights.
        num_test: Classified examples.
        num_classes: Number of classes.
    """

    k: int
    temperature: float
    num_test: int
    num_classes: int


KnnResult = Result[accuracy.ClassificationMetrics, KnnSettings]


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
        k: Number of neighbors that vote, at least 1; all training examples where there
            are fewer.
        temperature: Above 0; the smaller, the more the nearest neighbors decide.

    Returns:
        A `KnnResult`.

    Raises:
        InputError: If labels are missing or out of range, a value is not finite, or the
            widths differ.

    Reference:
        Wu et al., "Unsupervised Feature Learning via Non-Parametric Instance
        Discrimination", CVPR 2018, section 3.4; k = 20 as in DINO (Caron et al.,
        ICCV 2021) and in solo-learn's `WeightedKNNClassifier` at commit 9187ea3.
    """
    train_labels, test_labels = accuracy.check_splits(
        num_classes, train=train, test=test
    )
    k = min(k, len(train_labels))
    similarities, found = _nearest(train, test, k)
    votes = _votes(similarities, train_labels[found], temperature, num_classes)
    return KnnResult(
        accuracy.ClassificationMetrics(**accuracy.top1_and_top5(votes, test_labels)),
        KnnSettings(k, temperature, len(test_labels), num_classes),
    )


def knn_eval(
    train: Features, validation: Features, test: Features, *, num_classes: int
) -> KnnResult:
    """Computes `knn_accuracy` with settings chosen on the validation split.

    Every `k` of `NUM_NEIGHBORS` with every one of `TEMPERATURES` is tried on the
    validation split, where only training examples vote; the best top-1 accuracy wins.
    Of equals, the one nearest to the published `k = 20` and temperature 0.07 wins, by
    the sum of the absolute logarithms of both ratios. Then training and validation
    examples vote together, and the test split is classified once.

    Args:
        train: Labeled features that vote.
        validation: Labeled features of other examples.
        test: Labeled features of other examples again.
        num_classes: Number of classes; labels are in `[0, num_classes)`.

    Returns:
        A `KnnResult` with the chosen setting.

    Raises:
        InputError: If labels are missing or out of range, a value is not finite, or the
            widths differ.
    """
    splits = {"train": train, "validation": validation, "test": test}
    train_labels, validation_labels, _ = accuracy.check_splits(num_classes, **splits)
    counts = sorted({min(k, len(train_labels)) for k in NUM_NEIGHBORS})
    # One search serves all: the nearest 5 are the first of the nearest 200.
    similarities, found = _nearest(train, validation, counts[-1])
    labels = train_labels[found]
    accuracies = {}
    for k, temperature in itertools.product(counts, TEMPERATURES):
        votes = _votes(similarities[:, :k], labels[:, :k], temperature, num_classes)
        accuracies[k, temperature] = accuracy.top_k_accuracy(
            votes, validation_labels, 1
        )

    def preference(setting):
        k, temperature = setting
        distance = abs(math.log(k / PUBLISHED_K))
        distance += abs(math.log(temperature / PUBLISHED_TEMPERATURE))
        # Accuracies are sums of shares, and equal ones may differ by rounding.
        return -round(accuracies[setting], 9), distance

    best = min(accuracies, key=preference)
    k, temperature = best
    bank = concatenate_features([train, validation])
    result = knn_accuracy(
        bank, test, num_classes=num_classes, k=k, temperature=temperature
    )
    metrics = dataclasses.replace(result.metrics, validation_top1=accuracies[best])
    return KnnResult(metrics, result.settings)


def _nearest(
    train: Features, queries: Features, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns similarities and numbers of the nearest examples, `(num_queries, k)`."""
    index = faiss.IndexFlatIP(train.representations.shape[1])
    index.add(l2_normalize(train.representations))
    return index.search(l2_normalize(queries.representations), k)


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
