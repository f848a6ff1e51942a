"""The map: points, colors and images belong together."""

import base64
import dataclasses
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from vicreg_keras.evaluate.projection import ProjectionSettings
from vicreg_keras.report.cluster_map import map_section
from vicreg_keras.report.pictures import ClusterMap, Pictures

SETTINGS = ProjectionSettings(
    method="pca",
    num_examples=4,
    num_centroids=0,
    l2_normalized=True,
    seed=4,
    explained_variance_ratio=(0.3, 0.2),
)
POINTS = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [1.0, 2.0]])
COLORS = np.array([[250, 20, 20], [20, 200, 20], [20, 20, 250], [240, 240, 240]])


def make(side=32, **changed):
    images = np.ones((4, side, side, 1), np.uint8) * COLORS[:, None, None, :]
    given = {
        "points": POINTS,
        "assignments": np.array([0, 0, 1, 1]),
        "images": images.astype(np.uint8),
        "labels": np.array([1, 0, 0, 0]),
        "settings": SETTINGS,
    }
    return Pictures("two", ("cat", "dog"), cluster_map=ClusterMap(**given | changed))


def read(pictures, parse):
    """The page's part, and the data in it."""
    page = parse(map_section(pictures))
    (data,) = (e.text for e in page.all("script"))
    return page, json.loads(data)


def dots(page, kind):
    """Places of the dots of each color."""
    start = next(e for e in page.all("g") if e.at["class"] == f"by-{kind}")
    found = {}
    for element in page.elements[page.elements.index(start) + 1 :]:
        if element.tag != "path":
            break
        places = re.findall(r"M([\d.]+) ([\d.]+)m", element.at["d"])
        found[element.at["fill"]] = [tuple(map(float, place)) for place in places]
    return found


@pytest.mark.parametrize("side", [8, 16, 32, 40, 200])
def test_each_image_is_where_the_data_say(parse, side):
    page, data = read(make(side), parse)
    (sheet,) = page.all("img")
    kind, content = sheet.at["src"].split(",")
    assert kind == "data:image/jpeg;base64"
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))
    tile, columns = data["tile"], data["columns"]
    assert (tile, columns) == ({8: 16, 16: 16, 32: 32}.get(side, 48), 2)
    assert pixels.shape == (2 * tile, 2 * tile, 3)
    for number, color in enumerate(COLORS):
        row, column = divmod(number, columns)
        part = pixels[row * tile : (row + 1) * tile, column * tile :][:, :tile]
        assert np.abs(part.astype(int) - color).max() < 12


def test_places_keep_their_proportions(parse):
    _, data = read(make(), parse)
    places = np.array(data["places"])
    assert (0 < places).all() and (places < 400).all()
    across, up = places[1] - places[0], places[2] - places[0]
    assert across[1] == 0 and up[0] == 0
    assert up[1] == pytest.approx(-2 * across[0], abs=0.2)  # Upwards is less.
    # The longer side fills the picture but for a margin.
    assert 360 < -up[1] < 390


def test_dots_and_names_are_of_their_groups(parse):
    page, data = read(make(), parse)
    assert data["groups"]["class"] == ["dog", "cat", "cat", "cat"]
    assert data["groups"]["cluster"] == [f"cluster {i}" for i in (0, 0, 1, 1)]
    places = list(map(tuple, data["places"]))
    by_class, by_cluster = dots(page, "class"), dots(page, "cluster")
    assert list(by_class.values()) == [places[1:], places[:1]]
    assert list(by_cluster.values()) == [places[:2], places[2:]]
    legend = [element.text.strip() for element in page.all("li")]
    assert legend == ["cat", "dog", "cluster 0", "cluster 1"]


def test_a_matched_cluster_has_the_color_of_its_class(parse):
    page, data = read(make(cluster_to_class=[1, 0]), parse)
    by_class, by_cluster = dots(page, "class"), dots(page, "cluster")
    first, second = by_cluster
    assert list(by_class) == [second, first]
    assert data["groups"]["cluster"][0] == "cluster 0 (dog)"


def test_a_cluster_without_a_class_has_a_color_of_its_own(parse):
    assignments = np.array([0, 1, 2, 2])
    pictures = make(assignments=assignments, cluster_to_class=[None, 0, 1])
    page, data = read(pictures, parse)
    by_class, by_cluster = dots(page, "class"), dots(page, "cluster")
    assert len(by_cluster) == 3
    assert list(by_cluster)[1:] == list(by_class)
    assert data["groups"]["cluster"][:2] == ["cluster 0", "cluster 1 (cat)"]


def test_without_labels_there_are_clusters_only(parse):
    pictures = dataclasses.replace(make(labels=None), class_names=None)
    page, data = read(pictures, parse)
    assert list(data["groups"]) == ["cluster"]
    assert not page.all("input")
    assert "by class" not in page.all("figure")[0].text


def test_many_groups_have_shapes_and_more_have_no_legend(parse):
    count = 30
    points = np.random.default_rng(0).normal(size=(count, 2))
    images = np.zeros((count, 4, 4, 3), np.uint8)
    for num_groups, num_entries in ((21, 21), (30, 0)):
        groups = np.arange(count) % num_groups
        given = ClusterMap(points, groups, images, SETTINGS)
        page = parse(map_section(Pictures("x", cluster_map=given)))
        paths = [e.at for e in page.all("path", inside="map")]
        assert len(paths) == num_groups
        looks = {
            (path["fill"], re.sub(r"M[\d.]+ [\d.]+", "", path["d"])) for path in paths
        }
        assert len(looks) == 21
        assert len(page.all("li")) == num_entries


def test_points_that_are_all_the_same_lie_in_the_middle(parse):
    _, data = read(make(points=np.full((4, 2), 3.0)), parse)
    assert data["places"] == [[200.0, 200.0]] * 4


def test_the_caption_names_method_split_and_seed(parse):
    page, _ = read(make(split="train"), parse)
    caption = page.all("p")[0].text
    assert caption.startswith("PCA (50 % of the variance) of the representations of 4")
    assert "two, train split" in caption and "seed 4" in caption
