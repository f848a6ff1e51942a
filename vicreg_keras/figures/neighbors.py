"""Queries, each beside the images whose representations are nearest to its own."""

import itertools
import textwrap
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from vicreg_keras.figures.style import GRAY, VERMILION

# In inches. Six tiles side by side are legible at the width of a telephone.
_TILE, _GAP, _MARGIN = 1.2, 0.12, 0.15
_LINE = 0.24  # Height of a line of text.
_FONT_SIZE, _SMALL = 13, 10
_TILES_PER_LINE = 5
_LINE_OF_TILES = 2 * _LINE + _TILE + _GAP  # Two lines of text and the image.

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

    Raises:
        ValueError: If there is no query, not one list of neighbors for each, or an
            image that cannot be drawn.
    """
    if not queries or len(queries) != len(neighbors) or not any(neighbors):
        raise ValueError(
            "Expected queries with neighbors, a list for each. Received: "
            f"{len(queries)} queries, {len(neighbors)} lists of "
            f"{sum(map(len, neighbors))} neighbors in all."
        )
    for tile in itertools.chain(queries, *neighbors):
        check_image(tile.image, tile.name)
    num_columns = min(max(map(len, neighbors)), _TILES_PER_LINE)
    width = 2 * _MARGIN + (1 + num_columns) * (_TILE + _GAP) + _GAP
    any_wrong = any(tile.wrong for tiles in neighbors for tile in tiles)
    caption = _caption(any_wrong, width)
    tops, height = _layout(neighbors, len(caption))
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)  # Measures texts.

    for number, line in enumerate(caption):
        y = height - _MARGIN - number * _LINE
        _write(figure, line, _MARGIN, y, width - 2 * _MARGIN, size=_FONT_SIZE - 2)
    ends = [_MARGIN / width, 1 - _MARGIN / width]
    for query, tiles, top in zip(queries, neighbors, tops, strict=True):
        y = (top + _GAP) / height
        figure.add_artist(Line2D(ends, [y, y], color=GRAY, linewidth=0.5))
        _draw(figure, query, _MARGIN, top, "query")
        for number, tile in enumerate(tiles):
            line, column = divmod(number, _TILES_PER_LINE)
            left = _MARGIN + _GAP + (1 + column) * (_TILE + _GAP)
            note = "" if tile.distance is None else f"{tile.distance:.2f}"
            _draw(figure, tile, left, top - line * _LINE_OF_TILES, note)
    return figure


def check_image(image: np.ndarray, name: str) -> None:
    """Raises an error if an array is no image that can be drawn.

    Args:
        image: To be checked.
        name: Of the image, for the message.

    Raises:
        ValueError: If it is not uint8, or of another shape than a `Tile`'s.
    """
    is_drawable = image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (1, 3))
    if image.dtype != np.uint8 or not is_drawable or not image.size:
        raise ValueError(
            "Expected uint8 images of shape (H, W, 3), (H, W, 1) or (H, W). Received: "
            f"dtype={image.dtype}, shape={image.shape}, name={name!r}."
        )


def _caption(any_wrong, width):
    """Lines of text above the grid."""
    text = (
        "Left: the query. Beside it: the nearest by distance between L2-normalized "
        "representations (0: the same direction, 2: opposite)."
    )
    if any_wrong:
        text += " Framed and crossed: of another class than the query."
    num_letters = int((width - 2 * _MARGIN) * 72 / (0.56 * (_FONT_SIZE - 2)))
    return textwrap.wrap(text, num_letters)


def _layout(neighbors, num_caption_lines):
    """Upper edges of the queries' lines and the figure's height, in inches."""
    heights = [
        max(1, -(-len(tiles) // _TILES_PER_LINE)) * _LINE_OF_TILES + 2 * _GAP
        for tiles in neighbors
    ]
    height = 2 * _MARGIN + num_caption_lines * _LINE + sum(heights)
    first = height - _MARGIN - num_caption_lines * _LINE - 2 * _GAP
    tops = [first - above for above in itertools.accumulate(heights[:-1], initial=0)]
    return tops, height


def _draw(figure, tile, left, top, note):
    """Draws a tile with its upper left corner there, in inches."""
    _write(figure, tile.name, left, top, _TILE)
    _write(figure, note, left, top - _LINE, _TILE, color="0.35")
    width, height = figure.get_size_inches()
    bottom = top - 2 * _LINE - _TILE
    axes = figure.add_axes(
        (left / width, bottom / height, _TILE / width, _TILE / height),
        anchor="NW",  # Where an oblong image is.
        xticks=[],
        yticks=[],
    )
    step = max(1, max(tile.image.shape[:2]) // _MAX_SIDE)
    image = tile.image[::step, ::step]
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[..., 0]
    axes.imshow(image, cmap="gray", vmin=0, vmax=255)
    color, thickness = (VERMILION, 4) if tile.wrong else (GRAY, 0.5)
    axes.spines[:].set(color=color, linewidth=thickness)
    if tile.wrong:
        axes.text(
            1,
            1,
            "\u00d7",
            transform=axes.transAxes,
            ha="right",
            va="top",
            fontsize=_FONT_SIZE + 5,
            fontweight="bold",
            color="white",
            bbox={"facecolor": VERMILION, "edgecolor": "none", "pad": 1.5},
        )


def _write(figure, text, left, top, room, *, size=_FONT_SIZE, color="black"):
    """Writes a line of text, smaller and then cut in the middle to fit in `room`."""
    width, height = figure.get_size_inches()
    # File names may hold bytes that are no text, line breaks and dollar signs.
    text = " ".join(text.encode("utf-8", "replace").decode().split())
    artist = figure.text(
        left / width,
        top / height,
        text,
        va="top",
        fontsize=size,
        color=color,
        parse_math=False,
    )
    room *= figure.dpi
    if artist.get_window_extent().width > room:
        artist.set_fontsize(_SMALL)
    share = room / max(artist.get_window_extent().width, room)
    # Letters differ in width: a few more than fit in the mean, then one by one.
    length = min(len(text), int(share * len(text)) + 3)
    while artist.get_window_extent().width > room and length > 1:
        end = text[len(text) - length // 2 :]
        artist.set_text(f"{text[: (length + 1) // 2]}\u2026{end}")
        length -= 1
