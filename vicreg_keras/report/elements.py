"""Elements of the page: escaped text, tables, boxes that scroll, images, figures."""

import base64
import html
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from vicreg_keras.figures.style import Figure, figure_to_svg

# Larger images are made smaller, as the page shows none larger than this.
_MAX_SIDE = 96
# Under this, an image's pixels are part of what it shows, and JPEG would blur them.
_MAX_PNG_SIDE = 64


class Html(str):
    """Text that is HTML already. All other text is escaped."""


def markup(value: Any) -> str:
    """Returns a value as HTML, escaped unless it is `Html`.

    Args:
        value: Anything that has a text.
    """
    return value if isinstance(value, Html) else html.escape(str(value))


def join(parts: Sequence[Any]) -> Html:
    """Returns several values as HTML, one after the other.

    Args:
        parts: `Html`, or values to escape.
    """
    return Html("".join(map(markup, parts)))


def paragraph(value: Any, kind: str = "") -> Html:
    """Returns a paragraph.

    Args:
        value: Its content.
        kind: Its class in `page.css`, or none.
    """
    attribute = f' class="{kind}"' if kind else ""
    return Html(f"<p{attribute}>{markup(value)}</p>\n")


def table(
    caption: Any, header: Sequence[Any], rows: Sequence[Sequence[Any]], kind: str = ""
) -> Html:
    """Returns a table with a header, in a box that scrolls where it is too wide.

    Args:
        caption: What the metrics are of.
        header: One cell per column.
        rows: The first cell of each names it. A row of one cell is a heading above
            those that follow it.
        kind: Its class in `page.css`, or none.
    """
    head = "".join(f'<th scope="col">{markup(cell)}</th>' for cell in header)
    body = []
    for first, *cells in rows:
        if cells:
            data = "".join(f"<td>{markup(cell)}</td>" for cell in cells)
            body.append(f'<tr><th scope="row">{markup(first)}</th>{data}</tr>\n')
        else:
            span = f'colspan="{len(header)}" scope="rowgroup"'
            words = f'<span class="held">{markup(first)}</span>'
            body.append(f'<tr class="group"><th {span}>{words}</th></tr>\n')
    parts = f"<thead><tr>{head}</tr></thead>\n<tbody>\n{''.join(body)}</tbody>"
    return scrolling_table(caption, Html(parts), kind)


def scrolling_table(caption: Any, parts: Html, kind: str = "") -> Html:
    """Returns a table in a box that scrolls sideways, by touch or by arrow keys.

    Args:
        caption: What the metrics are of. It stays in place when the table moves.
        parts: The table's head and body.
        kind: Its class in `page.css`, or none.
    """
    words = markup(caption)
    return Html(
        f'<div class="scroll" role="region" tabindex="0" aria-label="{words}">'
        f'<table class="{kind}"><caption><span class="held">{words}</span></caption>\n'
        f"{parts}</table></div>\n"
    )


def small(value: Any) -> Html:
    """Returns a note in small letters.

    Args:
        value: Its content.
    """
    return Html(f"<small>{markup(value)}</small>")


def strong(value: Any) -> Html:
    """Returns emphasized text.

    Args:
        value: Its content.
    """
    return Html(f"<strong>{markup(value)}</strong>")


def picture(image: np.ndarray, text: str) -> Html:
    """Returns an image that is part of the page.

    Args:
        image: uint8 `(H, W, 3)`, `(H, W, 1)` or `(H, W)` in [0, 255], of any size.
        text: Alternative text.
    """
    thumbnail = rgb_image(image)
    thumbnail.thumbnail((_MAX_SIDE, _MAX_SIDE), Image.Resampling.LANCZOS)
    kind = "png" if max(image.shape[:2]) <= _MAX_PNG_SIDE else "jpeg"
    width, height = thumbnail.size
    return Html(
        f'<img src="{data_uri(thumbnail, kind)}" alt="{markup(text)}" '
        f'width="{width}" height="{height}">'
    )


def embed_figure(figure: Figure, name: str) -> Html:
    """Returns a figure as a part of the page, in a box that scrolls where it is wide.

    Args:
        figure: As the functions of `vicreg_keras.figures` return it.
        name: Begins its ids, and differs from all others on the page.
    """
    svg = figure_to_svg(figure, name)
    return Html(f'<figure class="scroll" tabindex="0">{svg}</figure>\n')


def rgb_image(image: np.ndarray) -> Image.Image:
    """Returns pixels as an image of three channels.

    Args:
        image: See `picture`.
    """
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[..., 0]
    return Image.fromarray(image).convert("RGB")


def data_uri(image: Image.Image, kind: str, **options: Any) -> str:
    """Returns an image as a `data:` address.

    Args:
        image: Of three channels.
        kind: `"png"` or `"jpeg"`.
        **options: Options of Pillow's writer.
    """
    file = io.BytesIO()
    image.save(file, format=kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
