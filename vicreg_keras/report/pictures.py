"""Examples that the page shows: images and arrays that a caller gives."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from vicreg_keras.evaluate.projection import ProjectionSettings
from vicreg_keras.figures.neighbors import Tile, check_image

MAX_POINTS = 2000  # Points of the map; their images take about two megabytes.


@dataclasses.dataclass(frozen=True)
class Mistake:
    """A test image that the linear head classifies wrongly.

    Attributes:
        image: uint8 `(H, W, 3)`, `(H, W, 1)` or `(H, W)` in [0, 255].
        true_name: Name of its class.
        predicted_name: Name of the predicted class.
        probability: Probability of that class, in [0, 1].
    """

    image: np.ndarray
    true_name: str
    predicted_name: str
    probability: float


@dataclasses.dataclass(frozen=True)
class ClusterMap:
    """Images as points on a plane.

    Attributes:
        points: `(N, 2)`, see `projection.project`; at most `MAX_POINTS`.
        assignments: `(N,)` integers, the cluster of each.
        images: uint8 `(N, H, W, 3)` or `(N, H, W, 1)` in [0, 255].
        settings: Settings of the `Projection`, for the caption.
        split: Name of the images' split.
        labels: `(N,)` integers, or `None`.
        cluster_to_class: Class matched with each cluster, whose color it has; `None`
            for none.
    """

    points: np.ndarray
    assignments: np.ndarray
    images: np.ndarray
    settings: ProjectionSettings
    split: str = "test"
    labels: np.ndarray | None = None
    cluster_to_class: Sequence[int | None] | None = None


@dataclasses.dataclass(frozen=True)
class Pictures:
    """What the page shows of one run. `None`, or nothing, leaves a part out.

    Attributes:
        dataset: Name of the dataset.
        class_names: Name of each class, or `None`.
        confusion: `(C, C)` counts of test images: classes as rows,
            predictions of the linear head as columns.
        mistakes: Mistakes of the linear head, the most confident first.
        retrieval: Test images, each with its nearest training images.
        cluster_map: Clusters and classes on a plane.
        seed: Seed of the queries.
    """

    dataset: str
    class_names: Sequence[str] | None = None
    confusion: np.ndarray | None = None
    mistakes: Sequence[Mistake] = ()
    retrieval: Sequence[tuple[Tile, Sequence[Tile]]] = ()
    cluster_map: ClusterMap | None = None
    seed: int = 0


def check_pictures(pictures: Pictures) -> None:
    """Checks, before anything is written, that pictures can be shown.

    Args:
        pictures: What to check.

    Raises:
        ValueError: If shapes don't match, an image is not uint8, a coordinate is not
            finite, a count negative, or a probability outside [0, 1].
    """
    if pictures.confusion is not None:
        _check_confusion(pictures.confusion, pictures.class_names)
    for mistake in pictures.mistakes:
        check_image(mistake.image, "mistakes")
        if not 0 <= mistake.probability <= 1:
            raise ValueError(
                "Expected probabilities in [0, 1]. Received: "
                f"probability={mistake.probability} of {mistake.true_name!r} "
                f"predicted as {mistake.predicted_name!r}."
            )
    for query, neighbors in pictures.retrieval:
        for tile in (query, *neighbors):
            check_image(tile.image, "retrieval")
    if pictures.cluster_map is not None:
        _check_map(pictures.cluster_map, pictures.class_names)


def _check_confusion(confusion, class_names):
    size = 0 if class_names is None else len(class_names)
    confusion = np.asarray(confusion)
    if not (
        confusion.shape == (size, size)
        and np.issubdtype(confusion.dtype, np.integer)
        and size
        and confusion.min() >= 0
    ):
        raise ValueError(
            "Expected a confusion matrix of counts, one row and one column a class. "
            f"Received: shape={confusion.shape}, dtype={confusion.dtype}, "
            f"num_classes={size}."
        )


def _check_map(cluster_map, class_names):
    points = np.asarray(cluster_map.points)
    count = len(points)
    if points.shape != (count, 2) or not 0 < count <= MAX_POINTS:
        raise ValueError(
            f"Expected points (N, 2), at least one and at most {MAX_POINTS}. "
            f"Received: shape={points.shape}. Draw a sample of them."
        )
    if not np.isfinite(points).all():
        raise ValueError("Expected finite points. Received: NaN or infinity.")
    parts = {"assignments": cluster_map.assignments, "images": cluster_map.images}
    if cluster_map.labels is not None:
        parts["labels"] = cluster_map.labels
    for name, part in parts.items():
        if len(part) != count:
            raise ValueError(
                f"Expected as many {name} as points, {count}. Received: {len(part)}."
            )
    check_image(cluster_map.images[0], "the map's images")
    groups = {"assignments": (cluster_map.assignments, cluster_map.cluster_to_class)}
    groups["labels"] = (cluster_map.labels, class_names or ())
    for name, (numbers, known) in groups.items():
        if numbers is None or known is None:
            continue
        if min(numbers) < 0 or max(numbers) >= len(known):
            raise ValueError(
                f"Expected {name} of the map in [0, {len(known)}). Received: "
                f"{min(numbers)} to {max(numbers)}."
            )
