"""Maps of clusters, with the points, colors and captions due."""

import dataclasses

import numpy as np
import pytest
from PIL import ImageColor

from vicreg_keras.evaluate.projection import Projection, ProjectionSettings
from vicreg_keras.figures import clusters
from vicreg_keras.figures.style import MAX_GROUPS, group_style

BLUE, VERMILION, GREEN, BLACK = "#0072B2", "#D55E00", "#009E73", "#000000"
SETTINGS = ProjectionSettings(
    method="tsne",
    perplexity=30.0,
    num_examples=2000,
    num_centroids=3,
    l2_normalized=True,
    seed=0,
)
PCA_SETTINGS = dataclasses.replace(
    SETTINGS,
    method="pca",
    perplexity=None,
    explained_variance_ratio=(0.25, 0.125),
    num_centroids=0,
)


def make_points(num_groups, num_each=20, seed=0):
    random = np.random.default_rng(seed)
    centers = random.normal(size=(num_groups, 2)) * 20
    groups = np.repeat(np.arange(num_groups), num_each)
    return centers[groups] + random.normal(size=(len(groups), 2)), groups, centers


def count(pixels, color):
    """How many pixels are of a color, as it is or as thin as points are drawn."""
    opaque = np.array(ImageColor.getrgb(color))
    thin = np.round(0.85 * opaque + 0.15 * 255)
    return sum(
        int((np.abs(pixels.astype(int) - one).max(axis=-1) <= 3).sum())
        for one in (opaque, thin)
    )


def halves(pixels):
    middle = pixels.shape[1] // 2
    return pixels[:, :middle], pixels[:, middle:]


def draw(points, groups, labels, centers, **others):
    names = None if labels is None else [f"class {i}" for i in range(99)]
    projection = Projection(points, centers, SETTINGS)
    return clusters.cluster_map(projection, groups, labels, names, **others)


def test_matched_clusters_have_the_colors_of_their_classes(pixels):
    points, groups, centers = make_points(3)
    # The clusters' numbers are the classes' turned round: 0 is 2 and 2 is 0.
    labels = 2 - groups
    labels[groups == 0] = 1
    figure = draw(points, groups, labels, centers, cluster_to_class=[None, 1, 0])
    array = pixels(figure)
    left, right = halves(array)
    # Class 0 is cluster 2, class 1 cluster 1; cluster 0 takes the next free color.
    for color in (BLUE, VERMILION, GREEN):
        assert count(left, color) > 100, color
    assert count(right, GREEN) == 0
    assert count(right, VERMILION) > 1.5 * count(left, VERMILION)
    for half in (left, right):
        assert count(half, BLACK) > 100


def test_unmatched_clusters_take_colors_in_turn(pixels):
    points, groups, centers = make_points(3)
    left, right = halves(pixels(draw(points, groups, 2 - groups, centers)))
    for color in (BLUE, VERMILION, GREEN):
        assert count(left, color) > 100
        assert count(right, color) > 100


def test_one_panel_without_labels_and_without_centroids(pixels):
    points, groups, _ = make_points(2)
    two = pixels(draw(points, groups, groups, None))
    one = pixels(draw(points, groups, None, None))
    assert one.shape[1] < 0.7 * two.shape[1]
    assert count(one, BLUE) > 100
    assert count(one, VERMILION) > 100


def test_groups_beyond_the_colors_have_other_markers():
    styles = [group_style(number) for number in range(MAX_GROUPS)]
    assert len(set(styles)) == 21
    assert len({color for color, *_ in styles[:7]}) == 7


@pytest.mark.parametrize("num_groups", [21, 30])
def test_many_groups_have_a_scale_and_no_legend(pixels, num_groups):
    points, groups, centers = make_points(num_groups)
    array = pixels(draw(points, groups, groups, centers))
    colored = count(array, BLUE) > 100
    assert colored == (num_groups == 21)
    # The legend takes height.
    assert (array.shape[0] > 600) == (num_groups == 21)


def test_long_names_odd_names_and_titles(pixels):
    points, groups, centers = make_points(2)
    names = ["a " * 40, "_$x$ {"]
    figure = clusters.cluster_map(
        Projection(points, centers, SETTINGS),
        groups,
        groups,
        names,
        title="My $photos$ of 2",
        size_inches=(6, 4),
    )
    assert pixels(figure).shape == (480, 720, 3)


def test_the_caption_names_method_and_centroids():
    text = clusters.projection_caption(SETTINGS)
    assert text == (
        "t-SNE (perplexity 30) of 2,000 L2-normalized representations. Crosses: "
        "k-means centroids, embedded together with the points."
    )
    pca = dataclasses.replace(PCA_SETTINGS, num_examples=5)
    assert clusters.projection_caption(pca) == (
        "PCA (38 % of the variance) of 5 L2-normalized representations."
    )


def test_positions_are_where_points_are_drawn(pixels):
    points, groups, _ = make_points(1, num_each=3)
    figure = draw(points, groups, groups, None)
    positions = clusters.positions(figure, points)
    height, width, _ = (array := pixels(figure)).shape
    assert positions.shape == (2, 3, 2)
    for x, y in positions.reshape(-1, 2):
        part = array[round(y * height) - 2 :, round(x * width) - 2 :][:4, :4]
        assert count(part, BLUE) > 3
    left, right = positions
    assert (left[:, 0] < 0.5).all() and (right[:, 0] > 0.5).all()


def test_the_best_silhouette_is_marked(pixels):
    array = pixels(clusters.silhouettes({2: 0.1, 3: 0.3, 4: 0.2}))
    assert array.shape == (528, 840, 3)
    assert count(array, BLUE) > 300
    # The mark stands in the middle, where 3 is; the legend has another above.
    rows, columns = np.nonzero((array == ImageColor.getrgb(VERMILION)).all(axis=-1))
    assert ((columns > 350) & (columns < 560)).sum() > 50


def test_the_silhouette_of_one_candidate(pixels):
    assert pixels(clusters.silhouettes({2: 0.5})).shape == (528, 840, 3)


def test_planes_are_side_by_side(pixels):
    random = np.random.default_rng(0)
    groups = np.repeat([0, 1, 2], 20)
    planes = {
        title: (random.normal(size=(60, 2)) + 5 * groups[:, np.newaxis], groups)
        for title in ("scaled input", "representation")
    }
    settings = dataclasses.replace(PCA_SETTINGS, num_examples=60, l2_normalized=False)
    for names in (("a", "b", "$c"), None):
        array = pixels(clusters.before_and_after(planes, names, settings=settings))
        height, width, _ = array.shape
        assert width > 1.4 * height
        # Every group is on both halves.
        for color in ("#0072B2", "#D55E00", "#009E73"):
            wanted = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)])
            near = np.abs(array - wanted).max(axis=-1) < 60
            assert near[:, : width // 2].any() and near[:, width // 2 :].any()
