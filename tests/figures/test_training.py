"""Curves of training: the terms that the records have, one run or several."""

from types import SimpleNamespace

import pytest

from vicreg_keras.figures.run_figures import (
    accuracy_over_minutes,
    collapse_curves,
    loss_curves,
)
from vicreg_keras.figures.style import describe

TRAINING, VALIDATION = "#0072B2", "#D55E00"
CHANCE = "#999999"
NAMES = (
    "loss",
    "invariance_loss",
    "variance_loss",
    "covariance_loss",
    "embedding_std",
)


def make_run(num_epochs=4, names=NAMES, validation=False, score_every=0):
    epochs = []
    for epoch in range(1, num_epochs + 1):
        metrics = {name: 1.0 + i / epoch for i, name in enumerate(names)}
        metrics["learning_rate"] = 0.01 / epoch
        if validation:
            metrics |= {f"val_{name}": 2.5 + 0.5 / epoch for name in names}
        if score_every and epoch % score_every == 0:
            metrics |= {"rankme": 300 - 200 / epoch, "effective_rank": 90 - 60 / epoch}
            metrics |= {"embedding_effective_rank": 160 - 90 / epoch}
            metrics |= {"knn_top1": 0.2 + 0.1 * epoch, "knn_bank": 5000.0}
        one = SimpleNamespace(epoch=epoch, minutes=1.5 * epoch, metrics=metrics)
        epochs.append(one)
    return epochs


def titles(figure):
    return [axes.get_title() for axes in figure.axes]


def test_loss_has_a_panel_for_each_term(pixels, count):
    figure = loss_curves({"run": make_run()})
    assert titles(figure) == [
        "loss (weighted sum)",
        "invariance",
        "variance",
        "covariance",
        "embedding standard deviation",
        "learning rate",
    ]
    array = pixels(figure)
    assert array.shape == (672, 1332, 3)
    assert count(array, TRAINING) > 500
    assert count(array, VALIDATION) == 0
    array = pixels(loss_curves({"run": make_run(validation=True)}))
    assert count(array, TRAINING) > 500
    assert count(array, VALIDATION) > 200


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("loss",), ["loss (weighted sum)", "learning rate"]),
        (
            ("loss", "sketched_isotropy_loss"),
            ["loss (weighted sum)", "sketched isotropy", "learning rate"],
        ),
    ],
)
def test_loss_of_other_terms(names, expected, texts):
    figure = loss_curves({"run": make_run(names=names, validation=True)})
    assert titles(figure) == expected
    assert {"training", "validation", *expected} <= set(texts(figure))


def test_curves_of_one_epoch(pixels, count):
    run = {"run": make_run(1, validation=True, score_every=1)}
    for draw in (loss_curves, collapse_curves, accuracy_over_minutes):
        assert count(pixels(draw(run)), TRAINING) > 10


def test_each_of_several_runs_has_a_line(texts):
    runs = {"a": make_run(4), "b $x$ <c>": make_run(6)}
    figure = loss_curves(runs)
    assert all(len(axes.lines) in (2, 3) for axes in figure.axes)
    assert {"a", "b $x$ <c>"} <= set(texts(figure))
    text = describe(figure)
    assert "invariance, a: 2 at 1, 1.25 at 4." in text
    assert "invariance, b $x$ <c>: 2 at 1, 1.167 at 6." in text


def test_collapse_curves_have_ranks_and_standard_deviation(pixels, count, texts):
    figure = collapse_curves({"run": make_run(20, score_every=2)})
    assert titles(figure) == [
        "RankMe, representations",
        "effective rank, representations",
        "effective rank, embeddings",
        "embedding standard deviation",
    ]
    assert "training: 200 at 2, 290 at 20." in describe(figure)
    array = pixels(figure)
    assert count(array, TRAINING) > 500
    assert count(array, CHANCE) > 50  # The target of the variance term.


def test_collapse_curves_without_ranks():
    figure = collapse_curves({"run": make_run(3)})
    assert titles(figure) == ["embedding standard deviation"]


def test_accuracy_over_minutes(pixels, count):
    figure = accuracy_over_minutes({"run": make_run(score_every=2)})
    assert "5,000 neighbors to choose from: 40 at 3, 60 at 6." in describe(figure)
    array = pixels(figure)
    assert array.shape == (528, 840, 3)
    assert count(array, TRAINING) > 100


def test_accuracy_of_several_runs():
    runs = {
        "a": make_run(score_every=2),
        "b": make_run(),
        "c": make_run(8, score_every=4),
    }
    (axes,) = accuracy_over_minutes(runs).axes
    assert [line.get_label().split(",")[0] for line in axes.lines] == ["a", "c"]
