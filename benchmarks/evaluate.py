"""Seconds that evaluating a run takes, in all and part by part.

    python -m benchmarks.evaluate RUN
    python -m benchmarks.evaluate --classes=100

The whole command `--mode=linear_eval` first, a process of its own on a copy of the run
without its cached files; then its parts one by one, and kNN and retrieval, in this
process. Without a run: linear probes of 45,000 x 512 and 45,000 x 3,072 numbers of that
many made-up classes.
"""

import argparse
import sys
import tempfile
import time

import numpy as np

from benchmarks.accuracy import open_run
from benchmarks.contender import run_main
from benchmarks.log import commit, machine, markdown_table, report
from benchmarks.memory import copy_run
from vicreg_keras import load_encoder
from vicreg_keras.evaluate.features import (
    Features,
    extract_features,
    input_features,
)
from vicreg_keras.evaluate.few_labels import few_label_probe
from vicreg_keras.evaluate.index import NeighborIndex
from vicreg_keras.evaluate.knn import knn_eval
from vicreg_keras.evaluate.linear_probe import linear_probe

SPLITS = ("train", "validation", "test")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", nargs="?", help="the folder of a finished run")
    parser.add_argument("--classes", type=int, help="time linear probes of so many")
    parser.add_argument("--log", metavar="LOG.md", help="the table becomes an entry")
    options = parser.parse_args()
    if options.classes:
        return print_probes(options.classes)
    seconds = whole_command(options.run)
    lines = [("", "seconds"), ("`--mode=linear_eval`, all of it", f"{seconds:.1f}")]
    for name, seconds in parts(options.run):
        lines.append((name, f"{seconds:.1f}"))
        print(f"{name}: {seconds:.1f} s", file=sys.stderr, flush=True)
    table = markdown_table(lines)
    settings, dataset = open_run(options.run)
    recipe = f"encoder {settings.encoder}, stem {settings.stem}, {dataset.name}"
    setting = f"{machine()}; commit {commit()}; {recipe}"
    question = "how long does it take to evaluate a run?"
    report(options.log, "evaluate", question, setting, table)


def whole_command(run: str) -> float:
    """Returns the seconds of the command, from start to end."""
    with tempfile.TemporaryDirectory() as folder:
        copy = copy_run(run, folder)
        start = time.monotonic()
        run_main("--mode=linear_eval", f"--workdir={copy}")
        return time.monotonic() - start


def parts(run: str):
    """Yields each part's name and seconds."""
    (_, dataset), seconds = timed(open_run, run)
    yield "reading the images", seconds
    encoder, seconds = timed(load_encoder, run)
    yield "loading the SavedModel", seconds
    splits = [getattr(dataset, name) for name in SPLITS]
    features, seconds = timed(
        lambda: [extract_features(encoder, part, verbose=0) for part in splits]
    )
    number = sum(part.num_examples for part in splits)
    yield f"representations ({number / seconds:,.0f} images/s)", seconds
    classes = {"num_classes": dataset.num_classes}
    yield "linear probe, all labels", timed(linear_probe, *features, **classes)[1]
    few = timed(few_label_probe, features[0], features[2], **classes)[1]
    yield "linear probe, 10 labels per class, 5 draws", few
    inputs, seconds = timed(lambda: [input_features(dataset, name) for name in SPLITS])
    yield "raw input", seconds
    yield "linear probe of the raw input", timed(linear_probe, *inputs, **classes)[1]
    yield "kNN, k and temperature chosen", timed(knn_eval, *features, **classes)[1]
    index, seconds = timed(NeighborIndex.build, features[0].representations)
    queries = features[2].representations
    yield "index of the training images", seconds
    yield f"{len(queries):,} queries", timed(index.search, queries, 10)[1]


def print_probes(num_classes: int):
    """Prints wall and CPU seconds of probes of correlated numbers, as pixels are."""
    for width in (512, 3072):
        features = [made_features(n, width, num_classes) for n in (45000, 5000, 10000)]
        classes = {"num_classes": num_classes}
        for name, probe, splits in (
            ("all labels", linear_probe, features),
            ("10 labels per class, 5 draws", few_label_probe, features[::2]),
        ):
            cpu = time.process_time()
            seconds = timed(probe, *splits, **classes)[1]
            cpu = time.process_time() - cpu
            print(f"{width} numbers, {name}: {seconds:.1f} s, CPU {cpu:.1f} s")


def made_features(number: int, width: int, num_classes: int) -> Features:
    """Returns noisy class means with the spectrum of images, most of it in few axes."""
    common, own = np.random.default_rng(0), np.random.default_rng(number)
    labels = own.integers(num_classes, size=number)
    means = common.normal(size=(num_classes, width)).astype(np.float32)
    vectors = own.normal(size=(number, width)).astype(np.float32)
    vectors += 0.15 * means[labels]
    vectors *= (np.arange(1, width + 1) ** -0.7).astype(np.float32)
    rotation = common.normal(size=(width, width)).astype(np.float32) / width**0.5
    return Features(vectors @ rotation, labels)


def timed(function, *arguments, **settings):
    """Returns a call's result and its seconds."""
    start = time.monotonic()
    result = function(*arguments, **settings)
    return result, time.monotonic() - start


if __name__ == "__main__":
    main()
