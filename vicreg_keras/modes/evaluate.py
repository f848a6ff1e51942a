"""The mode `evaluate`: every evaluation that applies, a report and a summary."""

import contextlib
from collections.abc import Iterator

import numpy as np

from vicreg_keras.data.dataset import Dataset
from vicreg_keras.errors import InputError, NonFiniteError
from vicreg_keras.evaluate.records import Record
from vicreg_keras.figures.clusters import positions
from vicreg_keras.figures.style import to_png
from vicreg_keras.modes import knn_eval, linear_eval, retrieve, spectrum
from vicreg_keras.modes import options as mode_options
from vicreg_keras.modes.cluster import ClusterPlane, cluster
from vicreg_keras.modes.context import Context
from vicreg_keras.report.embedding_projector import write_projector
from vicreg_keras.report.page import ClusterMap, build_report
from vicreg_keras.report.tables import summary

_MAX_POINTS = 2000  # Points of the map; their images take about two megabytes.


def run(context: Context, options: mode_options.EvaluateOptions) -> None:
    """Runs every mode that the dataset has labels, splits and examples for.

    The report, files for TensorBoard's projector and a summary of all of them follow.
    What can't be evaluated is said, and left out.

    Args:
        context: The encoder and its dataset; it must have a run.
        options: None are needed.

    Raises:
        InputError: If there is no run.
        NonFiniteError: If representations are not finite.
    """
    if context.run is None:
        raise InputError(
            "Expected workdir=RUN to evaluate: the report shows a run. Received: "
            "workdir=None."
        )
    problem = _labels_problem(context.dataset)
    records: list[Record] = []
    if problem is None:
        records.append(linear_eval.run(context, mode_options.LinearEvalOptions()))
        records.append(knn_eval.run(context, mode_options.KnnEvalOptions()))
        records.append(retrieve.evaluate(context, mode_options.RetrieveOptions()))
    else:
        print(f"Left out, for {problem}: linear_eval, knn_eval, retrieve.")
    cluster_map = None
    with _left_out("cluster"):
        record, plane = cluster(
            context, mode_options.ClusterOptions(sample_size=_MAX_POINTS)
        )
        records.append(record)
        cluster_map = _show(context, record.split, plane)
    with _left_out("spectrum"):
        spectrum.run(context, mode_options.SpectrumOptions())
    if records:
        print(summary({"": records}))
    if context.keeps:
        path = context.run.path / "report.html"
        build_report([context.run], path, cluster_map)
        print(f"The report, to be opened in a browser: {path}")


def _labels_problem(dataset: Dataset) -> str | None:
    """Returns why classes can't be told apart, or `None` if they can."""
    if dataset.num_classes is None or dataset.test is None:
        return "they need a labeled dataset with a test split"
    classes = np.unique(dataset.train.labels)
    if len(classes) < 2:
        name = dataset.class_names[classes[0]]
        return f"all training examples are of one class, {name!r}"
    return None


@contextlib.contextmanager
def _left_out(mode: str) -> Iterator[None]:
    """Says that a mode is left out where its input does not suffice."""
    try:
        yield
    except NonFiniteError:
        raise
    except InputError as error:
        print(f"Left out: {mode}. {error}")


def _show(context: Context, split: str, plane: ClusterPlane) -> ClusterMap:
    """Writes files of the examples in a plane for TensorBoard; returns their map."""
    examples = plane.examples
    clusters = plane.clustering.assignments[plane.sample]
    columns = {"name": examples.names, "cluster": tuple(map(str, clusters))}
    if examples.labels is not None:
        columns["class"] = tuple(context.class_names[i] for i in examples.labels)
    images = context.dataset.display_images(examples, range(examples.num_examples))
    representations = context.features[split].representations[plane.sample]
    if context.run is not None and context.keeps:
        folder = context.run.tensorboard
        write_projector(folder, representations, columns, images)
    texts = [
        "; ".join(f"{name}: {text}" for name, text in zip(columns, one, strict=True))
        for one in zip(*columns.values(), strict=True)
    ]
    places = positions(plane.figure, plane.projection.points)
    return ClusterMap(to_png(plane.figure), places, images, texts)
