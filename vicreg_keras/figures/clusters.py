"""Examples as points on a plane, by cluster and by class; silhouettes."""

import itertools
import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import patheffects
from matplotlib.figure import Figure

from vicreg_keras.evaluate.projection import Projection, ProjectionSettings
from vicreg_keras.figures import style
from vicreg_keras.figures.style import clean

_METHODS = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}
_MAX_NAME_LENGTH = 20  # Characters of a class's name in the legend.
_LINE_HEIGHT = 0.26  # Inches of a line of the legend.

# Title, coordinates, groups, and the style of each group.
_Panel = tuple[str, np.ndarray, np.ndarray, Mapping[int, int]]


def cluster_map(
    projection: Projection,
    assignments: np.ndarray,
    labels: np.ndarray | None,
    class_names: Sequence[str] | None,
    *,
    cluster_to_class: Sequence[int | None] | None = None,
    title: str = "",
    size_inches: tuple[float, ...] | None = None,
) -> Figure:
    """Draws the same points twice, by cluster and by class.

    A cluster that is matched with a class has the class's color and marker, so that a
    point which differs between the panels is in a wrong cluster. Above 21 groups,
    colors run along a scale and there is no legend.

    Args:
        projection: Points and, as black crosses, centroids on a plane. The centroids'
            numbers are in the panel by cluster.
        assignments: `(num_examples,)` integers, the cluster of each.
        labels: `(num_examples,)` integers; `None` leaves out the panel by class.
        class_names: Name of each class, or `None` for numbers.
        cluster_to_class: Class matched with each cluster, or `None` for none.
        title: First line of the caption.
        size_inches: Width and height; by default such that the legend fits.
    """
    points, centroids, settings = projection
    classes = [] if labels is None else np.unique(labels).tolist()
    num_clusters = int(np.max(assignments)) + 1
    if centroids is not None:
        num_clusters = max(num_clusters, len(centroids))
    styles = _cluster_styles(num_clusters, classes, cluster_to_class)
    panels = [(f"by k-means cluster ({num_clusters})", points, assignments, styles)]
    if classes:
        identity = {number: number for number in classes}
        panels.append((f"by class ({len(classes)})", points, labels, identity))
    names = _class_names(class_names, classes)
    caption = projection_caption(settings)
    figure = _draw_panels(panels, names, title, caption, size_inches)
    if centroids is not None:
        for axes in figure.axes:
            # Black, white beneath to be seen on any color.
            x, y = centroids.T
            axes.scatter(x, y, s=110, c="white", marker="x", linewidths=5)
            axes.scatter(x, y, s=80, c="black", marker="x", linewidths=2.2)
        _write_numbers(figure.axes[0], centroids)
    return figure


def before_and_after(
    planes: Mapping[str, tuple[np.ndarray, np.ndarray]],
    names: Sequence[str] | None,
    *,
    settings: ProjectionSettings,
) -> Figure:
    """Draws the same examples on several planes, a panel each, by group.

    Args:
        planes: By title, coordinates `(num_examples, 2)` and integers
            `(num_examples,)`, the group of each.
        names: Name of each group, such as a class; `None` for clusters.
        settings: Settings of one of the planes' `Projection`, for the caption.
    """
    num_groups = 1 + max(int(groups.max()) for _, groups in planes.values())
    styles = {number: number for number in range(num_groups)}
    panels = [(title, *plane, styles) for title, plane in planes.items()]
    kind = "class" if names is not None else "k-means cluster"
    shown = [] if names is None else _class_names(names, list(styles))
    return _draw_panels(panels, shown, f"By {kind}.", projection_caption(settings))


def positions(figure: Figure, points: np.ndarray) -> np.ndarray:
    """Returns where points are in each panel of a figure that is drawn afterwards.

    Args:
        figure: See `cluster_map`.
        points: `(num_examples, 2)` coordinates.

    Returns:
        `(num_panels, num_examples, 2)` shares in [0, 1] of the figure's width and
        height, from its upper left corner.
    """
    for _ in range(2):  # The first drawing moves panels, later ones don't.
        figure.draw_without_rendering()
    pixels = np.stack([axes.transData.transform(points) for axes in figure.axes])
    shares = pixels / figure.bbox.size
    return np.stack([shares[..., 0], 1 - shares[..., 1]], axis=-1)


def silhouettes(silhouette_by_count: Mapping[int, float]) -> Figure:
    """Draws the silhouette over the number of clusters, and the best of them.

    Args:
        silhouette_by_count: Silhouette in [-1, 1] by number of clusters.
    """
    figure, axes = style.new_figure(7, 4.4)
    counts, values = list(silhouette_by_count), list(silhouette_by_count.values())
    axes.plot(counts, values, "o-", color=style.TRAINING)
    value, best = max(zip(values, counts, strict=True))
    label = f"best: {best} clusters, {value:.2f}"
    axes.plot(best, value, "D", color=style.VALIDATION, markersize=10, label=label)
    axes.set(xlabel="number of clusters", ylabel="silhouette")
    style.integer_ticks(axes)
    axes.legend()
    return figure


def _cluster_styles(num_clusters, classes, cluster_to_class):
    """Returns a style for each cluster: that of its class, or the next free one."""
    if cluster_to_class is None:
        return {cluster: cluster for cluster in range(num_clusters)}
    matches = [matched for matched in cluster_to_class if matched is not None]
    free = itertools.count(max([-1, *matches, *classes]) + 1)
    return {
        cluster: next(free) if matched is None else matched
        for cluster, matched in enumerate(cluster_to_class)
    }


def projection_caption(settings: ProjectionSettings) -> str:
    """Returns how the points came onto the plane, and what the crosses are."""
    method = _METHODS[settings.method]
    if settings.perplexity is not None:
        method += f" (perplexity {settings.perplexity:.3g})"
    if settings.explained_variance_ratio is not None:
        kept = 100 * sum(settings.explained_variance_ratio)
        method += f" ({kept:.0f} % of the variance)"
    what = "L2-normalized representations"
    if not settings.l2_normalized:
        what = "examples, every dimension standardized"
    text = f"{method} of {settings.num_examples:,} {what}."
    if settings.centroids is not None:
        text += f" Crosses: k-means centroids, {settings.centroids}."
    return text


def _draw_panels(
    panels: Sequence[_Panel],
    names: Sequence[str],
    title: str,
    caption: str,
    size_inches: tuple[float, ...] | None = None,
) -> Figure:
    """Draws panels side by side, and a legend of the last one's groups if named."""
    text = f"{clean(title)}\n{textwrap.fill(caption, 80 if len(panels) > 1 else 52)}"
    width, height = (4.0 * len(panels), 4.5) if len(panels) > 1 else (5.0, 5.3)
    height += _legend_height(names) + 0.2 * text.count("\n")
    width, height = size_inches or (width, height)
    figure, (grid,) = style.new_figure(width, height, 1, len(panels), squeeze=False)
    max_style = max(max(styles.values()) for *_, styles in panels)
    for axes, (title, points, groups, styles) in zip(grid, panels, strict=True):
        handles = _scatter(axes, points, groups, styles, max_style)
        axes.set_title(title, fontsize=13)
    if names:
        look = {"fontsize": 11, "handletextpad": 0.1, "columnspacing": 1.0}
        look |= {"frameon": False, "ncols": _num_columns(names)}
        place = "outside lower center"
        style.add_legend(figure, handles=handles, labels=names, loc=place, **look)
    figure.suptitle(text, fontsize=11, parse_math=False)
    return figure


def _scatter(axes, points, groups, styles, max_style):
    """Draws each group in its style; returns what a legend shows of each."""
    # 2,000 points are 3.5 points wide on paper; more are smaller.
    size = float(np.clip(24_000 / len(points), 3, 30))
    handles = []
    if max(styles.values()) >= style.MAX_GROUPS:
        values = [styles[int(group)] for group in groups]
        axes.scatter(*points.T, s=size, c=values, vmin=0, vmax=max_style, linewidths=0)
    else:
        for group, number in styles.items():
            color, marker, edge = style.group_style(number)
            look = dict(c=color, marker=marker, linewidths=edge, edgecolors="black")
            axes.scatter(*points[groups == group].T, s=size, alpha=0.85, **look)
            handles.append(axes.scatter([], [], s=60, **look))
    # Square limits, since equal distances are to look equal in both directions.
    low, high = points.min(axis=0), points.max(axis=0)
    middle, half = (low + high) / 2, 0.54 * (high - low).max()
    axes.set(xlim=middle[0] + [-half, half], ylim=middle[1] + [-half, half])
    axes.set(aspect="equal", xticks=[], yticks=[])
    return handles


def _num_columns(names):
    """Columns of a legend as wide as the figure; a mark is as wide as 5 characters."""
    longest = max(map(len, names), default=0)
    return max(1, min(len(names), 66 // (longest + 5)))


def _legend_height(names):
    return _LINE_HEIGHT * -(-len(names) // _num_columns(names))


def _write_numbers(axes, centroids):
    """Writes the clusters' numbers beside their crosses, where they are few."""
    if len(centroids) > style.MAX_GROUPS:
        return
    outline = [patheffects.withStroke(linewidth=3, foreground="white")]
    look = {"xytext": (7, 5), "textcoords": "offset points", "fontsize": 11}
    for number, centroid in enumerate(centroids):
        axes.annotate(str(number), centroid, path_effects=outline, **look)


def _class_names(names, classes):
    """Names of these classes in a legend; none where they have no styles."""
    if not classes or classes[-1] >= style.MAX_GROUPS:
        return []
    texts = [str(i) if names is None else str(names[i]) for i in classes]
    return [style.shorten(text, _MAX_NAME_LENGTH) for text in texts]
