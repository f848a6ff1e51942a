"""Rows a second through training, and in how much memory, beside a plain PyTorch loop.

    python -m benchmarks.rows
    python -m benchmarks.rows --torch ~/torch/bin/python

Made rows are written to a parquet file; every contender is a process of its own that
reads them and trains the same model on batches of 512. Every round has each train the
same number of steps, in turn, while the others wait, so that what else the machine
does falls on all alike; the median round counts. Milliseconds of all cores together
say what a step costs where other jobs take the cores away. The first steps, in which
TensorFlow traces and compiles, are not counted. The package reads, shuffles and fits
as `--mode=pretrain` does, without its callbacks; the longest wait at the end of a fit
is no part of its rate and has a column of its own.

PyTorch, where `--torch` names a Python that has it, runs the loop of
`benchmarks/rows_torch.py`, from the same weights; that both have the same loss and
gradient on the same two views is checked first. It is given the rows as an array, so
its seconds of reading and its memory are without a parquet file's.

Every fifth column holds one of five categories, the others normal numbers of unequal
means and spreads, mixed from 10 hidden ones; 2 % of all cells are missing.
"""

import argparse
import os
import pathlib
import statistics
import sys
import tempfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from benchmarks.contender import Contender, check_same_work

BATCH_SIZE = 512
OURS, PYTORCH = "vicreg_keras, float32", "PyTorch, float32"
CATEGORIES = ("a", "b", "c", "d", "e")
WARM_UP_STEPS = 50


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--columns", type=int, default=100)
    parser.add_argument("--steps", type=int, default=400, help="a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--torch", metavar="PYTHON", help="a Python that has torch")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        write_rows(pathlib.Path(folder), options)
        contenders = {
            f"vicreg_keras, {precision}": Contender(
                sys.executable, "benchmarks.rows_keras", folder, precision
            )
            for precision in ("float32", "bfloat16")
        }
        if options.torch:
            contenders[PYTORCH] = Contender(
                options.torch, "benchmarks.rows_torch", folder
            )
        print_setting(contenders, options)
        rates, cpu_seconds = measure(contenders, options)
        for contender in contenders.values():
            contender.stop()
    print_table(contenders, rates, cpu_seconds)


def write_rows(folder: pathlib.Path, options: argparse.Namespace):
    """Writes the same rows twice: `rows.parquet` has text, `rows.npy` codes and NaN."""
    random = np.random.default_rng(0)
    shape = options.rows, options.columns
    hidden = random.standard_normal((options.rows, 10), np.float32)
    rows = hidden @ random.standard_normal((10, options.columns), np.float32)
    rows += random.standard_normal(shape, np.float32)
    categorical = np.arange(options.columns) % 5 == 4
    codes = np.clip(np.rint(rows[:, categorical] / 2) + 2, 0, len(CATEGORIES) - 1)
    rows *= random.uniform(0.1, 10, options.columns).astype(np.float32)
    rows += random.normal(0, 10, options.columns).astype(np.float32)
    rows[:, categorical] = codes
    rows[random.random(shape, np.float32) < 0.02] = np.nan
    np.save(folder / "rows.npy", rows)
    columns = [
        text_column(rows[:, place]) if categorical[place] else pa.array(rows[:, place])
        for place in range(options.columns)
    ]
    names = [f"column_{place}" for place in range(options.columns)]
    table = pa.table(columns, names)
    pyarrow.parquet.write_table(table, folder / "rows.parquet")


def text_column(codes: np.ndarray) -> pa.Array:
    """Returns the categories' names, null for NaN."""
    missing = np.isnan(codes)
    places = pa.array(np.nan_to_num(codes).astype(np.int32), mask=missing)
    return pa.DictionaryArray.from_arrays(places, CATEGORIES).cast(pa.string())


def measure(
    contenders: dict[str, Contender], options: argparse.Namespace
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Returns every round's rows a second and CPU seconds a step, per contender."""
    rates = {name: [] for name in contenders}
    cpu_seconds = {name: [] for name in contenders}
    for contender in contenders.values():
        contender.train(WARM_UP_STEPS)
    for _ in range(options.rounds):
        for name, contender in contenders.items():
            seconds, used = contender.train(options.steps)
            rates[name].append(options.steps * BATCH_SIZE / seconds)
            cpu_seconds[name].append(used / options.steps)
    return rates, cpu_seconds


def print_setting(contenders: dict[str, Contender], options: argparse.Namespace):
    """Prints what is compared, and ends where that is not the same."""
    print(
        f"{options.rows:,} rows of {options.columns} columns, batches of {BATCH_SIZE}, "
        f"{options.rounds} rounds of {options.steps} steps, {os.cpu_count()} cores"
    )
    said = {name: contender.greeting for name, contender in contenders.items()}
    print("; ".join(dict.fromkeys(greeting["version"] for greeting in said.values())))
    if options.torch:
        check_same_work(said[OURS], said[PYTORCH])


def print_table(
    contenders: dict[str, Contender],
    rates: dict[str, list[float]],
    cpu_seconds: dict[str, list[float]],
):
    """Prints medians, spread, and the median's ratio to PyTorch's where it ran."""
    baseline = PYTORCH if PYTORCH in rates else OURS
    print(
        f"{'':24}{'rows/s':>10}{'lowest':>10}{'highest':>10}{'ratio':>8}"
        f"{'ms/step':>9}{'CPU ms/step':>13}"
        f"{'wait, s':>9}{'read, s':>9}{'peak, GiB':>11}"
    )
    for name, values in rates.items():
        median = statistics.median(values)
        numbers = f"{median:10,.0f}{min(values):10,.0f}{max(values):10,.0f}"
        print(
            f"{name:24}{numbers}{median / statistics.median(rates[baseline]):8.2f}"
            f"{1000 * BATCH_SIZE / median:9.2f}"
            f"{1000 * statistics.median(cpu_seconds[name]):13.2f}"
            f"{contenders[name].wait_seconds:9.1f}"
            f"{contenders[name].greeting['read_seconds']:9.1f}"
            f"{contenders[name].peak_bytes / 2**30:11.2f}"
        )


if __name__ == "__main__":
    main()
