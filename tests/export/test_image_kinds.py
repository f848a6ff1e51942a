"""Every kind of image file: the graph and the datasets decode the same pixels."""

import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from vicreg_keras.data.sources.images import decode_image
from vicreg_keras.data.sources.orientation import exif_orientation
from vicreg_keras.data.sources.pixel_values import White
from vicreg_keras.errors import InputError
from vicreg_keras.export import image_headers as headers
from vicreg_keras.export.image_bytes import decode_images

HEIGHT, WIDTH = 12, 17
RANDOM = np.random.default_rng(0)
VALUES = RANDOM.integers(0, 65536, (HEIGHT, WIDTH, 4)).astype(np.uint16)
PIXELS = (VALUES >> 8).astype(np.uint8)
RGB = Image.fromarray(PIXELS[..., :3])
GRAY = RGB.convert("L")
ORIENTATION = 0x0112


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def chunk(name, data):
    body = name + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def png(values, bits, color, before=b"", after=b""):
    """A PNG of rows as they are stored."""
    start = struct.pack(">IIBBBBB", WIDTH, HEIGHT, bits, color, 0, 0, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    pixels = chunk(b"IDAT", zlib.compress(rows))
    parts = (chunk(b"IHDR", start), before, pixels, after, chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def exif(orientation, order):
    """EXIF data with another tag before the orientation."""
    head = {"<": b"II*\0", ">": b"MM\0*"}[order]
    maker = struct.pack(f"{order}HHI4s", 0x010F, 2, 4, b"abc\0")
    turn = struct.pack(f"{order}HHIHH", ORIENTATION, 3, 1, orientation, 0)
    content = struct.pack(f"{order}IH", 8, 2) + maker + turn + bytes(4)
    return b"Exif\0\0" + head + content


def files():
    """Name and content of every kind that both decode."""
    for kind in ("PNG", "JPEG", "BMP"):
        yield kind, encoded(RGB, kind)
    yield "progressive", encoded(RGB, "JPEG", progressive=True, subsampling=0)
    yield "gray JPEG", encoded(GRAY, "JPEG")
    inks = encoded(Image.fromarray(PIXELS, "CMYK"), "JPEG")
    yield "CMYK", inks
    yield "CMYK, not Adobe's", inks.replace(b"Adobe", b"Other")
    yield "BMP with alpha", encoded(Image.fromarray(PIXELS), "BMP")
    yield "1 bit", encoded(RGB.convert("1"), "PNG")
    yield "RGBA", encoded(Image.fromarray(PIXELS), "PNG")
    yield "LA", encoded(Image.fromarray(PIXELS[..., 2:]), "PNG")
    for colors in (2, 4, 16, 200):
        palette = RGB.quantize(colors)
        yield f"palette of {colors}", encoded(palette, "PNG")
        transparency = bytes([7, 130])
        yield f"{colors} and alpha", encoded(palette, "PNG", transparency=transparency)
        yield f"GIF of {colors}", encoded(palette, "GIF")
        yield f"GIF of {colors} and none", encoded(palette, "GIF", transparency=1)
    more = [RGB.quantize(8).rotate(180)]
    moving = {"save_all": True, "append_images": more, "comment": b"two frames"}
    yield "animated", encoded(RGB.quantize(16), "GIF", transparency=3, **moving)
    yield "gray and none", encoded(GRAY, "PNG", transparency=GRAY.getpixel((3, 3)))
    yield "RGB and none", encoded(RGB, "PNG", transparency=RGB.getpixel((3, 3)))
    nibbles = PIXELS[:, :9, 0]
    transparent = chunk(b"tRNS", struct.pack(">H", int(nibbles[0, 0]) >> 4))
    yield "4 bits", png(nibbles, 4, 0)
    yield "4 bits and none", png(nibbles, 4, 0, transparent)


def deep_files():
    """Name and content of PNGs of 16 bits."""
    for name, values in (("16", VALUES), ("12", VALUES >> 4), ("8", VALUES >> 8)):
        values = values.astype(">u2")
        for color, channels in ((0, 1), (2, 3), (4, 2), (6, 4)):
            yield f"{name}, {channels}", png(values[..., :channels], 16, color)
    values = VALUES.astype(">u2")
    yield "none", png(values[..., 0], 16, 0, chunk(b"tRNS", values[3, 3, :1].tobytes()))


def turned_files():
    """Name, content and orientation of turned images, also with a late EXIF chunk."""
    for orientation in range(1, 9):
        image = RGB if orientation < 5 else RGB.transpose(Image.Transpose.TRANSPOSE)
        for order in "<>":
            data, name = exif(orientation, order), f"{orientation} {order}"
            yield f"JPEG {name}", encoded(image, "JPEG", exif=data), orientation
            yield f"PNG {name}", encoded(image, "PNG", exif=data), orientation
            late = encoded(image, "PNG")
            late = late[:-12] + chunk(b"eXIf", data[6:]) + late[-12:]
            yield f"late {name}", late, orientation


def decoder(max_pixel):
    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string)])
    def decode(content):
        return decode_images(content, (HEIGHT, WIDTH, 3), max_pixel=max_pixel)

    return lambda content: decode(tf.constant([content]))[0].numpy()


@pytest.fixture(scope="module")
def decode():
    return decoder(255)


def check_equal(name, content, decode, max_pixel=255):
    white = White(max_pixel) if max_pixel > 255 else None
    expected = decode_image(io.BytesIO(content), name, white=white)
    np.testing.assert_array_equal(decode(content), expected, name)
    return expected


def test_the_graph_decodes_the_same_pixels(decode):
    for name, content in files():
        check_equal(name, content, decode)


@pytest.mark.parametrize("max_pixel", [255, 4095, 65535])
def test_16_bits(max_pixel):
    decode = decoder(max_pixel)
    for name, content in deep_files():
        # Above white, or of which nothing tells what is white: neither reads them.
        if name.startswith({255: "12", 4095: ("16", "none")}.get(max_pixel, "-")):
            message = ", 4095 is white" if max_pixel == 4095 else "values up to 40"
            white = White(max_pixel) if max_pixel > 255 else None
            with pytest.raises(InputError, match=message):
                decode_image(io.BytesIO(content), name, white=white)
            with pytest.raises(tf.errors.InvalidArgumentError, match="values up to"):
                decode(content)
            continue
        pixels = check_equal(name, content, decode, max_pixel)
        if name in ("16, 3", "12, 3", "8, 3"):
            values = VALUES[..., :3] >> (16 - int(name[:2].strip(",")))
            white = 255 if name == "8, 3" and max_pixel == 255 else max(max_pixel, 4095)
            white = 65535 if max_pixel == 255 and name != "8, 3" else white
            expected = np.rint(np.minimum(values, white) * 255.0 / white)
            np.testing.assert_array_equal(pixels, expected)


def test_orientation(decode):
    upright = {
        2: PIXELS[:, ::-1],
        3: PIXELS[::-1, ::-1],
        4: PIXELS[::-1],
        5: PIXELS,  # Transposed when it was written.
    }
    for name, content, orientation in turned_files():
        pixels = check_equal(name, content, decode)
        if orientation in upright and "JPEG" not in name:
            np.testing.assert_array_equal(pixels, upright[orientation][..., :3], name)


def test_broken_exif():
    @tf.function(input_signature=[tf.TensorSpec((), tf.string)])
    def in_graph(data):
        return headers.exif_orientation(data)

    random, found = np.random.default_rng(0), set()
    for i in range(300):
        whole = exif(6, "<>"[i % 2])[6:]
        data = bytearray(whole[: random.integers(len(whole) // 2, len(whole) + 1)])
        for position in random.integers(4, len(data), i % 3):
            data[position] = random.choice([0, 1, 3, 255])
        data = bytes(data)
        found.add(exif_orientation(data))
        assert in_graph(data) == exif_orientation(data), data
    assert {1, 6} <= found


def test_transparent_is_white():
    pixels = np.zeros((2, 4, 4), np.uint8)
    pixels[:, 1:, 3] = (0, 100, 255)
    decoded = decode_image(io.BytesIO(encoded(Image.fromarray(pixels), "PNG")), "a")
    assert decoded[0, :, 0].tolist() == [255, 255, 155, 0]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (encoded(RGB, "WEBP"), "a JPEG, PNG, GIF or BMP file"),
        (encoded(RGB, "TIFF"), "a JPEG, PNG, GIF or BMP file"),
        (encoded(RGB.quantize(9), "BMP"), "a BMP of 24 or 32 bits, not compressed"),
    ],
)
def test_what_is_read_for_training_and_not_served(content, expected, decode):
    decode_image(io.BytesIO(content), "a")
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"to hold {expected}"):
        decode(content)


def test_a_gif_whose_first_frame_is_smaller(decode):
    content = bytearray(encoded(RGB.quantize(4), "GIF"))
    content[6:8] = struct.pack("<H", WIDTH + 1)
    with pytest.raises(tf.errors.InvalidArgumentError, match="first frame fills the"):
        decode(bytes(content))
