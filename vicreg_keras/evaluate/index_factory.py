"""How is FAISS made to build an index from a line of text, and to say why it cannot?"""

import contextlib
import math
import re
from collections.abc import Iterator

import faiss
import numpy as np

# More rows than these teach FAISS's k-means and PCA little, and take longer. Cells of
# an inverted file need some each.
_NUM_TRAINING_ROWS = 2**17
_TRAINING_ROWS_A_CELL = 64

# Candidates that a graph keeps, and candidates a neighbor that are compared again by
# their rows: FAISS's own 16 and 1 find fewer (benchmarks/retrieval.py).
_EF_SEARCH = 32
_REFINE_FACTOR = 4
# Below, k-means on one thread is quicker than threads that wait for each other.
_MANY_ENTRIES = 2**22


def build_index(rows: np.ndarray, spec: str) -> faiss.Index:
    """FAISS's index of rows, trained and filled, the same for the same rows.

    Args:
        rows: `(N, D)` float32, finite.
        spec: FAISS's factory string.

    Returns:
        The index, by Euclidean distance.

    Raises:
        ValueError: If there is no such index, or none of these rows.
    """
    try:
        index = faiss.index_factory(rows.shape[1], spec)
    except RuntimeError as error:
        raise ValueError(
            "Expected a FAISS index such as Flat, IVF256,Flat or HNSW32, for rows "
            f"{rows.shape[1]} wide. Received: spec={spec!r} ({reason(error)})"
        ) from error
    try:
        with _threads(rows, spec):
            _train(index, rows)
            index.add(rows)
        # Some that can be built cannot search, such as one without cells.
        index.search(rows[:1], 1)
    except RuntimeError as error:
        raise ValueError(
            f"Expected enough rows for the index. Received: spec={spec!r} and rows of "
            f"shape {rows.shape} ({reason(error)}). Choose fewer cells or components, "
            "or Flat, which suits any number."
        ) from error
    return index


def default_search_parameters(index: faiss.Index) -> str:
    """Settings that find nearly all of the nearest, in FAISS's syntax.

    Empty where there is nothing to set. benchmarks/retrieval.py measures them.
    """
    names, settings = parameter_names(index), []
    if "nprobe" in names:
        cells = faiss.extract_index_ivf(index)
        settings.append(f"nprobe={max(1, 2 * math.isqrt(cells.nlist) // 3)}")
    if "efSearch" in names:
        settings.append(f"efSearch={_EF_SEARCH}")
    if "k_factor_rf" in names:
        settings.append(f"k_factor_rf={_REFINE_FACTOR}")
    return ",".join(settings)


def parameter_names(index: faiss.Index) -> list[str]:
    """What can be set of an index's search, in FAISS's words."""
    space = faiss.ParameterSpace()
    space.initialize(index)
    ranges = space.parameter_ranges
    return [ranges.at(number).name for number in range(ranges.size())]


def num_bytes(index: faiss.Index) -> int:
    """Length of an index as FAISS writes it, found without keeping what is written."""
    lengths = []
    writer = faiss.PyCallbackIOWriter(lambda part: lengths.append(len(part)))
    faiss.write_index(index, writer)
    return sum(lengths)


def reason(error: Exception) -> str:
    """What an error says, on one line and without the place in FAISS's source."""
    text = " ".join(str(error).split())
    return re.sub(r"^Error in .* at \S+:\d+: (Error: )?('.*' failed: )?", "", text)


def _train(index: faiss.Index, rows: np.ndarray) -> None:
    """Lets k-means and PCA learn from the rows, or from a sample of many."""
    cells = faiss.try_extract_index_ivf(index)
    num_cells = 0 if cells is None else cells.nlist
    codes = getattr(index if cells is None else cells, "pq", None)
    for part in (cells, codes):
        if part is not None:
            # FAISS warns on the terminal below 39 rows a centroid, once for each
            # k-means. The recall that such an index has is measured, not guessed.
            part.cp.min_points_per_centroid = 1
    num_rows = max(_NUM_TRAINING_ROWS, _TRAINING_ROWS_A_CELL * num_cells)
    if len(rows) > num_rows:
        random = np.random.default_rng(0)
        rows = rows[np.sort(random.choice(len(rows), num_rows, replace=False))]
    index.train(rows)


@contextlib.contextmanager
def _threads(rows: np.ndarray, spec: str) -> Iterator[None]:
    """One thread for graphs, whose edges depend on which row comes first."""
    before = faiss.omp_get_max_threads()
    if "HNSW" in spec or "NSG" in spec or rows.size < _MANY_ENTRIES:
        faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
