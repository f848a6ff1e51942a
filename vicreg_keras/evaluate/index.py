"""Which examples are nearest? An index over representations, exact or approximate.

FAISS does the searching. Here are the rows' length, what stands beside the rows, and
a folder that is never found half-written.
"""

import dataclasses
import json
import os
import pathlib
import shutil
import time
from collections.abc import Sequence
from typing import Any

import faiss
import numpy as np

from vicreg_keras.evaluate.index_factory import (
    build_index,
    default_search_parameters,
    num_bytes,
    parameter_names,
    reason,
)
from vicreg_keras.workdir.versions import newest_version, version_numbers, write_version

_INDEX_FILE = "index.faiss"
_ENTRIES_FILE = "entries.json"

# So many queries at once are worth being brought in order, by the nearest of so many.
_MANY_QUERIES = 1024
_MARKS = 256


@dataclasses.dataclass(eq=False)
class NeighborIndex:
    """Rows of length 1 that are found by distance, with names and labels beside them.

    Distances are Euclidean. Between rows of length 1 the squared distance is
    `2 - 2 * cosine`, so the nearest by distance are the nearest by cosine, from 0
    (the same direction) over 1.41 (at right angles) to 2 (opposite). A row of zeros,
    which has no direction, is at distance 1 from all others.

    Made by `build` and `load`.

    Attributes:
        names: One text a row.
        labels: int64 array of shape `(N,)`, or `None`.
        class_names: One text a class, or `None`.
        key: What the caller wants to know it by, such as the encoder's fingerprint.
        spec: FAISS's factory string.
        search_parameters: What the search is set to, in FAISS's words; empty where
            there is nothing to set.
        build_seconds: What training the index and adding the rows took.
        num_bytes: Length of the index as FAISS writes it, which is about what it
            takes in memory.
        faiss_index: FAISS's own object.
    """

    names: list[str]
    labels: np.ndarray | None
    class_names: list[str] | None
    key: str
    spec: str
    search_parameters: str
    build_seconds: float
    num_bytes: int
    faiss_index: faiss.Index = dataclasses.field(repr=False)

    def __post_init__(self):
        _check_entries(self.num_rows, self.names, self.labels, self.class_names)
        self.names = list(self.names)
        if self.labels is not None:
            self.labels = np.array(self.labels, np.int64)
        if self.class_names is not None:
            self.class_names = list(self.class_names)

    @property
    def num_rows(self) -> int:
        """How many rows there are."""
        return self.faiss_index.ntotal

    @property
    def width(self) -> int:
        """Of the rows, and of queries."""
        return self.faiss_index.d

    @classmethod
    def build(
        cls,
        rows: np.ndarray,
        names: Sequence[str] | None = None,
        labels: np.ndarray | None = None,
        class_names: Sequence[str] | None = None,
        *,
        spec: str = "Flat",
        search_parameters: str | None = None,
        key: str = "",
    ) -> "NeighborIndex":
        """An index of rows, the same for the same rows.

        `Flat` is exact. Of the others, `IVF256,Flat` looks only into the cells of a
        k-means that are nearest, `HNSW32` walks along a graph (built on one thread,
        since several would build another graph each time), `IVF1024,PQ32` keeps codes
        of 32 bytes instead of rows, and `PCA64,IVF256,Flat,RFlat` searches in 64
        principal components and compares what it finds there by the whole rows.
        k-means and PCA learn from a sample where there are many rows.

        Args:
            rows: `(N, D)` of any length; an own copy is brought to length 1.
            names: One text a row; by default the rows' numbers.
            labels: `(N,)` integers, or `None`.
            class_names: One text a class, or `None`.
            spec: FAISS's factory string.
            search_parameters: As of `set_search_parameters`.
            key: Kept beside the rows.

        Returns:
            The index.

        Raises:
            ValueError: If the rows are not finite, something beside them is not one a
                row, or FAISS cannot build or search such an index of them.
        """
        rows = _checked_rows("rows", rows)
        if names is None:
            names = [str(number) for number in range(len(rows))]
        _check_entries(len(rows), names, labels, class_names)
        rows = l2_normalize(rows)
        start = time.perf_counter()
        index = build_index(rows, spec)
        built = cls(
            faiss_index=index,
            names=names,
            labels=labels,
            class_names=class_names,
            key=key,
            spec=spec,
            search_parameters="",
            build_seconds=time.perf_counter() - start,
            num_bytes=num_bytes(index),
        )
        built.set_search_parameters(search_parameters)
        return built

    def set_search_parameters(self, search_parameters: str | None) -> None:
        """Trades time for neighbors found, in an index that is not exact.

        Args:
            search_parameters: FAISS's names and numbers with commas between: `nprobe`
                (cells that are looked into), `efSearch` (candidates kept on the way
                through a graph), `k_factor_rf` (candidates a neighbor, for an index
                that ends in `RFlat`). `None` takes two thirds of the square root of
                the number of cells, 32 and 4.

        Raises:
            ValueError: If the index has no such parameter, or cannot search with it.
                It stays as it was.
        """
        text = search_parameters
        if text is None:
            text = default_search_parameters(self.faiss_index)
        try:
            faiss.ParameterSpace().set_index_parameters(self.faiss_index, text)
            # Numbers that FAISS takes may yet fail in the search.
            self.faiss_index.search(np.zeros((1, self.width), np.float32), 1)
        except RuntimeError as error:
            before = self.search_parameters
            faiss.ParameterSpace().set_index_parameters(self.faiss_index, before)
            known = ", ".join(parameter_names(self.faiss_index)) or "it has none"
            raise ValueError(
                f"Expected search parameters of the index {self.spec} ({known}), such "
                f"as nprobe=16. Received: search_parameters={text!r}"
            ) from error
        self.search_parameters = text

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The nearest rows of each query, the nearest first.

        Where the cells that an inverted file looks into hold fewer than `k` rows, it
        looks into all. A graph from which a row cannot be reached comes up short even
        so: what is missing is -1, at infinite distance, behind what was found. Check
        for it before using neighbors of an approximate index as row numbers.

        Args:
            queries: `(Q, D)` of any length; left as they are. A query that is itself
                among the rows finds itself.
            k: At least 1; more than there are rows become all of them.

        Returns:
            Distances, float32 `(Q, k)`, and row numbers, int64 `(Q, k)`. An index that
            keeps codes or fewer dimensions gives distances between these. In float32
            equal rows may come out 0.001 apart.

        Raises:
            ValueError: If the queries are not finite or of another width, or `k` is
                below 1.
        """
        if k < 1:
            raise ValueError(f"Expected at least one neighbor. Received: k={k}")
        rows = l2_normalize(_checked_rows("queries", queries, self.width))
        k = min(k, self.num_rows)
        if len(rows) < _MANY_QUERIES or self.spec == "Flat":
            squares, neighbors = self.faiss_index.search(rows, k)
        else:
            order = _neighbors_in_turn(rows)
            back = np.argsort(order)
            squares, neighbors = (
                found[back] for found in self.faiss_index.search(rows[order], k)
            )
        cells = faiss.try_extract_index_ivf(self.faiss_index)
        (short,) = np.nonzero((neighbors < 0).any(axis=1))
        if cells is not None and len(short):
            nprobe, cells.nprobe = cells.nprobe, cells.nlist
            squares[short], neighbors[short] = self.faiss_index.search(rows[short], k)
            cells.nprobe = nprobe
        # Rounding makes some squares negative.
        distances = np.sqrt(np.maximum(squares, 0))
        distances[neighbors < 0] = np.inf
        return distances, neighbors

    def save(self, folder: str | os.PathLike) -> None:
        """Writes the index as the next numbered version in a folder.

        It is written aside and renamed, as a folder that is not empty cannot be
        renamed over; the versions before it are removed afterwards. So whoever loads
        finds the one or the other whole, wherever this is killed.

        Args:
            folder: Made where it is missing.
        """
        earlier = version_numbers(folder)

        def write(aside):
            entries = dict(vars(self))
            faiss.write_index(entries.pop("faiss_index"), str(aside / _INDEX_FILE))
            if self.labels is not None:
                entries["labels"] = self.labels.tolist()
            (aside / _ENTRIES_FILE).write_text(json.dumps(entries))

        write_version(folder, write)
        for number in earlier:
            shutil.rmtree(pathlib.Path(folder) / str(number), ignore_errors=True)

    @classmethod
    def load(cls, folder: str | os.PathLike) -> "NeighborIndex":
        """The index that was saved in a folder.

        Args:
            folder: As of `save`.

        Returns:
            The index, with what stands beside it and the same search parameters.

        Raises:
            ValueError: If there is none, or it cannot be read.
        """
        version = newest_version(folder)
        if version is None:
            raise ValueError(
                "Expected the folder of a saved index. Received: "
                f"folder={folder}, which has none. Build and save one first."
            )
        try:
            entries = json.loads((version / _ENTRIES_FILE).read_text())
            index = faiss.read_index(str(version / _INDEX_FILE))
            return cls(faiss_index=index, **entries)
        except (OSError, RuntimeError, TypeError, ValueError) as error:
            if newest_version(folder) != version:
                return cls.load(folder)  # It was replaced while it was read.
            raise ValueError(
                f"Expected a saved index that can be read. Received: folder={folder}, "
                f"whose version {version.name} cannot ({reason(error)}). Build it anew."
            ) from error


def l2_normalize(rows: np.ndarray) -> np.ndarray:
    """A float32 copy with rows of length 1; rows of zeros stay zero.

    Args:
        rows: `(N, D)`, finite.
    """
    rows = np.array(rows, np.float32, order="C")
    # Scaled by the largest entry first, so that squares neither overflow nor vanish.
    largest = np.abs(rows).max(axis=1, keepdims=True)
    rows /= np.where(largest > 0, largest, 1)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    rows /= np.where(norms > 0, norms, 1)
    return rows


def _neighbors_in_turn(rows: np.ndarray) -> np.ndarray:
    """An order in which rows that are near each other follow each other.

    An approximate index reads the same cells or edges for such queries, and finds
    them in the processor's cache: on two cores that was 1.2 to 1.5 times as fast.

    Args:
        rows: `(Q, D)`, `_MANY_QUERIES` or more.
    """
    marks = rows[np.linspace(0, len(rows) - 1, _MARKS).astype(np.int64)]
    return np.argsort(np.argmax(rows @ marks.T, axis=1), kind="stable")


def _checked_rows(name: str, rows: Any, width: int | None = None) -> np.ndarray:
    """Refuses rows that have no distance."""
    with np.errstate(over="ignore"):  # What overflows is infinite, and refused.
        rows = np.asarray(rows, np.float32)
    if rows.ndim != 2 or not rows.size or width not in (None, rows.shape[1]):
        raise ValueError(
            f"Expected {name} of shape (N, {width or 'D'}), N above 0. Received: "
            f"shape={rows.shape}. All must come from one encoder."
        )
    bad = ~np.isfinite(rows).all(axis=1)
    if bad.any():
        raise ValueError(
            f"Expected finite {name}. Received: NaN or infinity in {bad.sum()} of "
            f"{len(rows)} rows."
        )
    return rows


def _check_entries(num_rows: int, names: Any, labels: Any, class_names: Any) -> None:
    """Refuses what does not stand beside the rows one by one."""
    for name, entries in (("names", names), ("labels", labels)):
        if entries is not None and np.shape(entries) != (num_rows,):
            raise ValueError(
                f"Expected {name} for {num_rows} rows, one each. Received: "
                f"shape={np.shape(entries)}"
            )
    if labels is not None and class_names is not None:
        lowest, highest = int(np.min(labels)), int(np.max(labels))
        if lowest < 0 or highest >= len(class_names):
            raise ValueError(
                f"Expected labels of {len(class_names)} classes. Received: labels from "
                f"{lowest} to {highest}"
            )
