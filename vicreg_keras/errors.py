"""Errors whose message is for the user."""

import contextlib
import errno
import importlib.util
import os
import re
from collections.abc import Iterable, Iterator, Mapping

# What makes a file system refuse: numbers of the operating system, and what other
# libraries say then.
_DISK_NUMBERS = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO),
    *(errno.EROFS, errno.EACCES, errno.EPERM),
}
# A folder in a file's place, a link to itself, or the like.
_KIND_NUMBERS = {
    *(errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY),
    *(errno.ELOOP, errno.ENXIO, errno.ENODEV, errno.ESPIPE),
}
_DISK_TEXTS = (
    *map(os.strerror, _DISK_NUMBERS),
    *("disk is full", "readonly database", "unable to open database file"),
)
_KIND_TEXTS = (os.strerror(errno.EISDIR), os.strerror(errno.ENOTDIR))


class InputError(ValueError):
    """A value, file, dataset or checkpoint that a user gave can't be used.

    The message is one sentence for each of: what was expected, what was received
    (`Received: name=value`) and what to do. The command line prints it without a
    traceback. Any other exception is a defect of the program and keeps its traceback.
    """


class DamagedError(InputError):
    """A file is not as it was written, or belongs to another run.

    Args:
        path: The file.
        reason: What is wrong with it.
        remedy: What to do.

    Attributes:
        fault: The first half of a warning: which file is damaged, and how.
    """

    def __init__(
        self, path: str | os.PathLike, reason: str, remedy: str = "Restore it."
    ):
        super().__init__(
            f"Expected {path} as it was written. Received: a file that is not "
            f"({reason}). {remedy}"
        )
        self.fault = f"{path} is damaged ({reason})"


class NonFiniteError(InputError, FloatingPointError):
    """Training produced a loss or representations that are NaN or infinite."""


def check_choice(name: str, value: str, choices: Iterable[str]) -> None:
    """Checks that an argument is one of its choices.

    Raises:
        InputError: If it is not.
    """
    if value not in choices:
        known = ", ".join(choices)
        raise InputError(
            f"Expected {name} to be one of {known}. Received: {name}={value}."
        )


def check_packages(purpose: str, packages: Mapping[str, str]) -> None:
    """Checks, before any work, that optional packages are installed.

    Args:
        purpose: What needs them.
        packages: Names of the packages by the names of their modules.

    Raises:
        InputError: If one is missing.
    """
    missing = [
        package
        for module, package in packages.items()
        if importlib.util.find_spec(module) is None
    ]
    if missing:
        raise InputError(
            f"Expected the packages that {purpose} needs. Received: no "
            f"{', '.join(missing)}. Run: pip install {' '.join(missing)}"
        )


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
        raise InputError(
            f"Expected {expected}. Received: {name} ({error_reason(error)}). {remedy}."
        ) from error


def error_reason(error: BaseException) -> str:
    """Returns in short, on one line, what a library says about a bad file."""
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:200].rstrip(". ")
    return escape(reason)


def machine_error(
    error: BaseException, place: str = "a file of the run"
) -> InputError | None:
    """Returns an error about disk, memory or what is in a file's place, in one line.

    Args:
        error: What a library raised, perhaps because of an error of the operating
            system.
        place: What is named where the library does not name the file.

    Returns:
        `None` if it has another reason.
    """
    cause: BaseException | None = error
    while cause is not None:
        text = str(cause)
        found = re.search(r"(?<![\w.:/])/[^\s:;,'\"()]+", text)
        path = found[0] if found else place
        full, odd = (
            [one for one in texts if one.lower() in text.lower()]
            for texts in (_DISK_TEXTS, _KIND_TEXTS)
        )
        number = cause.errno if isinstance(cause, OSError) else None
        if isinstance(cause, OSError) and number in _DISK_NUMBERS | _KIND_NUMBERS:
            path = cause.filename or "standard output"
            full, odd = (
                [os.strerror(number)] if number in numbers else []
                for numbers in (_DISK_NUMBERS, _KIND_NUMBERS)
            )
        if odd:
            return InputError(
                "Expected a run's files and folders where they were written. Received: "
                f"{path} ({odd[0]}). Remove what is there, or restore what was."
            )
        if full:
            return InputError(
                "Expected room on the disk, and permission to use it. Received: "
                f"{path} ({full[0]}). What was saved before is whole: mend this, "
                "and give the same command again."
            )
        if isinstance(cause, MemoryError) or "OOM when allocating" in text:
            what = re.search(r"tensor with shape\[[\d,]*\]", text)
            return InputError(
                "Expected what fits into memory. Received: "
                f"{what[0] if what else error_reason(cause)}, which does not. Lower "
                "batch_size, image_size or the widths of encoder and projector."
            )
        cause = cause.__cause__ or cause.__context__
    return None


def escape(text: str) -> str:
    """Returns a text as a part of one line.

    Line ends by any reader's rule, other control characters, and what stands for bytes
    that are not UTF-8, are written as Python escapes them.
    """
    return re.sub(
        "[\0-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]",
        lambda match: match[0].encode("unicode_escape").decode(),
        text,
    )
