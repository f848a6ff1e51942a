"""Sections that show examples: confusion matrix, mistakes, nearest neighbors."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageColor

from vicreg_keras.figures.style import BLUE, VERMILION
from vicreg_keras.figures.text_table import percent
from vicreg_keras.report.elements import (
    Html,
    data_uri,
    join,
    markup,
    paragraph,
    picture,
    scrolling_table,
    small,
    table,
)
from vicreg_keras.report.pictures import Pictures

_MAX_CELLS = 20  # Classes; of more, numbers could not be read.
_MAX_PAIRS = 10
# Of the strongest color: letters on it stay legible, in light and in dark.
_OPACITY = 0.6
_IMAGE_SIDE = 600  # Pixels of the picture of a large matrix, about.
_HEAD = "Linear head on frozen representations (protocol cached)"


def confusion_section(pictures: Pictures) -> Html:
    """Returns which classes are predicted as which.

    Args:
        pictures: With a confusion matrix, or without.
    """
    if pictures.confusion is None:
        text = "Left out: it needs a labeled dataset with a test split."
        return paragraph(text, "missing")
    confusion = np.asarray(pictures.confusion)
    names = list(map(str, pictures.class_names))
    totals = confusion.sum(axis=1, keepdims=True)
    shares = confusion / np.maximum(totals, 1)
    right = percent(np.trace(confusion) / max(confusion.sum(), 1))
    caption = (
        f"{_HEAD}, {pictures.dataset}, test split, {confusion.sum():,} images: "
        f"{right} percent right. Rows are classes, columns predictions, colors shares "
        "of the class, blue where right."
    )
    if len(names) <= _MAX_CELLS:
        matrix = _matrix(confusion, shares, names, caption)
    else:
        matrix = _matrix_image(shares, caption)
    return join([matrix, _pairs(confusion, shares, names)])


def mistakes_section(pictures: Pictures) -> Html:
    """Returns the images on which the linear head is most confident and wrong.

    Args:
        pictures: With mistakes, or without.
    """
    if not pictures.mistakes:
        if pictures.confusion is None:
            text = "Left out: it needs a labeled dataset with a test split."
        else:
            text = "Left out: there are none."
        return paragraph(text, "missing")
    figures = []
    for mistake in pictures.mistakes:
        true, taken = mistake.true_name, mistake.predicted_name
        probability = f"{percent(mistake.probability)} %"
        image = picture(mistake.image, f"{true}, predicted as {taken}")
        words = join([true, Html("<br>"), "predicted as ", taken, Html("<br>")])
        figures.append(
            Html(
                f'<figure class="tile">{image}<figcaption>{words}'
                f"{small(probability)}</figcaption></figure>\n"
            )
        )
    text = (
        f"{_HEAD}, {pictures.dataset}, test split: the mistakes with the highest "
        "probability of the wrong class, in percent."
    )
    return join(
        [paragraph(text), Html('<div class="tiles">\n'), *figures, Html("</div>\n")]
    )


def neighbors_section(pictures: Pictures) -> Html:
    """Returns test images, each beside its nearest training images.

    Args:
        pictures: With retrieval, or without.
    """
    if not pictures.retrieval:
        text = "Left out: it needs a labeled dataset with a test split."
        return paragraph(text, "missing")
    lines = []
    for query, neighbors in pictures.retrieval:
        tiles = [_tile(query, f"query: {query.name}", "query")]
        for tile in neighbors:
            distance = "" if tile.distance is None else f"{tile.distance:.2f}"
            rightness = ", of another class" if tile.wrong else ""
            words = f"near {query.name}: {tile.name}{rightness}"
            tiles.append(_tile(tile, words, distance))
        lines.append(
            join([Html('<div class="tiles query">\n'), *tiles, Html("</div>\n")])
        )
    text = (
        f"Left: a query, {pictures.dataset}, test split, one image of each class drawn "
        f"at random (seed {pictures.seed}). Beside it: the nearest training images, "
        "by distance between L2-normalized representations (0: the same direction, 2: "
        "opposite). Framed and crossed: of another class than the query."
    )
    return join([paragraph(text), *lines])


def _matrix(confusion, shares, names, caption):
    """Counts in a table, colored by their share of the row."""
    head = "".join(f'<th scope="col"><span>{markup(n)}</span></th>' for n in names)
    body = []
    for true, row in enumerate(confusion):
        cells = [f'<th scope="row">{markup(names[true])}</th>']
        for taken, count in enumerate(row):
            share = shares[true, taken]
            red, green, blue = ImageColor.getrgb(BLUE if true == taken else VERMILION)
            opacity = _OPACITY * np.sqrt(share)
            words = f"{names[true]} predicted as {names[taken]}: {100 * share:.2f} %"
            cells.append(
                f'<td style="background:rgba({red},{green},{blue},{opacity:.3f})" '
                f'title="{markup(words)}">{count}</td>'
            )
        body.append(f"<tr>{''.join(cells)}</tr>\n")
    parts = f"<thead><tr><td></td>{head}</tr></thead>\n<tbody>\n{''.join(body)}</tbody>"
    return scrolling_table(caption, Html(parts), "confusion")


def _matrix_image(shares: np.ndarray, caption: str) -> Html:
    """Shares as colors from white."""
    size = len(shares)
    opacity = np.sqrt(shares)[..., np.newaxis]
    right = np.eye(size, dtype=bool)[..., np.newaxis]
    strongest = np.where(right, ImageColor.getrgb(BLUE), ImageColor.getrgb(VERMILION))
    pixels = 255 + opacity * (strongest - 255)
    image = Image.fromarray(pixels.round().astype(np.uint8))
    scale = max(1, _IMAGE_SIDE // size)
    image = image.resize((scale * size, scale * size), Image.Resampling.NEAREST)
    return Html(
        f'<figure class="matrix"><img src="{data_uri(image, "png")}" width="'
        f'{scale * size}" height="{scale * size}" alt="Confusion matrix of {size} '
        f'classes as colors"><figcaption>{markup(caption)}</figcaption></figure>\n'
    )


def _pairs(confusion: np.ndarray, shares: np.ndarray, names: Sequence[str]) -> Html:
    """The most frequent confusions."""
    wrong = np.where(np.eye(len(names), dtype=bool), 0, confusion)
    order = np.argsort(-wrong, axis=None, kind="stable")[:_MAX_PAIRS]
    rows = [
        [
            names[true],
            names[taken],
            f"{wrong[true, taken]:,}",
            percent(shares[true, taken]),
        ]
        for true, taken in zip(*np.unravel_index(order, wrong.shape), strict=True)
        if wrong[true, taken]
    ]
    if not rows:
        return Html("")
    header = ["class", "predicted as", "images", "percent of class"]
    return table("The most frequent confusions.", header, rows, "numbers pairs")


def _tile(tile, words, note):
    kind = "tile wrong" if tile.wrong else "tile"
    return Html(
        f'<figure class="{kind}">{picture(tile.image, words)}<figcaption>'
        f"{markup(tile.name)}<br>{small(note)}</figcaption></figure>\n"
    )
