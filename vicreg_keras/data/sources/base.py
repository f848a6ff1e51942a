"""Base types of the sources: examples read by index, parts, and a source."""

import dataclasses
import sys
import time
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from vicreg_keras.data.columns import Column


class Examples(Protocol):
    """What a split reads from: random access by index to arrays of one shape."""

    shape: tuple[int, ...]
    dtype: np.dtype

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Returns the examples at `indices`, in that order, as a new array."""
        ...


class ArrayExamples:
    """Examples that lie in an array, in memory or memory-mapped.

    Args:
        array: Shape `(num_examples, ...)`.
    """

    def __init__(self, array: np.ndarray):
        self._array = array
        self.shape = array.shape[1:]
        self.dtype = array.dtype

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Returns a copy of the examples at `indices`."""
        return np.asarray(self._array[indices])


@dataclasses.dataclass(frozen=True)
class Part:
    """One part of a source: examples, int64 labels or `None`, and a name for each."""

    examples: Examples
    labels: np.ndarray | None
    names: Sequence[str]


@dataclasses.dataclass(frozen=True)
class Source:
    """The parts that a dataset has of its own; `columns` where examples are rows."""

    train: Part
    validation: Part | None = None
    test: Part | None = None
    class_names: tuple[str, ...] | None = None
    columns: tuple[Column, ...] | None = None


class Progress:
    """Counts on stderr, once the work has lasted three seconds.

    On a terminal one line is rewritten; elsewhere a line is added every half minute.
    """

    def __init__(self, what: str, total: int):
        self._what = what
        self._total = total
        self._terminal = sys.stderr.isatty()
        self._next = time.monotonic() + 3
        self._shown = False

    def update(self, done: int) -> None:
        """Says that `done` of the total are decoded, not more often than needed."""
        now = time.monotonic()
        finished = self._shown and done == self._total
        if now < self._next and not finished:
            return
        line = f"Decoding {self._what}: {done:,} of {self._total:,}"
        start, end = ("\r", "\n" if finished else "") if self._terminal else ("", "\n")
        print(start + line, end=end, file=sys.stderr, flush=True)
        self._next = now + (0.5 if self._terminal else 30)
        self._shown = True
