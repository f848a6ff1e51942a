"""Images in many files: their headers, and their pixels in memory or as needed."""

import math
import pathlib
import re
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import psutil

from vicreg_keras.data.sources.base import (
    Known,
    at_a_time,
    progress_bar,
    shown_name,
)
from vicreg_keras.data.sources.images import (
    CHUNK,
    KINDS,
    POOL,
    Header,
    ImageSize,
    decode_images,
    deep_range,
    height_and_width,
    ignore_pillow_warnings,
    read_header,
)
from vicreg_keras.data.sources.pixel_values import (
    DEEP,
    FLOATS,
    MAX_UNIT,
    UNKNOWN_RANGE,
    White,
    check_range,
    find_white,
    note_of_dark,
    note_of_one_color,
)
from vicreg_keras.errors import InputError, error_reason
from vicreg_keras.settings import DataOptions

# The share of files that may be left out as unreadable, and how many are named.
_MAX_UNREADABLE, _MAX_NAMED = 0.1, 20
# How many images are looked at where not all are in memory.
_NUM_LOOKED_AT = 64
_IMAGE_SIZES = (32, 64, 96, 128, 160, 192, 224)


class Images(NamedTuple):
    """The images of some files.

    Attributes:
        examples: All that could be read: an array, or files that are decoded when they
            are read.
        kept: The position of each among the files.
        max_pixel: See `Source`.
        left_out: See `Source`.
        notes: See `Source`.
    """

    examples: "np.ndarray | FileExamples"
    kept: np.ndarray
    max_pixel: int
    left_out: tuple[str, ...]
    notes: tuple[str, ...]


def read_images(
    paths: Sequence[pathlib.Path],
    root: pathlib.Path,
    options: DataOptions,
    known: Known,
    image_size: ImageSize,
) -> Images:
    """Reads the headers of files, and their pixels where memory has room for them.

    Args:
        paths: The files.
        root: The folder that they are in.
        options: Of these, `memory_limit_gib`, and `unreadable`: whether files that
            can't be read are left out.
        known: How the images of the encoder that they are for were read.
        image_size: See `decode_image`.

    Raises:
        InputError: If images can't be read, and are not to be left out or too many; or
            if they differ in size and `image_size` is `None`.
    """
    unreadable: dict[int, Exception] = {}
    skip = options.unreadable == "skip"
    headers = read_headers(paths, unreadable)
    white, notes = _read_white(paths, headers, unreadable, known.max_pixel)
    shape = _common_shape(headers, image_size)
    limit = min(options.memory_limit_gib * 2**30, psutil.virtual_memory().available)
    in_memory = shape is not None and len(paths) * math.prod(shape) <= limit
    examples: np.ndarray | FileExamples | None = None
    # A sound header says little: what is skipped is decoded once, so that no file can
    # end a training that has begun.
    if in_memory or (skip and shape is not None):
        files = FileExamples(paths, shape, image_size, white)
        verb = "Decoding" if in_memory else "Checking"
        title = f"{verb} {shown_name(root)}"
        examples = files.read_all(title, unreadable, store=in_memory)
    _check_readable(unreadable, paths, root, skip)
    if shape is None:
        raise _different_sizes(headers)
    kept = np.setdiff1d(np.arange(len(paths)), list(unreadable))
    if examples is None:
        readable = [paths[i] for i in kept]
        examples = FileExamples(readable, shape, image_size, white)
    elif unreadable and isinstance(examples, np.ndarray):
        examples = examples[kept]
    left_out: tuple[str, ...] = ()
    if unreadable:
        named = _named(unreadable, paths, root)
        left_out = (f"{len(unreadable):,} unreadable: {named}",)
    notes += _notes_of_pixels(examples)
    own = white.integers if white.integers > 255 else white.floats
    max_pixel = own if known.max_pixel is None else known.max_pixel
    return Images(examples, kept, max_pixel, left_out, notes)


class FileExamples:
    """Image files, indexed like an array and decoded each time they are read.

    Args:
        paths: Image files.
        image_shape: `(height, width, 3)` of every decoded image.
        image_size: See `decode_image`.
        white: See `scaled_pixels`.
    """

    def __init__(
        self,
        paths: Sequence[pathlib.Path],
        image_shape: Sequence[int],
        image_size: ImageSize,
        white: White,
    ):
        self._paths = paths
        self._options = (image_size, white)
        self.shape = (len(paths), *image_shape)
        self.dtype = np.dtype(np.uint8)

    def __getitem__(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Returns the decoded images at `indices`."""
        return self.decode(indices)

    def paths(self, indices: Sequence[int] | np.ndarray) -> list[pathlib.Path]:
        """Returns the files at `indices`."""
        return [self._paths[i] for i in indices]

    def read_all(
        self, description: str, errors: dict[int, Exception], *, store: bool
    ) -> np.ndarray | None:
        """Decodes all images, but for some.

        Args:
            description: Of the progress bar.
            errors: Those not to read, by position; what can't be decoded is added.
            store: Whether they are returned.
        """
        images = np.empty(self.shape, self.dtype) if store else None
        with progress_bar(description, " images", len(self._paths)) as progress:
            size = at_a_time(CHUNK, self.shape[1:])
            for start in range(0, len(self._paths), size):
                end = min(start + size, len(self._paths))
                indices = [i for i in range(start, end) if i not in errors]
                found: dict[int, Exception] = {}
                pixels = self.decode(indices, found)
                errors.update((indices[i], error) for i, error in found.items())
                if images is not None:
                    images[indices] = pixels
                progress.update(end - start)
        return images

    def decode(
        self,
        indices: Sequence[int] | np.ndarray,
        errors: dict[int, Exception] | None = None,
    ) -> np.ndarray:
        """Returns the decoded images at `indices`; for `errors` see `decode_images`."""
        paths = self.paths(indices)
        names = list(map(shown_name, paths))
        return decode_images(paths, names, self.shape[1:], *self._options, errors)


def read_headers(
    paths: Sequence[pathlib.Path], unreadable: dict[int, Exception]
) -> list[Header | None]:
    """Reads the headers of files.

    Args:
        paths: The files.
        unreadable: Filled with what is wrong with a file, by its position.

    Returns:
        A header for each file, `None` where there is none.
    """
    ignore_pillow_warnings()
    headers: list[Header | None] = []
    for path in progress_bar("Reading headers", " files", len(paths), paths):
        try:
            headers.append(read_header(path))
        except Exception as error:  # Pillow raises many kinds.
            unreadable[len(headers)] = error
            headers.append(None)
    return headers


def _common_shape(
    headers: Sequence[Header | None], image_size: ImageSize
) -> tuple[int, int, int] | None:
    """Returns the `(height, width, 3)` of all images, or `None` if they differ."""
    if image_size is not None:
        return (*height_and_width(image_size), 3)
    sizes = {(one.height, one.width) for one in headers if one}
    return (*sizes.pop(), 3) if len(sizes) == 1 else None


def _different_sizes(headers: Sequence[Header | None]) -> InputError:
    """Returns the error about images that have no common shape."""
    found = [one for one in headers if one]
    # Also of one area, as where some are turned.
    order = sorted(found, key=lambda one: (one[0] * one[1], one))
    low, high = order[0], order[-1]
    side = statistics.median_low([min(one.height, one.width) for one in found])
    fitting = max([size for size in _IMAGE_SIZES if size <= side], default=side)
    num_sizes = len({one[:2] for one in found})
    return InputError(
        f"Expected images of one size, or image_size. Received: {len(found):,} images "
        f"of {num_sizes:,} sizes, {low.height}x{low.width} to {high.height}x"
        f"{high.width} (height x width). Use image_size={fitting}, or another."
    )


def _check_readable(
    unreadable: Mapping[int, Exception],
    paths: Sequence[pathlib.Path],
    root: pathlib.Path,
    skip: bool,
) -> None:
    """Refuses files that can't be read, unless they are few and left out."""
    few = int(_MAX_UNREADABLE * len(paths))
    if len(unreadable) > (few if skip else 0):
        them = "them" if len(unreadable) > 1 else "it"
        skipping = f", or use unreadable=skip, which leaves up to {few:,} of them out"
        raise InputError(
            f"Expected readable {KINDS} images"
            f"{f', but for up to {few:,}' if skip else ''}. Received: "
            f"{len(unreadable):,} of {len(paths):,} unreadable: "
            f"{_named(unreadable, paths, root)}. Replace or remove {them}"
            f"{'' if len(unreadable) > few else skipping}."
        )


def _named(unreadable, paths, root):
    """The first unreadable files, each with a reason."""
    named = []
    for i in sorted(unreadable)[:_MAX_NAMED]:
        reason = error_reason(unreadable[i].__cause__ or unreadable[i])
        reason = re.sub(r":? '.*", "", reason)  # Its path again.
        named.append(f"{shown_name(paths[i].relative_to(root))} ({reason})")
    return ", ".join(named + ["..."] * (len(unreadable) > _MAX_NAMED))


def _read_white(
    paths: Sequence[pathlib.Path],
    headers: Sequence[Header | None],
    unreadable: dict[int, Exception],
    max_pixel: int | None,
) -> tuple[White, tuple[str, ...]]:
    """Finds what is white in files that are not of 8 bits; returns it and notes.

    Raises:
        InputError: If their values do not tell.
    """
    deep = [i for i, header in enumerate(headers) if header and header.kind]

    def value_of(i):
        try:
            return headers[i].kind, *deep_range(paths[i])
        except InputError as error:
            unreadable[i] = error
            return headers[i].kind, 0.0, False

    title = "Reading the range of 16-bit images"
    found = list(progress_bar(title, " files", len(deep), POOL.map(value_of, deep)))
    integers, floats = (
        max([high for one, high, _ in found if one == kind], default=0.0)
        for kind in (DEEP, FLOATS)
    )
    problem, limit = "", max(max_pixel or 255, 255)
    try:
        white = find_white(integers, floats, max_pixel)
        if integers > white.integers * MAX_UNIT:
            problem = f"values up to {integers:g}"
        is_low = white.floats == 255 and floats <= UNKNOWN_RANGE
        if is_low and any(has_fractions for *_, has_fractions in found):
            problem = f"fractions from 0 to {floats:g}"
    except ValueError as error:
        problem = str(error)
    if problem:
        brightest = deep[int(np.argmax([high for _, high, _ in found]))]
        expected = ", as the encoder's" if max_pixel else " or in [0, 1]"
        raise InputError(
            f"Expected images with values in [0, {limit}]{expected}. Received: "
            f"{len(deep):,} of 16 bits or floats with {problem}, such as "
            f"{shown_name(paths[brightest])}. Scale them to [0, {limit}]."
        )
    notes = []
    for kind, value in zip((DEEP, FLOATS), white, strict=True):
        own = [
            (i, *one) for i, (of, *one) in zip(deep, found, strict=True) if of == kind
        ]
        for i, high, has_fractions in own:
            try:
                check_range(high, value, has_fractions)
            except ValueError as error:
                unreadable[i] = error
        own = [one for one in own if one[0] not in unreadable]
        if own:
            some = f"{len(own):,} image{'s' if len(own) > 1 else ''} of {kind}"
            if dark := [high for _, high, _ in own if 0 < 16 * high <= value]:
                some += f", {len(dark):,} of them up to {max(dark):g}"
            notes.append(f"{some}: {value} is white (255)")
    num_more = sum(bool(header and header.has_more) for header in headers)
    if num_more:
        notes.append(f"{num_more:,} animated or of several pages: the first is read")
    return white, tuple(notes)


def _notes_of_pixels(examples: "np.ndarray | FileExamples") -> tuple[str, ...]:
    """What is said of images that show little."""
    last, number = examples.shape[0] - 1, at_a_time(_NUM_LOOKED_AT, examples.shape[1:])
    indices = np.unique(np.linspace(0, last, number, dtype=int))[: last + 1]
    if isinstance(examples, np.ndarray):
        some, high = examples[indices], int(examples.max(initial=0))
    else:
        errors: dict[int, Exception] = {}
        some = examples.decode(indices, errors)
        some = np.delete(some, list(errors), axis=0)
        high = int(some.max(initial=0))
    return tuple(note_of_one_color(some) or note_of_dark(high))
