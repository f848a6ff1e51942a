"""Orientation of an image by the EXIF data in its file."""

import struct

from PIL import Image, ImageFile, TiffImagePlugin

_ORIENTATION = 0x0112  # The tag, which is the same in EXIF and in TIFF.
_WIDTH, _HEIGHT = 256, 257  # Of a TIFF.
# How Pillow turns an image upright, by its orientation.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def orientation(image: ImageFile.ImageFile) -> int:
    """Returns the orientation of a file, 1 to 8; 1 of a TIFF, which Pillow turns."""
    if image.format == "TIFF":
        return 1
    exif = image.info.get("exif")
    if exif is None and image.format == "PNG" and image.tile:  # Not decoded yet.
        exif = _late_exif(image)
    return 1 if exif is None else exif_orientation(exif)


def upright_size(image: ImageFile.ImageFile) -> tuple[int, int]:
    """Returns width and height of a file that was opened, after it is turned."""
    width, height = image.size
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        # Not all releases of Pillow give the size that it has when it is decoded.
        width, height = image.tag_v2[_WIDTH], image.tag_v2[_HEIGHT]
        turn = image.tag_v2.get(_ORIENTATION, 1)
    else:
        # Only a file that is not square may be turned into another size.
        turn = 1 if width == height else orientation(image)
    return (height, width) if turn >= 5 else (width, height)


def exif_orientation(exif: bytes) -> int:
    r"""Returns the orientation in EXIF data, 1 to 8; 1 where it has none, or is broken.

    Args:
        exif: A TIFF structure, after `Exif\0\0` or alone.
    """
    data = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, start)
        for position in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", data, position)
            if (tag, kind) == (_ORIENTATION, 3):
                return value if 1 <= value <= 8 else 1
    except struct.error:  # It is cut off.
        pass
    return 1


def _late_exif(image: ImageFile.ImageFile) -> bytes | None:
    """The chunk `eXIf` of a PNG that follows its pixels."""
    file, position = image.fp, image.tile[0][2] - 8
    while True:
        file.seek(position)
        start = file.read(8)
        length, name = int.from_bytes(start[:4], "big"), start[4:]
        if name == b"eXIf":
            return file.read(length)
        if len(start) < 8 or name == b"IEND":
            return None
        position += 12 + length
