"""Queries, each beside the images whose representations are nearest to its own."""

import textwrap
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from vicreg_keras.figures.style import GRAY, VERMILION, new_figure, shorten

# In inches. Six tiles side by side are legible at the width of a telephone.
_TILE, _GAP = 1.2, 0.12
_LINE = 0.22  # Height of a line of text.
_FONT_SIZE, _SMALL = 12, 9
_TILES_PER_LINE = 5

_MAX_SIDE = 512  # Pixels; larger images are subsampled, as they are drawn smaller.


class Tile(NamedTuple):
    """An image and what is written above it.

    Attributes:
        image: uint8 `(height, width, 3)`, `(height, width, 1)` or `(height, width)` in
            [0, 255], of any size.
        name: Class or file name; where it is too long, written smaller and then cut in
            the middle.
        distance: From the query, or `None` for the query itself.
        wrong: Whether its class is known to be another than the query's.
    """

    image: np.ndarray
    name: str
    distance: float | None = None
    wrong: bool = False


def neighbor_grid(
    queries: Sequence[Tile], neighbors: Sequence[Sequence[Tile]]
) -> Figure:
    """Draws each query and its nearest neighbors, a line per query.

    More than five neighbors go on in a second line. Those of a wrong class have a
    frame and a cross.

    Args:
        queries: One tile each, up to about 20.
        neighbors: Of each query, the nearest first; as many as there are.
    """
    num_columns = min(max(map(len, neighbors)), _TILES_PER_LINE)
    num_lines = [max(1, -(-len(tiles) // _TILES_PER_LINE)) for tiles in neighbors]
    width = (1 + num_columns) * (_TILE + _GAP)
    text = (
        "Left: the query. Beside it: the nearest by distance between L2-normalized "
        "representations (0: the same direction, 2: opposite)."
    )
    if any(tile.wrong for tiles in neighbors for tile in tiles):
        text += " Framed and crossed: of another class than the query."
    caption = textwrap.fill(text, int(12 * width))
    height = sum(num_lines) * (_TILE + 2 * _LINE + _GAP)
    height += _LINE * (1 + caption.count("\n"))
    figure, grid = new_figure(
        width, height, sum(num_lines), 1 + num_columns, squeeze=False
    )
    figure.suptitle(caption, fontsize=_FONT_SIZE - 2, ha="left", x=0.02)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[], anchor="N", visible=False)
    first = 0
    for query, tiles, lines in zip(queries, neighbors, num_lines, strict=True):
        _draw(grid[first, 0], query, "query")
        for number, tile in enumerate(tiles):
            line, column = divmod(number, _TILES_PER_LINE)
            note = "" if tile.distance is None else f"{tile.distance:.2f}"
            _draw(grid[first + line, 1 + column], tile, note)
        first += lines
    return figure


def _draw(axes, tile, note):
    step = max(1, max(tile.image.shape[:2]) // _MAX_SIDE)
    image = tile.image[::step, ::step]
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[..., 0]
    axes.set_visible(True)
    axes.imshow(image, cmap="gray", vmin=0, vmax=255)
    color, thickness = (VERMILION, 4) if tile.wrong else (GRAY, 0.5)
    axes.spines[:].set(color=color, linewidth=thickness)
    if tile.wrong:
        look = {"fontsize": _FONT_SIZE + 5, "fontweight": "bold", "color": "white"}
        look |= {"bbox": {"facecolor": VERMILION, "edgecolor": "none", "pad": 1.5}}
        place = {"transform": axes.transAxes, "ha": "right", "va": "top"}
        axes.text(1, 1, "\u00d7", **place, **look)
    # File names may hold bytes that are no text, line breaks and dollar signs.
    name = " ".join(tile.name.encode("utf-8", "replace").decode().split())
    title = axes.set_title(name, fontsize=_FONT_SIZE, parse_math=False)
    _fit(title, _TILE * axes.figure.dpi)
    axes.set_title(f"{title.get_text()}\n{note}", fontsize=title.get_fontsize())


def _fit(title, room):
    """Makes a text smaller, and then cuts it in the middle, to fit in `room`."""
    if title.get_window_extent().width > room:
        title.set_fontsize(_SMALL)
    name, length = title.get_text(), 40
    while title.get_window_extent().width > room:
        title.set_text(shorten(name, length))
        length -= 1
