"""Examples that the page shows: images and arrays that a caller gives."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from vicreg_keras.evaluate.projection import ProjectionSettings
from vicreg_keras.figures.neighbors import Tile

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
