"""Pixels: one file decoded, many at once, and arrays or files read by index."""

import concurrent.futures
import contextlib
import io
import os
import pathlib
import struct
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from PIL import Image, ImageOps


class FileExamples:
    """Image files that are decoded each time they are read, several at once.

    Args:
        paths: Files, JPEG or PNG.
        shape: `(height, width, 3)` of every decoded image.
        image_size: As in `load_dataset`.
    """

    def __init__(
        self,
        paths: Sequence[pathlib.Path],
        shape: tuple[int, int, int],
        image_size: int | None,
    ):
        self._paths = paths
        self._image_size = image_size
        self._pool = concurrent.futures.ThreadPoolExecutor(os.cpu_count())
        self.shape = shape
        self.dtype = np.dtype(np.uint8)

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Returns the decoded images at `indices`."""
        paths = [self._paths[i] for i in indices]
        images = np.empty((len(paths), *self.shape), np.uint8)
        decode_into(images, self._pool, paths, paths, self._image_size)
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
        image_size: As in `load_dataset`.

    Returns:
        uint8 RGB, `(height, width, 3)`, in `[0, 255]`.

    Raises:
        ValueError: If it cannot be read or decoded.
    """
    with image_errors(name), Image.open(file, formats=("JPEG", "PNG")) as image:
        if "exif" in image.info:  # Asking Pillow costs more than a small image.
            ImageOps.exif_transpose(image, in_place=True)
        if image.mode.startswith("I"):  # 16-bit gray, which `convert` would clip.
            image = Image.fromarray(np.rint(np.asarray(image) / 257).astype(np.uint8))
        if image.mode != "RGB":
            image = image.convert("RGB")
        return np.asarray(_fit(image, image_size))


def decode_into(
    images: np.ndarray,
    pool: concurrent.futures.ThreadPoolExecutor,
    files: Iterable[str | os.PathLike | io.BytesIO],
    names: Sequence[str | os.PathLike],
    image_size: int | None,
) -> None:
    """Decodes each file into its row of `images`, on all threads of the pool."""
    files = list(files)
    num_threads = min(os.cpu_count() or 1, len(files))

    def decode_every(start):  # One task a thread: a task an image would cost more.
        for row in range(start, len(files), num_threads):
            image = decode_image(files[row], names[row], image_size)
            if image.shape != images.shape[1:]:
                raise ValueError(
                    mixed_sizes_message(images.shape[1:], image.shape, names[row])
                )
            images[row] = image

    for _ in pool.map(decode_every, range(num_threads)):
        pass  # Raises what a thread raised.


def mixed_sizes_message(
    shape: Sequence[int], other: Sequence[int], name: str | os.PathLike
) -> str:
    """What is said when two images differ in size and no `image_size` is given."""
    return (
        f"Expected images of one size, {shape[0]}x{shape[1]} (height x width) as the "
        f"first. Received: {name} of {other[0]}x{other[1]}. Use --image_size."
    )


def as_rgb(images: np.ndarray) -> np.ndarray:
    """`(N, H, W)`, `(N, H, W, 1)` or `(N, H, W, 3)` to `(N, H, W, 3)`."""
    if images.ndim == 3:
        images = images[..., np.newaxis]
    if images.shape[-1] == 1:
        images = np.repeat(images, 3, axis=-1)
    return images


def resized(images: np.ndarray, image_size: int | None) -> np.ndarray:
    """`(N, H, W, 3)` brought to `image_size`, as in `load_dataset`."""
    if image_size is None or images.shape[1:3] == (image_size, image_size):
        return images
    resized = np.empty((len(images), image_size, image_size, 3), np.uint8)
    for row, image in enumerate(images):
        resized[row] = np.asarray(_fit(Image.fromarray(image), image_size))
    return resized


@contextlib.contextmanager
def image_errors(name: str | os.PathLike) -> Iterator[None]:
    """Turns whatever Pillow raises for a bad file into one line that names it."""
    try:
        yield
    except Image.UnidentifiedImageError:
        raise ValueError(_bad_image(name, "not a JPEG or PNG file")) from None
    except Image.DecompressionBombError:
        raise ValueError(_bad_image(name, "too many pixels")) from None
    # Broken PNG chunks surface as SyntaxError, broken EXIF as the last two.
    except (
        OSError,
        SyntaxError,
        ValueError,
        ArithmeticError,
        EOFError,
        struct.error,
        TypeError,
    ) as error:
        raise ValueError(_bad_image(name, error)) from None


def _fit(image: Image.Image, image_size: int | None) -> Image.Image:
    if image_size is None or image.size == (image_size, image_size):
        return image
    # Pillow widens the bilinear filter when it shrinks: that is the antialiasing.
    size = (image_size, image_size)
    return ImageOps.fit(image, size, method=Image.Resampling.BILINEAR)


def _bad_image(name: str | os.PathLike, reason: object) -> str:
    reason = " ".join(str(reason).split())
    return (
        "Expected a readable JPEG or PNG image. "
        f"Received: {name} ({reason}). Replace or remove this file."
    )
