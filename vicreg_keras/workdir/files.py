"""Files that are written whole or not at all."""

import contextlib
import hashlib
import os
import pathlib
import re
from collections.abc import Iterator
from typing import IO


@contextlib.contextmanager
def write_file(path: pathlib.Path, mode: str = "wb") -> Iterator[IO]:
    """Opens a file that is written whole or not at all.

    It is written aside, flushed to the disk, and renamed when the block ends; where
    the block fails, an earlier file stays as it was.

    Args:
        path: Path of the file; its folder is made.
        mode: `"wb"` or `"w"`.

    Yields:
        The open file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(aside, mode) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes a whole text file or nothing."""
    with write_file(path, "w") as file:
        file.write(text)


def folder_name(text: str) -> str:
    """Returns a readable name for a folder, unique to a text.

    Args:
        text: Any text, such as a dataset's name, `"folder:/photos"`.
    """
    readable = re.sub(r"[^A-Za-z0-9]+", "_", text)[:40].strip("_")
    if readable == text:
        return text
    return f"{readable}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
