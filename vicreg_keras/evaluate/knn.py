"""Which class do an example's nearest neighbors vote for?"""

import itertools
import math
from collections.abc import Sequence

import faiss
import numpy as np

from vicreg_keras.evaluate.accuracy import check_features, top1_and_top5, top_k_accuracy
from vicreg_keras.evaluate.features import Features
from vicreg_keras.evaluate.index import l2_normalize

PUBLISHED_K, PUBLISHED_TEMPERATURE = 20, 0.07

# What is tried on held-out examples.
NEIGHBORS = (1, 5, 10, 20, 50, 100, 200)
TEMPERATURES = (0.03, 0.07, 0.2)


def knn_accuracy(
    train: Features,
    queries: Features,
    *,
    num_classes: int,
    k: int = PUBLISHED_K,
    temperature: float = PUBLISHED_TEMPERATURE,
) -> dict:
    """Accuracy of the weighted k-nearest-neighbor classifier, cosine similarity.

    Each of the `k` nearest training examples votes for its class with weight
    `exp(similarity / temperature)`. The search is exact (FAISS `IndexFlatIP` over
    rows of length 1). A row of zeros has similarity 0 to everything. Nothing is
    chosen here: `k` and `temperature` are the published ones, and whoever tries
    others must do so on queries held out of the training split.

    The queries must not be among the training examples: each would find itself.

    Args:
        train: Labeled features that vote.
        queries: Labeled features that are classified.
        num_classes: Number of classes; labels are in `[0, num_classes)`.
        k: Neighbors that vote. More than there are training examples become all of
            them, and the result says so.
        temperature: Above 0; the smaller, the more the nearest decide.

    Returns:
        A dict that JSON can hold: `top1` and `top5` in [0, 1], ties shared as
        `top_k_accuracy` does (`top5` is `None` for fewer than six classes), and the
        settings: `protocol`, `k` as used, `k_requested`, `temperature`, `num_train`,
        `num_queries`, `num_classes`.

    Raises:
        ValueError: If labels are missing or out of range, a value is not finite, the
            widths differ, or `k` or `temperature` is not positive.

    Reference:
        Wu et al., "Unsupervised Feature Learning via Non-Parametric Instance
        Discrimination", CVPR 2018, section 3.4; k = 20 as in DINO (Caron et al.,
        ICCV 2021) and in solo-learn's `WeightedKNNClassifier` at commit 9187ea3.
    """
    if k < 1 or temperature <= 0:
        raise ValueError(
            "Expected at least one neighbor and a temperature above 0. Received: "
            f"k={k}, temperature={temperature}"
        )
    check_features("train", train, num_classes=num_classes)
    width = train.representations.shape[1]
    check_features("queries", queries, num_classes=num_classes, width=width)

    index = faiss.IndexFlatIP(width)
    index.add(l2_normalize(train.representations))
    rows = l2_normalize(queries.representations)
    num_neighbors = min(k, len(train.labels))
    similarities, neighbors = index.search(rows, num_neighbors)
    votes = _votes(similarities, train.labels[neighbors], temperature, num_classes)
    return {
        "protocol": "knn",
        **top1_and_top5(votes, queries.labels),
        "k": num_neighbors,
        "k_requested": int(k),
        "temperature": float(temperature),
        "num_train": len(train.labels),
        "num_queries": len(queries.labels),
        "num_classes": int(num_classes),
    }


def knn_eval(
    train: Features,
    validation: Features,
    test: Features,
    *,
    num_classes: int,
    neighbors: Sequence[int] = NEIGHBORS,
    temperatures: Sequence[float] = TEMPERATURES,
) -> dict:
    """Test accuracy of the weighted kNN classifier, its settings chosen held out.

    Every `k` with every temperature is scored on the validation part, for which only
    training examples vote; the best top-1 is taken. Of equals the one nearest to the
    published `k = 20` and temperature 0.07 wins, by ratio: the sum of the two
    logarithms' distances. Then training and validation examples vote together, and
    the test split is scored once. The classifier and its search are those of
    `knn_accuracy`.

    No example may be in two of the splits: it would find itself.

    Args:
        train: Labeled features that vote.
        validation: Labeled features held out of training.
        test: Labeled features.
        num_classes: Labels are in `[0, num_classes)`.
        neighbors: Values of `k`. More than there are training examples become all
            of them.
        temperatures: Values of the temperature, above 0.

    Returns:
        A dict that JSON can hold: `top1`, `top5` (`None` for fewer than six classes)
        and `validation_top1` in [0, 1], the chosen `k` and `temperature`, the `path`
        of what was tried (`k` as used, `temperature`, `validation_top1`), and
        `protocol`, counts and settings.

    Raises:
        ValueError: If labels are missing or out of range, a value is not finite, the
            widths differ, or a setting is missing or not positive.

    Reference:
        As of `knn_accuracy`.
    """
    if not (neighbors and min(neighbors) >= 1 and temperatures):
        raise ValueError(
            "Expected numbers of neighbors of at least 1, and temperatures. Received: "
            f"neighbors={tuple(neighbors)}, temperatures={tuple(temperatures)}"
        )
    if not all(0 < temperature < math.inf for temperature in temperatures):
        raise ValueError(
            "Expected finite temperatures above 0. Received: "
            f"temperatures={tuple(temperatures)}"
        )
    check_features("train", train, num_classes=num_classes)
    width = train.representations.shape[1]
    check_features("validation", validation, num_classes=num_classes, width=width)
    check_features("test", test, num_classes=num_classes, width=width)

    index = faiss.IndexFlatIP(width)
    index.add(l2_normalize(train.representations))
    counts = sorted({min(k, len(train.labels)) for k in neighbors})
    held_out = l2_normalize(validation.representations)
    # One search serves all: the nearest few are the first of the nearest many.
    similarities, found = index.search(held_out, counts[-1])
    found_labels = train.labels[found]
    path = []
    for k, temperature in itertools.product(counts, temperatures):
        votes = _votes(
            similarities[:, :k], found_labels[:, :k], temperature, num_classes
        )
        path.append(
            {
                "k": int(k),
                "temperature": float(temperature),
                "validation_top1": top_k_accuracy(votes, validation.labels, 1),
            }
        )
    best = _best(path)

    index.add(held_out)
    bank_labels = np.concatenate([train.labels, validation.labels])
    similarities, found = index.search(l2_normalize(test.representations), best["k"])
    votes = _votes(similarities, bank_labels[found], best["temperature"], num_classes)
    return {
        "protocol": "knn_chosen",
        **top1_and_top5(votes, test.labels),
        **best,
        "path": path,
        "neighbors": [int(k) for k in neighbors],
        "temperatures": [float(temperature) for temperature in temperatures],
        "criterion": "top-1 accuracy",
        "voting": "train+validation",
        "num_train": len(train.labels),
        "num_validation": len(validation.labels),
        "num_test": len(test.labels),
        "num_classes": int(num_classes),
        "representation_size": width,
    }


def _best(path: list[dict]) -> dict:
    """The entry with the best accuracy, of equals the nearest to what is published."""

    def order(tried):
        distance = abs(math.log(tried["k"] / PUBLISHED_K))
        distance += abs(math.log(tried["temperature"] / PUBLISHED_TEMPERATURE))
        # Accuracies are sums of shares, and equal ones may differ by rounding.
        return -round(tried["validation_top1"], 9), distance

    return min(path, key=order)


def _votes(
    similarities: np.ndarray, labels: np.ndarray, temperature: float, num_classes: int
) -> np.ndarray:
    """Each class's sum of weights, `(queries, num_classes)` float64."""
    # Divided by the nearest one's weight: the order of classes stays as it is, and a
    # small temperature does not overflow.
    relative = similarities.astype(np.float64) - similarities[:, :1]
    weights = np.exp(relative / temperature)
    num_queries = len(labels)
    flat = np.arange(num_queries)[:, np.newaxis] * num_classes + labels
    votes = np.bincount(flat.ravel(), weights.ravel(), num_queries * num_classes)
    return votes.reshape(num_queries, num_classes)
