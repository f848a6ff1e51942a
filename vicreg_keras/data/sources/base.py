"""What all loaders share: `Source`, errors of a file, a progress bar."""

import contextlib
import dataclasses
import os
from collections.abc import Iterable, Iterator

import tqdm

from vicreg_keras.data.columns import Column
from vicreg_keras.data.split import Split
from vicreg_keras.errors import InputError


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
    validation: Split | None = None
    test: Split | None = None
    class_names: tuple[str, ...] | None = None
    columns: tuple[Column, ...] | None = None


@contextlib.contextmanager
def file_errors(name: str | os.PathLike, expected: str, remedy: str) -> Iterator[None]:
    """Turns whatever a library raises for a bad file into an `InputError`.

    Args:
        name: The file, as the message names it.
        expected: What is valid.
        remedy: What to do.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # Libraries raise many kinds: SyntaxError, KeyError, ...
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(
            f"Expected {expected}. Received: {name} ({reason[:200].rstrip('. ')}). "
            f"{remedy}."
        ) from error


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
