"""The modes `cluster` and `spectrum`: what is seen without labels."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from vicreg_keras import tables
from vicreg_keras.evaluate import projection as planes
from vicreg_keras.evaluate.clustering import (
    Clustering,
    cluster_eval,
    standardised,
)
from vicreg_keras.evaluate.spectrum import spectrum, verdict
from vicreg_keras.figures.clusters import (
    before_and_after,
    cluster_map,
    silhouettes,
)
from vicreg_keras.figures.spectrum import eigenvalue_decay
from vicreg_keras.judge.subject import NAMES, Subject
from vicreg_keras.pretrain import embedding_verdict

_SPECTRUM_ROWS = 25_600  # As many as RankMe's paper takes.
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
    subject: Subject,
    *,
    clusters: int | None = None,
    projection: str = "tsne",
    sample_size: int = 5000,
    figure_inches: Sequence[str] | None = None,
) -> ClusterPlane:
    """Clusters the test images, or the training images without any, and draws them.

    Args:
        subject: what is judged.
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
    split = "train" if subject.dataset.test is None else "test"
    results, found_by = {}, {}
    for name, (features,) in subject.each((split,)):
        found = cluster_eval(
            features,
            num_clusters=clusters,
            num_classes=subject.dataset.num_classes,
            seed=subject.seed,
            unit_length=subject.dataset.columns is None,
        )
        results[name], found_by[name] = found.numbers, (features, found)
        if name == "encoder":
            best = found
            # The baselines get as many clusters, so that they can be compared.
            clusters = found.numbers["num_clusters"]
    _print_clusters(subject, split, results)
    drawn = _projected(subject, split, best, projection, sample_size)
    path = subject.figure("clusters")
    if path is not None:
        _draw(subject, drawn, size_inches, path)
        if best.numbers["candidates"]:
            silhouettes(best.numbers["candidates"], subject.figure("silhouettes"))
        print(f"A map of the clusters: {path}")
        if subject.dataset.columns is not None and "raw_input" in found_by:
            _draw_both(subject, found_by, drawn, projection)
    subject.keep(
        "cluster",
        {"split": split, "results": results, "projection": drawn.plane.settings},
    )
    return drawn


def run_spectrum(subject: Subject) -> dict:
    """Measures ranks and spread of training representations, and says what they mean.

    Args:
        subject: what is judged.

    Returns:
        The row that was kept.
    """
    num_examples = subject.dataset.train.num_examples
    picks = planes.sample(num_examples, _SPECTRUM_ROWS, subject.seed)
    found = {}
    stores = {"encoder": subject.features, "untrained": subject.untrained_features}
    for name, features in stores.items():
        if features is not None:
            found[name] = spectrum(features["train"].representations[picks])
    verdicts = [verdict(found["encoder"], kind="representation")]
    # Of a run, what the loss saw is known, too: there the covariance term shows first.
    if subject.make_encoder is not None:
        in_training = embedding_verdict(subject.run)
        verdicts += [in_training] if in_training else []
    rows = [("", "RankMe", "effective rank", "alpha", "std, mean", "dead", "of")]
    for name in reversed(found):
        numbers = found[name]
        alpha = numbers["alpha"]
        rows.append(
            (
                NAMES[name],
                f"{numbers['rankme']:.1f}",
                f"{numbers['effective_rank']:.1f}",
                "-" if alpha is None else f"{alpha:.2f}",
                f"{numbers['std_mean']:.3g}",
                str(numbers["dead_dimensions"]),
                str(numbers["width"]),
            )
        )
    print(f"Spectrum of {len(picks)} training representations, without labels.")
    print(tables.format_table(rows))
    for found_verdict in verdicts:
        print(f"{found_verdict['state'].capitalize()}. {found_verdict['text']}")
    path = subject.figure("spectrum")
    if path is not None:
        eigenvalue_decay(found, path)
        print(f"Its eigenvalues: {path}")
    return subject.keep(
        "spectrum", {"split": "train", "results": found, "verdicts": verdicts}
    )


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


def _print_clusters(subject, split, results):
    numbers = results["encoder"]
    print(
        f"k-means on {subject.dataset.name}, {split} split, {numbers['num_clusters']} "
        f"clusters (chosen by: {numbers['num_clusters_chosen_by']}), "
        f"seed {subject.seed}; accuracy in percent."
    )
    measures = [measure for measure in _MEASURES if measure in numbers]
    rows = [("", *(_MEASURES[measure] for measure in measures), "")]
    for name in reversed(results):
        cells = []
        for measure in measures:
            value = results[name][measure]
            if measure == "matched_accuracy":
                cells.append(tables.percent(value))
            else:
                cells.append("-" if value is None else f"{value:.3f}")
        rows.append((NAMES[name], *cells, ""))
    print(tables.format_table(rows))


def _projected(subject, split, clustering, method, sample_size):
    features = subject.features[split]
    num_examples = len(features.representations)
    picks = planes.sample(num_examples, sample_size, subject.seed, features.labels)
    if method == "tsne" and len(picks) >= _SLOW_POINTS:
        print(f"Placing {len(picks):,} points by t-SNE: up to a minute...", flush=True)
    plane = planes.project(
        _comparable(subject, features)[picks],
        method=method,
        centroids=clustering.centroids,
        seed=subject.seed,
        unit_length=subject.dataset.columns is None,
    )
    return ClusterPlane(split, picks, plane, clustering)


def _comparable(subject, features):
    """Representations as `cluster_eval` compares them, but for their length."""
    if subject.dataset.columns is None:
        return features.representations
    return standardised(features.representations)


def _draw_both(subject, found_by, drawn, method):
    """The input and the representation of a table, side by side."""
    features, found = found_by["raw_input"]
    plane = planes.project(
        _comparable(subject, features)[drawn.picks],
        method=method,
        seed=subject.seed,
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
    path = subject.figure("input_and_representation")
    names = None if labels is None else subject.dataset.class_names
    before_and_after(both, names, path, settings=plane.settings)
    print(f"The scaled input and the representation side by side: {path}")


def _draw(subject, drawn, size_inches, path):
    labels = subject.features[drawn.split].labels
    cluster_map(
        drawn.plane.points,
        drawn.clustering.assignments[drawn.picks],
        None if labels is None else labels[drawn.picks],
        subject.dataset.class_names,
        drawn.plane.centroids,
        path,
        settings=drawn.plane.settings,
        cluster_to_class=drawn.clustering.numbers.get("cluster_to_class"),
        title=f"{subject.dataset.name}, {drawn.split} split",
        size_inches=size_inches,
    )
