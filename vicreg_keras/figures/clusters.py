"""What do the clusters look like? Points on a plane by cluster and by class."""

import itertools
import pathlib
import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import patheffects

from vicreg_keras.figures.style import (
    BLUE,
    GREEN,
    HELD_OUT,
    ORANGE,
    PINK,
    SKY,
    TRAIN,
    VERMILION,
    YELLOW,
    plt,
    save,
)

# Where colors run out, shapes and their edges tell apart.
_COLORS = (BLUE, VERMILION, GREEN, ORANGE, PINK, SKY, YELLOW)
_SHAPES = (("o", 0.0), ("^", 0.45), ("s", 0.45))  # And the widths of their edges.
_MAX_STYLES = len(_COLORS) * len(_SHAPES)

_METHODS = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}
_LONGEST_NAME = 20  # Of a class, in characters of the legend.


def cluster_map(
    points: np.ndarray,
    assignments: np.ndarray,
    labels: np.ndarray | None,
    class_names: Sequence[str] | None,
    centroids: np.ndarray | None,
    path: pathlib.Path,
    *,
    settings: dict,
    cluster_to_class: Sequence[int | None] | None = None,
    title: str = "",
    size_inches: tuple[float, float] | None = None,
) -> None:
    """Draws the same points twice, by cluster and by class.

    A cluster that is matched with a class has the class's color and shape, so that
    a point which differs between the panels is one that was clustered wrongly. Above
    21 groups, colors run along a scale and there is no legend.

    Args:
        points: `(N, 2)`, as `project` gives them.
        assignments: `(N,)` integers, the cluster of each.
        labels: `(N,)` integers, or `None`: the panel by class is left out.
        class_names: one a label, or `None`: classes are called by their numbers.
        centroids: `(K, 2)` on the same plane, or `None`. They are black crosses, and
            on the left carry the clusters' numbers.
        path: of the PNG.
        settings: of `Projection`, for the caption.
        cluster_to_class: the class matched with each cluster, or `None` for none.
        title: above the caption.
        size_inches: width and height; `None` leaves room for the legend.
    """
    classes = [] if labels is None else np.unique(labels).tolist()
    names = [_name(class_names, number) for number in classes]
    has_legend = bool(classes) and classes[-1] < _MAX_STYLES
    num_columns = _num_columns(names)
    caption = textwrap.fill(_caption(settings), 80 if classes else 52)
    if size_inches is None:
        num_rows = -(-len(names) // num_columns) if has_legend else 0
        num_lines = caption.count("\n") + bool(title)
        height = (4.5 if classes else 5.3) + 0.26 * num_rows + 0.2 * num_lines
        size_inches = (8 if classes else 5, height)

    num_clusters = int(np.max(assignments)) + 1
    if centroids is not None:
        num_clusters = max(num_clusters, len(centroids))
    by_cluster = _cluster_styles(num_clusters, classes, cluster_to_class)
    by_class = {number: number for number in classes}
    top = max([*by_cluster.values(), *classes])

    figure, axes = plt.subplots(
        1,
        2 if classes else 1,
        figsize=size_inches,
        layout="constrained",
        squeeze=False,
    )
    _panel(axes[0, 0], points, assignments, by_cluster, top)
    axes[0, 0].set_title(f"by k-means cluster ({num_clusters})", fontsize=13)
    if classes:
        handles = _panel(axes[0, 1], points, labels, by_class, top)
        axes[0, 1].set_title(f"by class ({len(classes)})", fontsize=13)
    if has_legend:
        _legend(figure, handles, names, num_columns)
    if centroids is not None:
        for axis in axes.flat:
            _crosses(axis, centroids)
        _numbers(axes[0, 0], centroids)
    text = f"{title}\n{caption}" if title else caption
    figure.suptitle(text, fontsize=11, parse_math=False)
    save(figure, path)


def before_and_after(
    planes: Mapping[str, tuple[np.ndarray, np.ndarray]],
    names: Sequence[str] | None,
    path: pathlib.Path,
    *,
    settings: dict,
) -> None:
    """Draws the same examples on several planes, a panel each, by group.

    Args:
        planes: by title, points `(N, 2)` and integers `(N,)`, the group of each.
        names: one a group, such as classes; `None` for clusters, which have none.
        path: of the PNG.
        settings: of one of the planes' `Projection`, for the caption.
    """
    num_groups = 1 + max(int(groups.max()) for _, groups in planes.values())
    styles = {number: number for number in range(num_groups)}
    known = [] if names is None else [_name(names, i) for i in range(num_groups)]
    has_legend = bool(known) and num_groups <= _MAX_STYLES
    num_rows = -(-len(known) // _num_columns(known)) if has_legend else 0
    figure, axes = plt.subplots(
        1,
        len(planes),
        figsize=(4 * len(planes), 4.6 + 0.26 * num_rows),
        layout="constrained",
        squeeze=False,
    )
    for axis, (title, (points, groups)) in zip(axes[0], planes.items(), strict=True):
        handles = _panel(axis, points, groups, styles, num_groups)
        axis.set_title(title, fontsize=13)
    if has_legend:
        _legend(figure, handles, known, _num_columns(known))
    kind = "class" if names is not None else "k-means cluster"
    text = f"By {kind}. {_caption(settings)}"
    figure.suptitle(textwrap.fill(text, 80), fontsize=11, parse_math=False)
    save(figure, path)


def silhouettes(candidates: Sequence[dict], path: pathlib.Path) -> None:
    """Draws the silhouette over the number of clusters, and which was chosen.

    Args:
        candidates: those of `cluster_eval`: `num_clusters` and `silhouette` of each.
        path: of the PNG.
    """
    figure, axis = plt.subplots(figsize=(7, 4.4), layout="constrained")
    numbers = [one["num_clusters"] for one in candidates]
    values = [one["silhouette"] for one in candidates]
    best = int(np.argmax(values))
    axis.plot(numbers, values, "o-", color=TRAIN)
    axis.plot(
        numbers[best],
        values[best],
        "D",
        color=HELD_OUT,
        markersize=10,
        label=f"best: {numbers[best]} clusters, {values[best]:.2f}",
    )
    axis.set_xlabel("number of clusters", fontsize=12)
    axis.set_ylabel("silhouette", fontsize=12)
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=12)
    save(figure, path)


def _panel(axis, points, groups, styles, top):
    """One scatter a group; returns what a legend shows of each."""
    # 2,000 points are 3.5 points wide on paper; more are smaller.
    size = float(np.clip(24_000 / len(points), 3, 30))
    handles = []
    if max(styles.values()) >= _MAX_STYLES:
        values = [styles[int(group)] for group in groups]
        axis.scatter(*points.T, s=size, c=values, vmin=0, vmax=top, linewidths=0)
    else:
        for group, number in styles.items():
            color, (shape, edge) = _style(number)
            look = dict(c=color, marker=shape, linewidths=edge, edgecolors="black")
            axis.scatter(*points[groups == group].T, s=size, alpha=0.85, **look)
            handles.append(axis.scatter([], [], s=60, **look))
    # A square, since the same distance is to look the same in both directions.
    low, high = points.min(axis=0), points.max(axis=0)
    middle, half = (low + high) / 2, 0.54 * (high - low).max()
    axis.set(xlim=middle[0] + [-half, half], ylim=middle[1] + [-half, half])
    axis.set(aspect="equal", xticks=[], yticks=[])
    return handles


def _num_columns(names):
    """Of a legend as wide as the picture, each mark as wide as five characters."""
    longest = max(map(len, names), default=0)
    return max(1, min(len(names), 66 // (longest + 5)))


def _legend(figure, handles, names, num_columns):
    """Names of the classes below the panels."""
    legend = figure.legend(
        handles,
        names,
        loc="outside lower center",
        ncols=num_columns,
        fontsize=11,
        frameon=False,
        handletextpad=0.1,
        columnspacing=1.0,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def _crosses(axis, centroids):
    """Black crosses, white beneath to be seen on any color."""
    axis.scatter(*centroids.T, s=110, c="white", marker="x", linewidths=5)
    axis.scatter(*centroids.T, s=80, c="black", marker="x", linewidths=2.2)


def _numbers(axis, centroids):
    """The clusters' numbers beside their crosses, where they are few."""
    if len(centroids) > _MAX_STYLES:
        return
    for number, centroid in enumerate(centroids):
        axis.annotate(
            str(number),
            centroid,
            xytext=(7, 5),
            textcoords="offset points",
            fontsize=11,
            path_effects=[patheffects.withStroke(linewidth=3, foreground="white")],
        )


def _cluster_styles(num_clusters, classes, cluster_to_class):
    """Each cluster's style: its class's, or for those without one the next free."""
    if cluster_to_class is None or not classes:
        return {cluster: cluster for cluster in range(num_clusters)}
    matches = [matched for matched in cluster_to_class if matched is not None]
    free = itertools.count(max([*matches, *classes]) + 1)
    return {
        cluster: next(free) if matched is None else matched
        for cluster, matched in enumerate(cluster_to_class)
    }


def _style(number):
    """Color and shape of a group."""
    return _COLORS[number % len(_COLORS)], _SHAPES[number // len(_COLORS)]


def _name(class_names, number):
    """A class's name, short enough for the legend."""
    name = str(number) if class_names is None else str(class_names[number])
    if len(name) > _LONGEST_NAME:
        name = name[: _LONGEST_NAME - 1] + "…"
    return name


def _caption(settings):
    """How the points came onto the plane, and what the crosses are."""
    method = _METHODS[settings["method"]]
    if "perplexity" in settings:
        method += f" (perplexity {settings['perplexity']:.3g})"
    if settings["method"] == "pca":
        shares = sum(settings["explained_variance_ratio"])
        method += f" ({100 * shares:.0f} % of the variance)"
    what = "representations of length 1"
    if not settings.get("unit_length", True):
        what = "rows, every column on one scale"
    text = f"{method} of {settings['num_rows']:,} {what}."
    if settings["centroids"] is not None:
        text += f" Crosses: k-means centroids, {settings['centroids']}."
    return text
