"""Digests of examples, by which changed data is recognized."""

import hashlib
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from vicreg_keras.errors import file_errors

if TYPE_CHECKING:
    from vicreg_keras.data.sources.image_files import FileExamples

_BLOCK_SIZE = 4096
# Examples that are read, evenly spaced, where not all are in memory.
_NUM_PROBED = 64


def digest(*values: object) -> str:
    """Returns 16 hexadecimal digits that any change of the values changes.

    Args:
        *values: Bytes, or what `repr` tells apart.
    """
    content = hashlib.sha256()
    for value in values:
        part = value if isinstance(value, bytes) else repr(value).encode()
        content.update(b"%d:" % len(part) + part)
    return content.hexdigest()[:16]


def example_digests(
    examples: "np.ndarray | FileExamples", indices: np.ndarray
) -> np.ndarray:
    """Returns a digest of each example.

    Of an array in memory, of its whole content. Of a memory-mapped file, of the file's
    size and modification time, and of the contents of 64 examples. Of image files, see
    `file_digests`.

    Args:
        examples: `(num_source_examples, ...)`.
        indices: Which of them, `(num_examples,)`.

    Returns:
        uint64 `(num_examples,)`.
    """
    if not isinstance(examples, np.ndarray):
        return file_digests(examples.paths(indices))
    if isinstance(examples, np.memmap):
        status = _status(examples.filename)
        return _digests(
            [status + str(index).encode() for index in indices],
            lambda probed: examples[indices[probed]],
        )
    parts = []
    for start in range(0, len(indices), _BLOCK_SIZE):
        block = np.ascontiguousarray(examples[indices[start : start + _BLOCK_SIZE]])
        parts += [hashlib.sha256(example).digest()[:8] for example in block]
    return np.frombuffer(b"".join(parts), np.uint64)


def file_digests(paths: Sequence[str | os.PathLike]) -> np.ndarray:
    """Returns a digest of each file: its size, its modification time, and 64 contents.

    Args:
        paths: The files.

    Returns:
        uint64 `(num_files,)`.
    """

    def contents(probed):
        for i in probed:
            with open(paths[i], "rb") as file:
                yield file.read()

    return _digests([_status(path) for path in paths], contents)


def _status(path) -> bytes:
    with file_errors(path, "the files that were there at first", "Start again"):
        status = os.stat(path)
    return b"%d %d " % (status.st_size, status.st_mtime_ns)


def _digests(texts, read) -> np.ndarray:
    """Digests of texts, to evenly spaced ones of which contents are added."""
    probed = np.linspace(0, len(texts) - 1, min(_NUM_PROBED, len(texts))).astype(int)
    for i, content in zip(probed, read(probed), strict=True):
        texts[i] += hashlib.sha256(content).digest()
    parts = [hashlib.sha256(text).digest()[:8] for text in texts]
    return np.frombuffer(b"".join(parts), np.uint64)
