"""What is shown beside numbers is checked before anything is written."""

import dataclasses

import numpy as np
import pytest

from vicreg_keras.report.pictures import MAX_POINTS, Mistake, check_pictures

IMAGE = np.zeros((4, 4, 3), np.uint8)


def test_good_pictures_pass(make_pictures):
    check_pictures(make_pictures())


@pytest.mark.parametrize(
    ("confusion", "names"),
    [
        (np.zeros((2, 3), int), ("a", "b")),
        (np.zeros((2, 2), int), ("a", "b", "c")),
        (np.zeros((2, 2), int), None),
        (np.zeros((2, 2)), ("a", "b")),
        (np.array([[1, -1], [0, 1]]), ("a", "b")),
    ],
)
def test_a_confusion_matrix_is_of_counts(make_pictures, confusion, names):
    pictures = dataclasses.replace(
        make_pictures(), confusion=confusion, class_names=names
    )
    with pytest.raises(ValueError, match="Expected a confusion matrix of counts"):
        check_pictures(pictures)


@pytest.mark.parametrize("probability", [-0.1, 1.1, float("nan")])
def test_probabilities_are_shares(make_pictures, probability):
    mistakes = [Mistake(IMAGE, "cat", "dog", probability)]
    with pytest.raises(
        ValueError, match=r"probabilities in \[0, 1\].*'cat' predicted as"
    ):
        check_pictures(dataclasses.replace(make_pictures(), mistakes=mistakes))


@pytest.mark.parametrize(
    "image", [IMAGE / 255.0, np.zeros((4, 4, 4), np.uint8), IMAGE[:0]]
)
def test_images_are_pixels(make_pictures, image):
    pictures = make_pictures()
    bad = dataclasses.replace(pictures, mistakes=[Mistake(image, "a", "b", 0.5)])
    with pytest.raises(ValueError, match="Expected uint8 images.*name='mistakes'"):
        check_pictures(bad)
    query, tiles = pictures.retrieval[0]
    bad = [(query, [tiles[0]._replace(image=image)])]
    with pytest.raises(ValueError, match="Expected uint8 images.*name='retrieval'"):
        check_pictures(dataclasses.replace(pictures, retrieval=bad))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"points": np.zeros((70, 3))}, "Expected points"),
        ({"points": np.zeros((0, 2))}, "Expected points"),
        ({"points": np.zeros((MAX_POINTS + 1, 2))}, "at most 2000.* sample"),
        ({"points": np.full((70, 2), np.nan)}, "Expected finite points"),
        ({"labels": np.zeros(69, int)}, "Expected as many labels as points, 70"),
        ({"labels": np.full(70, 7)}, r"Expected labels of the map in \[0, 7\).* 7 to"),
        ({"labels": np.full(70, -1)}, "Expected labels of the map"),
        ({"assignments": np.zeros(71, int)}, "Expected as many assignments"),
        ({"cluster_to_class": [0]}, r"Expected assignments of the map in \[0, 1\)"),
        ({"images": np.zeros((70, 4, 4, 3))}, "Expected uint8 images.*map"),
    ],
)
def test_parts_of_a_map_fit_together(make_pictures, changed, message):
    pictures = make_pictures()
    changed = dataclasses.replace(pictures.cluster_map, **changed)
    with pytest.raises(ValueError, match=message):
        check_pictures(dataclasses.replace(pictures, cluster_map=changed))
