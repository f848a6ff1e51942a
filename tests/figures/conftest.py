"""What tests of figures share: saved pixels, and how many are of a color."""

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image, ImageColor

from vicreg_keras.figures.style import save


@pytest.fixture
def pixels(tmp_path):
    """A function that saves a figure and returns its pixels, `(height, width, 3)`."""

    def pixels(figure):
        path = tmp_path / "figures" / "figure.png"
        save(figure, path)
        with Image.open(path) as image:
            assert image.format == "PNG"
            array = np.asarray(image.convert("RGB")).astype(int)
        assert list(path.parent.iterdir()) == [path]  # Nothing unfinished beside it.
        return array

    return pixels


@pytest.fixture
def mask():
    """A function that returns which pixels are of a color."""

    def mask(pixels, color):
        return np.abs(pixels - np.array(ImageColor.getrgb(color))).max(axis=-1) <= 2

    return mask


@pytest.fixture
def count(mask):
    """A function that counts the pixels of a color."""
    return lambda pixels, color: int(mask(pixels, color).sum())


@pytest.fixture
def texts():
    """A function that returns all texts of a figure."""
    return lambda figure: [text.get_text() for text in figure.findobj(Text)]
