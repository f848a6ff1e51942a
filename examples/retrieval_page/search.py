"""The nearest images of a run's index to an image."""

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from vicreg_keras import load_dataset, load_encoder
from vicreg_keras.data.dataset import Dataset
from vicreg_keras.evaluate.features import check_example_shape
from vicreg_keras.evaluate.index import NeighborIndex
from vicreg_keras.workdir.files import folder_name
from vicreg_keras.workdir.run_folder import RunFolder
from vicreg_keras.workdir.versions import newest_version

# Images of the index that are searched for at the start. An index of codes gives
# distances that are not 0, and one that is not exact misses some.
_NUM_PROBES = 16
_PROBE_NEIGHBORS = 10
_SAME_DISTANCE = 0.05


class Neighbor(NamedTuple):
    """An image of the index that was found.

    Attributes:
        row: Its number in the index.
        name: Such as `"train/17"`.
        class_name: `None` where there are no labels.
        distance: Between representations of length 1, from 0 to 2.
    """

    row: int
    name: str
    class_name: str | None
    distance: float


class ImageSearch:
    """An encoder, an index of its representations, and the images that are in it.

    Args:
        encoder: Called as `encoder(images, training=False)`.
        index: Of the dataset's training images and, behind them, the held-out ones.
        dataset: Read as it was for the index.
        hint: What to do where the three do not belong together.

    Attributes:
        dataset: Its `example_shape` is what the search takes.
        num_images: In the index.

    Raises:
        ValueError: If the encoder takes images of another shape, the index has other
            images than the dataset, or was not made by this encoder.
    """

    def __init__(
        self,
        encoder: Callable[..., Any],
        index: NeighborIndex,
        dataset: Dataset,
        hint: str = "Build the index anew.",
    ):
        check_example_shape(encoder, dataset.example_shape)
        self.dataset = dataset
        self.num_images = index.num_vectors
        self._encoder = encoder
        self._index = index
        self._check_names(hint)
        self._check_encoder(hint)

    def image(self, row: int) -> np.ndarray:
        """An image of the index, uint8 `(height, width, 3)`.

        Args:
            row: In `[0, num_images)`.
        """
        train, held_out = self.dataset.train, self.dataset.validation
        if row < train.num_examples:
            return train.read([row])[0]
        return held_out.read([row - train.num_examples])[0]

    def describe(self, row: int, distance: float = 0.0) -> Neighbor:
        """What is known of an image of the index.

        Args:
            row: As of `image`.
            distance: From what it is compared with.
        """
        index, name = self._index, None
        if index.labels is not None:
            name = index.class_names[index.labels[row]]
        return Neighbor(int(row), index.names[row], name, float(distance))

    def near_image(self, image: np.ndarray, num_neighbors: int) -> list[Neighbor]:
        """The nearest images of the index, the nearest first.

        Args:
            image: uint8, of the dataset's shape, in [0, 255].
            num_neighbors: At least 1.
        """
        distances, rows = self._index.search(self._encode([image]), num_neighbors)
        # An index that is not exact marks with -1 what it did not find.
        found = zip(rows[0], distances[0], strict=True)
        return [self.describe(row, distance) for row, distance in found if row >= 0]

    def near_row(self, row: int, num_neighbors: int) -> list[Neighbor]:
        """The nearest of the others to an image of the index.

        Args:
            row: As of `image`.
            num_neighbors: At least 1.
        """
        found = self.near_image(self.image(row), num_neighbors + 1)
        # Not simply the first: a copy of the image is as near.
        others = [neighbor for neighbor in found if neighbor.row != row]
        return others[:num_neighbors]

    def _encode(self, images):
        return np.asarray(self._encoder(np.stack(images), training=False))

    def _check_names(self, hint):
        dataset = self.dataset
        names = [*dataset.train.names, *dataset.validation.names]
        if self._index.names != names:
            raise ValueError(
                f"Expected an index of the {len(names)} training images of "
                f"{dataset.name}. Received: one of {self.num_images} images of other "
                f"names or in another order. {hint}"
            )

    def _check_encoder(self, hint):
        """Searches for images of the index: most must find themselves."""
        rows = np.unique(np.linspace(0, self.num_images - 1, _NUM_PROBES, dtype=int))
        representations = self._encode([self.image(row) for row in rows])
        width = representations.shape[1]
        if width != self._index.width:
            raise ValueError(
                f"Expected an index of representations that are {width} wide, as this "
                f"encoder's. Received: width={self._index.width}. {hint}"
            )
        distances, found = self._index.search(representations, _PROBE_NEIGHBORS)
        itself = (found == rows[:, np.newaxis]).any(axis=1)
        itself |= distances[:, 0] < _SAME_DISTANCE
        if 2 * itself.sum() < len(rows):
            raise ValueError(
                "Expected an index that this encoder made of these pixels. Received: "
                f"one in which {itself.sum()} of {len(rows)} of its own images are "
                f"found. {hint}"
            )


def open_search(
    workdir: str | os.PathLike,
    *,
    dataset: str | None = None,
    data_dir: str | None = None,
    image_size: int | None = None,
    seed: int | None = None,
    validation_fraction: float | None = None,
) -> ImageSearch:
    """The encoder and the index of a run, with the images that are in it.

    Args:
        workdir: The run's folder.
        dataset: As of `load_dataset`, and so all that follow; `None` is as in the run.
        data_dir: Where tensorflow-datasets keeps its sets.
        image_size: Pixels a side.
        seed: Which images were held out.
        validation_fraction: How many.

    Raises:
        ValueError: If there is no such run, it has no index of this dataset, or its
            index is of other images or of another encoder.
        FileNotFoundError: If the dataset does not exist.
    """
    run = RunFolder(workdir)
    own = run.read_flags()
    if not own:
        raise ValueError(
            f"Expected the folder of a run. Received: workdir={workdir}, which has no "
            "flags.flags. Pretrain first (python main.py --mode=pretrain)."
        )
    given = {
        "data_dir": (data_dir, str),
        "image_size": (image_size, int),
        "seed": (seed, int),
        "validation_fraction": (validation_fraction, float),
        "memory_limit_gib": (None, float),
    }
    settings = {}
    for name, (value, of_text) in given.items():
        if value is not None:
            settings[name] = value
        elif name in own:
            settings[name] = of_text(own[name])
    name = dataset or own.get("dataset", "digits")
    command = f"python main.py --mode=retrieve --workdir={workdir}"
    if dataset:
        command += f" --dataset={dataset}"
    folder = run.index / folder_name(name)
    if newest_version(folder) is None:
        raise ValueError(
            f"Expected an index of {name} in the run. Received: workdir={workdir}, "
            f"which has none. Run `{command}` first."
        )
    encoder = load_encoder(run.path)
    index = NeighborIndex.load(folder)
    hint = f"Give the run's own dataset and --seed, or run `{command}` again."
    return ImageSearch(encoder, index, load_dataset(name, **settings), hint)
