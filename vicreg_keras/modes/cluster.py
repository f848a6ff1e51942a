"""The mode `cluster`: k-means clusters, compared with the classes, and their map."""

from typing import NamedTuple

import numpy as np

from vicreg_keras.data.split import Split
from vicreg_keras.errors import InputError
from vicreg_keras.evaluate.clustering import Clustering, ClusterRecord, cluster_eval
from vicreg_keras.evaluate.features import Features
from vicreg_keras.evaluate.normalization import standardize
from vicreg_keras.evaluate.projection import MIN_POINTS, Projection, project
from vicreg_keras.evaluate.sampling import draw_balanced
from vicreg_keras.figures.clusters import before_and_after, cluster_map, silhouettes
from vicreg_keras.figures.style import Figure
from vicreg_keras.figures.text_table import decimal
from vicreg_keras.modes.context import Context
from vicreg_keras.modes.options import ClusterOptions

_MANY_POINTS = 2000  # So many take t-SNE a while.


class ClusterPlane(NamedTuple):
    """Some of the clustered examples, as points on a plane.

    Attributes:
        sample: `(num_points,)` indices of the examples in their split.
        examples: The examples.
        clustering: Clusters of the whole split.
        projection: The points, and the centroids.
        figure: The points by cluster and by class.
    """

    sample: np.ndarray
    examples: Split
    clustering: Clustering
    projection: Projection
    figure: Figure


def run(context: Context, options: ClusterOptions) -> ClusterRecord:
    """Clusters the test split, or the training split without one, and draws it.

    Args:
        context: Encoder, dataset and run.
        options: Number of clusters, and how they are drawn.

    Returns:
        The record that was logged.

    Raises:
        InputError: See `cluster_eval` and `evaluate.projection.project`.
    """
    record, _ = cluster(context, options)
    return record


def cluster(
    context: Context, options: ClusterOptions
) -> tuple[ClusterRecord, ClusterPlane]:
    """See `run`; returns what was drawn, too."""
    split = "train" if context.dataset.test is None else "test"
    num_examples = getattr(context.dataset, split).num_examples
    if num_examples < MIN_POINTS:
        raise InputError(
            f"Expected at least {MIN_POINTS} examples to cluster and draw. Received: "
            f"a {split} split of {num_examples}. Add examples."
        )
    num_clusters, found = options.num_clusters, {}
    for name, (features,) in context.each((split,)):
        found[name] = cluster_eval(
            features,
            num_clusters=num_clusters,
            num_classes=context.dataset.num_classes,
            seed=context.seed,
            l2_normalized=context.dataset.columns is None,
        )
        # The baselines get as many clusters, so that they can be compared.
        num_clusters = found["encoder"].result.settings.num_clusters
    results = {name: clustering.result for name, clustering in found.items()}
    record = context.record(ClusterRecord, split=split, results=results)
    context.log_metrics(record)

    own, dataset = found["encoder"], context.dataset
    examples = getattr(dataset, split)
    # Without labels all are of one class.
    groups = examples.labels
    if groups is None:
        groups = np.zeros(examples.num_examples)
    sample = draw_balanced(groups, options.sample_size, context.seed)
    examples = examples.take(sample)
    if options.projection == "tsne" and len(sample) >= _MANY_POINTS:
        print(f"Placing {len(sample):,} points by t-SNE: up to a minute...", flush=True)
    features = context.features[split]
    projection = _project(context, features, sample, options, own.centroids)
    figure = cluster_map(
        projection,
        own.assignments[sample],
        examples.labels,
        dataset.class_names,
        cluster_to_class=own.result.metrics.cluster_to_class,
        title=f"{dataset.name}, {split} split",
        size_inches=options.figure_inches,
    )
    context.save_figure(figure, "clusters", "A map of the clusters")
    plane = ClusterPlane(sample, examples, own, projection, figure)
    if by_count := own.result.settings.silhouettes:
        title = "Silhouettes by the number of clusters"
        context.save_figure(silhouettes(by_count), "silhouettes", title)
    if dataset.columns is not None and "raw_input" in found:
        raw_input = context.input_features[split]
        before = _project(context, raw_input, sample, options)
        _draw_both(context, plane, before, found["raw_input"])
    return record, plane


def _draw_both(
    context: Context, plane: ClusterPlane, before: Projection, clustering: Clustering
) -> None:
    """Draws the input and the representation of a table side by side."""
    planes = {}
    for title, projection, clusters in (
        ("scaled input", before, clustering),
        ("representation", plane.projection, plane.clustering),
    ):
        metrics, groups = clusters.result.metrics, plane.examples.labels
        silhouette = metrics.silhouette_by_class
        if groups is None:
            silhouette = metrics.silhouette
            groups = clusters.assignments[plane.sample]
        title = f"{title}, silhouette {decimal(silhouette)}"
        planes[title] = projection.points, groups
    figure = before_and_after(
        planes, context.dataset.class_names, settings=before.settings
    )
    title = "The scaled input and the representation side by side"
    context.save_figure(figure, "input_and_representation", title)


def _project(
    context: Context,
    features: Features,
    sample: np.ndarray,
    options: ClusterOptions,
    centroids: np.ndarray | None = None,
) -> Projection:
    """Projects representations as `cluster_eval` compares them."""
    is_table = context.dataset.columns is not None
    vectors = features.representations
    vectors = standardize(vectors) if is_table else vectors
    return project(
        vectors[sample],
        method=options.projection,
        centroids=centroids,
        seed=context.seed,
        l2_normalized=not is_table,
    )
