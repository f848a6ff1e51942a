"""Arrow columns as numbers: which are numeric, which are categories, which neither.

Numbers, booleans and times become float64, categories their codes, missing values NaN.
"""

import contextlib
import pathlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute

from vicreg_keras.data.columns import MISSING, Column
from vicreg_keras.data.sources.base import quoted, require
from vicreg_keras.errors import InputError

# Text with more distinct values is no category that an encoder could use.
_MAX_CATEGORIES = 100
# Nor is text with more than so many that differ in nearly every example.
_MIN_IDENTIFIERS = 10
_IDENTIFIER_FRACTION = 0.9
# With a larger fraction of numbers, the other cells are mistakes, not categories.
_NUMBER_FRACTION = 0.95

_MICROSECONDS_PER_DAY = 24 * 60 * 60 * 1_000_000
_NUMBER = r"^[+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|(?i:inf|infinity|nan))$"
# What text is tried as, in this order.
_TEXT_TYPES = (
    pa.float64(),
    pa.bool_(),
    pa.timestamp("us"),
    pa.timestamp("us", "UTC"),
)


def infer_column(
    name: str, cells: pa.ChunkedArray, path: pathlib.Path
) -> tuple[Column, np.ndarray]:
    """Infers what a column of the training data holds.

    Text is categories, sorted, unless all of it is numbers, `true` and `false`, or
    times as ISO 8601 writes them. Times are days since 1970, which float32 holds to
    some three minutes. Blanks around text are ignored.

    Args:
        name: The column's name.
        cells: All of its cells.
        path: The file, for the message.

    Returns:
        The column, and its values, float64 `(num_examples,)`. A column of categories
        may have too many of them: see `check_categories`.

    Raises:
        InputError: If it has a type that is neither numbers, times nor text, or if
            nearly all cells are numbers and some are text.
    """
    values = _parse_numbers(name, cells, path)
    if values is not None:
        return Column(name), values
    text = strip_text(cells)
    like_numbers = pa.compute.match_substring_regex(text, _NUMBER)
    fraction = pa.compute.mean(like_numbers.cast(pa.int8())).as_py()
    if _NUMBER_FRACTION < fraction < 1:
        raise InputError(
            f"Expected numbers, as in {100 * fraction:.1f} % of the cells of column "
            f"{name!r}. Received: {path} with {_first_text(text)}. Correct or empty "
            f"such cells, or use drop_columns={name}."
        )
    categories = tuple(sorted(text.unique().drop_null().to_pylist()))
    return Column(name, categories), _codes(text, categories)


def check_categories(
    columns: Sequence[Column], examples: np.ndarray, path: pathlib.Path
) -> None:
    """Checks that no column of categories is an identifier.

    Args:
        columns: The table's columns.
        examples: `(num_examples, num_columns)`, NaN for missing values.
        path: The file, for the message.

    Raises:
        InputError: If one has over 100 categories, or another in nearly every example.
    """
    identifiers = []
    for i, column in enumerate(columns):
        num_present = np.count_nonzero(~np.isnan(examples[:, i]))
        limit = max(_MIN_IDENTIFIERS, _IDENTIFIER_FRACTION * num_present)
        if len(column.categories or ()) > min(_MAX_CATEGORIES, limit):
            identifiers.append(column.name)
    require(
        not identifiers,
        f"text columns of at most {_MAX_CATEGORIES} categories, most of them in "
        "several examples",
        f"{path} with more in {quoted(identifiers)}",
        f"Use drop_columns={','.join(identifiers)}",
    )


def parse_column(
    column: Column, cells: pa.ChunkedArray, path: pathlib.Path
) -> np.ndarray:
    """Parses the cells of a column that the training data has.

    Args:
        column: The training data's column. Other categories than its own are missing.
        cells: All of the cells, text or of a type of their own.
        path: The file, for the message.

    Returns:
        float64 `(num_examples,)`.

    Raises:
        InputError: If it is a column of numbers, and these cells are not all numbers,
            all `true` and `false`, or all times.
    """
    if column.categories is not None:
        return _codes(strip_text(cells.cast(pa.string())), column.categories)
    values = _parse_numbers(column.name, cells, path)
    if values is None:
        raise InputError(
            f"Expected numbers, true, false or times in column {column.name!r}, as in "
            f"the training data. Received: {path} with "
            f"{_first_text(strip_text(cells))}. Correct or empty the cell."
        )
    return values


def as_float32(values: np.ndarray, path: pathlib.Path, name: str) -> np.ndarray:
    """Converts one column's numbers, NaN for missing values.

    Args:
        values: `(num_examples,)`.
        path: The file, for the message.
        name: The column's name.

    Raises:
        InputError: If a number is infinite, or would be in float32.
    """
    values = np.asarray(values, np.float64)
    beyond = np.abs(values) > np.finfo(np.float32).max
    if beyond.any():
        row = int(beyond.argmax())
        raise InputError(
            "Expected numbers that are finite in float32, at most 3.4e38. Received: "
            f"{path}, column {name!r} with {values[row]:g} in row/{row}, counted from "
            f"0. Correct or empty the cell, or leave {name!r} out."
        )
    return values.astype(np.float32)


def check_not_empty(
    examples: np.ndarray, path: pathlib.Path, columns: Sequence[Column]
) -> None:
    """Checks that every column has a value.

    Args:
        examples: `(num_examples, num_columns)`, at least one, NaN for missing values.
        path: The file, for the message.
        columns: The table's columns.

    Raises:
        InputError: If every value of a column is missing.
    """
    empty = [
        column.name
        for i, column in enumerate(columns)
        if np.isnan(examples[:, i]).all()
    ]
    require(
        not empty,
        "a value in some example of every column",
        f"{path} with nothing in {quoted(empty)}",
        "Leave such columns out, of a csv or parquet file by "
        f"drop_columns={','.join(empty)}",
    )


def strip_text(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    """Returns text without the blanks around it, null for missing values."""
    if not _is_text(cells.type):
        return cells
    cells = pa.compute.utf8_trim_whitespace(cells.cast(pa.string()))
    missing = pa.compute.is_in(cells, value_set=pa.array(MISSING))
    return pa.compute.if_else(missing, pa.scalar(None, pa.string()), cells)


def _parse_numbers(
    name: str, cells: pa.ChunkedArray, path: pathlib.Path
) -> np.ndarray | None:
    """Cells as float64, times in days since 1970; `None` if some are text."""
    if not _is_text(cells.type):
        try:
            return _float64(cells)
        except pa.ArrowException:
            raise InputError(
                "Expected columns of numbers, text or times. Received: "
                f"{path}, column {name!r} of {cells.type}. Use drop_columns={name}."
            ) from None
    cells = cells.cast(pa.string())
    # Most tables have no blanks, and looking for them takes longer than this.
    with contextlib.suppress(pa.ArrowInvalid):
        return _float64(cells.cast(pa.float64()))
    text = strip_text(cells)
    for kind in _TEXT_TYPES:
        with contextlib.suppress(pa.ArrowInvalid):
            return _float64(text.cast(kind))
    return None


def _codes(text: pa.ChunkedArray, categories: Sequence[str]) -> np.ndarray:
    names = pa.array(categories, pa.string())
    return _float64(pa.compute.index_in(text, value_set=names))


def _float64(cells: pa.ChunkedArray) -> np.ndarray:
    if pa.types.is_temporal(cells.type):
        # Nanoseconds are cut off, which Arrow does not do unasked.
        unit = getattr(cells.type, "unit", None)
        times = cells.cast(pa.timestamp("us"), safe=unit != "ns")
        return _float64(times.cast(pa.int64())) / _MICROSECONDS_PER_DAY
    return cells.cast(pa.float64(), safe=False).to_numpy()


def _first_text(text: pa.ChunkedArray) -> str:
    """The first cell that is no number, for a message."""
    like_numbers = pa.compute.match_substring_regex(text, _NUMBER)
    row = pa.compute.index(like_numbers, False).as_py()
    return f"{text[row].as_py()[:40]!r} in row/{row}, counted from 0"


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return (
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
    )
