"""Image files of every kind, each with the pixels that a viewer would show."""

import dataclasses
import io
import struct
import zlib

import numpy as np
from PIL import Image

# How pixels that are stored with an EXIF orientation are turned upright.
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}
# Those that TensorFlow decodes; the others a graph may refuse, but not misread.
_IN_GRAPH = ("png", "jpg")
SUFFIXES = {"jpg": (".jpg", ".jpeg", ".JPG", ".jfif", ".jpe"), "tif": (".tif", ".tiff")}
_GRAY, _RGB, _PALETTE, _GRAY_ALPHA, _RGBA = 0, 2, 3, 4, 6


@dataclasses.dataclass
class Picture:
    """An encoded image.

    Attributes:
        content: The file.
        pixels: uint8 `(height, width, 3)`, upright; of a deep image unscaled values.
        suffix: Of its format, without a point.
        is_deep: Whether values have more than 8 bits.
        alpha: Of a deep image, uint16 `(height, width, 1)`, or `None`.
        is_lossy: Whether decoders may differ a little.
    """

    content: bytes
    pixels: np.ndarray
    suffix: str
    is_deep: bool = False
    alpha: np.ndarray | None = None
    is_lossy: bool = False

    @property
    def in_graph(self):
        return self.suffix in _IN_GRAPH

    def shown(self, white):
        """The pixels, where the value `white` of deep images is 255."""
        if not self.is_deep:
            return self.pixels
        scaled = np.rint(np.minimum(self.pixels, white) * (255 / white))
        if self.alpha is None:
            return scaled.astype(np.uint8)
        return on_white(scaled, np.rint(self.alpha * (255 / 65535)))


def on_white(colors, alpha):
    """Colors in [0, 255] on a white ground; alpha is 255 where opaque."""
    opacity = np.asarray(alpha, np.float64) / 255
    return np.rint(colors * opacity + 255 * (1 - opacity)).astype(np.uint8)


def exif(orientation, *, is_big=True):
    order, start = (">", b"MM\0*") if is_big else ("<", b"II*\0")
    entry = struct.pack(f"{order}HHIHH", 0x0112, 3, 1, orientation, 0)
    return start + struct.pack(f"{order}IH", 8, 1) + entry + b"\0\0\0\0"


def write_png(values, color, bits=8, *, before=(), after=()):
    """A PNG file of values `(height, width, channels)`, with other chunks about."""

    def chunk(name, data):
        body = name + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    height, width, _ = values.shape
    if bits < 8:
        rows = np.unpackbits(values.astype(np.uint8), axis=-1)[..., -bits:]
        rows = np.packbits(rows.reshape(height, -1), axis=-1)
    else:
        rows = values.astype(">u2" if bits == 16 else np.uint8).reshape(height, -1)
    data = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    chunks = [(b"IHDR", header), *before, (b"IDAT", zlib.compress(data)), *after]
    chunks.append((b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in chunks)


def _png(random, shape, mode, before, after):
    """A PNG file of 8 bits or fewer, and its pixels."""
    colors = random.integers(0, 256, (*shape, 3), dtype=np.uint8)
    gray, alpha = colors[..., :1], random.integers(0, 256, (*shape, 1), dtype=np.uint8)
    wide = np.broadcast_to(gray, colors.shape)
    if mode == "RGB":
        return write_png(colors, _RGB, before=before, after=after), colors
    if mode == "RGBA":
        values = np.concatenate([colors, alpha], -1)
        content = write_png(values, _RGBA, before=before, after=after)
        return content, on_white(colors, alpha)
    if mode == "LA":
        values = np.concatenate([gray, alpha], -1)
        content = write_png(values, _GRAY_ALPHA, before=before, after=after)
        return content, on_white(wide, alpha)
    if mode in ("L", "L of a transparent value"):
        if mode != "L":
            before = [*before, (b"tRNS", struct.pack(">H", int(gray[0, 0, 0])))]
            wide = np.where(gray == gray[0, 0], 255, wide).astype(np.uint8)
        return write_png(gray, _GRAY, before=before, after=after), wide
    if mode == "RGB of a transparent color":
        key = colors[0, 0]
        before = [*before, (b"tRNS", struct.pack(">HHH", *map(int, key)))]
        is_key = (colors == key).all(-1, keepdims=True)
        content = write_png(colors, _RGB, before=before, after=after)
        return content, np.where(is_key, 255, colors).astype(np.uint8)
    bits = {"1": 1, "L of 2 bits": 2, "L of 4 bits": 4}.get(mode)
    if bits:
        values = gray >> (8 - bits)
        content = write_png(values, _GRAY, bits, before=before, after=after)
        return content, np.broadcast_to(values * (255 // (2**bits - 1)), colors.shape)
    bits = 4 if "4 bits" in mode else 8
    codes = gray >> (8 - bits)
    palette = random.integers(0, 256, (2**bits, 3), dtype=np.uint8)
    opacity = np.full((2**bits, 1), 255)
    before = [*before, (b"PLTE", palette.tobytes())]
    if "transparent" in mode:
        opacity = random.choice([0, 128, 255], opacity.shape)
        before.append((b"tRNS", opacity.astype(np.uint8).tobytes()))
    content = write_png(codes, _PALETTE, bits, before=before, after=after)
    return content, on_white(palette[codes[..., 0]], opacity[codes[..., 0]])


_PNG_MODES = (
    *("RGB", "RGBA", "LA", "L", "L of a transparent value", "1", "L of 2 bits", "P"),
    *("RGB of a transparent color", "L of 4 bits", "P of 4 bits", "P, transparent"),
)


def _saved(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _jpeg(random, shape, mode, **options):
    smooth = random.integers(0, 256, (2, 2, 3), dtype=np.uint8)
    image = Image.fromarray(smooth).resize(shape[::-1], Image.Resampling.BICUBIC)
    if mode == "of two pictures":  # As cameras and phones store a preview.
        preview = [image.convert("RGB").resize((4, 4))]
        options |= {"save_all": True, "append_images": preview}
        return _saved(image, "MPO", quality=90, **options)
    if mode == "progressive":
        return _saved(image, "JPEG", quality=90, progressive=True, **options)
    return _saved(image.convert(mode), "JPEG", quality=90, **options)


def _few_colors(random, shape):
    """Codes of 16 colors, an image of them, and the colors."""
    codes = random.integers(0, 16, shape, dtype=np.uint8)
    codes.flat[:16] = np.arange(16)
    palette = random.integers(0, 255, (16, 3), dtype=np.uint8)
    image = Image.fromarray(codes, "P")
    image.putpalette(palette.tobytes())
    return codes, image, palette


def _other(random, shape, kind):
    """A file that is neither PNG nor JPEG, and its pixels, or `None` if lossy."""
    colors = random.integers(0, 256, (*shape, 3), dtype=np.uint8)
    image = Image.fromarray(colors)
    suffix, _, mode = kind.partition(" ")
    name = {"tif": "TIFF"}.get(suffix, suffix.upper())
    codes, few, palette = _few_colors(random, shape)
    if mode == "lossy":
        return _saved(image, name), None
    if mode == "RGBA":
        alpha = random.integers(0, 256, shape, dtype=np.uint8)
        image.putalpha(Image.fromarray(alpha))
        options = {"lossless": True, "exact": True} if suffix == "webp" else {}
        return _saved(image, name, **options), on_white(colors, alpha[..., None])
    if mode == "L":
        gray = colors[..., 0]
        return _saved(Image.fromarray(gray), name), np.stack([gray] * 3, -1)
    if mode == "F":
        values = (colors[..., 0] / 255).astype(np.float32)
        return _saved(Image.fromarray(values), name), np.stack([colors[..., 0]] * 3, -1)
    if mode == "1":
        bits = colors[..., 0] > 127
        return _saved(Image.fromarray(bits), name), np.stack([bits * 255] * 3, -1)
    if mode == "P":
        return _saved(few, name), palette[codes]
    if mode == "P, transparent":
        pixels = np.where((codes == 3)[..., None], 255, palette[codes])
        return _saved(few, name, transparency=3), pixels
    if mode == "of two frames" and suffix == "gif":
        other = few.rotate(180)
        return _saved(few, name, save_all=True, append_images=[other]), palette[codes]
    options = {"lossless": True} if suffix == "webp" else {}
    if mode in ("of two pages", "of two frames"):
        options |= {"save_all": True, "append_images": [Image.fromarray(255 - colors)]}
        return _saved(image, name, **options), colors
    if mode == "packed":
        options["compression"] = "tiff_lzw"
    return _saved(image, name, **options), colors


_OTHERS = (
    *("webp RGB", "webp RGBA", "webp lossy", "bmp RGB", "bmp L", "bmp P", "bmp 1"),
    *("gif P", "gif P, transparent", "gif of two frames", "tif RGB", "tif L", "tif 1"),
    *("tif packed", "tif of two pages", "tif RGBA", "tif F"),
)
PLAIN_KINDS = (
    *(f"png {mode}" for mode in _PNG_MODES),
    *("jpg RGB", "jpg RGB", "jpg L", "jpg CMYK", "jpg progressive"),
    *("jpg of two pictures", "webp of two frames"),
    *_OTHERS,
)
DEEP_KINDS = (
    *("png16 L", "png16 RGB", "png16 RGBA", "tif16 L"),
    "png16 RGB of a transparent color",
)
# Whose EXIF data tell an orientation.
_TURNED = ("png", "png16", "jpg", "webp", "tif")


def picture(random, kind, shape, orientation=1, max_value=65535, is_late=False):
    """Makes an image file.

    Args:
        random: A generator of NumPy.
        kind: One of `PLAIN_KINDS` or `DEEP_KINDS`.
        shape: Height and width, upright.
        orientation: Of its EXIF data, where its format has any.
        max_value: Largest value of a deep image.
        is_late: Whether the EXIF data of a PNG follow its pixels.
    """
    suffix, _, mode = kind.partition(" ")
    if suffix not in _TURNED:
        orientation = 1
    stored = shape[::-1] if orientation >= 5 else shape
    data = exif(orientation, is_big=bool(random.integers(2)))
    chunks = [(b"eXIf", data)] if orientation > 1 else []
    before, after = ([], chunks) if is_late else (chunks, [])
    options = {"exif": b"Exif\0\0" + data} if orientation > 1 else {}
    turn = UPRIGHT[orientation]
    if kind in DEEP_KINDS:
        return _deep(random, kind, stored, max_value, turn, before, after)
    pixels = None
    if suffix == "png":
        content, pixels = _png(random, stored, mode, before, after)
    elif suffix == "jpg":
        content = _jpeg(random, stored, mode, **options)
    else:
        content, pixels = _other(random, stored, kind)
        if suffix == "tif" and orientation > 1:
            image = Image.open(io.BytesIO(content))
            content = _saved(image, "TIFF", tiffinfo={0x0112: orientation})
        if suffix == "webp" and orientation > 1:
            image = Image.open(io.BytesIO(content))
            quality = {"lossless": True, "exact": True} if pixels is not None else {}
            content = _saved(image, "WEBP", **options, **quality)
    is_lossy = pixels is None
    if is_lossy:
        pixels = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    pixels = turn(pixels).astype(np.uint8)
    return Picture(content, pixels, suffix, is_lossy=is_lossy)


def _deep(random, kind, shape, max_value, turn, before, after):
    suffix, _, mode = kind.partition("16 ")
    values = random.integers(0, max_value + 1, (*shape, 3), dtype=np.uint16)
    values[0, 0] = max_value
    alpha = None
    if mode == "L":
        gray = values[..., :1]
        values = np.broadcast_to(gray, values.shape)
        content = write_png(gray, _GRAY, 16, before=before, after=after)
        if suffix == "tif":
            content = _saved(Image.fromarray(gray[..., 0]), "TIFF")
    elif mode == "RGB of a transparent color":
        key = values[-1, -1]
        before = [*before, (b"tRNS", struct.pack(">HHH", *map(int, key)))]
        content = write_png(values, _RGB, 16, before=before, after=after)
        opaque = (values != key).any(-1, keepdims=True)
        alpha = turn(opaque * np.uint16(65535))
    elif mode == "RGB":
        content = write_png(values, _RGB, 16, before=before, after=after)
    else:
        alpha = random.integers(0, 65536, (*shape, 1), dtype=np.uint16)
        full = np.concatenate([values, alpha], -1)
        content = write_png(full, _RGBA, 16, before=before, after=after)
        alpha = turn(alpha)
    return Picture(content, turn(values), suffix, is_deep=True, alpha=alpha)


def broken(random, kind, shape):
    """A file that no program can show in full."""
    whole = picture(random, "png RGB", shape).content
    return {
        "empty": b"",
        "text": b"not an image\n",
        "page": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
        "zeros": bytes(500),
        "cut": whole[: len(whole) // 2],
        "cut JPEG": picture(random, "jpg RGB", shape).content[:-40],
        "start": whole[:12],
    }[kind]


BROKEN_KINDS = ("empty", "text", "page", "zeros", "cut", "cut JPEG", "start")
