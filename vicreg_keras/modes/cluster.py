"""The mode `cluster`: k-means clusters, compared with the classes, and their map."""

import dataclasses

import numpy as np

from vicreg_keras.evaluate import sampling
from vicreg_keras.evaluate.clustering import (
    Clustering,
    ClusterRecord,
    cluster_eval,
)
from vicreg_keras.evaluate.normalization import standardize
from vicreg_keras.evaluate.projection import Projection, project
from vicreg_keras.evaluate.records import NAMES
from vicreg_keras.figures import text_table
from vicreg_keras.figures.clusters import before_and_after, cluster_map, silhouettes
from vicreg_keras.figures.style import save
from vicreg_keras.modes.context import Context
from vicreg_keras.modes.options import ClusterOptions

_MANY_POINTS = 2000  # So many take t-SNE a while.
_METRICS = {
    "matched_accuracy": "matched accuracy",
    "normalized_mutual_information": "NMI",
    "adjusted_rand_index": "ARI",
    "silhouette": "silhouette",
    "silhouette_by_class": "silhouette by class",
}


@dataclasses.dataclass(frozen=True)
class ClusterPlane:
    """Some of the clustered examples, as points on a plane.

    Attributes:
        split: Name of their split.
        sample: `(num_points,)` indices in the split.
        projection: Their points, and the centroids.
        clustering: Clusters of the whole split.
    """

    split: str
    sample: np.ndarray
    projection: Projection
    clustering: Clustering


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
    _print_clusters(context, split, results)
    plane = _project(context, split, found["encoder"], options)
    if context.run is not None:
        _draw(context, plane, options)
        if context.dataset.columns is not None and "raw_input" in found:
            _draw_both(context, found["raw_input"], plane, options.projection)
    record = ClusterRecord(
        **context.record_fields,
        split=split,
        results=results,
        projection=plane.projection.settings,
    )
    context.log_metrics(record)
    return record, plane


def _print_clusters(context, split, results):
    own = results["encoder"]
    print(
        f"k-means on {context.dataset.name}, {split} split, "
        f"{own.settings.num_clusters} clusters (chosen by: "
        f"{own.settings.num_clusters_chosen_by}), seed {context.seed}; accuracy in "
        "percent."
    )
    names = list(_METRICS)
    if own.settings.num_classes is None:
        names = ["silhouette"]
    lines = [("", *(_METRICS[name] for name in names), "")]
    for name, result in reversed(results.items()):
        cells = (_text(metric, getattr(result.metrics, metric)) for metric in names)
        lines.append((NAMES[name], *cells, ""))
    print(text_table.format_table(lines))


def _text(metric, value):
    if metric == "matched_accuracy":
        return text_table.percent(value)
    return "-" if value is None else f"{value:.3f}"


def _project(context, split, clustering, options):
    features = context.features[split]
    if features.labels is None:
        size = len(features.representations)
        sample = sampling.draw(size, options.sample_size, context.seed)
    else:
        sample = sampling.draw_balanced(
            features.labels, options.sample_size, context.seed
        )
    if options.projection == "tsne" and len(sample) >= _MANY_POINTS:
        print(f"Placing {len(sample):,} points by t-SNE: up to a minute...", flush=True)
    projection = project(
        _comparable(context, features)[sample],
        method=options.projection,
        centroids=clustering.centroids,
        seed=context.seed,
        l2_normalized=context.dataset.columns is None,
    )
    return ClusterPlane(split, sample, projection, clustering)


def _comparable(context, features):
    """Returns representations as `cluster_eval` compares them, but for their length."""
    if context.dataset.columns is None:
        return features.representations
    return standardize(features.representations)


def _draw(context, plane, options):
    path = context.figure("clusters")
    labels = context.features[plane.split].labels
    points, centroids, settings = plane.projection
    figure = cluster_map(
        points,
        plane.clustering.assignments[plane.sample],
        None if labels is None else labels[plane.sample],
        context.dataset.class_names,
        centroids,
        settings=settings,
        cluster_to_class=plane.clustering.result.metrics.cluster_to_class,
        title=f"{context.dataset.name}, {plane.split} split",
        size_inches=options.figure_inches,
    )
    save(figure, path)
    tried = plane.clustering.result.settings.silhouettes
    if tried:
        save(silhouettes(tried), context.figure("silhouettes"))
    print(f"A map of the clusters: {path}")


def _draw_both(context, of_input, plane, method):
    """Draws the input and the representation of a table side by side."""
    features = context.input_features(plane.split)
    projection = project(
        _comparable(context, features)[plane.sample],
        method=method,
        seed=context.seed,
        l2_normalized=False,
    )
    labels = features.labels
    both = {}
    for title, points, clustering in (
        ("scaled input", projection.points, of_input),
        ("representation", plane.projection.points, plane.clustering),
    ):
        groups = clustering.assignments if labels is None else labels
        metric = "silhouette" if labels is None else "silhouette_by_class"
        value = _text(metric, getattr(clustering.result.metrics, metric))
        both[f"{title}, silhouette {value}"] = points, groups[plane.sample]
    path = context.figure("input_and_representation")
    names = None if labels is None else context.dataset.class_names
    save(before_and_after(both, names, settings=projection.settings), path)
    print(f"The scaled input and the representation side by side: {path}")
