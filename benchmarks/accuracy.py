"""Accuracy and minutes of a recipe, over seeds, on the test split.

    python -m benchmarks.accuracy flags/cifar10_fast.flags --data_dir DIR --seeds 3

Each seed is trained by `python main.py --flagfile=...`, a process of its own, and then
evaluated by another: the linear probe (protocol cached, the regularization chosen on
validation examples) and weighted kNN (k and temperature chosen there, too). Minutes are
wall-clock time from the start of the first process until the probe's accuracy is known:
imports, data, training, the SavedModel, representations and the probe. The same encoder
untrained is evaluated afterwards, and its time not counted. Nothing is chosen here, and
the test split is read once per seed.
"""

import argparse
import json
import pathlib
import tempfile
import time

import numpy as np

from benchmarks.contender import read_answers, run_main, send
from benchmarks.log import commit, machine, markdown_table, report

HEADER = ("seed", "minutes", "of them training", "linear", "untrained", "kNN")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("recipe", nargs="?", help="a flag file")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data_dir", help="as main.py's")
    parser.add_argument("--log", metavar="LOG.md", help="the table becomes an entry")
    parser.add_argument("--evaluate", metavar="RUN", help=argparse.SUPPRESS)
    options, more = parser.parse_known_args()
    if options.evaluate:
        evaluate(options.evaluate)
        return
    if not options.recipe:
        parser.error("expected a flag file. Received: none.")
    if options.data_dir:
        more.append(f"--data_dir={options.data_dir}")
    results = []
    for seed in range(options.seeds):
        with tempfile.TemporaryDirectory() as folder:
            results.append(run(options.recipe, seed, folder, more))
        print(f"seed {seed}: {json.dumps(results[-1])}", flush=True)
    lines = [HEADER]
    lines += [(str(seed), *cells([one])) for seed, one in enumerate(results)]
    if len(results) > 1:
        lines.append(("mean", *cells(results)))
    name = pathlib.Path(options.recipe).stem
    setting = f"{machine()}; commit {commit()}; seeds 0 to {options.seeds - 1}"
    question = f"what does {name} reach?"
    report(options.log, "accuracy", question, setting, markdown_table(lines))


def run(recipe: str, seed: int, folder: str, more: list[str]) -> dict[str, float]:
    """Trains and evaluates one seed.

    Args:
        recipe: The flag file.
        seed: Seed of weights, order, views and validation split.
        folder: Folder for the run.
        more: Flags of main.py, after the recipe's.
    """
    start = time.monotonic()
    run_main(f"--flagfile={recipe}", f"--workdir={folder}", f"--seed={seed}", *more)
    trained = time.monotonic()
    answers = read_answers("-m", "benchmarks.accuracy", f"--evaluate={folder}")
    linear = next(answers)
    known = time.monotonic()
    (others,) = answers
    minutes = {"train": (trained - start) / 60, "minutes": (known - start) / 60}
    return {**minutes, **linear, **others}


def evaluate(folder: str):
    """Sends test accuracies of a run: first the probe's, then the others."""
    # Only this process needs TensorFlow.
    from vicreg_keras import load_encoder
    from vicreg_keras.evaluate.features import extract_features
    from vicreg_keras.evaluate.knn import knn_eval
    from vicreg_keras.evaluate.linear_probe import linear_probe
    from vicreg_keras.training.build import build_encoder, make_schema

    settings, dataset = open_run(folder)
    classes = {"num_classes": dataset.num_classes}
    splits = (dataset.train, dataset.validation, dataset.test)
    encoder = load_encoder(folder)
    features = [extract_features(encoder, split, verbose=0) for split in splits]
    send({"linear": linear_probe(*features, **classes).metrics.top1})
    encoder = build_encoder(settings, make_schema(settings, dataset))
    untrained = [extract_features(encoder, split, verbose=0) for split in splits]
    send(
        {
            "knn": knn_eval(*features, **classes).metrics.top1,
            "untrained": linear_probe(*untrained, **classes).metrics.top1,
        }
    )


def open_run(folder: str):
    """Returns the settings of a run, and the dataset that it was trained on."""
    from vicreg_keras.cli import parse
    from vicreg_keras.data.dataset import open_dataset

    request = parse(["main.py", "--mode=knn_eval", f"--workdir={folder}"])
    return request.settings, open_dataset(request.data, request.settings.seed)


def cells(results: list[dict[str, float]]) -> list[str]:
    """Returns one seed's numbers, or the means and deviations of several, as text."""
    texts = []
    for key in ("minutes", "train", "linear", "untrained", "knn"):
        scale = 1 if key in ("minutes", "train") else 100
        values = scale * np.array([one[key] for one in results])
        spread = f" ± {values.std(ddof=1):.2f}" if len(values) > 1 else ""
        texts.append(f"{values.mean():.2f}{spread}")
    return texts


if __name__ == "__main__":
    main()
