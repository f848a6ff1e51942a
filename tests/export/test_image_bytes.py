"""Bytes in, pixels out: as the datasets are read, and nothing else gets through."""

import io
import resource
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from vicreg_keras.data.sources.images import decode_image
from vicreg_keras.export import image_bytes
from vicreg_keras.export.image_bytes import decode_images
from vicreg_keras.export.savedmodel import export_savedmodel

SIDE = 8
RANDOM = np.random.default_rng(0)


def photo(height, width):
    """Smooth colors with some noise, as photographs have."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    waves = [np.sin(9 * x + k) * np.cos(7 * y - k) for k in range(3)]
    pixels = 128 + 90 * np.stack(waves, -1) + RANDOM.normal(0, 12, (height, width, 3))
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def encoded(pixels, kind="PNG", **options):
    file = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(file, kind, **options)
    return file.getvalue()


def png_of_size(width, height):
    """A PNG whose header promises more than there is."""

    def chunk(name, data):
        body = name + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 999))
    return b"\x89PNG\r\n\x1a\n" + content + chunk(b"IEND", b"")


@pytest.fixture(scope="module")
def decode():
    """`decode_images` in a graph, as a signature has it."""

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string)])
    def function(content):
        return decode_images(content, (SIDE, SIDE, 3))

    return lambda *files: function(tf.constant(list(files))).numpy()


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("size", [(8, 8), (90, 60), (61, 127), (5, 3), (1, 1), (8, 40)])
def test_decodes_as_the_data_sets_do(kind, size, decode):
    content = encoded(photo(*size), kind)
    expected = decode_image(io.BytesIO(content), "photo", SIDE)
    received = decode(content)[0]
    # Pillow rounds between its two passes; and JPEG decoders may round otherwise.
    difference = np.abs(received.astype(int) - expected)
    assert difference.max() <= (1 if kind == "PNG" else 2)
    if size == (SIDE, SIDE) and kind == "PNG":
        assert difference.max() == 0


def test_other_kinds_of_pixels(decode):
    gray = Image.fromarray(photo(20, 20)).convert("L")
    files = {
        "gray": encoded(gray),
        "gray JPEG": encoded(gray, "JPEG"),
        "palette": encoded(Image.fromarray(photo(20, 20)).convert("P")),
        "transparent": encoded(Image.fromarray(photo(20, 20)).convert("RGBA")),
        "16 bits": encoded(
            Image.fromarray((RANDOM.random((20, 20)) * 65535).astype("uint16"))
        ),
        "progressive": encoded(photo(20, 20), "JPEG", progressive=True),
    }
    received = decode(*files.values())
    for (name, content), pixels in zip(files.items(), received, strict=True):
        expected = decode_image(io.BytesIO(content), name, SIDE)
        assert np.abs(pixels.astype(int) - expected).max() <= 2, name


def test_a_shape_that_is_not_square():
    pixels = photo(40, 90)
    function = tf.function(lambda content: decode_images(content, (10, 20, 3)))
    received = function(tf.constant([encoded(pixels)]))
    bilinear = Image.Resampling.BILINEAR
    expected = ImageOps.fit(Image.fromarray(pixels), (20, 10), method=bilinear)
    assert np.abs(received[0].numpy().astype(int) - np.asarray(expected)).max() <= 1


def malformed():
    """Two hundred files that are none: name and content."""
    jpeg, png = encoded(photo(40, 40), "JPEG"), encoded(photo(40, 40))
    yield "nothing", b""
    yield "text", b"Dear server, please find attached my photo."
    yield "zeros", b"\0" * 1000
    yield "WebP", encoded(photo(9, 9), "WEBP")
    yield "TIFF", encoded(photo(9, 9), "TIFF")
    yield "BMP of gray", encoded(Image.fromarray(photo(9, 9)).convert("L"), "BMP")
    yield "GIF, a half", encoded(photo(40, 40), "GIF")[:900]
    yield "BMP, a half", encoded(photo(40, 40), "BMP")[:900]
    for side in (8193, 30_000, 2**31 - 1, 2**31, 2**32 - 1):
        yield f"PNG of {side}", png_of_size(side, side)
        yield f"PNG of {side} x 1", png_of_size(2**30, side)
    yield "PNG of 0", png_of_size(0, 5)
    huge = bytearray(encoded(photo(8, 8), "JPEG"))
    size_at = huge.index(b"\xff\xc0") + 5
    huge[size_at : size_at + 4] = struct.pack(">HH", 65_000, 65_000)
    yield "JPEG of 65,000", bytes(huge)
    for part in np.linspace(0.002, 0.93, 60):
        yield f"JPEG, {part:.1%}", jpeg[: int(part * len(jpeg))]
        yield f"PNG, {part:.1%}", png[: int(part * len(png))]
    for number in range(62):
        yield f"noise {number}", RANDOM.bytes(int(RANDOM.integers(1, 3000)))


def memory():
    """Most memory that this process has had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def test_what_is_no_image_is_an_error_and_hurts_nothing_else(encoder, tmp_path):
    version = export_savedmodel(encoder, tmp_path, (SIDE, SIDE, 3))
    loaded = tf.saved_model.load(str(version))
    serve = loaded.signatures["serving_bytes"]
    good = tf.constant([encoded(photo(50, 70)), encoded(photo(8, 8), "JPEG")])
    expected = serve(image_bytes=good)["representation"].numpy()
    before = memory()
    files = list(malformed())
    assert len(files) >= 198 and len({content for _, content in files}) > 190
    for name, content in files:
        with pytest.raises(tf.errors.InvalidArgumentError) as error:
            serve(image_bytes=tf.constant([content]))
        assert len(str(error.value)) < 2000, name
        # Also beside one that is good; and the next request is right.
        with pytest.raises(tf.errors.InvalidArgumentError):
            serve(image_bytes=tf.concat([good[:1], [content]], 0))
        received = serve(image_bytes=good)["representation"].numpy()
        np.testing.assert_array_equal(received, expected, name)
    for wrong in (tf.constant([], tf.string), tf.constant([1.0]), tf.constant("a")):
        with pytest.raises((tf.errors.InvalidArgumentError, TypeError, ValueError)):
            serve(image_bytes=wrong)
    empty = tf.zeros((0, SIDE, SIDE, 3), tf.uint8)
    with pytest.raises(tf.errors.InvalidArgumentError, match="Received: an empty one"):
        loaded.signatures["serving_default"](image=empty)
    for wrong in (tf.zeros((1, SIDE, SIDE, 3)), tf.zeros((1, 9, 9, 3), tf.uint8)):
        with pytest.raises((tf.errors.InvalidArgumentError, TypeError, ValueError)):
            loaded.signatures["serving_default"](image=wrong)
    np.testing.assert_array_equal(serve(image_bytes=good)["representation"], expected)
    assert memory() - before < 300


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"hello", "Expected image_bytes to hold a JPEG, PNG, GIF or BMP file"),
        (png_of_size(30_000, 30_000), "hold an image of 1 to 67108864 pixels"),
    ],
)
def test_an_error_says_what_was_expected(content, expected, decode):
    with pytest.raises(tf.errors.InvalidArgumentError, match=expected):
        decode(content)


def test_the_limit_is_on_pixels(decode, monkeypatch):
    monkeypatch.setattr(image_bytes, "MAX_PIXELS", 600)

    @tf.function
    def function(content):
        return decode_images(content, (SIDE, SIDE, 3))

    def limited(content):
        return function(tf.constant([content]))

    assert limited(encoded(photo(20, 30))).shape == (1, SIDE, SIDE, 3)
    with pytest.raises(tf.errors.InvalidArgumentError, match="1 to 600 pixels"):
        limited(encoded(photo(20, 31), "JPEG"))
