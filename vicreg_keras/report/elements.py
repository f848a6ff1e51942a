"""Elements of the page: escaped text, tables, boxes that scroll, images, figures."""

import base64
import html
import io
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from vicreg_keras.figures.style import Figure, figure_to_svg

# Larger images are made smaller, as the page shows none larger than this.
_MAX_SIDE = 96
# Under this, an image's pixels are part of what it shows, and JPEG would blur them.
_MAX_PNG_SIDE = 64
_VOID = ("br", "img", "input")  # Elements without content.


class Html(str):
    """Text that is HTML already. All other text is escaped."""


def markup(value: Any) -> str:
    """Returns a value as HTML, escaped unless it is `Html`.

    Args:
        value: Anything that has a text.
    """
    return value if isinstance(value, Html) else html.escape(str(value))


def join(parts: Iterable[Any]) -> Html:
    """Returns several values as HTML, one after the other.

    Args:
        parts: `Html`, or values to escape.
    """
    return Html("".join(map(markup, parts)))


def element(name: str, /, *parts: Any, **attributes: Any) -> Html:
    """Returns an element, such as `element("p", "None.", class_="missing")`.

    Args:
        name: Name of the element.
        *parts: Its content: `Html`, or values to escape.
        **attributes: Values by name; `class_` stands for `class`, `aria_label` for
            `aria-label`.
    """
    names = {key: key.rstrip("_").replace("_", "-") for key in attributes}
    given = [f' {names[k]}="{html.escape(str(v))}"' for k, v in attributes.items()]
    start = f"<{name}{''.join(given)}>"
    return Html(start if name in _VOID else f"{start}{join(parts)}</{name}>")


def paragraph(*parts: Any, kind: str = "") -> Html:
    """Returns a paragraph.

    Args:
        *parts: Its content: `Html`, or values to escape.
        kind: Its class in `page.css`, or none.
    """
    attributes = {"class_": kind} if kind else {}
    return join([element("p", *parts, **attributes), "\n"])


def table(
    caption: str, header: Sequence[Any], rows: Sequence[Sequence[Any]], kind: str
) -> Html:
    """Returns a table with a header, in a box that scrolls where it is too wide.

    Args:
        caption: What the metrics are of.
        header: One cell per column.
        rows: The first cell of each names it. A row of one cell is a heading above
            those that follow it.
        kind: Its class in `page.css`.
    """
    body = []
    for first, *cells in rows:
        if cells:
            data = [element("td", cell) for cell in cells]
            body.append(element("tr", element("th", first, scope="row"), *data))
        else:
            words = element("span", first, class_="held")
            heading = element("th", words, colspan=len(header), scope="rowgroup")
            body.append(element("tr", heading, class_="group"))
    head = [element("th", cell, scope="col") for cell in header]
    return scrolling_table(caption, head, body, kind)


def scrolling_table(
    caption: str, head: Sequence[Html], body: Sequence[Html], kind: str
) -> Html:
    """Returns a table in a box that scrolls sideways, by touch or by arrow keys.

    Args:
        caption: What the metrics are of. It stays in place when the table moves.
        head: Cells of the header.
        body: The other `tr` elements.
        kind: Its class in `page.css`.
    """
    content = element(
        "table",
        element("caption", element("span", caption, class_="held")),
        element("thead", element("tr", *head)),
        element("tbody", *body),
        class_=kind,
    )
    box = {"class_": "scroll", "role": "region", "tabindex": 0, "aria_label": caption}
    return element("div", content, **box)


def tile(image: np.ndarray, alt: str, *caption: Any, kind: str = "tile") -> Html:
    """Returns an image with a caption under it.

    Args:
        image: See `picture`.
        alt: Alternative text.
        *caption: `Html`, or values to escape.
        kind: Its class in `page.css`.
    """
    words = element("figcaption", *caption)
    return element("figure", picture(image, alt), words, class_=kind)


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
    address = data_uri(thumbnail, kind)
    return element("img", src=address, alt=text, width=width, height=height)


def embed_figure(figure: Figure, name: str) -> Html:
    """Returns a figure as a part of the page, in a box that scrolls where it is wide.

    Args:
        figure: As the functions of `vicreg_keras.figures` return it.
        name: Begins its ids, and differs from all others on the page.
    """
    svg = Html(figure_to_svg(figure, name))
    return element("figure", svg, class_="scroll", tabindex=0)


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
