"""Palette, line styles and files of all figures."""

import html
import io
import pathlib
import re
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vicreg_keras.workdir.files import write_file

# Okabe and Ito's colors, told apart by color-blind readers too.
BLUE, ORANGE, GREEN, PINK = "#0072B2", "#E69F00", "#009E73", "#CC79A7"
YELLOW, SKY, VERMILION = "#F0E442", "#56B4E9", "#D55E00"
GRAY = "#999999"
# What a color stands for, the same in every figure.
TRAINING, VALIDATION, CHANCE, RAW, UNTRAINED = BLUE, VERMILION, GRAY, GREEN, PINK

# Groups such as classes have a color each and, where colors run out, another marker,
# whose edge has a width.
_GROUP_COLORS = (BLUE, VERMILION, GREEN, ORANGE, PINK, SKY, YELLOW)
_GROUP_MARKERS = (("o", 0.0), ("^", 0.45), ("s", 0.45))
MAX_GROUPS = len(_GROUP_COLORS) * len(_GROUP_MARKERS)

_RUN_COLORS = (BLUE, VERMILION, GREEN, ORANGE, PINK, SKY)
_RUN_LINES = ("-", "--", ":")

_SVG_SETTINGS = {"svg.fonttype": "none", "font.sans-serif": ["DejaVu Sans"]}


def new_figure(
    width: float, height: float, rows: int = 1, columns: int = 1, **options: Any
) -> tuple[Figure, Any]:
    """Returns a figure and its axes, outside of pyplot's list of open figures.

    Args:
        width: Inches.
        height: Inches.
        rows: Panels below each other.
        columns: Panels side by side.
        **options: Of `Figure.subplots`.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, **options)


def group_style(number: int) -> tuple[str, str, float]:
    """Returns color, marker and edge width of one of `MAX_GROUPS` groups."""
    marker, edge_width = _GROUP_MARKERS[number // len(_GROUP_COLORS)]
    return _GROUP_COLORS[number % len(_GROUP_COLORS)], marker, edge_width


def run_style(number: int) -> dict[str, str]:
    """Returns color and line style of one run of several, as `Axes.plot` takes them."""
    line, color = divmod(number, len(_RUN_COLORS))
    line_style = _RUN_LINES[line % len(_RUN_LINES)]
    return {"color": _RUN_COLORS[color], "linestyle": line_style}


def shorten(name: str, max_length: int = 24) -> str:
    """Returns a name that fits into a legend: a long one without its middle."""
    if len(name) <= max_length:
        return name
    half = max_length // 2
    return f"{name[: max_length - half - 1]}…{name[-half:]}"


def integer_ticks(axes: Axes) -> None:
    """Puts ticks of the x axis, such as epochs, at whole numbers only."""
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))


def add_legend(owner: Axes | Figure, **options: Any) -> None:
    """Adds a legend in which names of runs and classes are not read as formulas.

    Args:
        owner: Whose lines it names.
        **options: Of `legend`.
    """
    for text in owner.legend(**options).get_texts():
        text.set_parse_math(False)


def save(figure: Figure, path: pathlib.Path) -> None:
    """Writes a figure as a PNG, which is there whole or not at all.

    Args:
        figure: As the functions of this package return it.
        path: Of the PNG; its folder is made.
    """
    with write_file(path) as file:
        figure.savefig(file, dpi=120, format="png")


def figure_to_svg(figure: Figure, name: str) -> str:
    """Returns a figure as an `<svg>` element of an HTML page.

    It refers to nothing outside of itself, text is text, and the same figure gives the
    same characters.

    Args:
        figure: As the functions of this package return it.
        name: Begins every id, so that two figures of a page have none in common.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context(_SVG_SETTINGS | {"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    box = re.search(r'viewBox="([^"]*)"', buffer.getvalue())[1]
    # Rules of a <style> would hold for the whole page.
    parts = re.sub(
        r"^.*?<svg\b[^>]*>|<(metadata|style)\b.*?</\1>|<!--.*?-->|</svg>",
        "",
        buffer.getvalue(),
        flags=re.DOTALL,
    )
    named = re.compile(r'(\bid="|href="#|url\(#)')
    parts = re.sub(r"<[^>]*>", lambda tag: named.sub(rf"\1{name}-", tag[0]), parts)
    width, height = box.split()[2:]
    return (
        f'<svg viewBox="{box}" width="{width}pt" height="{height}pt" role="img" '
        f'aria-label="{html.escape(describe(figure))}">'
        f"{parts.replace('xlink:href', 'href').strip()}</svg>\n"
    )


def describe(figure: Figure) -> str:
    """Returns where each named line of a figure begins and ends, in words."""
    sentences = []
    for axes in figure.axes:
        title = axes.get_title() or axes.get_ylabel()
        for line in axes.lines:
            x, y = (np.asarray(values, float) for values in line.get_data())
            label = str(line.get_label())
            if x.size and not label.startswith("_"):
                ends = f"{y[0]:.4g} at {x[0]:g}, {y[-1]:.4g} at {x[-1]:g}"
                sentences.append(f"{title}, {label}: {ends}.")
    return " ".join(sentences)
