"""Values of image files that are not 8 bits of red, green and blue."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf
from PIL import ImageFile, TiffImagePlugin

# Largest values of integers by the bits that sensors have.
MAX_PIXELS = (255, 1023, 4095, 16383, 65535)
# Up to this, floats are in [0, 1] but for what rounding adds.
MAX_UNIT = 1.0001
# Floats up to this value are neither in [0, 1] nor in [0, 255].
UNKNOWN_RANGE = 16
_DARK = 64
# Tags of a TIFF: whether 0 is white, and whether values may be negative.
_PHOTOMETRIC, _SAMPLE_FORMAT, _SIGNED = 262, 339, 2
# What files hold that is not 8 bits.
DEEP, FLOATS = "16 bits", "floats"


class White(NamedTuple):
    """The value that becomes 255, alike in all files of a set.

    Attributes:
        integers: Of images of more than 8 bits.
        floats: Of images of floats, 1 or 255.
    """

    integers: int = 255
    floats: int = 255


def find_white(integers: float, floats: float, max_pixel: int | None = None) -> White:
    """Returns what is white in a set of images.

    Args:
        integers: The largest value of those of more than 8 bits, 0 without any.
        floats: That of those of floats, likewise.
        max_pixel: See `Source`, of the encoder that they are for.

    Raises:
        ValueError: If an encoder of 8 bits is given images of 10, 12 or 14 bits, or
            dark ones of 16: they can't be told apart.
    """
    white = max_pixel or next(one for one in MAX_PIXELS if one >= integers)
    if white <= 255 < integers:
        if integers <= MAX_PIXELS[-2]:
            raise ValueError(f"values up to {integers:g}")
        white = MAX_PIXELS[-1]
    unit = 1 if 0 < floats <= MAX_UNIT else 255
    return White(max(white, 255), max_pixel if max_pixel in (1, 255) else unit)


def scaled_pixels(values: np.ndarray, white: White | None) -> np.ndarray:
    """Scales values of more than 8 bits, or floats, to pixels.

    Args:
        values: Unsigned integers up to 65535, or floats.
        white: What becomes 255; `None` for that of one file alone, where 8 bits are
            expected.

    Returns:
        uint8 of the same shape.

    Raises:
        ValueError: If values are negative, not finite, above what is white, or
            fractions in [0, 1] where 255 is white.
    """
    max_value = checked_max(values)
    is_float = values.dtype.kind == "f"
    white = white or find_white(0 if is_float else max_value, 0, 255)
    high = white.floats if is_float else white.integers
    check_range(max_value, high, has_fractions(values))
    return np.rint(np.minimum(values, high) * 255.0 / high).astype(np.uint8)


def check_range(max_value: float, white: int, has_fractions: bool) -> None:
    """Raises `ValueError` of values above white, or fractions far below it."""
    if max_value > white * MAX_UNIT or (
        has_fractions and max_value <= MAX_UNIT < white
    ):
        raise ValueError(f"values up to {max_value:g}, {white} is white")


def has_fractions(values: np.ndarray) -> bool:
    """Returns whether values are floats that are not all whole numbers."""
    return values.dtype.kind == "f" and bool((values != np.rint(values)).any())


def composited(pixels: np.ndarray) -> np.ndarray:
    """Puts pixels on white: uint8 `(h, w, 4)`, the last one alpha, to `(h, w, 3)`."""
    alpha = pixels[..., 3:].astype(np.uint16)
    light = pixels[..., :3] * alpha + 255 * (255 - alpha)
    return ((light + 127) // 255).astype(np.uint8)


def from_cmyk(pixels: np.ndarray) -> np.ndarray:
    """Returns red, green and blue of inks, uint8 `(h, w, 4)`, as TensorFlow does."""
    light = 255 - pixels.astype(np.uint16)
    return (light[..., :3] * light[..., 3:] // 255).astype(np.uint8)


def value_kind(image: ImageFile.ImageFile) -> str:
    """Returns `DEEP`, `FLOATS`, or `""` of an image of 8 bits."""
    if image.mode[0] in "IF":
        return FLOATS if image.mode[0] == "F" else DEEP
    if image.format not in ("PNG", "TIFF"):
        return ""
    if _is_signed(image):
        return DEEP
    # In a tile's arguments, Pillow says how it would unpack values.
    tile = image.tile[0][3]
    rawmode = tile if isinstance(tile, str) else tile and tile[0]
    return DEEP if isinstance(rawmode, str) and ";16" in rawmode else ""


def _is_signed(image):
    """Whether 8 bits of a TIFF may be negative, which Pillow does not tell."""
    is_tiff = image.mode == "L" and isinstance(image, TiffImagePlugin.TiffImageFile)
    return is_tiff and _SIGNED in image.tag_v2.get(_SAMPLE_FORMAT, ())


def deep_values(image: ImageFile.ImageFile) -> np.ndarray:
    """Returns a file's values: `(h, w, 1)`, or with alpha `(h, w, 4)` of a PNG."""
    if image.format == "PNG":
        return decode_png(image, tf.uint16)
    if _is_signed(image):
        return np.asarray(image).view(np.int8)[..., np.newaxis].astype(np.int16)
    if image.mode[0] not in "IF":
        raise ValueError("16-bit color in a TIFF: save it as PNG, or in 8 bits")
    values = np.asarray(image)[..., np.newaxis]
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        if image.tag_v2.get(_PHOTOMETRIC) == 0:
            raise ValueError("its smallest value is white: save it the other way")
    return values


def decode_png(image: ImageFile.ImageFile, dtype: tf.DType) -> np.ndarray:
    """Returns `(h, w, 4)` of a PNG; Pillow drops lower bits, and some of alpha."""
    image.fp.seek(0)
    content = image.fp.read()
    try:
        return tf.io.decode_png(content, channels=4, dtype=dtype).numpy()
    except tf.errors.InvalidArgumentError as error:
        raise ValueError("broken PNG data") from error


def checked_max(values: np.ndarray) -> float:
    """Returns the largest value; raises `ValueError` of what is out of range."""
    low, high = values.min(), values.max()
    limit = 255 if values.dtype.kind == "f" else 65535
    if not (low >= 0 and high <= limit):
        found = f"values from {low:g} to {high:g}"
        if np.isnan(low):
            found = "values that are NaN"
        raise ValueError(f"{found}, of 0 to {limit}: scale them to [0, 255]")
    return float(high)


def note_of_one_color(pixels: np.ndarray) -> list[str]:
    """Returns a note of images `(num_images, height, width, 3)` that show nothing."""
    if not len(pixels) or (pixels != pixels[0, 0, 0]).any():
        return []
    color = ", ".join(map(str, pixels[0, 0, 0]))
    return [f"{len(pixels):,} images looked at are all of one color ({color})"]


def note_of_dark(max_value: float, max_pixel: int = 255) -> list[str]:
    """Returns a note of images whose largest value is low for one of `max_pixel`."""
    if not 0 < max_value * 255 < _DARK * max_pixel:
        return []
    text = f"values from 0 to {max_value:g}, of {max_pixel}"
    return [f"{text}: multiply them if {max_value:g} is their white"]
