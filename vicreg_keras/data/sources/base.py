"""What all loaders share: `Source`, checks of what a user gave, a progress bar."""

import dataclasses
import pathlib

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


def require(condition: object, expected: str, received: str, remedy: str) -> None:
    """Checks what a user gave.

    Args:
        condition: What holds of a valid input.
        expected: What is valid.
        received: What was given.
        remedy: What to do.

    Raises:
        InputError: If the condition does not hold.
    """
    if not condition:
        raise InputError(f"Expected {expected}. Received: {received}. {remedy}.")


def existing_path(scheme: str, location: str) -> pathlib.Path:
    """Returns the path of the dataset `scheme:location`.

    Raises:
        InputError: If there is no such file or, of `folder:PATH`, no such folder.
    """
    path = pathlib.Path(location).expanduser()
    is_folder = scheme == "folder"
    require(
        location and (path.is_dir() if is_folder else path.is_file()),
        "an existing folder" if is_folder else f"an existing {scheme} file",
        f"dataset='{scheme}:{location}'",
        f"Use {scheme}:PATH",
    )
    return path


def progress_bar(description: str, unit: str, total: int) -> tqdm.tqdm:
    """Returns a progress bar on stderr that is shown after three seconds."""
    return tqdm.tqdm(desc=description, unit=unit, total=total, unit_scale=True, delay=3)


def quoted(names: list[str], limit: int = 5) -> str:
    """Returns the first names of a list for a message: `'a', 'b', ...`."""
    shown = ", ".join(map(repr, names[:limit]))
    return f"{shown}, ..." if len(names) > limit else shown
