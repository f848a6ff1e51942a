"""Sections that show examples: confusion matrix, mistakes, nearest neighbors."""

import numpy as np
from PIL import Image, ImageColor

from vicreg_keras.figures.style import BLUE, VERMILION
from vicreg_keras.figures.text_table import percent
from vicreg_keras.report import elements
from vicreg_keras.report.elements import Html, element, join, paragraph
from vicreg_keras.report.pictures import Pictures

_MAX_CELLS = 20  # Classes; of more, numbers could not be read.
_MAX_PAIRS = 10
# Of the strongest color: letters on it stay legible, in light and in dark.
_OPACITY = 0.6
_IMAGE_SIDE = 600  # Pixels of the picture of a large matrix, about.
_HEAD = "Linear head on frozen representations (protocol cached)"
_BREAK = element("br")
_UNLABELED = paragraph(
    "Left out: it needs a labeled dataset with a test split.", kind="missing"
)


def confusion_section(pictures: Pictures) -> Html:
    """Returns which classes are predicted as which.

    Args:
        pictures: With a confusion matrix, or without.
    """
    if pictures.confusion is None:
        return _UNLABELED
    confusion = np.asarray(pictures.confusion)
    names = list(map(str, pictures.class_names))
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
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
    if pictures.confusion is None and not pictures.mistakes:
        return _UNLABELED
    if not pictures.mistakes:
        return paragraph("Left out: there are none.", kind="missing")
    tiles = []
    for mistake in pictures.mistakes:
        predicted = f"predicted as {mistake.predicted_name}"
        note = element("small", f"{percent(mistake.probability)} %")
        words = [mistake.true_name, _BREAK, predicted, _BREAK, note]
        alt = f"{mistake.true_name}, {predicted}"
        tiles.append(elements.tile(mistake.image, alt, *words))
    text = (
        f"{_HEAD}, {pictures.dataset}, test split: the mistakes with the highest "
        "probability of the wrong class, in percent."
    )
    return join([paragraph(text), element("div", *tiles, class_="tiles")])


def neighbors_section(pictures: Pictures) -> Html:
    """Returns test images, each beside its nearest training images.

    Args:
        pictures: With retrieval, or without.
    """
    if not pictures.retrieval:
        return _UNLABELED
    text = (
        f"Left: a query, {pictures.dataset}, test split, one image of each class drawn "
        f"at random (seed {pictures.seed}). Beside it: the nearest training images, "
        "by distance between L2-normalized representations (0: the same direction, 2: "
        "opposite). Framed and crossed: of another class than the query."
    )
    lines = []
    for query, neighbors in pictures.retrieval:
        note = element("small", "query")
        words = [query.name, _BREAK, note]
        tiles = [elements.tile(query.image, f"query: {query.name}", *words)]
        for one in neighbors:
            note = element("small", f"{one.distance:.2f}")
            rightness = ", of another class" if one.wrong else ""
            alt = f"near {query.name}: {one.name}{rightness}"
            kind = "tile wrong" if one.wrong else "tile"
            words = [one.name, _BREAK, note]
            tiles.append(elements.tile(one.image, alt, *words, kind=kind))
        lines.append(element("div", *tiles, class_="tiles query"))
    return join([paragraph(text), *lines])


def _matrix(confusion, shares, names, caption):
    """Counts in a table, colored by their share of the row."""
    body = []
    for true, counts in enumerate(confusion):
        cells = [element("th", names[true], scope="row")]
        for taken, count in enumerate(counts):
            share = shares[true, taken]
            color = ImageColor.getrgb(BLUE if true == taken else VERMILION)
            numbers = ",".join(map(str, color))
            look = f"background:rgba({numbers},{_OPACITY * np.sqrt(share):.3f})"
            words = f"{names[true]} predicted as {names[taken]}: {100 * share:.2f} %"
            cells.append(element("td", count, style=look, title=words))
        body.append(element("tr", *cells))
    head = [element("th", element("span", name), scope="col") for name in names]
    head = [element("td"), *head]
    return elements.scrolling_table(caption, head, body, "confusion")


def _matrix_image(shares: np.ndarray, caption: str) -> Html:
    """Shares as colors from white."""
    size = len(shares)
    opacity = np.sqrt(shares)[..., np.newaxis]
    right = np.eye(size, dtype=bool)[..., np.newaxis]
    strongest = np.where(right, ImageColor.getrgb(BLUE), ImageColor.getrgb(VERMILION))
    pixels = 255 + opacity * (strongest - 255)
    image = Image.fromarray(pixels.round().astype(np.uint8))
    side = size * max(1, _IMAGE_SIDE // size)
    image = image.resize((side, side), Image.Resampling.NEAREST)
    address = elements.data_uri(image, "png")
    alt = f"Confusion matrix of {size} classes as colors"
    matrix = element("img", src=address, width=side, height=side, alt=alt)
    return element("figure", matrix, element("figcaption", caption), class_="matrix")


def _pairs(confusion, shares, names):
    """The most frequent confusions."""
    wrong = np.where(np.eye(len(names), dtype=bool), 0, confusion)
    order = np.argsort(-wrong, axis=None, kind="stable")[:_MAX_PAIRS]
    lines = []
    for true, taken in zip(*np.unravel_index(order, wrong.shape), strict=True):
        if wrong[true, taken]:
            numbers = [f"{wrong[true, taken]:,}", percent(shares[true, taken])]
            lines.append([names[true], names[taken], *numbers])
    if not lines:
        return Html("")
    header = ["class", "predicted as", "images", "percent of class"]
    caption = "The most frequent confusions."
    return elements.table(caption, header, lines, "numbers pairs")
