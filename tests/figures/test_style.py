"""Figures as files, and as part of a page."""

import html.parser
import re

from vicreg_keras.figures.style import (
    describe,
    figure_to_svg,
    new_figure,
    run_style,
    shorten,
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


def test_svg_has_text_and_refers_to_itself_only():
    svg = figure_to_svg(line_figure(), "a")
    assert ">curves</text>" in svg and ">loss</text>" in svg
    for banned in ("http", "xmlns", "<style", "<metadata", "<?xml", "<!DOCTYPE"):
        assert banned not in svg
    ids = re.findall(r'\bid="([^"]*)"', svg)
    assert len(ids) == len(set(ids)) and all(name.startswith("a-") for name in ids)
    references = re.findall(r'href="#([^"]*)"|url\(#([^)]*)\)', svg)
    assert references and {one or other for one, other in references} <= set(ids)


def test_svg_elements_are_closed():
    class Parser(html.parser.HTMLParser):
        depth = 0

        def handle_starttag(self, tag, attributes):
            self.depth += 1

        def handle_startendtag(self, tag, attributes):
            pass

        def handle_endtag(self, tag):
            self.depth -= 1

    parser = Parser()
    parser.feed(figure_to_svg(line_figure(), "a"))
    assert parser.depth == 0


def test_svg_of_the_same_figure_is_the_same():
    first, second = (figure_to_svg(line_figure(), "a") for _ in range(2))
    assert first == second
    other = figure_to_svg(line_figure(), "b")
    assert not {*re.findall(r'id="[^"]*"', first)} & {*re.findall(r'id="[^"]*"', other)}


def test_labels_are_only_text():
    svg = figure_to_svg(line_figure('<script id="x">'), "a")
    assert "<script" not in svg and '&lt;script id="x"&gt;</text>' in svg


def test_description_has_first_and_last_values_of_named_lines():
    assert describe(line_figure()) == "curves, loss: 3 at 1, 1 at 2."
    svg = figure_to_svg(line_figure('"&'), "a")
    assert 'aria-label="curves, &quot;&amp;: 3 at 1, 1 at 2."' in svg


def test_styles_of_runs_differ():
    styles = {tuple(run_style(number).values()) for number in range(19)}
    assert len(styles) == 18


def test_long_names_keep_both_ends():
    assert shorten("cifar10") == "cifar10"
    name = shorten("runs/2026-11-25/cifar10_cpu_with_gelu")
    assert len(name) == 24 and name == "runs/2026-1…pu_with_gelu"
