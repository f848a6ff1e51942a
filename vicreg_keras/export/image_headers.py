"""What image files say about themselves, read from their bytes in a graph.

Positions, lengths and numbers are int64; a size is height and width, `(2,)`. Beyond the
end of a file there are zeros.
"""

import tensorflow as tf

# Segments, chunks and blocks of one file that are looked at.
_MAX_PARTS = 4096
_SMALL_FILE = 2**16
_ORIENTATION, _SHORT = 0x0112, 3  # A tag of EXIF, and its type.
_APP1, _START_OF_SCAN = 0xE1, 0xDA
_EXIF = b"Exif\0\0"
_IMAGE_BLOCK, _EXTENSION, _CONTROL = 0x2C, 0x21, 0xF9
_BYTES = [bytes([value]) for value in range(256)]


def number_at(content, position, num_bytes, *, is_big=False):
    """Returns an unsigned integer of a file, little-endian unless `is_big`."""
    values = tf.cast(
        tf.io.decode_raw(_piece(content, position, num_bytes), "uint8"), "int64"
    )
    powers = [256**i for i in range(num_bytes)]
    powers = powers[::-1] if is_big else powers
    return tf.reduce_sum(values * tf.constant(powers, tf.int64))


def jpeg_size(content):
    """Returns the size of a JPEG file, not turned."""
    return tf.io.extract_jpeg_shape(content, tf.int64)[:2]


def png_size(content):
    """Returns the size of a PNG file, not turned."""
    return tf.stack([number_at(content, at, 4, is_big=True) for at in (20, 16)])


def gif_size(content):
    """Returns the size of a GIF file."""
    return tf.stack([number_at(content, at, 2) for at in (8, 6)])


def bmp_size(content):
    """Returns the size of a BMP file."""
    width_height = tf.io.decode_raw(_piece(content, 18, 8), tf.int32)
    # From the top down, the height is negative.
    return tf.abs(tf.cast(width_height[::-1], tf.int64))


def jpeg_exif(content):
    """Returns the EXIF data of a JPEG file, an empty string without any."""
    length_of_file = _length(content)

    def step(position, _):
        start, marker = (number_at(content, position + at, 1) for at in (0, 1))
        length = number_at(content, position + 2, 2, is_big=True)
        is_filler = (start != 0xFF) | (marker == 0xFF)
        is_alone = (marker == 0) | ((marker >= 0xD0) & (marker <= 0xD9))
        following = position + tf.where(is_alone, tf.constant(2, tf.int64), 2 + length)
        following = tf.where(is_filler, position + 1, following)
        is_exif = _piece(content, position + 4, len(_EXIF)) == _EXIF
        is_exif &= ~is_filler & (marker == _APP1)
        exif = tf.cond(
            is_exif,
            lambda: _piece(content, position + 4 + len(_EXIF), length - 2 - len(_EXIF)),
            lambda: tf.constant(b""),
        )
        is_last = is_exif | (~is_filler & (marker == _START_OF_SCAN))
        is_last |= following >= length_of_file
        return tf.where(is_last, tf.constant(-1, tf.int64), following), exif

    # In a small file a search is faster than a walk, and most have none.
    may_have = (length_of_file > _SMALL_FILE) | tf.strings.regex_full_match(
        tf.strings.substr(content, 0, _SMALL_FILE), rb"\C*Exif\C*"
    )
    none = tf.constant(b"")
    return tf.cond(may_have, lambda: _walk(step, 2, none)[1], lambda: none)


def png_chunks(content):
    """Returns whether a PNG file has a chunk `tRNS`, and the data of `eXIf`."""
    length_of_file = _length(content)

    def step(position, has_transparency, exif):
        length = number_at(content, position, 4, is_big=True)
        name = _piece(content, position + 4, 4)
        exif = tf.cond(
            name == b"eXIf", lambda: _piece(content, position + 8, length), lambda: exif
        )
        following = position + 12 + length
        following = tf.where(
            following >= length_of_file, tf.constant(-1, tf.int64), following
        )
        return following, has_transparency | (name == b"tRNS"), exif

    none = (tf.constant(False), tf.constant(b""))
    # Few files have one of these, and a search is faster than a walk.
    return tf.cond(
        tf.strings.regex_full_match(content, rb"\C*(tRNS|eXIf)\C*"),
        lambda: tuple(_walk(step, 8, *none)[1:]),
        lambda: none,
    )


def exif_orientation(exif):
    """Returns the orientation in EXIF data, as `data.sources.orientation` does."""
    is_big = _piece(exif, 0, 4) == b"MM\0*"
    values = tf.cast(tf.io.decode_raw(exif, tf.uint8), tf.int64)
    size = tf.size(values, tf.int64)

    def numbers(positions, num_bytes):
        at = positions[:, tf.newaxis] + tf.range(num_bytes, dtype=tf.int64)
        digits = tf.gather(tf.pad(values, [[0, 1]]), tf.minimum(at, size))
        powers = tf.constant([256**i for i in range(num_bytes)], tf.int64)
        powers = tf.where(is_big, powers[::-1], powers)
        return tf.reduce_sum(digits * powers, axis=1)

    start = numbers(tf.constant([4], tf.int64), 4)
    entries = start + 2 + 12 * tf.range(numbers(start, 2)[0])
    entries = entries[entries + 10 <= size]
    is_found = numbers(entries, 2) == _ORIENTATION
    is_found &= numbers(entries + 2, 2) == _SHORT
    found = tf.concat([numbers(entries[is_found] + 8, 2), [1]], axis=0)[0]
    is_known = is_big | (_piece(exif, 0, 4) == b"II*\0")
    is_known &= (found >= 1) & (found <= 8)
    return tf.where(is_known, found, 1)


def opaque_gif(content):
    """Returns a GIF file whose first frame has white where it was transparent.

    Also returns whether that frame fills the image.
    """

    def skip(position, control):
        is_control = number_at(content, position + 1, 1) == _CONTROL
        (end,) = tf.while_loop(
            lambda at: number_at(content, at, 1) > 0,
            lambda at: (at + 1 + number_at(content, at, 1),),
            (position + 2,),
            maximum_iterations=_MAX_PARTS,
        )
        return end + 1, tf.where(is_control, position, control)

    colors = tf.constant(13, tf.int64)
    frame, control = tf.while_loop(
        lambda position, _: number_at(content, position, 1) == _EXTENSION,
        skip,
        (colors + _table_size(content, 10), tf.constant(-1, tf.int64)),
        maximum_iterations=_MAX_PARTS,
    )
    place = tf.stack([number_at(content, frame + at, 2) for at in (1, 3, 7, 5)])
    fills = number_at(content, frame, 1) == _IMAGE_BLOCK
    fills &= tf.reduce_all(place == tf.concat([[0, 0], gif_size(content)], axis=0))

    own_size = _table_size(content, frame + 9)
    colors = tf.where(own_size > 0, frame + 10, colors)
    flags = number_at(content, control + 3, 1)
    white = colors + 3 * number_at(content, control + 6, 1)

    def patched():
        flag = tf.gather(tf.constant(_BYTES), flags - 1)
        return _replaced(_replaced(content, control + 3, flag), white, b"\xff" * 3)

    is_transparent = (control >= 0) & (flags % 2 == 1)
    return tf.cond(is_transparent, patched, lambda: content), fills


def _table_size(content, position):
    """Bytes of the table of colors that the flags at a position announce."""
    flags = number_at(content, position, 1)
    size = 3 * tf.bitwise.left_shift(tf.constant(2, tf.int64), flags % 8)
    return tf.where(flags >= 0x80, size, 0)


def _walk(step, position, *values):
    """Calls `step(position, *values)` until the position that it gives is negative."""
    return tf.while_loop(
        lambda position, *_: position >= 0,
        step,
        (tf.constant(position, tf.int64), *values),
        maximum_iterations=_MAX_PARTS,
    )


def _length(content):
    return tf.cast(tf.strings.length(content), tf.int64)


def _piece(content, position, length):
    """Bytes from a position; a length that is a Python number is padded to."""
    start = tf.minimum(tf.cast(position, tf.int64), _length(content))
    piece = tf.strings.substr(content, start, tf.maximum(tf.cast(length, tf.int64), 0))
    if isinstance(length, int):
        padded = tf.strings.join([piece, b"\0" * length])
        piece = tf.strings.substr(padded, 0, length)
    return piece


def _replaced(content, position, new):
    end = position + tf.cast(tf.strings.length(new), tf.int64)
    rest = _piece(content, end, _length(content))
    return tf.strings.join([_piece(content, 0, position), new, rest])
