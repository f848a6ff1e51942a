"""Queries per second and recall of exact and approximate nearest-neighbor search.

    python -m benchmarks.retrieval
    python -m benchmarks.retrieval --indexes Flat IVF256,Flat:nprobe=16 HNSW16
    python -m benchmarks.retrieval --representations runs/fast/features/encoder/cifar10

Every round searches all queries at once with each index, in turn, and then a few of
them one by one; the table has the median round. Exact search of many queries at once is
a product of matrices, which is quick; of one query it reads all vectors. Building is
timed once.

An index is named by FAISS's factory string, with search parameters behind a colon where
the package's own are not meant. The first one must be exact.

With `--representations` the vectors are a run's: the index holds those of the training
and validation splits, queries are those of the test split. Otherwise they are random,
with what representations of a trained encoder have: clusters of unequal spread, a
spectrum that falls as a power of the index (variance 1/i over 64 hidden directions), a
ReLU, and a little noise in all directions. Vectors without such structure (Gaussian
noise in all directions) have no near neighbors, and no index finds them.
"""

import argparse
import pathlib
import statistics
import time

import faiss
import numpy as np

from benchmarks.log import commit, machine, markdown_table, report
from vicreg_keras.evaluate.index import NeighborIndex

HIDDEN = 64
CLUSTERS = 10
INDEXES = [
    "Flat",
    "IVF256,Flat",
    "HNSW32",
    "HNSW32:efSearch=8",
    "PCA64,IVF256,Flat,RFlat",
    "PCA64,HNSW32,RFlat:efSearch=16,k_factor_rf=4",
]
SPLITS = ("train", "validation", "test")
NUM_SINGLE = 200  # Queries that are searched one by one, per round.


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--num_vectors", type=int, default=50_000)
    parser.add_argument("--num_queries", type=int, default=10_000)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--k", type=int, default=5, help="neighbors per query")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--indexes", nargs="+", default=INDEXES)
    parser.add_argument(
        "--representations", type=pathlib.Path, help="a folder in a run's features/"
    )
    parser.add_argument("--log", metavar="LOG.md", help="the table becomes an entry")
    options = parser.parse_args()
    if options.representations:
        parts = [read(options.representations / f"{name}.npz") for name in SPLITS]
        vectors, queries = np.concatenate(parts[:2]), parts[2][: options.num_queries]
    else:
        vectors = representations(options.num_vectors + options.num_queries, options)
        vectors, queries = np.split(vectors, [options.num_vectors])
    indexes = build(vectors, options.indexes)
    seconds, single, found = measure(indexes, queries, options)
    table = markdown_table(table_lines(indexes, seconds, single, found, options))
    source = options.representations or f"random, seed {options.seed}"
    setting = (
        f"{machine()}; FAISS {faiss.__version__}; commit {commit()}; {len(queries):,} "
        f"queries, {len(vectors):,} vectors of {vectors.shape[1]} numbers, {source}, "
        f"{options.rounds} rounds"
    )
    question = "how fast and how exact are the indexes?"
    report(options.log, "retrieval", question, setting, table)


def representations(num_vectors: int, options: argparse.Namespace) -> np.ndarray:
    """Returns random vectors as the module's docstring describes them, float32."""
    random = np.random.default_rng(options.seed)
    scales = np.arange(1, HIDDEN + 1) ** -0.5
    centers = scales * random.normal(size=(CLUSTERS, HIDDEN))
    spreads = random.uniform(0.5, 1.0, (CLUSTERS, 1))
    ramp = random.normal(size=(HIDDEN, options.width)).astype(np.float32)
    clusters = random.integers(0, CLUSTERS, num_vectors)
    hidden = scales * random.normal(size=(num_vectors, HIDDEN))
    hidden = (centers[clusters] + spreads[clusters] * hidden).astype(np.float32)
    vectors = np.maximum(hidden @ ramp, 0)
    return vectors + 0.1 * random.standard_normal(vectors.shape, np.float32)


def read(path: pathlib.Path) -> np.ndarray:
    """Returns a run's cached representations of a split, float32."""
    with np.load(path, allow_pickle=False) as kept:
        return kept["representations"]


def build(vectors: np.ndarray, names: list[str]) -> dict[str, NeighborIndex]:
    """Returns an index for each name; one that differs in parameters is not rebuilt."""
    built, indexes = {}, {}
    for name in names:
        spec, _, parameters = name.partition(":")
        if spec not in built:
            built[spec] = NeighborIndex.build(vectors, factory_string=spec)
        index = NeighborIndex(**vars(built[spec]))
        index.set_search_parameters(parameters or None)
        indexes[name] = index
    return indexes


def measure(
    indexes: dict[str, NeighborIndex],
    queries: np.ndarray,
    options: argparse.Namespace,
) -> tuple[dict[str, list], dict[str, list], dict[str, np.ndarray]]:
    """Returns seconds for all queries, seconds per single query, and neighbors."""
    seconds = {name: [] for name in indexes}
    single = {name: [] for name in indexes}
    found = {}
    for _ in range(options.rounds):
        for name, index in indexes.items():
            # Those of one specification share FAISS's object.
            index.set_search_parameters(index.search_parameters)
            start = time.perf_counter()
            _, found[name] = index.search(queries, options.k)
            seconds[name].append(time.perf_counter() - start)
            start = time.perf_counter()
            for query in queries[:NUM_SINGLE, np.newaxis]:
                index.search(query, options.k)
            single[name].append((time.perf_counter() - start) / NUM_SINGLE)
    return seconds, single, found


def table_lines(
    indexes: dict[str, NeighborIndex],
    seconds: dict[str, list],
    single: dict[str, list],
    found: dict[str, np.ndarray],
    options: argparse.Namespace,
) -> list[tuple[str, ...]]:
    """Returns the header and one line per index; ratios and recall are to the first."""
    exact = options.indexes[0]
    lines = [
        ("index", "parameters", "build s", "MiB", f"recall@{options.k}")
        + ("queries/s, all at once", "ratio", "queries/s, one by one", "ratio")
    ]
    for name, index in indexes.items():
        same = found[name][:, :, np.newaxis] == found[exact][:, np.newaxis]
        cells = [
            *(index.factory_string, index.search_parameters or "exact"),
            f"{index.build_seconds:.2f}",
            f"{index.num_bytes / 2**20:.1f}",
            f"{same.any(axis=2).mean():.4f}",
        ]
        for times, count in ((seconds, len(found[name])), (single, 1)):
            median = statistics.median(times[name])
            ratio = statistics.median(times[exact]) / median
            cells += [f"{count / median:,.0f}", f"{ratio:.1f}"]
        lines.append(tuple(cells))
    return lines


if __name__ == "__main__":
    main()
