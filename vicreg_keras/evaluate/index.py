"""An index of nearest neighbors among representations, exact or approximate.

FAISS searches; `NeighborIndex` adds L2 normalization, the names and labels of the
examples, and a folder that is replaced as a whole.
"""

import dataclasses
import json
import math
import os
import pathlib
import re
import shutil
import time
from collections.abc import Sequence

import faiss
import numpy as np
from threadpoolctl import threadpool_limits

from vicreg_keras.errors import DamagedError, InputError
from vicreg_keras.evaluate.accuracy import check_labels
from vicreg_keras.evaluate.features import check_representations
from vicreg_keras.evaluate.normalization import l2_normalize
from vicreg_keras.workdir.versions import (
    check_version,
    newest_version,
    version_numbers,
    write_version,
)

_INDEX_FILE = "index.faiss"
_ENTRIES_FILE = "entries.json"

# Candidates that a graph keeps, and candidates per neighbor that are compared again by
# their vectors: FAISS's own 16 and 1 find fewer (benchmarks/retrieval.py).
_EF_SEARCH = 32
_REFINE_FACTOR = 4


@dataclasses.dataclass(eq=False)
class NeighborIndex:
    """L2-normalized representations that are searched by distance.

    Distances are Euclidean. Between vectors of length 1 the squared distance is
    `2 - 2 * cosine`, so the nearest by distance are the nearest by cosine, from 0
    (the same direction) over 1.41 (at right angles) to 2 (opposite). A vector of
    zeros, which has no direction, is at distance 1 from all others.

    Made by `build` and `load`.

    Attributes:
        names: Name of each example.
        labels: int64 array of shape `(N,)`, or `None`.
        class_names: Name of each class, or `None`.
        key: Identifies what the index was made from, such as the encoder's fingerprint.
        factory_string: FAISS's description of the index.
        search_parameters: Parameters of the search in FAISS's syntax; empty where
            there are none.
        build_seconds: Time that training the index and adding the vectors took.
        faiss_index: FAISS's own object.
    """

    names: Sequence[str]
    labels: np.ndarray | None
    class_names: Sequence[str] | None
    key: str
    factory_string: str
    search_parameters: str
    build_seconds: float
    faiss_index: faiss.Index = dataclasses.field(repr=False)

    def __post_init__(self):
        for name in ("names", "labels"):
            entries = getattr(self, name)
            if entries is not None and np.shape(entries) != (self.num_vectors,):
                raise ValueError(
                    f"Expected {name} for {self.num_vectors} representations, one "
                    f"each. Received: shape={np.shape(entries)}."
                )
        self.names = list(self.names)
        if self.labels is not None:
            self.labels = np.array(self.labels, np.int64)
        if self.class_names is not None:
            self.class_names = list(self.class_names)
            check_labels("indexed", self.labels, num_classes=len(self.class_names))

    @property
    def num_vectors(self) -> int:
        """Number of representations in the index."""
        return self.faiss_index.ntotal

    @property
    def width(self) -> int:
        """Size of the representations, and of queries."""
        return self.faiss_index.d

    @property
    def num_bytes(self) -> int:
        """Size of the index as FAISS writes it, about what it takes in memory."""
        return len(faiss.serialize_index(self.faiss_index))

    @classmethod
    def build(
        cls,
        representations: np.ndarray,
        names: Sequence[str] | None = None,
        labels: np.ndarray | None = None,
        class_names: Sequence[str] | None = None,
        *,
        factory_string: str = "Flat",
        search_parameters: str | None = None,
        key: str = "",
    ) -> "NeighborIndex":
        """Builds an index, the same for the same representations.

        `Flat` is exact. Of the others, `IVF256,Flat` looks only into the cells of a
        k-means that are nearest, `HNSW32` walks along a graph (built on one thread,
        since several would build another graph each time), `IVF1024,PQ32` keeps codes
        of 32 bytes instead of vectors, and `PCA64,IVF256,Flat,RFlat` searches in 64
        principal components and compares what it finds by the whole vectors. k-means
        and PCA are trained on a sample where there are many vectors.

        Args:
            representations: `(N, D)` array; a copy of it is L2-normalized.
            names: Name of each example; by default its number.
            labels: `(N,)` integers, or `None`.
            class_names: Name of each class, or `None`.
            factory_string: FAISS's description of the index.
            search_parameters: See `set_search_parameters`.
            key: Identifies what the index is made from.

        Raises:
            InputError: If the representations are not finite, a label is out of range,
                or FAISS cannot build or search such an index of them.
            ValueError: If names or labels are not as many.
        """
        check_representations("indexed", representations)
        if names is None:
            names = [str(number) for number in range(len(representations))]
        vectors = l2_normalize(representations)
        start = time.perf_counter()
        index = cls(
            faiss_index=_build(vectors, factory_string),
            names=names,
            labels=labels,
            class_names=class_names,
            key=key,
            factory_string=factory_string,
            search_parameters="",
            build_seconds=time.perf_counter() - start,
        )
        index.set_search_parameters(search_parameters)
        return index

    def set_search_parameters(self, search_parameters: str | None) -> None:
        """Trades speed for recall, in an index that is not exact.

        Args:
            search_parameters: FAISS's names and values, separated by commas: `nprobe`
                (cells that are looked into), `efSearch` (candidates kept on the way
                through a graph), `k_factor_rf` (candidates per neighbor, for an index
                that ends in `RFlat`). `None` takes two thirds of the square root of
                the number of cells, 32 and 4.

        Raises:
            InputError: If the index has no such parameter, or cannot search with it.
                The index is left as it was.
        """
        if search_parameters is None:
            search_parameters = _default_search_parameters(self.faiss_index)
        space = faiss.ParameterSpace()
        try:
            space.set_index_parameters(self.faiss_index, search_parameters)
            # Values that FAISS accepts may yet fail in the search.
            self.faiss_index.search(np.zeros((1, self.width), np.float32), 1)
        except RuntimeError as error:
            space.set_index_parameters(self.faiss_index, self.search_parameters)
            known = ", ".join(_parameter_names(self.faiss_index)) or "it has none"
            raise InputError(
                f"Expected search parameters of the index {self.factory_string} "
                f"({known}), such as nprobe=16. Received: "
                f"search_parameters={search_parameters!r}."
            ) from error
        self.search_parameters = search_parameters

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Finds the nearest neighbors of each query, the nearest first.

        Where the cells that an inverted file looks into hold fewer than `k` vectors,
        it looks into all. A graph may have vectors that cannot be reached even so:
        what is missing is -1, at infinite distance, behind what was found.

        Args:
            queries: `(Q, D)` array of any length. A query that is itself in the index
                finds itself.
            k: Neighbors per query, at least 1; all vectors where there are fewer.

        Returns:
            Distances, float32 `(Q, k)`, and numbers of the neighbors, int64 `(Q, k)`.
            Distances to codes or to fewer dimensions are approximate. In float32,
            equal vectors may come out 0.001 apart.

        Raises:
            InputError: If the queries are not finite or of another width.
        """
        check_representations("queries", queries, width=self.width)
        vectors = l2_normalize(queries)
        k = min(k, self.num_vectors)
        squares, neighbors = self.faiss_index.search(vectors, k)
        cells = faiss.try_extract_index_ivf(self.faiss_index)
        (short,) = np.nonzero((neighbors < 0).any(axis=1))
        if cells is not None and len(short):
            nprobe, cells.nprobe = cells.nprobe, cells.nlist
            found = self.faiss_index.search(vectors[short], k)
            squares[short], neighbors[short] = found
            cells.nprobe = nprobe
        # Rounding makes some squares negative.
        distances = np.sqrt(np.maximum(squares, 0))
        distances[neighbors < 0] = np.inf
        return distances, neighbors

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes the index as the next numbered version in a folder.

        It is written aside and renamed, and earlier versions are removed afterwards:
        `load` finds the one or the other whole, wherever this is killed.

        Args:
            folder: Folder of the versions, created where it is missing.
        """
        earlier = version_numbers(folder)

        def write(aside):
            entries = dict(vars(self))
            # FAISS's own file is cut off without an error where the disk is full.
            with open(aside / _INDEX_FILE, "wb") as file:
                writer = faiss.PyCallbackIOWriter(file.write)
                faiss.write_index(entries.pop("faiss_index"), writer)
            if self.labels is not None:
                entries["labels"] = self.labels.tolist()
            (aside / _ENTRIES_FILE).write_text(json.dumps(entries))

        write_version(folder, write)
        for number in earlier:
            shutil.rmtree(pathlib.Path(folder) / str(number), ignore_errors=True)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> "NeighborIndex":
        """Reads the index that `save` wrote, with the same search parameters.

        Args:
            folder: See `save`.

        Raises:
            DamagedError: If it is not as it was written.
            InputError: If there is none.
        """
        version = newest_version(folder)
        if version is None:
            raise InputError(
                "Expected the folder of a saved index. Received: "
                f"folder={folder}, which has none. Build and save one first."
            )
        try:
            check_version(version, "Build it anew.")
            entries = json.loads((version / _ENTRIES_FILE).read_text())
            index = faiss.read_index(str(version / _INDEX_FILE))
            return cls(faiss_index=index, **entries)
        except (OSError, RuntimeError, TypeError, ValueError) as error:
            if newest_version(folder) != version:
                return cls.load(folder)  # It was replaced while it was read.
            if isinstance(error, DamagedError):
                raise
            raise DamagedError(version, _reason(error), "Build it anew.") from error


def _build(vectors: np.ndarray, factory_string: str) -> faiss.Index:
    """Builds FAISS's index by Euclidean distance, the same for the same vectors.

    Args:
        vectors: `(N, D)` float32 array, finite.
        factory_string: FAISS's description of the index.

    Raises:
        InputError: If there is no such index, or none of so few vectors.
    """
    try:
        index = faiss.index_factory(vectors.shape[1], factory_string)
    except RuntimeError as error:
        raise InputError(
            "Expected a FAISS index such as Flat, IVF256,Flat or HNSW32. Received: "
            f"index={factory_string!r} ({_reason(error)})."
        ) from error
    cells = faiss.try_extract_index_ivf(index)
    for part in (cells, getattr(cells or index, "pq", None)):
        if part is not None:
            # FAISS warns on the terminal below 39 vectors per centroid, once for each
            # k-means. The recall of such an index is measured, not guessed.
            part.cp.min_points_per_centroid = 1
    # The edges of a graph depend on which vector comes first.
    is_graph = "HNSW" in factory_string or "NSG" in factory_string
    try:
        with threadpool_limits(1 if is_graph else None, "openmp"):
            index.train(vectors)
            index.add(vectors)
        # Some that can be built cannot search, such as one without cells.
        index.search(vectors[:1], 1)
    except RuntimeError as error:
        raise InputError(
            f"Expected an index for shape={vectors.shape}. Received: "
            f"index={factory_string!r} ({_reason(error)}). Choose fewer cells, or Flat."
        ) from error
    return index


def _default_search_parameters(index: faiss.Index) -> str:
    """Returns parameters that find nearly all of the nearest, in FAISS's syntax.

    They are empty where there are none. benchmarks/retrieval.py measures them.
    """
    values = {"efSearch": _EF_SEARCH, "k_factor_rf": _REFINE_FACTOR}
    names = _parameter_names(index)
    if "nprobe" in names:
        num_cells = faiss.extract_index_ivf(index).nlist
        values = {"nprobe": max(1, 2 * math.isqrt(num_cells) // 3), **values}
    return ",".join(f"{name}={values[name]}" for name in values if name in names)


def _parameter_names(index: faiss.Index) -> list[str]:
    """Returns FAISS's names of an index's search parameters."""
    space = faiss.ParameterSpace()
    space.initialize(index)
    ranges = space.parameter_ranges
    return [ranges.at(number).name for number in range(ranges.size())]


def _reason(error: Exception) -> str:
    """Returns an error's message on one line, without the place in FAISS's source."""
    text = " ".join(str(error).split())
    return re.sub(r"^Error in .* at \S+:\d+: (Error: )?('.*' failed: )?", "", text)
