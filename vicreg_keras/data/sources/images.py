"""Decoding of JPEG and PNG files, one or many at once, into uint8 RGB."""

import concurrent.futures
import io
import os
import pathlib
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageOps

from vicreg_keras.data.sources.base import progress_bar
from vicreg_keras.errors import InputError, file_errors

# What is expected of an image file, and what to do about another.
IMAGE = ("a readable JPEG or PNG image", "Replace or remove this file")
# Images that are decoded at a time where all are wanted.
CHUNK = 512
_POOL = concurrent.futures.ThreadPoolExecutor(os.cpu_count())


class FileExamples:
    """Image files, indexed like an array and decoded each time they are read.

    Args:
        paths: JPEG or PNG files.
        image_shape: `(height, width, 3)` of every decoded image.
        image_size: See `load_dataset`.
    """

    def __init__(
        self,
        paths: Sequence[pathlib.Path],
        image_shape: Sequence[int],
        image_size: int | None,
    ):
        self._paths = paths
        self._image_size = image_size
        self.shape = (len(paths), *image_shape)
        self.dtype = np.dtype(np.uint8)

    def __getitem__(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Returns the decoded images at `indices`."""
        paths = [self._paths[i] for i in indices]
        return decode_images(paths, paths, self.shape[1:], self._image_size)

    def read_all(self, description: str) -> np.ndarray:
        """Returns all images; a progress bar has the description."""
        images = np.empty(self.shape, self.dtype)
        with progress_bar(description, " images", len(images)) as progress:
            for start in range(0, len(images), CHUNK):
                end = min(start + CHUNK, len(images))
                images[start:end] = self[range(start, end)]
                progress.update(end - start)
        return images


def decode_image(
    file: str | os.PathLike | io.BytesIO,
    name: str | os.PathLike,
    image_size: int | None = None,
) -> np.ndarray:
    """Decodes one JPEG or PNG file.

    Args:
        file: A path, or a file object with the encoded bytes.
        name: What to call it in a message.
        image_size: See `load_dataset`.

    Returns:
        uint8 RGB, `(height, width, 3)`, in `[0, 255]`.

    Raises:
        InputError: If it cannot be read or decoded.
    """
    with file_errors(name, *IMAGE), Image.open(file, formats=("JPEG", "PNG")) as opened:
        image: Image.Image = opened
        if "exif" in image.info:  # Asking Pillow costs more than a small image.
            ImageOps.exif_transpose(image, in_place=True)
        if image.mode.startswith("I"):  # 16-bit gray, which `convert` would clip.
            image = Image.fromarray(np.rint(np.asarray(image) / 257).astype(np.uint8))
        if image.mode != "RGB":
            image = image.convert("RGB")
        return np.asarray(_fit(image, image_size))


def decode_images(
    files: Sequence[str | os.PathLike | io.BytesIO],
    names: Sequence[str | os.PathLike],
    image_shape: Sequence[int],
    image_size: int | None,
) -> np.ndarray:
    """Decodes files on all cores.

    Args:
        files: Paths, or file objects with the encoded bytes.
        names: What to call each in a message.
        image_shape: `(height, width, 3)` of every decoded image.
        image_size: See `load_dataset`.

    Returns:
        uint8 `(num_files, height, width, 3)`.

    Raises:
        InputError: If a file cannot be decoded, or has another size.
    """
    images = np.empty((len(files), *image_shape), np.uint8)
    num_threads = os.cpu_count() or 1

    def decode_every(start):  # One task per thread: one per image would cost more.
        for i in range(start, len(files), num_threads):
            image = decode_image(files[i], names[i], image_size)
            check_same_size(image_shape, image.shape, names[i])
            images[i] = image

    list(_POOL.map(decode_every, range(num_threads)))  # Raises what a thread raised.
    return images


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
            f"Expected images of one size, {shape[0]}x{shape[1]} (height x width) as "
            f"the first. Received: {name} of {other[0]}x{other[1]}. Use image_size."
        )


def as_rgb(images: np.ndarray) -> np.ndarray:
    """Repeats gray images over three channels.

    Args:
        images: `(N, H, W)`, `(N, H, W, 1)` or `(N, H, W, 3)`.

    Returns:
        `(N, H, W, 3)`.
    """
    images = images.reshape(*images.shape[:3], -1)
    return np.ascontiguousarray(np.broadcast_to(images, (*images.shape[:3], 3)))


def resized(images: np.ndarray, image_size: int | None) -> np.ndarray:
    """Resizes images `(N, H, W, 3)` to `image_size`, see `load_dataset`."""
    if image_size is None or images.shape[1:3] == (image_size, image_size):
        return images
    return np.stack(
        [np.asarray(_fit(Image.fromarray(image), image_size)) for image in images]
    )


def _fit(image: Image.Image, image_size: int | None) -> Image.Image:
    if image_size is None or image.size == (image_size, image_size):
        return image
    # Pillow widens the bilinear filter when it shrinks: that is the antialiasing.
    size = (image_size, image_size)
    return ImageOps.fit(image, size, method=Image.Resampling.BILINEAR)
