"""A run's index of representations, without vicreg_keras: faiss and numpy are enough.

Copy it to another machine together with the program that imports it.
"""

import argparse
import json
import math
import pathlib
import struct
from typing import NamedTuple

import faiss
import numpy as np

# What Pillow raises for damaged files, the last two for damaged EXIF.
PILLOW_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, TypeError)


class Neighbor(NamedTuple):
    """An image of the index.

    Attributes:
        rank: From 1 on.
        name: Name of the image.
        class_name: Its class; `"-"` without labels.
        distance: Distance of the L2-normalized representations, from 0 to 2.
    """

    rank: int
    name: str
    class_name: str
    distance: float


class Index:
    """The representations in a run's `index/DATASET`, searched by distance.

    Args:
        folder: `RUN/index/DATASET`, whose largest number is the newest version.

    Raises:
        ValueError: If there is no index in the folder, or it cannot be read.
    """

    def __init__(self, folder: str):
        children = pathlib.Path(folder).glob("*")
        versions = [int(child.name) for child in children if child.name.isdecimal()]
        if not versions:
            raise ValueError(
                f"Expected an index such as RUN/index/cifar10. Received: {folder}, "
                "which has no numbered folder. Build one: main.py --mode=retrieve."
            )
        version = pathlib.Path(folder) / str(max(versions))
        try:
            entries = json.loads((version / "entries.json").read_text("utf-8"))
            self._names = entries["names"]
            self._labels, self._class_names = entries["labels"], entries["class_names"]
            self._index = faiss.read_index(str(version / "index.faiss"))
        except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"Expected an index that can be read. Received: {version} ({error}). "
                "Build it anew: main.py --mode=retrieve."
            ) from error

    def nearest(self, representation: np.ndarray, count: int) -> list[Neighbor]:
        """Returns the nearest neighbors, the nearest first.

        Args:
            representation: `(dim,)` float32, L2-normalized.
            count: Number of neighbors; an index with fewer gives fewer.

        Raises:
            ValueError: If the representation is of another width than the index's.
        """
        if representation.shape != (self._index.d,):
            raise ValueError(
                f"Expected a representation {self._index.d} wide, as in the index. "
                f"Received: shape={representation.shape}. Take the index of this "
                "encoder's run."
            )
        count = min(count, self._index.ntotal)
        squares, found = self._index.search(representation[np.newaxis], count)
        return [
            # Rounding makes some squares negative.
            Neighbor(
                rank, self._names[i], self._class_of(i), math.sqrt(max(square, 0.0))
            )
            for rank, (i, square) in enumerate(
                zip(found[0], squares[0], strict=True), 1
            )
            if i >= 0  # An approximate index may find fewer.
        ]

    def _class_of(self, number):
        if self._labels is None:
            return "-"
        label = self._labels[number]
        return str(label) if self._class_names is None else self._class_names[label]


class OneLineParser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message):
        self.exit(1, f"{self.prog}: {message}\n")
