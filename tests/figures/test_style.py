"""Figures as files, with a description in them."""

import io

from PIL import Image

from vicreg_keras.figures.style import (
    describe,
    new_figure,
    run_style,
    shorten,
    to_png,
)


def line_figure(label="loss", y=(3.0, 1.0)):
    figure, axes = new_figure(4, 3)
    axes.plot([1, 2], y, label=label)
    axes.plot([1, 2], [0, 0])
    axes.set_title("curves")
    axes.legend()
    return figure


def test_save_writes_pixels_and_replaces_an_earlier_file(pixels, count):
    figure = line_figure()
    assert count(pixels(figure), "#1f77b4") > 100
    assert pixels(figure).shape == (360, 480, 3)


def test_png_has_its_description():
    with Image.open(io.BytesIO(to_png(line_figure("\u03b1 = 1")))) as image:
        assert image.info["Description"] == "curves, \u03b1 = 1: 3 at 1, 1 at 2."


def test_png_of_the_same_figure_is_the_same():
    assert to_png(line_figure()) == to_png(line_figure())


def test_names_that_are_no_text_can_be_drawn():
    figure = line_figure(shorten("photo\udcff.png"))
    assert "photo?.png" in describe(figure)
    to_png(figure)


def test_description_has_first_and_last_values_of_named_lines():
    assert describe(line_figure()) == "curves, loss: 3 at 1, 1 at 2."


def test_description_has_titles_and_captions():
    figure, grid = new_figure(4, 3, 1, 2)
    figure.suptitle("Two\nimages.")
    for axes, title in zip(grid, ("cat", "dog"), strict=True):
        axes.set(title=title, xlabel=f"as {title}")
    assert describe(figure) == "Two images. cat as cat dog as dog"


def test_styles_of_runs_differ():
    styles = {tuple(run_style(number).values()) for number in range(19)}
    assert len(styles) == 18


def test_long_names_keep_both_ends():
    assert shorten("cifar10") == "cifar10"
    name = shorten("runs/2026-11-25/cifar10_cpu_with_gelu")
    assert len(name) == 24 and name == "runs/2026-1…pu_with_gelu"
