"""Which class do an example's nearest neighbours vote for?"""

import faiss
import numpy as np

from vicreg_keras.evaluate.accuracy import check_features, top1_and_top5
from vicreg_keras.features import Features


def knn_accuracy(
    train: Features,
    queries: Features,
    *,
    num_classes: int,
    k: int = 20,
    temperature: float = 0.07,
) -> dict:
    """Accuracy of the weighted k-nearest-neighbour classifier, cosine similarity.

    Each of the `k` nearest training examples votes for its class with weight
    `exp(similarity / temperature)`. The search is exact (FAISS `IndexFlatIP` over
    rows of length 1). A row of zeros has similarity 0 to everything. Nothing is
    chosen here: `k` and `temperature` are the published ones, and whoever tries
    others must do so on queries held out of the training split.

    The queries must not be among the training examples: each would find itself.

    Args:
        train: Labelled features that vote.
        queries: Labelled features that are classified.
        num_classes: Number of classes; labels are in `[0, num_classes)`.
        k: Neighbours that vote. More than there are training examples become all of
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
            "Expected at least one neighbour and a temperature above 0. Received: "
            f"k={k}, temperature={temperature}"
        )
    check_features("train", train, num_classes=num_classes)
    width = train.representations.shape[1]
    check_features("queries", queries, num_classes=num_classes, width=width)

    num_neighbours = min(k, len(train.labels))
    index = faiss.IndexFlatIP(width)
    index.add(_unit_rows(train.representations))
    similarities, neighbours = index.search(
        _unit_rows(queries.representations), num_neighbours
    )
    votes = _votes(similarities, train.labels[neighbours], temperature, num_classes)
    return {
        "protocol": "knn",
        **top1_and_top5(votes, queries.labels),
        "k": num_neighbours,
        "k_requested": int(k),
        "temperature": float(temperature),
        "num_train": len(train.labels),
        "num_queries": len(queries.labels),
        "num_classes": int(num_classes),
    }


def _unit_rows(rows: np.ndarray) -> np.ndarray:
    """A float32 copy with rows of length 1; rows of zeros stay zero."""
    rows = np.array(rows, np.float32, order="C")
    # Scaled by the largest entry first, so that squares neither overflow nor vanish.
    largest = np.abs(rows).max(axis=1, keepdims=True)
    rows /= np.where(largest > 0, largest, 1)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    rows /= np.where(norms > 0, norms, 1)
    return rows


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
