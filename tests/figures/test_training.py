"""Pictures of training: written whole, with the curves that it should have."""

import numpy as np
from matplotlib import pyplot as plt
from PIL import Image, ImageColor

from vicreg_keras.figures import training

TRAIN, HELD_OUT = "#0072B2", "#D55E00"
CHANCE, RAW, UNTRAINED = "#999999", "#009E73", "#CC79A7"
NAMES = (
    "loss",
    "invariance_loss",
    "variance_loss",
    "covariance_loss",
    "embedding_std",
    "learning_rate",
)
RESULTS = {
    "chance": {"chance": {"top1": 0.1}},
    "raw_input": {"cached": {"top1": 0.4}},
    "untrained": {"cached": {"top1": 0.55}},
    "encoder": {"cached": {"top1": 0.8}, "augmented": {"top1": 0.82}},
}


def make_rows(num_epochs=4, validation=False, score_every=0):
    rows = []
    for epoch in range(1, num_epochs + 1):
        row = {"mode": "pretrain", "epoch": epoch, "step": 10 * epoch}
        row |= {"minutes": 1.5 * epoch}
        row |= {name: 1.0 + i / epoch for i, name in enumerate(NAMES)}
        if validation:
            # Those on held-out images have no learning rate.
            row |= {f"val_{name}": 1.5 + i / epoch for i, name in enumerate(NAMES[:5])}
        if score_every and epoch % score_every == 0:
            row |= {"knn_top1": 0.2 + 0.1 * epoch, "knn_bank": 5000.0}
        rows.append(row)
    return rows


def read(path):
    """The pixels of a PNG, after checking that there is something on it."""
    with Image.open(path) as image:
        assert image.format == "PNG"
        pixels = np.asarray(image.convert("RGB"))
    assert path.stat().st_size > 5000
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 10
    assert list(path.parent.iterdir()) == [path]  # Nothing unfinished beside it.
    assert plt.get_fignums() == []
    return pixels


def count(pixels, color):
    """How many pixels are of a color."""
    difference = pixels.astype(int) - np.array(ImageColor.getrgb(color))
    return int((np.abs(difference).max(axis=-1) <= 2).sum())


def test_loss_terms_of_training_and_then_of_held_out_images_too(tmp_path):
    path = tmp_path / "figures" / "loss.png"
    training.loss_terms(make_rows(), path)
    pixels = read(path)
    assert pixels.shape == (672, 1320, 3)
    assert count(pixels, TRAIN) > 500
    assert count(pixels, HELD_OUT) == 0
    training.loss_terms(make_rows(validation=True), path)
    pixels = read(path)
    assert count(pixels, TRAIN) > 500
    assert count(pixels, HELD_OUT) > 200


def test_loss_terms_of_one_epoch(tmp_path):
    path = tmp_path / "figures" / "loss.png"
    training.loss_terms(make_rows(1, validation=True), path)
    assert read(path).shape == (672, 1320, 3)


def test_accuracy_with_every_baseline(tmp_path):
    path = tmp_path / "figures" / "accuracy.png"
    probes = [{"results": RESULTS}]
    training.accuracy_over_minutes(make_rows(score_every=2), probes, path)
    pixels = read(path)
    assert pixels.shape == (528, 840, 3)
    for color in (TRAIN, HELD_OUT, CHANCE, RAW, UNTRAINED):
        assert count(pixels, color) > 100, color


def test_accuracy_before_any_evaluation(tmp_path):
    path = tmp_path / "figures" / "accuracy.png"
    training.accuracy_over_minutes(make_rows(score_every=2), [], path)
    pixels = read(path)
    assert count(pixels, TRAIN) > 100
    for color in (HELD_OUT, RAW, UNTRAINED):
        assert count(pixels, color) == 0, color


def test_accuracy_leaves_out_what_was_not_judged(tmp_path):
    path = tmp_path / "figures" / "accuracy.png"
    results = {
        "chance": RESULTS["chance"],
        "raw_input": {"cached": {"left_out": "too wide"}},
        "encoder": {"augmented": {"top1": 0.82}},
    }
    # Of several evaluations the last one counts.
    probes = [{"results": RESULTS}, {"results": results}]
    training.accuracy_over_minutes(make_rows(score_every=2), probes, path)
    pixels = read(path)
    assert count(pixels, CHANCE) > 100
    for color in (HELD_OUT, RAW, UNTRAINED):
        assert count(pixels, color) == 0, color
