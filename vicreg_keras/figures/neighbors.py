"""What lies near what? Queries beside the images that an encoder puts next to them."""

import itertools
import pathlib
import textwrap
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vicreg_keras.figures.style import GRAY, VERMILION, plt, save

# In inches. Six tiles side by side are legible at the width of a telephone.
_TILE, _GAP, _MARGIN = 1.2, 0.12, 0.15
_LINE = 0.24  # Height of a line of text.
_FONT_SIZE, _SMALL = 13, 10
_TILES_A_LINE = 5
_LINE_OF_TILES = 2 * _LINE + _TILE + _GAP  # Two lines of text and the image.

_MAX_SIDE = 512  # Pixels; larger images are thinned out, as they are drawn smaller.


class Tile(NamedTuple):
    """An image and what is written above it.

    Attributes:
        image: uint8 `(H, W, 3)`, `(H, W, 1)` or `(H, W)` in [0, 255], of any size.
        name: Class or file name; written smaller, then cut in the middle, where it is
            too long.
        distance: From the query, or `None` for the query itself.
        wrong: Whether its class is known to be another than the query's.
    """

    image: np.ndarray
    name: str
    distance: float | None = None
    wrong: bool = False


def neighbor_grid(
    queries: Sequence[Tile], neighbors: Sequence[Sequence[Tile]], path: pathlib.Path
) -> None:
    """Draws each query and its nearest neighbors, a row a query.

    More than five neighbors go on in a second line. Those of a wrong class have a
    frame and a cross.

    Args:
        queries: One tile each, up to about 20.
        neighbors: Of each query, the nearest first; as many as there are.
        path: of the PNG.

    Raises:
        ValueError: If there is no query, not one list of neighbors for each, or an
            image that is not uint8 of a shape that can be drawn.
    """
    _check(queries, neighbors)
    num_columns = min(max(map(len, neighbors)), _TILES_A_LINE)
    width = 2 * _MARGIN + (1 + num_columns) * (_TILE + _GAP) + _GAP
    any_wrong = any(tile.wrong for tiles in neighbors for tile in tiles)
    caption = _caption(any_wrong, width)
    tops, height = _layout(neighbors, len(caption))
    figure = plt.figure(figsize=(width, height))

    for number, line in enumerate(caption):
        y = height - _MARGIN - number * _LINE
        _write(figure, line, _MARGIN, y, width - 2 * _MARGIN, _FONT_SIZE - 2)
    for query, tiles, top in zip(queries, neighbors, tops, strict=True):
        _rule(figure, top + _GAP, width)
        _draw(figure, query, _MARGIN, top, "query")
        for number, tile in enumerate(tiles):
            line, column = divmod(number, _TILES_A_LINE)
            left = _MARGIN + _GAP + (1 + column) * (_TILE + _GAP)
            note = "" if tile.distance is None else f"{tile.distance:.2f}"
            _draw(figure, tile, left, top - line * _LINE_OF_TILES, note)
    save(figure, path)


def _check(queries: Sequence[Tile], neighbors: Sequence[Sequence[Tile]]) -> None:
    if not queries or len(queries) != len(neighbors) or not any(neighbors):
        raise ValueError(
            "Expected queries with neighbors, a list for each. Received: "
            f"{len(queries)} queries, {len(neighbors)} lists of "
            f"{sum(map(len, neighbors))} neighbors in all"
        )
    for tile in [*queries, *(tile for tiles in neighbors for tile in tiles)]:
        image = tile.image
        shape_is_known = image.ndim == 2 or (
            image.ndim == 3 and image.shape[2] in (1, 3)
        )
        if image.dtype != np.uint8 or not shape_is_known or not image.size:
            raise ValueError(
                "Expected uint8 images of shape (H, W, 3), (H, W, 1) or (H, W). "
                f"Received: dtype={image.dtype}, shape={image.shape}, "
                f"name={tile.name!r}"
            )


def _caption(any_wrong: bool, width: float) -> list[str]:
    """Lines of text above the grid."""
    text = (
        "Left: the query. Beside it: the nearest by distance between "
        "representations of length 1 (0: the same direction, 2: opposite)."
    )
    if any_wrong:
        text += " Framed and crossed: of another class than the query."
    num_letters = int((width - 2 * _MARGIN) * 72 / (0.56 * (_FONT_SIZE - 2)))
    return textwrap.wrap(text, num_letters)


def _layout(
    neighbors: Sequence[Sequence[Tile]], num_caption_lines: int
) -> tuple[list[float], float]:
    """Upper edges of the queries' rows and the picture's height, in inches."""
    heights = [
        max(1, -(-len(tiles) // _TILES_A_LINE)) * _LINE_OF_TILES + 2 * _GAP
        for tiles in neighbors
    ]
    height = 2 * _MARGIN + num_caption_lines * _LINE + sum(heights)
    first = height - _MARGIN - num_caption_lines * _LINE - 2 * _GAP
    tops = [first - above for above in itertools.accumulate(heights[:-1], initial=0)]
    return tops, height


def _draw(figure, tile: Tile, left: float, top: float, note: str) -> None:
    """A tile with its upper left corner there, in inches."""
    _write(figure, tile.name, left, top, _TILE)
    _write(figure, note, left, top - _LINE, _TILE, color="0.35")
    width, height = figure.get_size_inches()
    bottom = top - 2 * _LINE - _TILE
    axis = figure.add_axes(
        (left / width, bottom / height, _TILE / width, _TILE / height)
    )
    axis.set_anchor("NW")  # Of an oblong image.
    axis.set_xticks([])
    axis.set_yticks([])
    step = max(1, max(tile.image.shape[:2]) // _MAX_SIDE)
    image = tile.image[::step, ::step]
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[..., 0]
    axis.imshow(image, cmap="gray", vmin=0, vmax=255)
    color, thickness = (VERMILION, 4) if tile.wrong else (GRAY, 0.5)
    for spine in axis.spines.values():
        spine.set(color=color, linewidth=thickness)
    if tile.wrong:
        axis.text(
            1,
            1,
            "\u00d7",
            transform=axis.transAxes,
            ha="right",
            va="top",
            fontsize=_FONT_SIZE + 5,
            fontweight="bold",
            color="white",
            bbox={"facecolor": VERMILION, "edgecolor": "none", "pad": 1.5},
        )


def _rule(figure, y: float, width: float) -> None:
    """A thin line from side to side."""
    height = figure.get_size_inches()[1]
    figure.add_artist(
        plt.Line2D(
            [_MARGIN / width, 1 - _MARGIN / width],
            [y / height, y / height],
            color=GRAY,
            linewidth=0.5,
        )
    )


def _write(
    figure,
    text: str,
    left: float,
    top: float,
    room: float,
    size: float = _FONT_SIZE,
    color: str = "black",
) -> None:
    """A line of text, smaller and then cut in the middle to fit in `room` inches."""
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
    kept = min(len(text), int(share * len(text)) + 3)
    while artist.get_window_extent().width > room and kept > 1:
        artist.set_text(
            f"{text[: (kept + 1) // 2]}\u2026{text[len(text) - kept // 2 :]}"
        )
        kept -= 1
