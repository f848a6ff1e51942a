"""Pictures of clusters: written whole, with the points that they should have."""

import numpy as np
import pytest
from matplotlib import pyplot as plt
from PIL import Image, ImageColor

from vicreg_keras.figures import clusters

BLUE, VERMILION, GREEN, BLACK = "#0072B2", "#D55E00", "#009E73", "#000000"
SETTINGS = {
    "method": "tsne",
    "perplexity": 30.0,
    "num_rows": 2000,
    "centroids": "embedded together with the points",
}


def make_points(num_groups, num_each=20, seed=0):
    random = np.random.default_rng(seed)
    centers = random.normal(size=(num_groups, 2)) * 20
    groups = np.repeat(np.arange(num_groups), num_each)
    return centers[groups] + random.normal(size=(len(groups), 2)), groups, centers


def read(path):
    """The pixels of a PNG, after checking that it was written whole."""
    with Image.open(path) as image:
        assert image.format == "PNG"
        pixels = np.asarray(image.convert("RGB"))
    assert list(path.parent.iterdir()) == [path]  # Nothing unfinished beside it.
    assert plt.get_fignums() == []
    return pixels


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


def draw(path, points, groups, labels, centers, **others):
    names = None if labels is None else [f"class {i}" for i in range(99)]
    clusters.cluster_map(
        points, groups, labels, names, centers, path, settings=SETTINGS, **others
    )
    return read(path)


def test_two_panels_with_matched_colors(tmp_path):
    points, groups, centers = make_points(3)
    path = tmp_path / "figures" / "clusters.png"
    # The clusters' numbers are the classes' turned round: 0 is 2 and 2 is 0.
    labels = 2 - groups
    labels[groups == 0] = 1
    pixels = draw(path, points, groups, labels, centers, cluster_to_class=[None, 1, 0])
    left, right = halves(pixels)
    # Class 0 is cluster 2, class 1 cluster 1; cluster 0 takes the next free color.
    for color in (BLUE, VERMILION, GREEN):
        assert count(left, color) > 100, color
    assert count(right, GREEN) == 0
    assert count(right, VERMILION) > 1.5 * count(left, VERMILION)
    for half in (left, right):
        assert count(half, BLACK) > 100


def test_without_a_matching_clusters_take_colors_in_turn(tmp_path):
    points, groups, centers = make_points(3)
    path = tmp_path / "figures" / "clusters.png"
    left, right = halves(draw(path, points, groups, 2 - groups, centers))
    for color in (BLUE, VERMILION, GREEN):
        assert count(left, color) > 100
        assert count(right, color) > 100


def test_one_panel_without_labels_and_without_centroids(tmp_path):
    points, groups, _ = make_points(2)
    path = tmp_path / "figures" / "clusters.png"
    two = draw(path, points, groups, groups, None)
    one = draw(path, points, groups, None, None)
    assert one.shape[1] < 0.7 * two.shape[1]
    assert count(one, BLUE) > 100
    assert count(one, VERMILION) > 100


def test_shapes_tell_apart_where_colors_run_out():
    styles = [clusters._style(number) for number in range(21)]
    assert len(set(styles)) == 21
    assert len({color for color, _ in styles[:7]}) == 7


@pytest.mark.parametrize("num_groups", [21, 30])
def test_many_groups_have_a_scale_and_no_legend(tmp_path, num_groups):
    points, groups, centers = make_points(num_groups)
    path = tmp_path / "figures" / "clusters.png"
    pixels = draw(path, points, groups, groups, centers)
    colored = count(pixels, BLUE) > 100
    assert colored == (num_groups == 21)
    # The legend takes height.
    assert (pixels.shape[0] > 600) == (num_groups == 21)


def test_long_names_odd_names_and_titles(tmp_path):
    points, groups, centers = make_points(2)
    path = tmp_path / "figures" / "clusters.png"
    names = ["a " * 40, "_$x$ {"]
    clusters.cluster_map(
        points,
        groups,
        groups,
        names,
        centers,
        path,
        settings=SETTINGS,
        title="My $photos$ of 2",
        size_inches=(6, 4),
    )
    assert read(path).shape == (480, 720, 3)
    assert clusters._name(names, 0) == "a a a a a a a a a a"[:19] + "…"
    assert clusters._name(None, 3) == "3"


def test_the_caption_names_method_and_centroids():
    text = clusters._caption(SETTINGS)
    assert text == (
        "t-SNE (perplexity 30) of 2,000 representations of length 1. Crosses: k-means "
        "centroids, embedded together with the points."
    )
    pca = {
        "method": "pca",
        "explained_variance_ratio": [0.25, 0.125],
        "num_rows": 5,
        "centroids": None,
    }
    assert clusters._caption(pca) == (
        "PCA (38 % of the variance) of 5 representations of length 1."
    )


def test_the_best_silhouette_is_marked(tmp_path):
    path = tmp_path / "figures" / "silhouettes.png"
    candidates = [
        {"num_clusters": number, "silhouette": value}
        for number, value in ((2, 0.1), (3, 0.3), (4, 0.2))
    ]
    clusters.silhouettes(candidates, path)
    pixels = read(path)
    assert pixels.shape == (528, 840, 3)
    assert count(pixels, BLUE) > 300
    # The mark stands in the middle, where 3 is; the legend has another above.
    rows, columns = np.nonzero((pixels == ImageColor.getrgb(VERMILION)).all(axis=-1))
    assert ((columns > 350) & (columns < 560)).sum() > 50


def test_the_silhouette_of_one_candidate(tmp_path):
    path = tmp_path / "figures" / "silhouettes.png"
    clusters.silhouettes([{"num_clusters": 2, "silhouette": 0.5}], path)
    assert read(path).shape == (528, 840, 3)


def test_the_same_examples_side_by_side(tmp_path):
    random = np.random.default_rng(0)
    groups = np.repeat([0, 1, 2], 20)
    planes = {
        title: (random.normal(size=(60, 2)) + 5 * groups[:, np.newaxis], groups)
        for title in ("scaled input", "representation")
    }
    settings = {"method": "pca", "explained_variance_ratio": [0.5, 0.25]}
    settings |= {"num_rows": 60, "centroids": None, "unit_length": False}
    path = tmp_path / "both.png"
    for names in (("a", "b", "$c"), None):
        clusters.before_and_after(planes, names, path, settings=settings)
        assert list(tmp_path.iterdir()) == [path] and plt.get_fignums() == []
        with Image.open(path) as image:
            width, height = image.size
            pixels = np.asarray(image.convert("RGB")).astype(int)
        assert width > 1.4 * height
        # Every group is on both halves.
        for color in ("#0072B2", "#D55E00", "#009E73"):
            wanted = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)])
            near = np.abs(pixels - wanted).max(axis=-1) < 60
            assert near[:, : width // 2].any() and near[:, width // 2 :].any()
