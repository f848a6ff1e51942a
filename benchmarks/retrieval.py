"""Queries a second and neighbors found: exact search beside approximate indexes.

    python -m benchmarks.retrieval
    python -m benchmarks.retrieval --indexes Flat IVF256,Flat:nprobe=16 HNSW16
    python -m benchmarks.retrieval --representations runs/quick/features/encoder/cifar10

Every round searches all queries at once with each contender, in turn, and then a few
of them one by one, so that what else the machine does falls on all alike; the median
round counts. Exact search of many queries at once is a product of matrices, which is
quick; of one query it reads the whole data base. Building is timed once.

An index is named by FAISS's factory string, with search parameters behind a colon
where the package's own are not meant. The first one must be exact.

With `--representations` rows and queries are a run's: those of the training images,
held-out ones included, and of the test images. Otherwise they are made up, with what
representations of a trained encoder have: clusters of unequal spread, a spectrum that
falls as a power of the index (variance 1/i over 64 hidden directions), a ramp that
leaves no negative numbers, and a little noise in all directions. Queries are drawn from
the same distribution. Rows without such structure (Gaussian noise in all directions)
have no near neighbors, and no index finds them.
"""

import argparse
import os
import pathlib
import statistics
import time

import faiss
import numpy as np

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
NUM_SINGLE = 200  # Queries that are searched one by one, a round.


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--num_rows", type=int, default=50_000)
    parser.add_argument("--num_queries", type=int, default=10_000)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--k", type=int, default=5, help="neighbors a query")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--indexes", nargs="+", default=INDEXES)
    parser.add_argument(
        "--representations", type=pathlib.Path, help="a folder in a run's features/"
    )
    options = parser.parse_args()
    if options.representations:
        parts = [read(options.representations / f"{name}.npz") for name in SPLITS]
        rows, queries = np.concatenate(parts[:2]), parts[2][: options.num_queries]
    else:
        rows = representations(options.num_rows + options.num_queries, options)
        rows, queries = np.split(rows, [options.num_rows])

    contenders = build(rows, options.indexes)
    seconds, single, found = measure(contenders, queries, options)
    print_table(contenders, seconds, single, found, options)


def representations(num_rows: int, options: argparse.Namespace) -> np.ndarray:
    """Returns rows as the module's docstring describes them, float32."""
    random = np.random.default_rng(options.seed)
    scales = np.arange(1, HIDDEN + 1) ** -0.5
    centers = scales * random.normal(size=(CLUSTERS, HIDDEN))
    spreads = random.uniform(0.5, 1.0, (CLUSTERS, 1))
    ramp = random.normal(size=(HIDDEN, options.width)).astype(np.float32)
    clusters = random.integers(0, CLUSTERS, num_rows)
    hidden = scales * random.normal(size=(num_rows, HIDDEN))
    hidden = (centers[clusters] + spreads[clusters] * hidden).astype(np.float32)
    rows = np.maximum(hidden @ ramp, 0)
    rows += 0.1 * random.standard_normal(rows.shape, np.float32)
    return rows


def read(path: pathlib.Path) -> np.ndarray:
    """Returns what a run has kept of a split, float32."""
    with np.load(path, allow_pickle=False) as kept:
        return kept["representations"]


def build(rows: np.ndarray, names: list[str]) -> dict[str, NeighborIndex]:
    """Returns an index for each name; one that differs in parameters is not rebuilt."""
    built, contenders = {}, {}
    for name in names:
        spec, _, parameters = name.partition(":")
        if spec not in built:
            built[spec] = NeighborIndex.build(rows, spec=spec)
        contender = NeighborIndex(**vars(built[spec]))
        contender.set_search_parameters(parameters or None)
        contenders[name] = contender
    return contenders


def measure(
    contenders: dict[str, NeighborIndex],
    queries: np.ndarray,
    options: argparse.Namespace,
) -> tuple[dict[str, list], dict[str, list], dict[str, np.ndarray]]:
    """Returns seconds for all queries, seconds a query one by one, and neighbors."""
    seconds = {name: [] for name in contenders}
    single = {name: [] for name in contenders}
    found = {}
    for _ in range(options.rounds):
        for name, index in contenders.items():
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


def print_table(
    contenders: dict[str, NeighborIndex],
    seconds: dict[str, list],
    single: dict[str, list],
    found: dict[str, np.ndarray],
    options: argparse.Namespace,
):
    """Prints one row an index; ratios and recall are to the first one."""
    exact = options.indexes[0]
    print(
        f"{len(found[exact]):,} queries, {contenders[exact].num_rows:,} rows "
        f"{contenders[exact].width} wide, "
        f"{options.representations or f'made up, seed {options.seed}'}, "
        f"{options.rounds} rounds, {os.cpu_count()} cores, FAISS {faiss.__version__}"
    )
    print(
        f"{'':52}{'build':>8}{'memory':>8}{'recall':>8}{'all at once':>26}"
        f"{'one by one':>18}\n"
        f"{'index':25}{'parameters':27}{'s':>8}{'MiB':>8}{f'@{options.k}':>8}"
        f"{'s':>8}{'queries/s':>11}{'ratio':>7}{'queries/s':>11}{'ratio':>7}"
    )
    for name, index in contenders.items():
        same = found[name][:, :, np.newaxis] == found[exact][:, np.newaxis]
        recall = same.any(axis=2).mean()
        row = (
            f"{index.spec:25}{index.search_parameters or 'exact':27}"
            f"{index.build_seconds:8.2f}{index.num_bytes / 2**20:8.1f}{recall:8.4f}"
        )
        median = statistics.median(seconds[name])
        ratio = statistics.median(seconds[exact]) / median
        row += f"{median:8.2f}{len(found[name]) / median:11,.0f}{ratio:7.1f}"
        median = statistics.median(single[name])
        ratio = statistics.median(single[exact]) / median
        print(f"{row}{1 / median:11,.0f}{ratio:7.1f}")


if __name__ == "__main__":
    main()
