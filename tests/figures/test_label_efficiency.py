"""The picture of accuracy over labels: written whole, with the curves due."""

import numpy as np
import pytest
from matplotlib import pyplot as plt
from PIL import Image, ImageColor

from vicreg_keras.figures.label_efficiency import label_efficiency

FINETUNED, FROZEN, SCRATCH = "#0072B2", "#D55E00", "#CC79A7"
CHANCE = "#999999"


def results(*points, num_classes=10):
    return [
        {"num_labeled": count, "top1": top1, "num_classes": num_classes}
        for count, top1 in points
    ]


ALL = {
    "finetuned": results((450, 0.71), (4500, 0.84), (45000, 0.93)),
    "frozen": results((450, 0.69), (4500, 0.8), (45000, 0.85)),
    "scratch": results((450, 0.36), (4500, 0.66), (45000, 0.9)),
}


def read(path):
    """The pixels of a PNG, after checking that there is something on it."""
    with Image.open(path) as image:
        assert image.format == "PNG"
        pixels = np.asarray(image.convert("RGB")).astype(int)
    assert list(path.parent.iterdir()) == [path]  # Nothing unfinished beside it.
    assert plt.get_fignums() == []
    return pixels


def mask(pixels, color):
    difference = pixels - np.array(ImageColor.getrgb(color))
    return np.abs(difference).max(axis=-1) <= 2


def test_three_curves_and_chance(tmp_path):
    path = tmp_path / "figures" / "label_efficiency.png"
    label_efficiency(ALL, path)
    pixels = read(path)
    assert pixels.shape == (540, 720, 3)
    for color in (FINETUNED, FROZEN, SCRATCH, CHANCE):
        assert mask(pixels, color).sum() > 100, color
    # Nothing is cut off: the margin is white.
    for edge in (pixels[:3], pixels[-3:], pixels[:, :3], pixels[:, -3:]):
        assert edge.min() == 255


def test_height_is_accuracy_and_order_does_not_matter(tmp_path):
    path = tmp_path / "figures" / "label_efficiency.png"
    label_efficiency(ALL, path)
    pixels = read(path)
    # Below the legend, at the left end: fine-tuned above from scratch, above chance.
    heights = [
        np.nonzero(mask(pixels, color)[90:, 60:180])[0].mean()
        for color in (FINETUNED, SCRATCH, CHANCE)
    ]
    assert heights == sorted(heights)
    label_efficiency({name: points[::-1] for name, points in ALL.items()}, path)
    np.testing.assert_array_equal(read(path), pixels)


def test_one_fraction_and_a_curve_left_out(tmp_path):
    path = tmp_path / "figures" / "label_efficiency.png"
    label_efficiency({"finetuned": ALL["finetuned"][:1], "scratch": []}, path)
    pixels = read(path)
    assert mask(pixels, FINETUNED).sum() > 50
    for color in (FROZEN, SCRATCH):
        assert mask(pixels, color).sum() == 0


def test_nothing_to_draw_is_refused(tmp_path):
    path = tmp_path / "label_efficiency.png"
    for bad in ({}, {"finetuned": []}, {"linear": ALL["frozen"]}):
        with pytest.raises(ValueError, match="Expected results under finetuned"):
            label_efficiency(bad, path)
    assert not path.exists()
