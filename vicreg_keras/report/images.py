"""Images as the page and TensorBoard hold them."""

import base64
import io
import math
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

# Of an image in a sheet: multiples of JPEG's blocks, so that none bleeds over. With
# colors at half the resolution, which is the default, they would all the same.
_SIDES = (16, 32, 48)
_JPEG = {"quality": 75, "subsampling": 0}
_CSS_DOTS_PER_INCH = 96


class Picture(NamedTuple):
    """A PNG in a page.

    Attributes:
        address: Its content, as a `data:` address.
        text: Text alternative.
        width: Width in CSS pixels.
        height: Height in CSS pixels.
    """

    address: str
    text: str
    width: int
    height: int


class Sheet(NamedTuple):
    """Images side by side in one.

    Attributes:
        image: All of them, line by line.
        side: Width and height of each, in pixels.
        num_columns: How many are in a line.
    """

    image: Image.Image
    side: int
    num_columns: int

    @property
    def address(self) -> str:
        """The sheet as a JPEG, as a `data:` address."""
        file = io.BytesIO()
        self.image.save(file, format="jpeg", **_JPEG)
        return _address(file.getvalue(), "jpeg")


def embed(content: bytes) -> Picture:
    """Returns a figure as the page embeds it.

    Args:
        content: Of the PNG, see `figures.style.to_png`.
    """
    with Image.open(io.BytesIO(content)) as image:
        text = image.info.get("Description", "")
        scale = _CSS_DOTS_PER_INCH / image.info["dpi"][0]
        width, height = (round(scale * size) for size in image.size)
    return Picture(_address(content, "png"), text, width, height)


def picture_owner(content: bytes) -> str | None:
    """Returns the id of the run that a figure is of, where it tells.

    Args:
        content: Of the PNG.

    Raises:
        Exception: Of several kinds, if it is not whole.
    """
    with Image.open(io.BytesIO(content)) as image:
        image.verify()
        return image.info.get("Run")


def make_sheet(images: np.ndarray) -> Sheet:
    """Returns images as a sheet, each as large as it is, or smaller.

    Args:
        images: uint8 `(N, H, W, 3)` in [0, 255].
    """
    longest = max(images.shape[1:3])
    side = next((side for side in _SIDES if longest <= side), _SIDES[-1])
    num_columns = math.ceil(math.sqrt(len(images)))
    num_lines = -(-len(images) // num_columns)
    sheet = Image.new("RGB", (side * num_columns, side * num_lines))
    # Pixels that are few are part of what an image shows.
    smooth = Image.Resampling.LANCZOS
    resampling = Image.Resampling.NEAREST if longest < side else smooth
    for number, image in enumerate(images):
        tile = ImageOps.pad(Image.fromarray(image), (side, side), resampling)
        line, column = divmod(number, num_columns)
        sheet.paste(tile, (column * side, line * side))
    return Sheet(sheet, side, num_columns)


def _address(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
