"""The mode `evaluate`: all that applies, and one page that shows it."""

import numpy as np
from sklearn.metrics import confusion_matrix

from vicreg_keras.judge.clusters import ClusterPlane, run_cluster, run_spectrum
from vicreg_keras.judge.linear import run_linear_eval
from vicreg_keras.judge.neighbours import (
    neighbours_by_class,
    open_index,
    run_knn_eval,
    run_retrieve,
)
from vicreg_keras.judge.projector import write_projector
from vicreg_keras.judge.subject import Subject
from vicreg_keras.report.page import build_report
from vicreg_keras.report.pictures import MOST_POINTS, ClusterMap, Mistake, Pictures

_NUM_MISTAKES = 20
_NUM_NEIGHBOURS = 5


def run_evaluate(subject: Subject) -> None:
    """Runs every mode that the data set has labels and splits for; writes the page.

    Args:
        subject: what is judged; it must have a run, where the page goes.

    Raises:
        ValueError: if there is no run.
    """
    if subject.run is None:
        raise ValueError(
            "Expected --workdir=RUN for --mode=evaluate: the page shows a run. "
            "Received: none."
        )
    judged = (
        subject.dataset.num_classes is not None and subject.dataset.test is not None
    )
    if judged:
        run_linear_eval(subject)
        run_knn_eval(subject)
        run_retrieve(subject)
    drawn = run_cluster(subject, sample_size=MOST_POINTS)
    run_spectrum(subject)
    path = subject.run.path / "report.html"
    build_report([subject.run], path, _pictures(subject, drawn, judged))
    write_projector(subject, drawn)
    print(f"The report, to be opened in a browser: {path}")


def _pictures(subject: Subject, drawn: ClusterPlane, judged: bool) -> Pictures:
    parts = {}
    if judged:
        scores = subject.head[0].scores(subject.features["test"].representations)
        labels = subject.dataset.test.labels
        predicted = scores.argmax(axis=1)
        known = range(subject.dataset.num_classes)
        index = open_index(subject)
        tiles = neighbours_by_class(subject, index, _NUM_NEIGHBOURS)
        parts = {
            "confusion": confusion_matrix(labels, predicted, labels=known),
            "mistakes": _mistakes(subject, scores, predicted),
            "retrieval": list(zip(*tiles, strict=True)),
        }
    return Pictures(
        dataset=subject.dataset.name,
        class_names=subject.dataset.class_names,
        cluster_map=_map(subject, drawn),
        seed=subject.seed,
        **parts,
    )


def _mistakes(subject, scores, predicted):
    """Those that the linear head is most sure of."""
    test, names = subject.dataset.test, subject.dataset.class_names
    relative = scores.astype(np.float64) - scores.max(axis=1, keepdims=True)
    probabilities = 1 / np.exp(relative).sum(axis=1)
    (wrong,) = np.nonzero(predicted != test.labels)
    worst = wrong[np.argsort(-probabilities[wrong], kind="stable")][:_NUM_MISTAKES]
    return [
        Mistake(
            image, names[test.labels[i]], names[predicted[i]], float(probabilities[i])
        )
        for i, image in zip(worst, subject.dataset.pictures(test, worst), strict=True)
    ]


def _map(subject, drawn):
    split = getattr(subject.dataset, drawn.split)
    return ClusterMap(
        points=drawn.plane.points,
        assignments=drawn.clustering.assignments[drawn.picks],
        images=subject.dataset.pictures(split, drawn.picks),
        settings=drawn.plane.settings,
        split=drawn.split,
        labels=None if split.labels is None else split.labels[drawn.picks],
        cluster_to_class=drawn.clustering.numbers.get("cluster_to_class"),
    )
