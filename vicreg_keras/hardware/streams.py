"""The standard streams: what libraries write there, and readers that end early."""

import contextlib
import errno
import io
import logging
import os
import re
import stat
import sys
import warnings
from collections.abc import Iterator

from vicreg_keras.errors import escape

# About the code of libraries, not about what the user gave.
_NOT_FOR_USERS = ("DeprecationWarning", "FutureWarning", "ExperimentalWarning")
# Loggers with handlers of their own, and what they say below an error is about code.
_LOGGERS = ("tensorflow", "matplotlib", "jax", "h5py")
_GLYPH = re.compile(r"Glyph (\d+) .*missing from")


class _Outliving(io.FileIO):
    """A pipe or terminal, which becomes the null device when nobody reads it."""

    def write(self, content):
        try:
            return super().write(content)
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO):
                raise
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), self.fileno())
            return len(content)


@contextlib.contextmanager
def outlive_readers() -> Iterator[None]:
    """Lets the program work on when nobody reads what it prints any more.

    A training whose output goes to `tee` or `head` does not end with them, and one
    whose terminal is closed can still save its state.
    """
    earlier = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (_outliving(one, n) for n, one in enumerate(earlier, 1))
    try:
        yield
    finally:
        sys.stderr.flush()
        sys.stdout, sys.stderr = earlier


def _outliving(stream, number):
    if stream is None:  # It was closed before the program started.
        return open(os.devnull, "w")
    kind = os.fstat(number).st_mode
    own = stream is (None, sys.__stdout__, sys.__stderr__)[number]
    if not own or stat.S_ISREG(kind):
        return stream
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_Outliving(number, "w", closefd=False)),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering or stream.write_through,
    )


@contextlib.contextmanager
def silent_stderr() -> Iterator[None]:
    """Drops all that is written to stderr, from C++ as well, and Python's warnings."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            os.dup2(nowhere.fileno(), 2)
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@contextlib.contextmanager
def one_line_warnings() -> Iterator[None]:
    """Prints each of Python's warnings once, in a line without its place in the code.

    Those about the code of libraries are left out. Characters that figures lack a font
    for are named together, when the block ends.
    """
    said: set[str] = set()
    glyphs: dict[str, None] = {}

    def show(message, category, filename, lineno, file=None, line=None):
        names = {parent.__name__ for parent in category.__mro__}
        if not names.isdisjoint(_NOT_FOR_USERS):
            return
        text = " ".join(str(message).split())
        if match := _GLYPH.match(text):
            glyphs[chr(int(match[1]))] = None
        elif text not in said:
            said.add(text)
            print(f"main.py: warning: {escape(text)}", file=sys.stderr, flush=True)

    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.showwarning = show
        for name in _LOGGERS:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
            if glyphs:
                print(
                    "main.py: warning: no installed font has the characters "
                    f"{''.join(glyphs)}: figures show boxes in their place. Install "
                    "one that has them, such as Noto Sans CJK.",
                    file=sys.stderr,
                )
