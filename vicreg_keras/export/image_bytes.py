"""Decoding of image files to an encoder's pixels, in the graph of a SavedModel.

As datasets are read: turned by EXIF orientation, put on white where transparent, scaled
from 16 bits, cropped about the center to the shape's ratio, then resized by a bilinear
filter with antialiasing. WebP and TIFF are not decoded: TensorFlow has no TIFF, and a
SavedModel with its operation for WebP could not be loaded by earlier releases.
"""

from collections.abc import Sequence

import tensorflow as tf

from vicreg_keras.export import image_headers as headers

MAX_PIXELS = 2**26  # Of one image, before it is resized: 8,192 x 8,192.

_PARALLEL_ITERATIONS = 4  # Images decoded at a time, which bounds the memory.
_STARTS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM")


def decode_images(
    image_bytes: tf.Tensor, example_shape: Sequence[int], *, max_pixel: int = 65535
) -> tf.Tensor:
    """Returns pixels of JPEG, PNG, GIF and BMP files of any size.

    The size is read from a file's header, and checked, before the file is decoded.

    Args:
        image_bytes: `(batch,)` strings.
        example_shape: `(height, width, 3)` of the result.
        max_pixel: See `data.sources.base.Source`, of the encoder.

    Returns:
        uint8 tensor `(batch, height, width, 3)` in [0, 255].

    Raises:
        tf.errors.InvalidArgumentError: If one is no such file, is cut off, or has more
            than `MAX_PIXELS` pixels; or if it is a kind of BMP or GIF that TensorFlow
            would decode to other pixels.
    """
    return tf.map_fn(
        lambda content: _decode(content, example_shape, max_pixel),
        image_bytes,
        fn_output_signature=tf.TensorSpec(tuple(example_shape), tf.uint8),
        parallel_iterations=_PARALLEL_ITERATIONS,
    )


def _decode(content, example_shape, max_pixel):
    """One file's content, a string, to uint8 pixels of `example_shape`."""
    kinds = [tf.strings.substr(content, 0, len(start)) == start for start in _STARTS]
    expected = "a JPEG, PNG, GIF or BMP file"
    content = _checked(content, tf.reduce_any(kinds), expected)
    kind = tf.argmax(tf.stack(kinds), output_type=tf.int32)
    sizes = (headers.jpeg_size, headers.png_size, headers.gif_size, headers.bmp_size)
    size = tf.switch_case(kind, [lambda read=read: read(content) for read in sizes])
    few = tf.reduce_all(size > 0) & (tf.reduce_prod(size) <= MAX_PIXELS)
    content = _checked(content, few, f"an image of 1 to {MAX_PIXELS} pixels")
    decoders = (_jpeg, lambda content: _png(content, max_pixel), _gif, _bmp)
    image = tf.switch_case(
        kind, [lambda decode=decode: decode(content) for decode in decoders]
    )
    return _fit(image, example_shape)


def _checked(content, condition, what):
    """Returns a file's content or values, once a condition has been checked."""
    message = f"Expected image_bytes to hold {what}. Received: another. Check the file."
    with tf.control_dependencies([tf.debugging.Assert(condition, [message])]):
        return tf.identity(content)


def _jpeg(content):
    image = tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE")
    return _turned(image, headers.jpeg_exif(content))


def _png(content, max_pixel):
    has_transparency, exif = headers.png_chunks(content)
    bits, color = (headers.number_at(content, at, 1) for at in (24, 25))
    # Only of a file that has alpha; for some others TensorFlow would make it up.
    has_alpha = has_transparency | (color == 4) | (color == 6)

    def opaque():
        return tf.io.decode_png(content, channels=3)

    def transparent():
        return _composited(tf.io.decode_png(content, channels=4))

    def deep():
        values = tf.io.decode_png(content, channels=4, dtype=tf.uint16)
        pixels = _scaled(values[..., :3], max_pixel)
        return _composited(tf.concat([pixels, _scaled(values[..., 3:], 65535)], -1))

    kind = tf.where(bits == 16, 2, tf.cast(has_alpha, tf.int32))
    return _turned(tf.switch_case(kind, [opaque, transparent, deep]), exif)


def _gif(content):
    content, fills = headers.opaque_gif(content)
    content = _checked(content, fills, "a GIF whose first frame fills the image")
    return tf.io.decode_image(content, channels=3, expand_animations=False)


def _bmp(content):
    # Of palettes TensorFlow would return the indices.
    bits = headers.number_at(content, 28, 2)
    is_plain = (headers.number_at(content, 14, 4) >= 40) & ((bits == 24) | (bits == 32))
    is_plain &= headers.number_at(content, 30, 4) == 0
    content = _checked(content, is_plain, "a BMP of 24 or 32 bits, not compressed")
    return tf.io.decode_bmp(content)[..., :3]


def _scaled(values, max_pixel):
    """As `pixel_values.find_white` and `scaled_pixels` of `data.sources`."""
    values = tf.cast(values, tf.float64)
    high = tf.reduce_max(values)
    white = tf.constant(max(max_pixel, 255), tf.float64)
    is_known = high <= white
    if max_pixel <= 255:
        white = tf.where(is_known, white, 65535)
        is_known |= high > 16383  # Of 10, 12 or 14 bits, or dark: it can't be told.
    known = f"values up to {max(max_pixel, 255)}"
    expected = f"{known}, as those that the encoder was trained on"
    values = _checked(values, is_known, expected)
    scaled = tf.round(tf.minimum(values, white) * 255 / white)
    return tf.cast(scaled, tf.uint8)


def _composited(pixels):
    """As `data.sources.pixel_values.composited`."""
    pixels = tf.cast(pixels, tf.int32)
    alpha = pixels[..., 3:]
    light = pixels[..., :3] * alpha + 255 * (255 - alpha)
    return tf.cast((light + 127) // 255, tf.uint8)


def _turned(image, exif):
    """An image, turned by the orientation in EXIF data."""
    ways = [  # Of orientations 1 to 8: axes that are reversed, then whether transposed.
        *(((), False), ((1,), False), ((0, 1), False), ((0,), False)),
        *(((), True), ((0,), True), ((0, 1), True), ((1,), True)),
    ]

    def turn(axes, is_transposed):
        turned = tf.reverse(image, axes) if axes else image
        return tf.transpose(turned, (1, 0, 2)) if is_transposed else turned

    orientation = tf.cond(
        exif == b"",
        lambda: tf.constant(1, tf.int64),
        lambda: headers.exif_orientation(exif),
    )
    branches = [lambda way=way: turn(*way) for way in ways]
    return tf.switch_case(tf.cast(orientation - 1, tf.int32), branches)


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
