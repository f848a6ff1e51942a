"""The mode `evaluate`: every evaluation that applies, a report and a summary."""

from vicreg_keras.errors import InputError
from vicreg_keras.evaluate.records import Record
from vicreg_keras.figures.clusters import positions
from vicreg_keras.figures.style import to_png
from vicreg_keras.modes import knn_eval, linear_eval, retrieve, spectrum
from vicreg_keras.modes import options as mode_options
from vicreg_keras.modes.cluster import cluster
from vicreg_keras.modes.context import Context
from vicreg_keras.report.embedding_projector import write_projector
from vicreg_keras.report.page import ClusterMap, build_report
from vicreg_keras.report.tables import summary

_MAX_POINTS = 2000  # Points of the map; their images take about two megabytes.


def run(context: Context, options: mode_options.EvaluateOptions) -> None:
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
    records: list[Record] = []
    if dataset.num_classes is not None and dataset.test is not None:
        records.append(linear_eval.run(context, mode_options.LinearEvalOptions()))
        records.append(knn_eval.run(context, mode_options.KnnEvalOptions()))
        records.append(retrieve.evaluate(context, mode_options.RetrieveOptions()))
    else:
        print(
            "Left out, for they need a labeled dataset with a test split: linear_eval, "
            "knn_eval, retrieve."
        )
    record, plane = cluster(
        context, mode_options.ClusterOptions(sample_size=_MAX_POINTS)
    )
    spectrum.run(context, mode_options.SpectrumOptions())

    examples = plane.examples
    clusters = plane.clustering.assignments[plane.sample]
    columns = {"name": examples.names, "cluster": tuple(map(str, clusters))}
    if examples.labels is not None:
        columns["class"] = tuple(context.class_names[i] for i in examples.labels)
    images = dataset.display_images(examples, range(examples.num_examples))
    representations = context.features[record.split].representations[plane.sample]
    write_projector(context.run.tensorboard, representations, columns, images)
    texts = [
        "; ".join(f"{name}: {text}" for name, text in zip(columns, one, strict=True))
        for one in zip(*columns.values(), strict=True)
    ]
    places = positions(plane.figure, plane.projection.points)
    cluster_map = ClusterMap(to_png(plane.figure), places, images, texts)
    path = context.run.path / "report.html"
    build_report([context.run], path, cluster_map)
    print(summary({"": [*records, record]}))
    print(f"The report, to be opened in a browser: {path}")
