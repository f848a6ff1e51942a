"""What all loaders share: `Source`, `Known`, a progress bar, names in messages."""

import dataclasses
import math
import os
from collections.abc import Iterable, Sequence
from typing import Any

import tqdm

from vicreg_keras.data.columns import Column
from vicreg_keras.data.split import Split
from vicreg_keras.errors import escape

_MAX_VALUES = 2**26  # Of examples that are in memory at a time.


@dataclasses.dataclass(frozen=True)
class Known:
    """How the data of an encoder was read, by which other data is read for it.

    Attributes:
        columns: The columns of its table, or `None`.
        max_pixel: See `Source`; `None` where it is to be found out.
        needs_labels: Whether a table without its column of labels is refused.
    """

    columns: tuple[Column, ...] | None = None
    max_pixel: int | None = None
    needs_labels: bool = True


NOTHING_KNOWN = Known()


@dataclasses.dataclass(frozen=True)
class Source:
    """The splits that a dataset has of its own.

    Attributes:
        train: Examples to train on, and to hold others out of.
        validation: The dataset's own validation split, or `None`.
        test: The dataset's own test split, or `None`.
        class_names: A name for each label, or `None` without labels.
        columns: The columns of a table, or `None` for images.
        unlabeled: Examples beside a labeled training split that have no label: they
            are trained on, and never evaluated. `None` without any.
        max_pixel: The value in the files that became 255: above 255 for images of more
            than 8 bits per channel.
        left_out: What was found and not read, with counts, such as `"1,204 .txt"`.
        notes: How the rest was read where it could be read in other ways.
    """

    train: Split
    # Any stands for None, which a mode that needs labels or a test split rules out.
    validation: Split | Any = None
    test: Split | Any = None
    class_names: tuple[str, ...] | Any = None
    columns: tuple[Column, ...] | None = None
    unlabeled: Split | None = None
    max_pixel: int = 255
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def progress_bar(
    description: str, unit: str, total: int, items: Iterable | None = None
) -> tqdm.tqdm:
    """Returns a progress bar on a terminal, shown after three seconds."""
    return tqdm.tqdm(
        items,
        desc=description,
        unit=unit,
        total=total,
        unit_scale=True,
        delay=3,
        disable=None,
    )


def at_a_time(number: int, example_shape: Sequence[int]) -> int:
    """Returns how many examples of `number` are in memory at a time: few large ones."""
    return min(number, max(_MAX_VALUES // math.prod(example_shape), 1))


def quoted(names: Iterable[str], limit: int = 5) -> str:
    """Returns the first names for a message: `'a', 'b', ...`."""
    quotes = [repr(name) for name in names]
    return ", ".join(quotes[:limit] + ["..."] * (len(quotes) > limit))


def shown_name(path: str | os.PathLike) -> str:
    """Returns a file's name as printable text: other bytes as backslash escapes."""
    return escape(os.fsencode(path).decode("utf-8", "backslashreplace"))
