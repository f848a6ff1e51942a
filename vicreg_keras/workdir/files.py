"""Files that are written whole or not at all, and recognized when they are damaged."""

import contextlib
import fcntl
import glob
import hashlib
import json
import os
import pathlib
import re
import zipfile
from collections.abc import Iterator, Mapping
from typing import IO, Any

import numpy as np

from vicreg_keras.errors import DamagedError, error_reason

_CHECKSUM = "checksum"


@contextlib.contextmanager
def write_file(path: pathlib.Path, mode: str = "wb") -> Iterator[IO]:
    """Opens a file that is written whole or not at all.

    It is written aside, flushed to the disk, and renamed when the block ends; where
    the block fails, an earlier file stays as it was. What killed processes left of
    the same file is removed.

    Args:
        path: Path of the file; its folder is made.
        mode: `"wb"` or `"w"`.

    Yields:
        The open file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{glob.escape(path.name)}.*"):
        _remove_unlocked(left)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        # Names of files may hold bytes that are no text.
        text = ("utf-8", "surrogateescape") if mode == "w" else (None, None)
        with open(aside, mode, encoding=text[0], errors=text[1]) as file:
            with contextlib.suppress(OSError):  # A file system without locks.
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError as error:
        if error.filename in (None, str(aside)):
            error.filename = str(path)
        raise
    finally:
        aside.unlink(missing_ok=True)


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes a whole text file or nothing."""
    with write_file(path, "w") as file:
        file.write(text)


def _remove_unlocked(path):
    """Removes a file that no process has open in `write_file`."""
    with contextlib.suppress(OSError), open(path) as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()


def read_npz(path: pathlib.Path, remedy: str = "Restore it.") -> dict[str, np.ndarray]:
    """Returns the arrays of an npz, each compared with its checksum.

    Args:
        path: Path of the file.
        remedy: What to do about a damaged one.

    Raises:
        FileNotFoundError: If there is none.
        DamagedError: If it is not as it was written.
    """
    try:
        # numpy does not read what an array's header leaves out.
        with zipfile.ZipFile(path) as archive:
            if name := archive.testzip():
                raise zipfile.BadZipFile(f"wrong checksum of {name}")
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except FileNotFoundError:
        raise
    except Exception as error:  # Of many kinds: zlib.error, SyntaxError, EOFError, ...
        raise DamagedError(path, error_reason(error), remedy) from error


def write_json(path: pathlib.Path, values: Mapping[str, Any]) -> None:
    """Writes a JSON object with its checksum, indented."""
    write_text(path, json.dumps(with_checksum(values), indent=2) + "\n")


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """Returns what `write_json` was given.

    Raises:
        FileNotFoundError: If there is none.
        DamagedError: If it is not as it was written.
    """
    return parse_json(path.read_bytes(), path)


def with_checksum(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a JSON object with a checksum of its values as its last one."""
    values = json.loads(json.dumps(values))
    return {**values, _CHECKSUM: _checksum(values)}


def parse_json(text: str | bytes, where: str | os.PathLike) -> dict[str, Any]:
    """Returns the JSON object that a text is, without its checksum.

    Args:
        text: JSON of what `with_checksum` returned; one without a checksum is taken as
            it is.
        where: Where the text is from, for the message.

    Raises:
        DamagedError: If it is not as it was written.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")
    try:
        values = json.loads(text)
        checksum = values.pop(_CHECKSUM, None)
    except (ValueError, AttributeError, TypeError) as error:
        raise DamagedError(where, error_reason(error)) from error
    if checksum not in (None, _checksum(values)):
        raise DamagedError(where, "its checksum is of other values")
    return values


def _checksum(values):
    text = json.dumps(values, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def csv_text(text: str) -> str:
    """Returns a text as a cell of a CSV file that no spreadsheet takes for a formula.

    Args:
        text: Any text; one that is a number stays as it is.
    """
    if not text.startswith(("=", "+", "-", "@", "\t", "\r")):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


def folder_name(text: str) -> str:
    """Returns a readable name for a folder, unique to a text.

    Args:
        text: Any text, such as a dataset's name, `"folder:/photos"`.
    """
    readable = re.sub(r"[^A-Za-z0-9]+", "_", text)[:40].strip("_")
    if readable == text:
        return text
    return f"{readable}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
