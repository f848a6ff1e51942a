"""What pretraining adds on scikit-learn's tables, over seeds, on the test split.

    python -m benchmarks.tables --seeds 5

Silhouettes, by true class and of k-means clusters, and weighted kNN accuracy (k = 20,
temperature 0.07), of the scaled input and of the representation: the same scaling
(every column of mean 0 and standard deviation 1), number of clusters and seeds. Nothing
is chosen here. Linear discriminant analysis on training labels, evaluated on the same
test split, shows what labels would give.
"""

import argparse
import contextlib
import io
import statistics
import tempfile
import time

import keras
import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from benchmarks.contender import ROOT
from benchmarks.log import commit, machine, markdown_table, report
from vicreg_keras.cli import parse
from vicreg_keras.data.dataset import open_dataset
from vicreg_keras.evaluate.clustering import cluster_eval
from vicreg_keras.evaluate.features import Features, extract_features, input_features
from vicreg_keras.evaluate.knn import knn_accuracy
from vicreg_keras.figures import text_table
from vicreg_keras.training.checkpoints import saved_encoder
from vicreg_keras.training.pretrain import pretrain
from vicreg_keras.workdir.run_folder import RunFolder

RECIPES = {
    "digits_table": "digits_table",
    "breast_cancer": "small_table",
    "wine": "small_table",
    "iris": "small_table",
}
METRICS = ("silhouette by class", "silhouette", "kNN")
SPLITS = ("train", "test")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tables", nargs="+", default=list(RECIPES))
    parser.add_argument("--log", metavar="LOG.md", help="the table becomes an entry")
    options = parser.parse_args()
    lines = [("", *METRICS, "seconds per seed")]
    for name in options.tables:
        start = time.monotonic()
        runs = [run(name, seed) for seed in range(options.seeds)]
        seconds = (time.monotonic() - start) / options.seeds
        for what in runs[0]:
            cells = [text([one[what][metric] for one in runs]) for metric in METRICS]
            cells[-1] = text_table.mean_and_std([one[what]["kNN"] for one in runs])
            lines.append((f"{name}, {what}", *cells, f"{seconds:.0f}"))
    setting = (
        f"{machine()}; commit {commit()}; test split, mean and standard deviation over "
        f"{options.seeds} seeds; kNN in percent"
    )
    question = "what does pretraining add on tables?"
    report(options.log, "tables", question, setting, markdown_table(lines))


def run(name: str, seed: int) -> dict[str, dict[str, float]]:
    """Trains one seed by the table's flag file.

    Returns:
        The metrics of scaled input, representation and supervised LDA.
    """
    flagfile = ROOT / "flags" / f"{RECIPES[name]}.flags"
    flags = [f"--flagfile={flagfile}", f"--dataset={name}", f"--seed={seed}"]
    with tempfile.TemporaryDirectory() as folder:
        request = parse(["main.py", *flags, "--score_every=0", f"--workdir={folder}"])
        dataset = open_dataset(request.data, seed)
        quiet, folder = io.StringIO(), RunFolder(folder)
        with contextlib.redirect_stderr(quiet), contextlib.redirect_stdout(quiet):
            pretrain(request.settings, dataset, folder)
        encoder = saved_encoder(request.settings, folder)
    learned = {
        split: extract_features(encoder, getattr(dataset, split), verbose=0)
        for split in SPLITS
    }
    keras.backend.clear_session()
    inputs = {split: input_features(dataset, split) for split in SPLITS}
    lda = LinearDiscriminantAnalysis().fit(*inputs["train"])
    supervised = {
        split: Features(lda.transform(values).astype(np.float32), labels)
        for split, (values, labels) in inputs.items()
    }
    return {
        what: evaluate(features, dataset.num_classes, seed)
        for what, features in (
            ("scaled input", inputs),
            ("representation", learned),
            ("supervised LDA", supervised),
        )
    }


def evaluate(
    features: dict[str, Features], num_classes: int, seed: int
) -> dict[str, float]:
    """Returns the metrics of training and test features."""
    test = features["test"]
    clusters = cluster_eval(
        test, num_classes=num_classes, seed=seed, l2_normalized=False
    ).result.metrics
    knn = knn_accuracy(features["train"], test, num_classes=num_classes)
    values = (clusters.silhouette_by_class, clusters.silhouette, knn.metrics.top1)
    return dict(zip(METRICS, values, strict=True))


def text(values: list[float]) -> str:
    """Returns the mean, and the standard deviation of several seeds."""
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.3f}{spread}"


if __name__ == "__main__":
    main()
