"""Accuracy over labels: the curves in their places."""

from types import SimpleNamespace

import numpy as np

from vicreg_keras.figures.run_figures import label_efficiency

FINETUNED, FROZEN, SCRATCH = "#0072B2", "#D55E00", "#CC79A7"
CHANCE = "#999999"
ALL = {
    "finetuned": [(450, 0.71), (4500, 0.84), (45000, 0.93)],
    "frozen": [(450, 0.69), (4500, 0.8), (45000, 0.85)],
    "scratch": [(450, 0.36), (4500, 0.66), (45000, 0.9)],
}


def make_record(curves=ALL, order=1):
    arms = {
        arm: [
            SimpleNamespace(
                settings=SimpleNamespace(num_train=count),
                metrics=SimpleNamespace(top1=top1),
            )
            for count, top1 in points[::order]
        ]
        for arm, points in curves.items()
    }
    return SimpleNamespace(num_classes=10, **arms)


def test_three_curves_and_chance(pixels, count):
    array = pixels(label_efficiency({"run": make_record()}))
    assert array.shape == (540, 720, 3)
    for color in (FINETUNED, FROZEN, SCRATCH, CHANCE):
        assert count(array, color) > 100, color
    # Nothing is cut off: the margin is white.
    for edge in (array[:3], array[-3:], array[:, :3], array[:, -3:]):
        assert edge.min() == 255


def test_height_is_accuracy_in_any_order(pixels, mask):
    array = pixels(label_efficiency({"run": make_record()}))
    # Below the legend, at the left end: fine-tuned above from scratch, above chance.
    heights = [
        np.nonzero(mask(array, color)[90:, 60:180])[0].mean()
        for color in (FINETUNED, SCRATCH, CHANCE)
    ]
    assert heights == sorted(heights)
    turned = label_efficiency({"run": make_record(order=-1)})
    np.testing.assert_array_equal(pixels(turned), array)


def test_one_fraction(pixels, count):
    curves = {name: points[:1] for name, points in ALL.items()}
    assert count(pixels(label_efficiency({"run": make_record(curves)})), FINETUNED) > 50


def test_curves_of_runs(texts):
    found = texts(label_efficiency({"a": make_record(), "b": make_record()}))
    assert {"a, pretrained, fine-tuned", "b, pretrained, fine-tuned"} <= set(found)
    assert found.count("chance") == 1 and not any("scratch" in text for text in found)
