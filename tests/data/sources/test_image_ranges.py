"""What is said, or refused, of folders of images whose values are of another range."""

import numpy as np
import pytest
from PIL import Image

from vicreg_keras.data.sources.folders import load_folder
from vicreg_keras.errors import InputError
from vicreg_keras.settings import DataOptions

VALUES = np.random.default_rng(0).random((3, 8, 8)).astype(np.float32)
DARK = "values from 0 to 9, of 255: multiply them if 9 is their white"


@pytest.fixture(params=[0, 4])
def load(tmp_path, request):
    """Saves images and loads their folder, from memory or as they are read."""

    def load(images, suffix="png"):
        for i, image in enumerate(images):
            Image.fromarray(image).save(tmp_path / f"{i}.{suffix}")
        limit = request.param
        return load_folder(
            DataOptions(dataset=f"folder:{tmp_path}", memory_limit_gib=limit)
        )

    return load


def test_fractions_above_1(load):
    with pytest.raises(InputError, match="3 with fractions from 0 to 7.* Scale them"):
        load(VALUES * 8, "tif")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_few_low_values(load, dtype):
    images = np.rint(VALUES * 8).astype(dtype)
    images[:, 0, 0] = 9
    source = load(images, "tif")
    assert source.notes[-1] == DARK
    images[:, 0, 0] = 99
    assert DARK not in load(images, "tif").notes


def test_white_on_a_transparent_ground(load):
    images = np.full((3, 8, 8, 4), 255, np.uint8)
    images[..., 3] = VALUES * 255
    (note,) = load(images).notes
    assert note == "3 images looked at are all of one color (255, 255, 255)"
    images[..., 0] = 0
    assert not load(images).notes


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [(-1000, 2000, "-1000 to 2000"), (0, 300, "0 to 300"), (0, np.nan, "NaN")],
)
def test_values_out_of_range(load, low, high, text):
    images = VALUES + np.float32(0)
    images[:, 0, :2] = low, high
    with pytest.raises(InputError, match=f"{text}, of 0 to 255: scale them to"):
        load(images, "tif")
