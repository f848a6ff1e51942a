"""What does a recipe reach, and how long does it take? Over seeds, on test examples.

    python -m benchmarks.accuracy flags/cifar10_fast.flags --data_dir DIR --seeds 3

Each seed is trained by `python main.py --flagfile=...`, a process of its own, and then
judged by another: the linear probe (protocol cached, the regularization chosen on
held-out examples) and weighted kNN (k and temperature chosen there, too). The minutes
are a clock's, from the start of the first process until the probe's accuracy is known:
imports, data, training, the SavedModel, representations and the probe. The same
encoder untrained is judged afterwards, and its time not counted. Nothing is chosen
here, and the test part is read once a seed.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import numpy as np

from benchmarks.log import commit, machine, markdown_table, report
from vicreg_keras.modes import text_table

ROOT = pathlib.Path(__file__).resolve().parent.parent


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("recipe", help="a file of flags/, or another flag file")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data_dir", help="as main.py's")
    parser.add_argument("--log", metavar="LOG.md", help="the table becomes an entry")
    options, more = parser.parse_known_args()
    if options.data_dir:
        more.append(f"--data_dir={options.data_dir}")
    results = []
    for seed in range(options.seeds):
        with tempfile.TemporaryDirectory() as folder:
            results.append(run(options.recipe, seed, folder, more))
        print(f"seed {seed}: {json.dumps(results[-1])}", flush=True)
    table = markdown_table(rows_of(results))
    name = pathlib.Path(options.recipe).stem
    setting = f"{machine()}; commit {commit()}; seeds 0 to {options.seeds - 1}"
    report(options.log, "accuracy", f"what does {name} reach?", setting, table)


def run(recipe: str, seed: int, folder: str, more: list[str]) -> dict[str, float]:
    """Trains and judges one seed.

    Args:
        recipe: the flag file.
        seed: of weights, order, views and the held-out part.
        folder: for the run.
        more: flags of main.py, after the recipe's.
    """
    start = time.monotonic()
    call(
        "main.py",
        f"--flagfile={recipe}",
        f"--workdir={folder}",
        f"--seed={seed}",
        *more,
    )
    trained = time.monotonic()
    judge = answers("-m", "benchmarks.accuracy_judge", folder)
    linear = next(judge)
    known = time.monotonic()
    (others,) = judge
    minutes = {"train": (trained - start) / 60, "minutes": (known - start) / 60}
    return {**minutes, **linear, **others}


def call(*arguments: str):
    """Runs Python on a script of the project, its output away."""
    status = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, stdout=subprocess.DEVNULL, check=False
    ).returncode
    if status:
        sys.exit(f"{arguments[0]} ended with status {status}, see above.")


def answers(*arguments: str) -> Iterator[dict]:
    """Runs Python and gives what it says, a line of JSON at a time."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env={"TF_CPP_MIN_LOG_LEVEL": "3"} | os.environ,
    )
    for line in process.stdout:
        yield json.loads(line)
    if process.wait():
        name = " ".join(arguments[:2])
        sys.exit(f"{name} ended with status {process.returncode}, see above.")


def rows_of(results: list[dict[str, float]]) -> list[tuple[str, ...]]:
    """The table's rows, the header first."""
    header = ("seed", "minutes", "of them training", "linear", "untrained", "kNN")
    rows = [header]
    for seed, one in enumerate(results):
        rows.append((str(seed), *cells([one])))
    if len(results) > 1:
        rows.append(("mean", *cells(results)))
    return rows


def cells(results: list[dict[str, float]]) -> list[str]:
    """Numbers as text: of one seed, or mean and deviation of several."""
    texts = []
    for key in ("minutes", "train", "linear", "untrained", "knn"):
        values = np.array([one[key] for one in results])
        several = len(values) > 1
        if key in ("minutes", "train"):
            spread = f" ± {values.std(ddof=1):.2f}" if several else ""
            texts.append(f"{values.mean():.2f}{spread}")
        else:
            spread = (values.std(ddof=1),) if several else ()
            texts.append(text_table.percent(values.mean(), *spread))
    return texts


if __name__ == "__main__":
    main()
