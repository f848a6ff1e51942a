"""FAISS indexes built from a factory string, with errors that fit on one line."""

import math
import re

import faiss
import numpy as np
from threadpoolctl import threadpool_limits

from vicreg_keras.errors import InputError

# Candidates that a graph keeps, and candidates per neighbor that are compared again by
# their vectors: FAISS's own 16 and 1 find fewer (benchmarks/retrieval.py).
_EF_SEARCH = 32
_REFINE_FACTOR = 4


def build_index(vectors: np.ndarray, factory_string: str) -> faiss.Index:
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
            f"index={factory_string!r} ({reason(error)})."
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
            f"index={factory_string!r} ({reason(error)}). Choose fewer cells, or Flat."
        ) from error
    return index


def default_search_parameters(index: faiss.Index) -> str:
    """Returns parameters that find nearly all of the nearest, in FAISS's syntax.

    They are empty where there are none. benchmarks/retrieval.py measures them.
    """
    values = {"efSearch": _EF_SEARCH, "k_factor_rf": _REFINE_FACTOR}
    names = parameter_names(index)
    if "nprobe" in names:
        num_cells = faiss.extract_index_ivf(index).nlist
        values = {"nprobe": max(1, 2 * math.isqrt(num_cells) // 3), **values}
    return ",".join(f"{name}={values[name]}" for name in values if name in names)


def parameter_names(index: faiss.Index) -> list[str]:
    """Returns FAISS's names of an index's search parameters."""
    space = faiss.ParameterSpace()
    space.initialize(index)
    ranges = space.parameter_ranges
    return [ranges.at(number).name for number in range(ranges.size())]


def reason(error: Exception) -> str:
    """Returns an error's message on one line, without the place in FAISS's source."""
    text = " ".join(str(error).split())
    return re.sub(r"^Error in .* at \S+:\d+: (Error: )?('.*' failed: )?", "", text)
