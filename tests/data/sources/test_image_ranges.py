"""What is said, or refused, of folders of images whose values are of another range."""

import numpy as np
import pytest
from PIL import Image

from vicreg_keras.data.sources.base import Known
from vicreg_keras.data.sources.folders import load_files, load_folder
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
    with pytest.raises(
        InputError, match="3 of .* with fractions from 0 to 7.* Scale them"
    ):
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


@pytest.mark.parametrize(
    ("high", "max_pixel", "white"),
    [(255, 255, 255), (255, 4095, 4095), (60_000, 255, 65535), (4080, 1, None)],
)
def test_16_bits_for_an_encoder(tmp_path, high, max_pixel, white):
    """One white for a set, by the encoder's where that tells."""
    for i, top in enumerate((high, high // 3)):
        image = np.rint(VALUES[i] * top).astype(np.uint16)
        image[0, 0] = top
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    known = Known(max_pixel=max_pixel)
    if white is None:
        with pytest.raises(
            InputError, match="as the encoder's.*2 of .* with values up to"
        ):
            load_files(str(tmp_path), (8, 8, 3), known)
        return
    source = load_files(str(tmp_path), (8, 8, 3), known)
    dark = f", 2 of them up to {high}" if 16 * high <= white else ""
    assert source.notes[0] == f"2 images of 16 bits{dark}: {white} is white (255)"
    expected = np.rint(np.array([high, high // 3]) * 255.0 / white)
    np.testing.assert_array_equal(source.train.read()[:, 0, 0, 0], expected)


def test_floats_for_an_encoder(tmp_path, load):
    load(VALUES, "tif")
    with pytest.raises(InputError, match="as the encoder's.*fractions from 0 to 0.9"):
        load_files(str(tmp_path), (8, 8, 3), Known(max_pixel=255))
    source = load_files(str(tmp_path), (8, 8, 3), Known(max_pixel=4095))
    np.testing.assert_array_equal(source.train.read()[..., 0], np.rint(VALUES * 255))
    source = load([*np.rint(VALUES * 255), np.rint(VALUES[0])], "tif")
    assert source.notes == (
        "4 images of floats, 1 of them up to 1: 255 is white (255)",
    )
    assert source.train.read()[3].max() == 1
    Image.fromarray(np.rint(VALUES[1] * 4095).astype(np.uint16)).save(
        tmp_path / "9.png"
    )
    assert load(VALUES, "tif").notes[:2] == (
        "1 image of 16 bits: 4095 is white (255)",
        "4 images of floats: 1 is white (255)",
    )


def test_signed_values(tmp_path, load):
    load(np.zeros((2, 8, 8), np.uint8) + 200)
    for low, high in ((-100, 100), (0, 100)):
        image = np.full((8, 8), low, np.int8)
        image[0] = high
        options = {"tiffinfo": {339: 2}}
        Image.fromarray(image.view(np.uint8)).save(tmp_path / "a.tif", **options)
        if low < 0:
            with pytest.raises(InputError, match="a.tif .*values from -100 to 100"):
                load([])
    assert load([]).train.read([2]).max() == 100
