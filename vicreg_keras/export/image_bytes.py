"""Decoding of JPEG and PNG files to an encoder's pixels, in the graph of a SavedModel.

As datasets are read: cropped about the center to the shape's ratio, then resized by a
bilinear filter with antialiasing. Differs from there: a JPEG is not rotated by its EXIF
orientation.
"""

from collections.abc import Sequence

import tensorflow as tf

MAX_PIXELS = 2**26  # Of one image, before it is resized: 8,192 x 8,192.

_PARALLEL_ITERATIONS = 4  # Images decoded at a time, which bounds the memory.
_PNG_START = b"\x89PNG\r\n\x1a\n"
_JPEG_START = b"\xff\xd8\xff"
_PNG_SIZE_AT, _PNG_SIZE_BYTES = 16, 8


def decode_images(image_bytes: tf.Tensor, example_shape: Sequence[int]) -> tf.Tensor:
    """Returns pixels of JPEG and PNG files of any size.

    The size is read from a file's header, and checked, before the file is decoded.

    Args:
        image_bytes: `(batch,)` strings.
        example_shape: `(height, width, 3)` of the result.

    Returns:
        uint8 tensor `(batch, height, width, 3)` in [0, 255].

    Raises:
        tf.errors.InvalidArgumentError: If one is no JPEG or PNG file, is cut off, or
            has more than `MAX_PIXELS` pixels.
    """
    return tf.map_fn(
        lambda content: _decode(content, example_shape),
        image_bytes,
        fn_output_signature=tf.TensorSpec(tuple(example_shape), tf.uint8),
        parallel_iterations=_PARALLEL_ITERATIONS,
    )


def _decode(content, example_shape):
    """One file's content, a string, to uint8 pixels of `example_shape`."""
    start = tf.strings.substr(content, 0, len(_PNG_START))
    is_png = start == _PNG_START
    is_jpeg = tf.strings.substr(content, 0, len(_JPEG_START)) == _JPEG_START
    with tf.control_dependencies([_expect(is_png | is_jpeg, "a JPEG or PNG file")]):
        content = tf.identity(content)
    size = tf.cond(is_png, lambda: _png_size(content), lambda: _jpeg_size(content))
    few = tf.reduce_all(size > 0) & (tf.reduce_prod(size) <= MAX_PIXELS)
    expected = f"an image of 1 to {MAX_PIXELS} pixels"
    with tf.control_dependencies([_expect(few, expected)]):
        content = tf.identity(content)
    image = tf.cond(
        is_png,
        lambda: tf.io.decode_png(content, channels=3),
        lambda: tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE"),
    )
    return _fit(image, example_shape)


def _expect(condition, what):
    message = f"Expected image_bytes to hold {what}. Received: another. Check the file."
    return tf.debugging.Assert(condition, [message])


def _png_size(content):
    """Height and width, int64, as the header says; zeros where it is cut off."""
    padded = tf.strings.join([content, b"\0" * (_PNG_SIZE_AT + _PNG_SIZE_BYTES)])
    piece = tf.strings.substr(padded, _PNG_SIZE_AT, _PNG_SIZE_BYTES)
    width_height = tf.io.decode_raw(piece, tf.int32, little_endian=False)
    return tf.cast(width_height[::-1], tf.int64)


def _jpeg_size(content):
    """Height and width, int64, as the header says."""
    return tf.io.extract_jpeg_shape(content, tf.int64)[:2]


def _fit(image, example_shape):
    """Crops `(h, w, 3)` about the center and resizes it, as Pillow's `ImageOps.fit`."""
    target = tf.constant(example_shape[:2], tf.float32)
    size = tf.cast(tf.shape(image)[:2], tf.float32)
    scale = tf.reduce_max(target / size)
    offset = (target - size * scale) / 2
    resized = tf.raw_ops.ScaleAndTranslate(
        images=image[tf.newaxis],
        size=example_shape[:2],
        scale=tf.stack([scale, scale]),
        translation=offset,
        kernel_type="triangle",
        antialias=True,
    )[0]
    pixels = tf.cast(tf.clip_by_value(tf.round(resized), 0, 255), tf.uint8)
    return tf.ensure_shape(pixels, tuple(example_shape))
