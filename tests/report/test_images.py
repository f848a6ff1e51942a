"""Images in a page: sheets of examples, and figures with their descriptions."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from vicreg_keras.figures.style import new_figure, to_png
from vicreg_keras.report.images import embed, make_sheet

COLORS = np.array([[250, 20, 20], [20, 200, 20], [20, 20, 250], [240, 240, 240]])


def content(address, kind):
    prefix, text = address.split(",")
    assert prefix == f"data:image/{kind};base64"
    return base64.b64decode(text)


@pytest.mark.parametrize("shape", [(8, 8), (16, 16), (32, 32), (40, 30), (200, 200)])
def test_each_image_is_where_the_sheet_says(shape):
    images = np.ones((4, *shape, 1), np.uint8) * COLORS[:, None, None, :]
    sheet = make_sheet(images.astype(np.uint8))
    side = {8: 16, 16: 16, 32: 32}.get(shape[0], 48)
    assert (sheet.side, sheet.num_columns) == (side, 2)
    with Image.open(io.BytesIO(content(sheet.address, "jpeg"))) as image:
        pixels = np.asarray(image).astype(int)
    assert pixels.shape == (2 * side, 2 * side, 3)
    for number, color in enumerate(COLORS):
        line, column = divmod(number, 2)
        part = pixels[line * side : (line + 1) * side, column * side :][:, :side]
        middle = part[:, side // 4 : -side // 4]  # An oblong image has margins.
        assert np.abs(middle - color).max() < 12


def test_figure_is_embedded_with_its_description_at_its_size():
    figure, axes = new_figure(4, 3)
    axes.plot([1, 2], [3, 4], label="a")
    picture = embed(to_png(figure))
    assert content(picture.address, "png") == to_png(figure)
    assert picture.text == ", a: 3 at 1, 4 at 2."
    assert (picture.width, picture.height) == (4 * 96, 3 * 96)
