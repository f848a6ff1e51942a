"""The mode `evaluate`: every evaluation that applies, a report and a summary."""

import dataclasses
import pathlib

import numpy as np
from scipy.special import softmax
from sklearn.metrics import confusion_matrix

from vicreg_keras.errors import InputError
from vicreg_keras.evaluate.clustering import ClusterRecord
from vicreg_keras.evaluate.knn import KnnEvalRecord
from vicreg_keras.evaluate.linear_eval import LinearEvalRecord
from vicreg_keras.evaluate.records import NAMES
from vicreg_keras.evaluate.retrieval import RetrieveRecord
from vicreg_keras.figures.text_table import format_table, percent
from vicreg_keras.modes import knn_eval, linear_eval, retrieve, spectrum
from vicreg_keras.modes.cluster import ClusterPlane, cluster
from vicreg_keras.modes.context import Context
from vicreg_keras.modes.options import (
    ClusterOptions,
    EvaluateOptions,
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


def run(context: Context, options: EvaluateOptions) -> None:
    """Runs every mode that the dataset has labels and splits for.

    The report, files for TensorBoard's projector and a summary of all of them follow.

    Args:
        context: The encoder and its dataset; it must have a run.
        options: None are needed.

    Raises:
        InputError: If there is no run.
    """
    if context.run is None:
        raise InputError(
            "Expected workdir=RUN to evaluate: the report shows a run. Received: "
            "workdir=None."
        )
    dataset = context.dataset
    classified = dataset.num_classes is not None and dataset.test is not None
    linear = knn = retrieval = None
    if classified:
        linear = linear_eval.run(context, LinearEvalOptions())
        knn = knn_eval.run(context, KnnEvalOptions())
        retrieval = retrieve.run(context, RetrieveOptions())
    clusters, plane = cluster(context, ClusterOptions(sample_size=MAX_POINTS))
    spectrum.run(context, SpectrumOptions())
    path = context.run.path / "report.html"
    build_report([context.run], path, _pictures(context, plane, classified))
    _write_projector(context, plane, context.run.tensorboard)
    print(format_summary(clusters, linear, knn, retrieval))
    print(f"The report, to be opened in a browser: {path}")


def format_summary(
    clusters: ClusterRecord,
    linear: LinearEvalRecord | None = None,
    knn: KnnEvalRecord | None = None,
    retrieval: RetrieveRecord | None = None,
) -> str:
    """Returns a text table of the encoder beside its baselines, in percent.

    Args:
        clusters: Record of `cluster`; without labels its silhouette is shown.
        linear: Record of `linear_eval`, or `None`.
        knn: Record of `knn_eval`, or `None`.
        retrieval: Record of `retrieve`, or `None`.
    """
    lines: dict[str, dict[str, float | None]] = {}
    if linear is not None:
        lines["linear top-1"] = {
            name: result.cached.metrics.top1
            for name, result in linear.results.items()
            if result.cached
        }
    for label, metric, record in (
        ("kNN top-1", "top1", knn),
        ("mean average precision", "mean_average_precision", retrieval),
        ("clusters matched with classes", "matched_accuracy", clusters),
    ):
        if record is not None:
            values = {
                # Results of retrieval are metrics themselves.
                name: getattr(getattr(result, "metrics", result), metric)
                for name, result in record.results.items()
            }
            if values["encoder"] is not None:
                lines[label] = values
    for name, result in linear.results.items() if linear is not None else ():
        if few_labels := result.few_labels:
            label = f"{few_labels.settings.labels_per_class} labels per class"
            lines.setdefault(label, {})[name] = few_labels.metrics.top1
    names = [name for name in NAMES if name in clusters.results]
    rows = [("", *(NAMES[name] for name in names), "")]
    for label, values in lines.items():
        rows.append((label, *(percent(values.get(name)) for name in names), ""))
    if not lines:
        silhouettes = (clusters.results[name].metrics.silhouette for name in names)
        texts = ("-" if one is None else f"{one:.3f}" for one in silhouettes)
        rows.append(("silhouette of clusters", *texts, ""))
    heading = f"What pretraining added on {clusters.dataset}, {clusters.split} split"
    return f"{heading}; percent.\n{format_table(rows)}"


def _write_projector(
    context: Context, plane: ClusterPlane, folder: pathlib.Path
) -> None:
    split, sample = getattr(context.dataset, plane.split), plane.sample
    columns = {
        "name": [split.names[i] for i in sample],
        "cluster": [str(cluster) for cluster in plane.clustering.assignments[sample]],
    }
    if split.labels is not None:
        names = context.class_names
        columns["class"] = [names[label] for label in split.labels[sample]]
    write_projector(
        folder,
        context.features[plane.split].representations[sample],
        columns,
        context.dataset.display_images(split, sample),
    )


def _pictures(context: Context, plane: ClusterPlane, classified: bool) -> Pictures:
    dataset = context.dataset
    split = getattr(dataset, plane.split)
    labels = split.labels
    if labels is not None:
        labels = labels[plane.sample]
    pictures = Pictures(
        dataset=dataset.name,
        class_names=dataset.class_names,
        cluster_map=ClusterMap(
            points=plane.projection.points,
            assignments=plane.clustering.assignments[plane.sample],
            images=dataset.display_images(split, plane.sample),
            settings=plane.projection.settings,
            split=plane.split,
            labels=labels,
            cluster_to_class=plane.clustering.result.metrics.cluster_to_class,  # type: ignore[arg-type]
        ),
        seed=context.seed,
    )
    if not classified:
        return pictures
    test = context.test
    scores = context.head.scores(context.features["test"].representations)
    predicted = scores.argmax(axis=1)
    tiles = neighbors_by_class(context, open_index(context), _NUM_NEIGHBORS)
    return dataclasses.replace(
        pictures,
        confusion=confusion_matrix(
            test.labels, predicted, labels=range(context.num_classes)
        ),
        mistakes=_mistakes(context, scores, predicted),
        retrieval=list(zip(*tiles, strict=True)),
    )


def _mistakes(
    context: Context, scores: np.ndarray, predicted: np.ndarray
) -> list[Mistake]:
    """Mistakes with the highest probability of the predicted class."""
    test, names = context.test, context.class_names
    probabilities = softmax(scores.astype(np.float64), axis=1).max(axis=1)
    (wrong,) = np.nonzero(predicted != test.labels)
    worst = wrong[np.argsort(-probabilities[wrong], kind="stable")][:_NUM_MISTAKES]
    images = context.dataset.display_images(test, worst)
    return [
        Mistake(
            image, names[test.labels[i]], names[predicted[i]], float(probabilities[i])
        )
        for i, image in zip(worst, images, strict=True)
    ]
