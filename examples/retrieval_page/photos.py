"""Pixels of an uploaded photo, as an encoder was trained to see them.

Uploads are not to be trusted: a file's kind and size are known from its first bytes,
before anything is decoded.
"""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageOps

MAX_PIXELS = 2**26  # Of one photo: 8,192 x 8,192, in memory 256 MiB.


class BadPhoto(ValueError):
    """A file that is not searched for.

    Args:
        message: For the person who sent it.
        status: Of HTTP.
    """

    def __init__(self, message: str, status: int):
        super().__init__(message)
        self.status = status


def decode_photo(content: bytes, example_shape: Sequence[int]) -> np.ndarray:
    """Pixels of a JPEG or PNG file, as the datasets of vicreg_keras are read.

    The photo is turned as its EXIF orientation says, transparency shows white, the
    shorter side is resized and the longer one cropped about its center.

    Args:
        content: Of the file.
        example_shape: `(height, width, 3)` of the result.

    Returns:
        uint8 RGB of that shape, in [0, 255].

    Raises:
        BadPhoto: If it is another kind of file, cut off or broken, or has more than
            `MAX_PIXELS` pixels.
    """
    if not content:
        raise BadPhoto("Expected a photo. Received: an empty file.", 400)
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as image:
            _check_size(image.size)
        # Imported here: the server has loaded TensorFlow by now, without its notes.
        from vicreg_keras.data.sources.images import decode_image

        pixels = decode_image(io.BytesIO(content), "the photo")
    except BadPhoto:
        raise
    except Image.DecompressionBombError:
        raise BadPhoto(_too_many("far more"), 413) from None
    except Image.UnidentifiedImageError:
        message = "Expected a JPEG or PNG file. Received: another kind of file."
        raise BadPhoto(message, 415) from None
    # Whatever a decoder stumbles over in bytes that somebody made up.
    except Exception as error:
        cause = error.__cause__ or error
        reason = " ".join(str(cause).split()) or type(cause).__name__
        raise BadPhoto(
            f"Expected a whole JPEG or PNG file. Received: a broken one ({reason}).",
            400,
        ) from error
    height, width, _ = example_shape
    image = Image.fromarray(pixels)
    if image.size != (width, height):
        # Pillow widens the bilinear filter when it shrinks: that is the antialiasing.
        image = ImageOps.fit(image, (width, height), Image.Resampling.BILINEAR)
    return np.asarray(image)


def _check_size(size):
    width, height = size
    if width * height > MAX_PIXELS:
        raise BadPhoto(_too_many(f"{width} x {height}"), 413)


def _too_many(received):
    return (
        f"Expected a photo of at most {MAX_PIXELS:,} pixels. Received: {received}. "
        "Send a smaller copy."
    )
