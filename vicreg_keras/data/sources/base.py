"""What all loaders share: `Source`, a progress bar, names in messages."""

import dataclasses
from collections.abc import Iterable
from typing import Any

import tqdm

from vicreg_keras.data.columns import Column
from vicreg_keras.data.split import Split


@dataclasses.dataclass(frozen=True)
class Source:
    """The splits that a dataset has of its own.

    Attributes:
        train: Examples to train on, and to hold others out of.
        validation: The dataset's own validation split, or `None`.
        test: The dataset's own test split, or `None`.
        class_names: A name for each label, or `None` without labels.
        columns: The columns of a table, or `None` for images.
    """

    train: Split
    # Any stands for None, which a mode that needs labels or a test split rules out.
    validation: Split | Any = None
    test: Split | Any = None
    class_names: tuple[str, ...] | Any = None
    columns: tuple[Column, ...] | None = None


def progress_bar(
    description: str, unit: str, total: int, items: Iterable | None = None
) -> tqdm.tqdm:
    """Returns a progress bar on stderr that is shown after three seconds."""
    return tqdm.tqdm(
        items, desc=description, unit=unit, total=total, unit_scale=True, delay=3
    )


def quoted(names: Iterable[str], limit: int = 5) -> str:
    """Returns the first names for a message: `'a', 'b', ...`."""
    quotes = [repr(name) for name in names]
    return ", ".join(quotes[:limit] + ["..."] * (len(quotes) > limit))
