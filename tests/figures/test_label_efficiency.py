"""Accuracy over labels: the curves in their places."""

import numpy as np

from vicreg_keras.figures.label_efficiency import label_efficiency

FINETUNED, FROZEN, SCRATCH = "#0072B2", "#D55E00", "#CC79A7"
CHANCE = "#999999"
ALL = {
    "finetuned": [(450, 0.71), (4500, 0.84), (45000, 0.93)],
    "frozen": [(450, 0.69), (4500, 0.8), (45000, 0.85)],
    "scratch": [(450, 0.36), (4500, 0.66), (45000, 0.9)],
}


def test_three_curves_and_chance(pixels, count):
    array = pixels(label_efficiency(ALL, 0.1))
    assert array.shape == (540, 720, 3)
    for color in (FINETUNED, FROZEN, SCRATCH, CHANCE):
        assert count(array, color) > 100, color
    # Nothing is cut off: the margin is white.
    for edge in (array[:3], array[-3:], array[:, :3], array[:, -3:]):
        assert edge.min() == 255


def test_height_is_accuracy_in_any_order(pixels, mask):
    array = pixels(label_efficiency(ALL, 0.1))
    # Below the legend, at the left end: fine-tuned above from scratch, above chance.
    heights = [
        np.nonzero(mask(array, color)[90:, 60:180])[0].mean()
        for color in (FINETUNED, SCRATCH, CHANCE)
    ]
    assert heights == sorted(heights)
    turned = {name: points[::-1] for name, points in ALL.items()}
    np.testing.assert_array_equal(pixels(label_efficiency(turned, 0.1)), array)


def test_one_fraction_and_a_curve_left_out(pixels, count):
    curves = {"finetuned": ALL["finetuned"][:1], "scratch": []}
    array = pixels(label_efficiency(curves))
    assert count(array, FINETUNED) > 50
    for color in (FROZEN, SCRATCH):
        assert count(array, color) == 0


def test_curves_of_runs(texts):
    found = texts(label_efficiency({"a": ALL["finetuned"], "b": ALL["frozen"]}))
    assert {"a", "b"} <= set(found) and "chance" not in found
