"""Numbered folders `FOLDER/1`, `FOLDER/2`, ... as TensorFlow Serving watches them.

A version is written aside, flushed to the disk and renamed, so that a reader finds it
whole or not at all. Its file `SHA256SUMS` tells whether it still is: `check_version`
compares, and so does `sha256sum -c SHA256SUMS` in its folder.
"""

import contextlib
import fcntl
import hashlib
import os
import pathlib
import shutil
import uuid
from collections.abc import Callable, Iterator

from vicreg_keras.errors import DamagedError, InputError

SUMS_FILE = "SHA256SUMS"
_UNFINISHED = ".unfinished-"


def version_numbers(folder: str | os.PathLike) -> list[int]:
    """Returns the versions in a folder, in order; none if it is missing."""
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        return []
    return sorted(int(child.name) for child in folder.iterdir() if _is_version(child))


def newest_version(folder: str | os.PathLike) -> pathlib.Path | None:
    """Returns the folder of the version with the largest number, or `None`."""
    numbers = version_numbers(folder)
    return pathlib.Path(folder) / str(numbers[-1]) if numbers else None


def saved_model_folder(path: str | os.PathLike) -> pathlib.Path:
    """Returns the folder of the newest SavedModel.

    Args:
        path: The folder itself, one with numbered versions, or a run's.

    Raises:
        InputError: If there is none.
    """
    path = pathlib.Path(path)
    folders = [path]
    for parent in (path, path / "encoder"):
        folders += [parent / str(n) for n in reversed(version_numbers(parent))]
    for folder in folders:
        if (folder / "saved_model.pb").is_file():
            return folder
        check_version(folder)  # An earlier version does not stand for a damaged one.
    raise InputError(
        "Expected the folder of a run, with encoder/1/saved_model.pb, or one of a "
        f"SavedModel. Received: path={path}, which has none. Train one: "
        "mode=pretrain, whose same command continues what was interrupted; or name "
        "another folder."
    )


def write_version(
    folder: str | os.PathLike, write: Callable[[pathlib.Path], None]
) -> pathlib.Path:
    """Adds the next version to a folder.

    Args:
        folder: Made if it is missing. One process at a time writes to it; others
            wait. Unfinished versions of killed processes are removed.
        write: Called with an empty folder to fill; may check what it wrote, and raise.

    Returns:
        The new version's folder, `folder/1` for the first.

    Raises:
        Exception: Whatever `write` raises; the folder is then as it was before.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        # No other process writes now: these were left by killed ones.
        for left in folder.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(left, ignore_errors=True)
        aside = folder / f"{_UNFINISHED}{uuid.uuid4().hex}"
        aside.mkdir()
        try:
            write(aside)
            sums = sorted(_sums(aside).items())
            # A comment to `sha256sum -c`.
            lines = [f"# {len(sums)} files\n"]
            lines += [f"{digest}  {name}\n" for name, digest in sums]
            (aside / SUMS_FILE).write_text("".join(lines), encoding="utf-8")
            _flush(aside)
            version = folder / str(max(version_numbers(folder), default=0) + 1)
            os.rename(aside, version)
            _sync(folder)
        except OSError as error:
            # A file that is full does not say which it is.
            error.filename = error.filename or str(folder)
            raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return version


REMEDY = (
    "Give the command again that wrote it: mode=pretrain writes an encoder from the "
    "run's checkpoint, mode=export what else is served."
)


def check_version(version: str | os.PathLike, remedy: str = REMEDY) -> None:
    """Checks that the files of a version are as `write_version` wrote them.

    Args:
        version: The version's folder; one of another program, without `SHA256SUMS`, is
            taken as it is, and so are files that were added.
        remedy: What to do otherwise.

    Raises:
        DamagedError: If one is not.
    """
    version = pathlib.Path(version)
    path = version / SUMS_FILE
    if not path.exists():
        return
    found = _sums(version)
    try:
        lines = path.read_text("utf-8").splitlines()
        # Earlier versions of the program did not write how many there are.
        head = lines.pop(0) if lines and lines[0].startswith("# ") else ""
        expected = {name: digest for digest, name in (x.split("  ", 1) for x in lines)}
    except ValueError:
        head, expected = "", {}
    if not expected or head not in ("", f"# {len(expected)} files"):
        raise DamagedError(path, "it is no list of checksums", remedy)
    for name, digest in expected.items():
        if name not in found:
            raise DamagedError(
                version / name, f"listed in {SUMS_FILE}, but missing", remedy
            )
        if found[name] != digest:
            raise DamagedError(version / name, f"not as in {SUMS_FILE}", remedy)


def _sums(version):
    """SHA-256 digests of a version's files by relative path."""
    digests = {}
    for path in version.rglob("*"):
        if path.is_file() and path.name != SUMS_FILE:
            with open(path, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            digests[path.relative_to(version).as_posix()] = digest
    return digests


def _is_version(child):
    return child.name.isascii() and child.name.isdecimal() and child.is_dir()


@contextlib.contextmanager
def _locked(folder: pathlib.Path) -> Iterator[None]:
    """Locks the folder, once it is free; the lock ends with its process."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _flush(folder):
    """Flushes a folder, with all its files and folders, to the disk."""
    for path in (*folder.rglob("*"), folder):
        _sync(path)


def _sync(path):
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
