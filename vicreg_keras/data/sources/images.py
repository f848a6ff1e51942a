"""Decoding of image files of any kind to uint8 RGB pixels."""

import concurrent.futures
import io
import os
import warnings
from collections.abc import MutableMapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from PIL import Image, ImageFile, ImageOps

from vicreg_keras.data.sources.orientation import TURNS, orientation, upright_size
from vicreg_keras.data.sources.pixel_values import (
    White,
    checked_max,
    composited,
    decode_png,
    deep_values,
    from_cmyk,
    has_fractions,
    scaled_pixels,
    value_kind,
)
from vicreg_keras.errors import InputError, file_errors

SUFFIXES = (
    *(".jpg", ".jpeg", ".jfif", ".jpe", ".png", ".webp"),
    *(".bmp", ".gif", ".tif", ".tiff"),
)
# Tried in this order, whatever a file's name is.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
KINDS = "JPEG, PNG, WebP, BMP, GIF or TIFF"
# What is expected of an image file, and what to do about another.
_IMAGE = (f"a readable {KINDS} image", "Replace or remove this file")
# Images that are decoded at a time where all are wanted.
CHUNK = 512
ImageSize = int | tuple[int, int] | None
POOL = concurrent.futures.ThreadPoolExecutor(os.cpu_count())


class Header(NamedTuple):
    """What is known of an image file before it is decoded.

    Attributes:
        height: In pixels, after EXIF orientation.
        width: Likewise.
        kind: Of its values: `DEEP`, `FLOATS`, or `""` for 8 bits.
        has_more: Whether further frames or pages follow the one that is read.
    """

    height: int
    width: int
    kind: str
    has_more: bool


def read_header(path: str | os.PathLike) -> Header:
    """Reads what an image file says about itself; raises whatever Pillow raises."""
    with _open(path) as image:
        width, height = upright_size(image)
        has_more = image.format != "PNG" and getattr(image, "is_animated", False)
        return Header(height, width, value_kind(image), has_more)


def decode_image(
    file: str | os.PathLike | io.BytesIO,
    name: str | os.PathLike,
    image_size: ImageSize = None,
    white: White | None = None,
) -> np.ndarray:
    """Decodes one image file, the first frame or page of it.

    Turned by its EXIF orientation; transparency shows white.

    Args:
        file: A path, or a file object with the encoded bytes.
        name: What to call it in a message.
        image_size: See `load_dataset`; or height and width.
        white: See `scaled_pixels`.

    Returns:
        uint8 RGB, `(height, width, 3)`, in `[0, 255]`.

    Raises:
        InputError: If it cannot be read or decoded.
    """
    with file_errors(name, *_IMAGE), _open(file) as image:
        rgb = _as_rgb(image, white)
        turn = TURNS.get(orientation(image))
        return np.asarray(
            _fit(rgb if turn is None else rgb.transpose(turn), image_size)
        )


def decode_images(
    files: Sequence[str | os.PathLike | io.BytesIO],
    names: Sequence[str | os.PathLike],
    image_shape: Sequence[int],
    image_size: ImageSize,
    white: White | None = None,
    errors: MutableMapping[int, Exception] | None = None,
) -> np.ndarray:
    """Decodes files on all cores.

    Args:
        files: Paths, or file objects with the encoded bytes.
        names: What to call each in a message.
        image_shape: `(height, width, 3)` of every decoded image.
        image_size: See `decode_image`.
        white: See `scaled_pixels`.
        errors: Filled with what is wrong with a file, by its position, instead of
            raising it; its pixels are arbitrary.

    Returns:
        uint8 `(num_files, height, width, 3)`.

    Raises:
        InputError: If a file cannot be decoded, or has another size.
    """
    ignore_pillow_warnings()
    images = np.empty((len(files), *image_shape), np.uint8)
    num_threads = os.cpu_count() or 1

    def decode_every(start):  # One task per thread: one per image would cost more.
        for i in range(start, len(files), num_threads):
            try:
                image = decode_image(files[i], names[i], image_size, white)
                check_same_size(image_shape, image.shape, names[i])
                images[i] = image
            except InputError as error:
                if errors is None:
                    raise
                errors[i] = error

    list(POOL.map(decode_every, range(num_threads)))  # Raises what a thread raised.
    return images


def ignore_pillow_warnings() -> None:
    """Silences Pillow about what it reads all the same; it would not name the file.

    Unlike `warnings.catch_warnings`, which is not safe where several threads decode, a
    filter stays; the end of another's context takes it back, so that it is set anew.
    """
    for category in (UserWarning, Image.DecompressionBombWarning):
        warnings.filterwarnings("ignore", category=category, module=r"PIL\.")


def check_same_size(
    shape: Sequence[int], other: Sequence[int], name: str | os.PathLike
) -> None:
    """Checks that an image has the height and width of the others.

    Args:
        shape: `(height, width, 3)` of the others.
        other: `(height, width, 3)` of the image.
        name: What to call the image in a message.

    Raises:
        InputError: If it has not.
    """
    if tuple(other) != tuple(shape):
        raise InputError(
            f"Expected images of one size, {shape[0]}x{shape[1]} (height x width). "
            f"Received: {name} of {other[0]}x{other[1]}. Use image_size."
        )


def deep_range(path: str | os.PathLike) -> tuple[float, bool]:
    """Reads the values of an image that are not of 8 bits.

    Returns:
        The largest, and whether there are fractions.

    Raises:
        InputError: If it can't be decoded.
    """
    with file_errors(path, *_IMAGE), _open(path) as image:
        values = deep_values(image)[..., :3]
        return checked_max(values), has_fractions(values)


def as_rgb(images: np.ndarray) -> np.ndarray:
    """Repeats gray images over three channels.

    Args:
        images: `(N, H, W)`, `(N, H, W, 1)` or `(N, H, W, 3)`.

    Returns:
        `(N, H, W, 3)`.
    """
    images = images.reshape(*images.shape[:3], -1)
    return np.ascontiguousarray(np.broadcast_to(images, (*images.shape[:3], 3)))


def resized(images: np.ndarray, image_size: ImageSize) -> np.ndarray:
    """Resizes images `(N, H, W, 3)` to `image_size`, see `load_dataset`."""
    if image_size is None or images.shape[1:3] == height_and_width(image_size):
        return images
    return np.stack(
        [np.asarray(_fit(Image.fromarray(image), image_size)) for image in images]
    )


def height_and_width(image_size: int | tuple[int, int]) -> tuple[int, int]:
    """Returns both of a size that may be one number."""
    return (image_size, image_size) if isinstance(image_size, int) else image_size


def _open(file: str | os.PathLike | io.BytesIO) -> ImageFile.ImageFile:
    image = Image.open(file, formats=_FORMATS)
    # With a name, Pillow maps some files into memory, and scrambles a TIFF that it
    # turns by its orientation.
    image.filename = ""
    return image


def _as_rgb(image: ImageFile.ImageFile, white: White | None) -> Image.Image:
    """An image of mode RGB, not turned yet."""
    if value_kind(image):
        values = deep_values(image)
        pixels = scaled_pixels(values[..., :3], white)
        if values.shape[-1] == 4:
            alpha = scaled_pixels(values[..., 3:], White(65535))
            pixels = composited(np.concatenate([pixels, alpha], axis=-1))
        return Image.fromarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))
    is_transparent = image.mode in ("RGBA", "LA", "PA", "RGBa", "La")
    if not is_transparent and "transparency" not in image.info:
        image.load()
        if image.mode == "CMYK":
            inks = np.asarray(image)
            # Pillow takes all JPEG files for Adobe's, whose inks are inverted.
            if image.format == "JPEG" and "adobe" not in image.info:
                inks = 255 - inks
            return Image.fromarray(from_cmyk(inks))
        return image if image.mode == "RGB" else image.convert("RGB")
    if image.format == "PNG" and image.mode in ("1", "L"):
        pixels = decode_png(image, tf.uint8)
    else:
        pixels = np.asarray(image.convert("RGBA"))
    return Image.fromarray(composited(pixels))


def _fit(image: Image.Image, image_size: ImageSize) -> Image.Image:
    if image_size is None or image.size == (size := height_and_width(image_size)[::-1]):
        return image
    # Pillow widens the bilinear filter when it shrinks: that is the antialiasing.
    return ImageOps.fit(image, size, method=Image.Resampling.BILINEAR)
