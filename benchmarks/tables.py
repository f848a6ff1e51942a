"""What does pretraining add on scikit-learn's tables? Over seeds, on test rows.

    python -m benchmarks.tables --seeds 5

Silhouettes, by true class and of k-means clusters, and weighted kNN accuracy (k = 20,
temperature 0.07), of the scaled input and of the representation: the same scaling
(every column of mean 0 and standard deviation 1), number of clusters and seeds. Nothing
is chosen here. Linear discriminant analysis on training labels, judged on the same test
rows, says what labels would give.
"""

import argparse
import contextlib
import io
import pathlib
import tempfile
import time

import keras
import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from vicreg_keras import load_dataset
from vicreg_keras.evaluate.clustering import cluster_eval
from vicreg_keras.evaluate.features import Features, extract_features, input_features
from vicreg_keras.evaluate.knn import knn_accuracy
from vicreg_keras.figures import text_table
from vicreg_keras.modes.pretrain import run_pretrain
from vicreg_keras.settings import Settings
from vicreg_keras.training.checkpoints import trained_encoder
from vicreg_keras.workdir.run_folder import RunFolder

# As flags/digits_table.flags and flags/small_table.flags.
SHARED = {
    "positives": "neighbors",
    "neighbors_from": "input",
    "score_every": 0,
    "checkpoint_minutes": 1e9,
}
DIGITS = {
    **SHARED,
    "mlp": "1024-512-128",
    "projector": "256-256",
    "corruption_probability": 0.1,
    "mixup": 0.5,
    "batch_size": 128,
    "epochs": 400,
}
SMALL = {
    **SHARED,
    "mlp": "256-16",
    "projector": "32-32",
    "corruption_probability": 0.3,
    "mixup": 0.5,
    "num_positives": 10,
    "batch_size": 64,
    "epochs": 200,
}
RECIPES = {"digits_table": DIGITS, "breast_cancer": SMALL, "wine": SMALL, "iris": SMALL}
MEASURES = ("silhouette by class", "silhouette", "kNN")


def judge(features, num_classes, seed):
    test = features["test"]
    clustering = cluster_eval(
        test, num_classes=num_classes, seed=seed, l2_normalized=False
    )
    metrics = clustering.result.metrics
    knn = knn_accuracy(features["train"], test, num_classes=num_classes)
    values = metrics.silhouette_by_class, metrics.silhouette, knn.metrics.top1
    return dict(zip(MEASURES, values, strict=True))


def discriminant(inputs, num_classes, seed):
    """The input as supervised LDA sees it."""
    lda = LinearDiscriminantAnalysis().fit(*inputs["train"])
    return judge(
        {
            name: Features(lda.transform(rows).astype(np.float32), labels)
            for name, (rows, labels) in inputs.items()
        },
        num_classes,
        seed,
    )


def run(name, seed, folder):
    dataset = load_dataset(name, seed=seed)
    parts = ("train", "test")
    inputs = {part: input_features(dataset, part) for part in parts}
    settings = Settings(**RECIPES[name], seed=seed)
    run = RunFolder(folder / f"{name}_{seed}")
    run.create()
    quiet = io.StringIO()
    with contextlib.redirect_stderr(quiet), contextlib.redirect_stdout(quiet):
        run_pretrain(settings, dataset, run)
    encoder = trained_encoder(settings, dataset, run)
    learned = {
        part: extract_features(encoder, getattr(dataset, part), verbose=0)
        for part in parts
    }
    keras.backend.clear_session()
    return {
        "scaled input": judge(inputs, dataset.num_classes, seed),
        "representation": judge(learned, dataset.num_classes, seed),
        "supervised LDA": discriminant(inputs, dataset.num_classes, seed),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tables", nargs="+", default=list(RECIPES))
    options = parser.parse_args()
    print(f"Test rows, mean and deviation over {options.seeds} seeds; kNN in percent.")
    with tempfile.TemporaryDirectory() as folder:
        for name in options.tables:
            start = time.monotonic()
            runs = [run(name, s, pathlib.Path(folder)) for s in range(options.seeds)]
            seconds = (time.monotonic() - start) / options.seeds
            rows = [(name, *MEASURES, "")]
            for what in runs[0]:
                rows.append((what, *(spread(runs, what, m) for m in MEASURES), ""))
            print(
                f"{text_table.format_table(rows)}\n{seconds:.0f} s a seed\n", flush=True
            )


def spread(runs, what, measure):
    """Mean and deviation over seeds, as text."""
    values = [one[what][measure] for one in runs]
    mean, std = np.mean(values), np.std(values, ddof=1)
    if measure == "kNN":
        return text_table.percent(mean, std)
    return f"{mean:.3f} ± {std:.3f}"


if __name__ == "__main__":
    main()
