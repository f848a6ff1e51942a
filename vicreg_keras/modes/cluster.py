"""The mode `cluster`: k-means clusters, compared with the classes, and their map."""

import dataclasses

import numpy as np

from vicreg_keras.evaluate.clustering import Clustering, ClusterRecord, cluster_eval
from vicreg_keras.evaluate.normalization import standardize
from vicreg_keras.evaluate.projection import Projection, project
from vicreg_keras.evaluate.records import NAMES
from vicreg_keras.evaluate.sampling import draw_balanced
from vicreg_keras.figures.clusters import before_and_after, cluster_map, silhouettes
from vicreg_keras.figures.style import save
from vicreg_keras.figures.text_table import format_table, percent
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

    features, own = context.features[split], found["encoder"]
    # Without labels all are of one class.
    groups = features.labels
    if groups is None:
        groups = np.zeros(len(features.representations))
    sample = draw_balanced(groups, options.sample_size, context.seed)
    if options.projection == "tsne" and len(sample) >= _MANY_POINTS:
        print(f"Placing {len(sample):,} points by t-SNE: up to a minute...", flush=True)
    projection = _project(context, features, sample, options, own.centroids)
    plane = ClusterPlane(split, sample, projection, own)
    if context.run is not None:
        _draw(context, plane, options)
        if context.dataset.columns is not None and "raw_input" in found:
            _draw_both(context, found["raw_input"], plane, options)
    record = ClusterRecord(
        **context.record_fields,
        split=split,
        results=results,
        projection=projection.settings,
    )
    context.log_metrics(record)
    return record, plane


def _print_clusters(context, split, results):
    settings = results["encoder"].settings
    print(
        f"k-means on {context.dataset.name}, {split} split, {settings.num_clusters} "
        f"clusters (chosen by: {settings.num_clusters_chosen_by}), seed "
        f"{context.seed}; accuracy in percent."
    )
    names = ["silhouette"] if settings.num_classes is None else list(_METRICS)
    lines = [("", *(_METRICS[name] for name in names), "")]
    for name, result in reversed(results.items()):
        cells = (_text(result, metric) for metric in names)
        lines.append((NAMES[name], *cells, ""))
    print(format_table(lines))


def _text(result, metric):
    value = getattr(result.metrics, metric)
    if metric == "matched_accuracy":
        return percent(value)
    return "-" if value is None else f"{value:.3f}"


def _project(context, features, sample, options, centroids=None):
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


def _draw(context, plane, options):
    path = context.figure("clusters")
    labels = context.features[plane.split].labels
    result = plane.clustering.result
    figure = cluster_map(
        plane.projection.points,
        plane.clustering.assignments[plane.sample],
        None if labels is None else labels[plane.sample],
        context.dataset.class_names,
        plane.projection.centroids,
        settings=plane.projection.settings,
        cluster_to_class=result.metrics.cluster_to_class,
        title=f"{context.dataset.name}, {plane.split} split",
        size_inches=options.figure_inches,
    )
    save(figure, path)
    if result.settings.silhouettes:
        figure = silhouettes(result.settings.silhouettes)
        save(figure, context.figure("silhouettes"))
    print(f"A map of the clusters: {path}")


def _draw_both(context, of_input, plane, options):
    """Draws the input and the representation of a table side by side."""
    features = context.input_features(plane.split)
    projection = _project(context, features, plane.sample, options)
    labels = features.labels
    metric = "silhouette" if labels is None else "silhouette_by_class"
    both = {}
    for title, points, clustering in (
        ("scaled input", projection.points, of_input),
        ("representation", plane.projection.points, plane.clustering),
    ):
        groups = clustering.assignments if labels is None else labels
        title = f"{title}, silhouette {_text(clustering.result, metric)}"
        both[title] = points, groups[plane.sample]
    path = context.figure("input_and_representation")
    figure = before_and_after(
        both, context.dataset.class_names, settings=projection.settings
    )
    save(figure, path)
    print(f"The scaled input and the representation side by side: {path}")
