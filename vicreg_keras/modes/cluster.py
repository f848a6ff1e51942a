"""The modes `cluster` and `spectrum`: what is seen without labels."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from vicreg_keras.evaluate import projection as planes
from vicreg_keras.evaluate.clustering import Clustering, cluster_eval, standardized
from vicreg_keras.figures.clusters import before_and_after, cluster_map, silhouettes
from vicreg_keras.figures.style import save
from vicreg_keras.modes import text_table
from vicreg_keras.modes.context import NAMES, Context

_SLOW_POINTS = 2000  # So many take t-SNE a while.
_MEASURES = {
    "matched_accuracy": "matched accuracy",
    "normalized_mutual_information": "NMI",
    "adjusted_rand_index": "ARI",
    "silhouette": "silhouette",
    "silhouette_by_class": "silhouette by class",
}


@dataclasses.dataclass(frozen=True)
class ClusterPlane:
    """Some of the clustered examples, on a plane.

    Attributes:
        split: that they are of.
        picks: `(N,)` indices in the split.
        plane: where they lie, and the centroids.
        clustering: of the whole split.
    """

    split: str
    picks: np.ndarray
    plane: planes.Projection
    clustering: Clustering


def run_cluster(
    context: Context,
    *,
    clusters: int | None = None,
    projection: str = "tsne",
    sample_size: int = 5000,
    figure_inches: Sequence[str] | None = None,
) -> ClusterPlane:
    """Clusters the test images, or the training images without any, and draws them.

    Args:
        context: what is judged.
        clusters: how many; `None` leaves it to `cluster_eval`.
        projection: of the picture, a key of `evaluate.projection.METHODS`.
        sample_size: points in the picture, at most.
        figure_inches: width and height of the picture, or `None`.

    Returns:
        What was drawn.

    Raises:
        ValueError: as `cluster_eval` and `evaluate.projection.project`.
    """
    size_inches = _size(figure_inches)
    split = "train" if context.dataset.test is None else "test"
    results, found_by = {}, {}
    for name, (features,) in context.each((split,)):
        found = cluster_eval(
            features,
            num_clusters=clusters,
            num_classes=context.dataset.num_classes,
            seed=context.seed,
            unit_length=context.dataset.columns is None,
        )
        results[name], found_by[name] = found.numbers, (features, found)
        if name == "encoder":
            best = found
            # The baselines get as many clusters, so that they can be compared.
            clusters = found.numbers["num_clusters"]
    _print_clusters(context, split, results)
    drawn = _projected(context, split, best, projection, sample_size)
    path = context.figure("clusters")
    if path is not None:
        _draw(context, drawn, size_inches, path)
        if best.numbers["candidates"]:
            candidates = {
                one["num_clusters"]: one["silhouette"]
                for one in best.numbers["candidates"]
            }
            save(silhouettes(candidates), context.figure("silhouettes"))
        print(f"A map of the clusters: {path}")
        if context.dataset.columns is not None and "raw_input" in found_by:
            _draw_both(context, found_by, drawn, projection)
    context.keep(
        "cluster",
        {"split": split, "results": results, "projection": drawn.plane.settings},
    )
    return drawn


def _size(texts):
    """Width and height in inches, from what a person types."""
    if texts is None:
        return None
    try:
        width, height = map(float, texts)
    except ValueError:
        width = height = 0.0
    if not (1 <= width <= 100 and 1 <= height <= 100):
        raise ValueError(
            "Expected --figure_inches=WIDTH,HEIGHT, two numbers from 1 to 100. "
            f"Received: --figure_inches={','.join(map(str, texts))}."
        )
    return width, height


def _print_clusters(context, split, results):
    numbers = results["encoder"]
    print(
        f"k-means on {context.dataset.name}, {split} split, {numbers['num_clusters']} "
        f"clusters (chosen by: {numbers['num_clusters_chosen_by']}), "
        f"seed {context.seed}; accuracy in percent."
    )
    measures = [measure for measure in _MEASURES if measure in numbers]
    rows = [("", *(_MEASURES[measure] for measure in measures), "")]
    for name in reversed(results):
        cells = []
        for measure in measures:
            value = results[name][measure]
            if measure == "matched_accuracy":
                cells.append(text_table.percent(value))
            else:
                cells.append("-" if value is None else f"{value:.3f}")
        rows.append((NAMES[name], *cells, ""))
    print(text_table.format_table(rows))


def _projected(context, split, clustering, method, sample_size):
    features = context.features[split]
    num_examples = len(features.representations)
    picks = planes.sample(num_examples, sample_size, context.seed, features.labels)
    if method == "tsne" and len(picks) >= _SLOW_POINTS:
        print(f"Placing {len(picks):,} points by t-SNE: up to a minute...", flush=True)
    plane = planes.project(
        _comparable(context, features)[picks],
        method=method,
        centroids=clustering.centroids,
        seed=context.seed,
        unit_length=context.dataset.columns is None,
    )
    return ClusterPlane(split, picks, plane, clustering)


def _comparable(context, features):
    """Representations as `cluster_eval` compares them, but for their length."""
    if context.dataset.columns is None:
        return features.representations
    return standardized(features.representations)


def _draw_both(context, found_by, drawn, method):
    """The input and the representation of a table, side by side."""
    features, found = found_by["raw_input"]
    plane = planes.project(
        _comparable(context, features)[drawn.picks],
        method=method,
        seed=context.seed,
        unit_length=False,
    )
    labels = features.labels
    both = {}
    for title, points, one in (
        ("scaled input", plane.points, found),
        ("representation", drawn.plane.points, drawn.clustering),
    ):
        groups = one.assignments if labels is None else labels
        key = "silhouette" if labels is None else "silhouette_by_class"
        value = one.numbers[key]
        text = "-" if value is None else f"{value:.3f}"
        both[f"{title}, silhouette {text}"] = points, groups[drawn.picks]
    path = context.figure("input_and_representation")
    names = None if labels is None else context.dataset.class_names
    save(before_and_after(both, names, settings=plane.settings), path)
    print(f"The scaled input and the representation side by side: {path}")


def _draw(context, drawn, size_inches, path):
    labels = context.features[drawn.split].labels
    figure = cluster_map(
        drawn.plane.points,
        drawn.clustering.assignments[drawn.picks],
        None if labels is None else labels[drawn.picks],
        context.dataset.class_names,
        drawn.plane.centroids,
        settings=drawn.plane.settings,
        cluster_to_class=drawn.clustering.numbers.get("cluster_to_class"),
        title=f"{context.dataset.name}, {drawn.split} split",
        size_inches=size_inches,
    )
    save(figure, path)
