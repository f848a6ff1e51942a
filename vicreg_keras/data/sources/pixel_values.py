"""Values of image files that are not 8 bits of red, green and blue."""

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
# The tag of a TIFF that says whether 0 is white.
_PHOTOMETRIC = 262


def scaled_pixels(values: np.ndarray, max_pixel: int) -> np.ndarray:
    """Scales values of more than 8 bits, or floats, to pixels.

    Args:
        values: Unsigned integers up to 65535, or floats.
        max_pixel: The value that becomes 255. That of integers is above 255; up to
            255 the file decides: 255 where it has none above, else 65535. That of
            floats is 1 or, where the file has larger ones and it is not 1, 255.

    Returns:
        uint8 of the same shape.

    Raises:
        ValueError: If values are negative, not finite, or above what is white.
    """
    max_value = checked_max(values)
    if values.dtype.kind == "f":
        white = 1 if max_value <= MAX_UNIT or max_pixel == 1 else 255
    elif max_pixel > 255:
        white = max_pixel
    else:
        white = 255 if max_value <= 255 else 65535
    if max_value > white * MAX_UNIT:
        raise ValueError(f"values up to {max_value:g}, {white} is white")
    return np.rint(np.minimum(values, white) * 255.0 / white).astype(np.uint8)


def composited(pixels: np.ndarray) -> np.ndarray:
    """Puts pixels on white: uint8 `(h, w, 4)`, the last one alpha, to `(h, w, 3)`."""
    alpha = pixels[..., 3:].astype(np.uint16)
    light = pixels[..., :3] * alpha + 255 * (255 - alpha)
    return ((light + 127) // 255).astype(np.uint8)


def from_cmyk(pixels: np.ndarray) -> np.ndarray:
    """Returns red, green and blue of inks, uint8 `(h, w, 4)`, as TensorFlow does."""
    light = 255 - pixels.astype(np.uint16)
    return (light[..., :3] * light[..., 3:] // 255).astype(np.uint8)


def is_deep(image: ImageFile.ImageFile) -> bool:
    """Returns whether values are of more than 8 bits, or floats."""
    if image.mode[0] in "IF":
        return True
    if image.format not in ("PNG", "TIFF"):
        return False
    # In a tile's arguments, Pillow says how it would unpack values.
    tile = image.tile[0][3]
    rawmode = tile if isinstance(tile, str) else tile and tile[0]
    return isinstance(rawmode, str) and ";16" in rawmode


def deep_values(image: ImageFile.ImageFile) -> np.ndarray:
    """Returns a file's values: `(h, w, 1)`, or with alpha `(h, w, 4)` of a PNG."""
    if image.format == "PNG":
        return decode_png(image, tf.uint16)
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
