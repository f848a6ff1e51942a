"""Examples as tiles, such as queries beside their neighbors, and confused classes."""

import textwrap
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from sklearn.metrics import ConfusionMatrixDisplay

from vicreg_keras.figures.style import GRAY, VERMILION, clean, new_figure, shorten
from vicreg_keras.figures.text_table import percent

# In inches. Six tiles side by side are legible at the width of a telephone.
_TILE, _GAP = 1.2, 0.12
_LINE = 0.22  # Height of a line of text.
_FONT_SIZE, _SMALL = 12, 9
_MIN_COLUMNS, _TILES_PER_LINE = 3, 6

_MAX_SIDE = 512  # Pixels; larger images are subsampled, as they are drawn smaller.

_MAX_COUNTS, _MAX_NAMES = 20, 60  # Classes; of more, counts or names can't be read.
_NUM_PAIRS = 10


class Tile(NamedTuple):
    """An image, and what is written above and below it.

    Attributes:
        image: uint8 `(height, width, 3)`, `(height, width, 1)` or `(height, width)` in
            [0, 255], of any size.
        name: Class or file name, above; where a text is too long, it is written smaller
            and then cut in the middle.
        note: What is written below.
        wrong: Whether it has a frame and a cross.
    """

    image: np.ndarray
    name: str
    note: str = ""
    wrong: bool = False


def neighbor_grid(
    queries: Sequence[Tile], neighbors: Sequence[Sequence[Tile]]
) -> Figure:
    """Draws each query and its nearest neighbors, those of a wrong class crossed.

    Args:
        queries: One tile each, up to about 20.
        neighbors: Of each query, the nearest first; as many as there are. Their notes
            are the distances.
    """
    text = (
        "Left: the query. Beside it: the nearest by distance between L2-normalized "
        "representations (0: the same direction, 2: opposite)."
    )
    if any(tile.wrong for tiles in neighbors for tile in tiles):
        text += " Framed and crossed: of another class than the query."
    groups = [
        [query._replace(note="query"), *tiles]
        for query, tiles in zip(queries, neighbors, strict=True)
    ]
    return tile_grid(groups, text)


def mistake_grid(tiles: Sequence[Tile], caption: str) -> Figure:
    """Draws mistakes side by side.

    Args:
        tiles: The mistakes; their notes tell what is wrong. There may be none.
        caption: Text above all.
    """
    if not tiles:
        return tile_grid([[]], f"{caption} There are none.")
    starts = range(0, len(tiles), _TILES_PER_LINE)
    return tile_grid([tiles[i : i + _TILES_PER_LINE] for i in starts], caption)


def tile_grid(groups: Sequence[Sequence[Tile]], caption: str) -> Figure:
    """Draws groups of tiles, each from a new line on.

    More than six tiles go on in a second line, below the second of them.

    Args:
        groups: Tiles of each group; one or more.
        caption: Text above all.
    """
    num_columns = max(_MIN_COLUMNS, min(max(map(len, groups)), _TILES_PER_LINE))
    width = num_columns * (_TILE + _GAP)
    caption = textwrap.fill(caption, int(12 * width))
    places = []
    num_lines = 0
    for tiles in groups:
        for number, tile in enumerate(tiles):
            line, column = divmod(max(0, number - 1), _TILES_PER_LINE - 1)
            places.append((num_lines + line, column + (number > 0), tile))
        num_lines += 1 + max(0, len(tiles) - 2) // (_TILES_PER_LINE - 1)
    height = num_lines * (_TILE + 2 * _LINE + _GAP) + _LINE * (1 + caption.count("\n"))
    figure, grid = new_figure(width, height, num_lines, num_columns, squeeze=False)
    figure.suptitle(caption, fontsize=_FONT_SIZE - 2, ha="left", x=0.02)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[], anchor="N", visible=False)
    for line, column, tile in places:
        _draw(grid[line, column], tile)
    return figure


def confusion(counts: np.ndarray, class_names: Sequence[str], caption: str) -> Figure:
    """Draws which classes are predicted as which.

    Args:
        counts: `(num_classes, num_classes)`, classes as rows, predictions as columns.
        class_names: Name of each class.
        caption: What the counts are of. The accuracy and the most frequent confusions
            follow it.
    """
    num_classes = len(class_names)
    accuracy = percent(np.trace(counts) / max(counts.sum(), 1))
    caption += f": {accuracy} percent of {counts.sum():,} are right."
    if pairs := _confused_pairs(counts, class_names):
        caption += f" Most often confused: {'; '.join(pairs)}."
    names = [shorten(str(name)) for name in class_names]
    side = float(np.clip(0.4 * num_classes, 3, 8))
    text = textwrap.fill(clean(caption), int(12 * (side + 2)))
    figure, axes = new_figure(side + 2, side + 2 + _LINE * text.count("\n"))
    axes.grid(visible=False)
    ConfusionMatrixDisplay(counts, display_labels=names).plot(
        include_values=num_classes <= _MAX_COUNTS,
        cmap="Blues",
        # Brings out the few that are wrong.
        im_kw={"norm": PowerNorm(0.5)},
        xticks_rotation="vertical",
        colorbar=False,
        ax=axes,
    )
    if num_classes > _MAX_NAMES:
        axes.set(xticks=[], yticks=[])
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        label.set_parse_math(False)
    axes.set(xlabel="predicted class", ylabel="class")
    figure.suptitle(text, fontsize=_FONT_SIZE - 2, parse_math=False)
    return figure


def _confused_pairs(counts: np.ndarray, class_names: Sequence[str]) -> list[str]:
    """The most frequent confusions, with their number and share of the class."""
    wrong = np.where(np.eye(len(counts), dtype=bool), 0, counts)
    order = np.argsort(-wrong, axis=None, kind="stable")[:_NUM_PAIRS]
    return [
        f"{class_names[true]} as {class_names[predicted]}: {wrong[true, predicted]:,} "
        f"({percent(wrong[true, predicted] / counts[true].sum())} %)"
        for true, predicted in zip(*np.unravel_index(order, wrong.shape), strict=True)
        if wrong[true, predicted]
    ]


def _draw(axes, tile):
    step = max(1, max(tile.image.shape[:2]) // _MAX_SIDE)
    image = tile.image[::step, ::step]
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[..., 0]
    axes.set_visible(True)
    axes.grid(visible=False)
    axes.imshow(image, cmap="gray", vmin=0, vmax=255)
    color, thickness = (VERMILION, 4) if tile.wrong else (GRAY, 0.5)
    axes.spines[:].set(color=color, linewidth=thickness)
    if tile.wrong:
        look = {"fontsize": _FONT_SIZE + 5, "fontweight": "bold", "color": "white"}
        look |= {"bbox": {"facecolor": VERMILION, "edgecolor": "none", "pad": 1.5}}
        place = {"transform": axes.transAxes, "ha": "right", "va": "top"}
        axes.text(1, 1, "\u00d7", **place, **look)
    for write, text in ((axes.set_title, tile.name), (axes.set_xlabel, tile.note)):
        # File names may hold dollar signs.
        _fit(write(clean(text), fontsize=_FONT_SIZE, parse_math=False))


def _fit(text):
    """Makes a text smaller, and then cuts it in the middle, to fit above a tile."""
    room = _TILE * text.figure.dpi
    if text.get_window_extent().width > room:
        text.set_fontsize(_SMALL)
    whole, length = text.get_text(), 40
    while text.get_window_extent().width > room:
        text.set_text(shorten(whole, length))
        length -= 1
