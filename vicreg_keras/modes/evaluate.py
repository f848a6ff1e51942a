"""The mode `evaluate`: all that applies, and one page that shows it."""

import numpy as np
from sklearn.metrics import confusion_matrix

from vicreg_keras.modes import knn_eval, linear_eval, retrieve, spectrum
from vicreg_keras.modes.cluster import ClusterPlane, cluster
from vicreg_keras.modes.context import Context
from vicreg_keras.modes.options import (
    ClusterOptions,
    KnnEvalOptions,
    LinearEvalOptions,
    RetrieveOptions,
    SpectrumOptions,
)
from vicreg_keras.modes.retrieve import neighbors_by_class, open_index
from vicreg_keras.report.embedding_projector import write_projector
from vicreg_keras.report.page import build_report
from vicreg_keras.report.pictures import MAX_POINTS, ClusterMap, Mistake, Pictures

_NUM_MISTAKES = 20
_NUM_NEIGHBORS = 5


def run_evaluate(context: Context) -> None:
    """Runs every mode that the dataset has labels and splits for; writes the page.

    Args:
        context: what is judged; it must have a run, where the page goes.

    Raises:
        ValueError: if there is no run.
    """
    if context.run is None:
        raise ValueError(
            "Expected --workdir=RUN for --mode=evaluate: the page shows a run. "
            "Received: none."
        )
    judged = (
        context.dataset.num_classes is not None and context.dataset.test is not None
    )
    if judged:
        linear_eval.run(context, LinearEvalOptions())
        knn_eval.run(context, KnnEvalOptions())
        retrieve.run(context, RetrieveOptions())
    _, drawn = cluster(context, ClusterOptions(sample_size=MAX_POINTS))
    spectrum.run(context, SpectrumOptions())
    path = context.run.path / "report.html"
    build_report([context.run], path, _pictures(context, drawn, judged))
    write_projector(context, drawn)
    print(f"The report, to be opened in a browser: {path}")


def _pictures(context: Context, drawn: ClusterPlane, judged: bool) -> Pictures:
    parts = {}
    if judged:
        scores = context.head.scores(context.features["test"].representations)
        labels = context.dataset.test.labels
        predicted = scores.argmax(axis=1)
        known = range(context.dataset.num_classes)
        index = open_index(context)
        tiles = neighbors_by_class(context, index, _NUM_NEIGHBORS)
        parts = {
            "confusion": confusion_matrix(labels, predicted, labels=known),
            "mistakes": _mistakes(context, scores, predicted),
            "retrieval": list(zip(*tiles, strict=True)),
        }
    return Pictures(
        dataset=context.dataset.name,
        class_names=context.dataset.class_names,
        cluster_map=_map(context, drawn),
        seed=context.seed,
        **parts,
    )


def _mistakes(context, scores, predicted):
    """Those that the linear head is most sure of."""
    test, names = context.dataset.test, context.dataset.class_names
    relative = scores.astype(np.float64) - scores.max(axis=1, keepdims=True)
    probabilities = 1 / np.exp(relative).sum(axis=1)
    (wrong,) = np.nonzero(predicted != test.labels)
    worst = wrong[np.argsort(-probabilities[wrong], kind="stable")][:_NUM_MISTAKES]
    return [
        Mistake(
            image, names[test.labels[i]], names[predicted[i]], float(probabilities[i])
        )
        for i, image in zip(
            worst, context.dataset.display_images(test, worst), strict=True
        )
    ]


def _map(context, drawn):
    split = getattr(context.dataset, drawn.split)
    return ClusterMap(
        points=drawn.projection.points,
        assignments=drawn.clustering.assignments[drawn.sample],
        images=context.dataset.display_images(split, drawn.sample),
        settings=drawn.projection.settings,
        split=drawn.split,
        labels=None if split.labels is None else split.labels[drawn.sample],
        cluster_to_class=drawn.clustering.result.metrics.cluster_to_class,
    )
