"""Peak memory of each mode.

    python -m benchmarks.memory flags/cifar10.flags --data_dir DIR
    python -m benchmarks.memory --workdir RUN
    python -m benchmarks.memory --columns 1000 5000

Recipes are trained for some seconds and then stopped by a signal, which leaves a
checkpoint; on a copy of a finished run, without its cached files, every mode of `MODES`
runs. On tables of 100 rows and so many columns, half of them categories
and half numbers, one epoch is trained and the encoder exported. Each is a process of
its own, whose peak resident memory the kernel counts.
"""

import argparse
import csv
import math
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np

from benchmarks.contender import ENVIRONMENT, ROOT
from benchmarks.log import commit, machine, markdown_table, report

STOPPED = 130  # main.py's status after a signal, all being saved.
MODES = ("linear_eval", "knn_eval", "retrieve", "cluster", "spectrum", "export")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("recipes", nargs="*", help="flag files to train")
    parser.add_argument("--workdir", help="a finished run, to evaluate")
    parser.add_argument("--columns", type=int, nargs="+", default=[], metavar="N")
    parser.add_argument("--seconds", type=float, default=90, help="of training")
    parser.add_argument("--log", metavar="LOG.md", help="the table becomes an entry")
    options, more = parser.parse_known_args()
    if not (options.recipes or options.workdir or options.columns):
        parser.error("expected flag files, --workdir or --columns. Received: neither.")
    lines = [("", "peak GiB", "seconds")]
    for recipe in options.recipes:
        with tempfile.TemporaryDirectory() as folder:
            numbers = peak_of([f"--flagfile={recipe}", *more], folder, options.seconds)
        lines.append(line(f"pretrain, {pathlib.Path(recipe).stem}", *numbers))
    for num_columns in options.columns:
        with tempfile.TemporaryDirectory() as folder:
            flags = wide_table(pathlib.Path(folder), num_columns)
            numbers = peak_of([*flags, *more], pathlib.Path(folder) / "run")
        lines.append(line(f"pretrain and export, {num_columns:,} columns", *numbers))
    for mode in MODES if options.workdir else ():
        with tempfile.TemporaryDirectory() as folder:
            copy = copy_run(options.workdir, folder)
            numbers = peak_of([f"--mode={mode}", *more], copy)
        lines.append(line(mode, *numbers))
    table = markdown_table(lines)
    setting = f"{machine()}; commit {commit()}"
    question = "how much memory does each mode take?"
    report(options.log, "memory", question, setting, table)


def wide_table(folder: pathlib.Path, num_columns: int) -> list[str]:
    """Writes a table of 100 rows; returns the flags that train on it."""
    random = np.random.default_rng(0)
    colors = np.array(["red", "green", "blue", "dark blue"])
    columns = [
        colors[random.integers(0, 4, 100)] if i % 2 else random.normal(size=100)
        for i in range(num_columns)
    ]
    names = [f"column {i}" for i in range(num_columns)]
    path = folder / "wide.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([names, *zip(*columns, strict=True)])
    recipe = ["--epochs=1", "--batch_size=16", "--projector=64-64", "--warmup_epochs=0"]
    return ["--mode=pretrain", f"--dataset=csv:{path}", *recipe]


def peak_of(
    flags: list[str], run: str | pathlib.Path, seconds: float | None = None
) -> tuple[int, float]:
    """Runs one command.

    Args:
        flags: Flags of main.py.
        run: The run's folder.
        seconds: Seconds of training after which it is stopped, or `None`.

    Returns:
        Peak resident memory in bytes, and seconds.
    """
    start = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "main.py", f"--workdir={run}", *flags],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        env=ENVIRONMENT,
    )
    # Written right before the first step.
    begun = pathlib.Path(run) / "environment.json"
    end = None
    while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
        if seconds is not None and end is None and begun.exists():
            end = time.monotonic() + seconds
        if end is not None and time.monotonic() > end:
            process.send_signal(signal.SIGTERM)
            end = math.inf
        time.sleep(0.1)
    _, status, usage = ended
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, STOPPED):
        sys.exit(f"main.py ended with status {process.returncode}, see above.")
    return usage.ru_maxrss * 1024, time.monotonic() - start


def copy_run(run: str, folder: str) -> pathlib.Path:
    """Copies a run without its cached representations and indexes."""
    if not (pathlib.Path(run) / "encoder").is_dir():
        sys.exit(
            "Expected the folder of a finished run, which has encoder/. Received: "
            f"{run}. Pretrain first."
        )
    kept = shutil.ignore_patterns("features", "index", "tensorboard")
    return pathlib.Path(shutil.copytree(run, pathlib.Path(folder) / "run", ignore=kept))


def line(name: str, peak: int, seconds: float) -> tuple[str, str, str]:
    return name, f"{peak / 2**30:.2f}", f"{seconds:.0f}"


if __name__ == "__main__":
    main()
