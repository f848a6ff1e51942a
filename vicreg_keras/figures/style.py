"""Palette, line styles and files of all figures."""

import io
import pathlib
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

_AXES_SETTINGS = {"axes.grid": True, "axes.axisbelow": True, "grid.alpha": 0.3}
_DOTS_PER_INCH = 120


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
    figure = Figure((width, height), dpi=_DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    with matplotlib.rc_context(_AXES_SETTINGS):
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


def clean(text: str) -> str:
    """Returns a text in one line. Names of files may hold bytes that are no text."""
    return " ".join(text.encode("utf-8", "replace").decode().split())


def shorten(name: str, max_length: int = 24) -> str:
    """Returns a name that fits into a legend: a long one without its middle."""
    name = clean(name)
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


def save(figure: Figure, path: pathlib.Path, run_id: str = "") -> None:
    """Writes a figure as a PNG, which is there whole or not at all.

    Args:
        figure: As the functions of this package return it.
        path: Of the PNG; its folder is made.
        run_id: See `to_png`.
    """
    with write_file(path) as file:
        file.write(to_png(figure, run_id))


def to_png(figure: Figure, run_id: str = "") -> bytes:
    """Returns a figure as the content of a PNG, with its description in it.

    Args:
        figure: As the functions of this package return it.
        run_id: Id of the run that it is of, which the PNG then tells.
    """
    file = io.BytesIO()
    metadata = {"Description": describe(figure)} | ({"Run": run_id} if run_id else {})
    figure.savefig(file, format="png", metadata=metadata)
    return file.getvalue()


def describe(figure: Figure) -> str:
    """Returns a figure in words: its texts, and where its named lines begin and end.

    Args:
        figure: As the functions of this package return it.
    """
    sentences = [figure.get_suptitle()]
    for axes in figure.axes:
        title = axes.get_title() or axes.get_ylabel()
        lines = []
        for line in axes.lines:
            x, y = (np.asarray(values, float) for values in line.get_data())
            label = str(line.get_label())
            if x.size and not label.startswith("_"):
                ends = f"{y[0]:.4g} at {x[0]:g}, {y[-1]:.4g} at {x[-1]:g}"
                lines.append(f"{title}, {label}: {ends}.")
        sentences += lines or [title, axes.get_xlabel()]
    return clean(" ".join(sentences))
