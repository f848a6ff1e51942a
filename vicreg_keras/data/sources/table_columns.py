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
from vicreg_keras.errors import InputError, file_errors

# Text with more distinct values is no category that an encoder could use.
_MAX_CATEGORIES = 100
# Nor is text with more than so many that differ in nearly every example.
_MIN_IDENTIFIERS = 10
_IDENTIFIER_FRACTION = 0.9
# With a larger fraction of numbers, the other cells are mistakes, not categories.
_NUMBER_FRACTION = 0.95

_MICROSECONDS_PER_DAY = 24 * 60 * 60 * 1_000_000
_TEXT = (pa.string(), pa.large_string(), pa.string_view())
_NUMBER = r"^[+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|(?i:inf|infinity|nan))$"
# What text is tried as, in this order.
_TEXT_TYPES = (pa.float64(), pa.bool_(), pa.timestamp("us"), pa.timestamp("us", "UTC"))


def read_column(
    name: str, cells: pa.ChunkedArray, path: pathlib.Path, known: Column | None = None
) -> tuple[Column, np.ndarray]:
    """Reads the cells of a column: numbers, or categories.

    Text is categories, sorted, unless all of it is numbers, `true` and `false`, or
    times as ISO 8601 writes them. Times are days since 1970, which float32 holds to
    some three minutes.

    Args:
        name: The column's name.
        cells: All of its cells, of a type of their own or text, see `strip_text`.
        path: The file, for the message.
        known: The training data's column, which these cells are parsed as; other
            categories than its own are missing. `None` infers what the column holds.

    Returns:
        The column, and its values, float32 `(num_examples,)`. An inferred column may
        have too many categories: see `check_columns`.

    Raises:
        InputError: If the cells have a type that is neither numbers, times nor text;
            if some are text and the column is one of numbers, or nearly all others
            are numbers; or if a number is not finite in float32.
    """
    categories = None if known is None else known.categories
    if categories is None:
        values = _parse_numbers(name, cells, path)
        if values is not None:
            return Column(name), as_float32(values, path, name)
    text = cells.cast(pa.string())
    if categories is None:
        like_numbers = pa.compute.match_substring_regex(text, _NUMBER)
        fraction = pa.compute.mean(like_numbers.cast(pa.int8())).as_py()
        if known is not None or _NUMBER_FRACTION < fraction < 1:
            row = pa.compute.index(like_numbers, False).as_py()
            others = "the training data"
            if known is None:
                others = f"{100 * fraction:.1f} % of the cells"
            raise InputError(
                f"Expected numbers (or true, false or times) in column {name!r}, as in "
                f"{others}. Received: {path} with {text[row].as_py()[:40]!r} in "
                f"row/{row}, counted from 0. Correct or empty such cells, or train "
                f"with drop_columns={name}."
            )
        categories = tuple(sorted(text.unique().drop_null().to_pylist()))
    codes = pa.compute.index_in(text, value_set=pa.array(categories, pa.string()))
    return Column(name, categories), _float64(codes).astype(np.float32)


def check_columns(
    columns: Sequence[Column], examples: np.ndarray, path: pathlib.Path
) -> None:
    """Checks that an encoder can use every column.

    Args:
        columns: The table's columns.
        examples: `(num_examples, num_columns)`, at least one, NaN for missing values.
        path: The file, for the message.

    Raises:
        InputError: If all values of a column are missing, or if it is an identifier:
            with over 100 categories, or another in nearly every example.
    """
    problems = {}
    for column, num_present in zip(
        columns, np.count_nonzero(~np.isnan(examples), axis=0), strict=True
    ):
        num_categories = len(column.categories or ())
        limit = max(_MIN_IDENTIFIERS, _IDENTIFIER_FRACTION * num_present)
        if num_present == 0:
            problems[column.name] = f"nothing in {column.name!r}"
        elif num_categories > min(_MAX_CATEGORIES, limit):
            problems[column.name] = f"{num_categories} in {column.name!r}"
    if problems:
        raise InputError(
            "Expected a value in some example of every column, and of text at most "
            f"{_MAX_CATEGORIES} categories, most of them in several examples. "
            f"Received: {path} with {', '.join(problems.values())}. Leave such columns "
            f"out, of a csv or parquet file by drop_columns={','.join(problems)}."
        )


def as_float32(values: np.ndarray, where: str | pathlib.Path, name: str) -> np.ndarray:
    """Converts one column's numbers, NaN for missing values.

    Args:
        values: `(num_examples,)`.
        where: The file, for the message.
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
            f"{where}, column {name!r} with {values[row]:g} in row/{row}, counted from "
            f"0. Correct or empty the cell, or leave {name!r} out."
        )
    return values.astype(np.float32)


def strip_text(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    """Returns text without the blanks around it, null for missing values."""
    kind = cells.type
    if (kind.value_type if pa.types.is_dictionary(kind) else kind) not in _TEXT:
        return cells
    cells = pa.compute.utf8_trim_whitespace(cells.cast(pa.string()))
    missing = pa.compute.is_in(cells, value_set=pa.array(MISSING))
    return pa.compute.if_else(missing, pa.scalar(None, pa.string()), cells)


def _parse_numbers(
    name: str, cells: pa.ChunkedArray, path: pathlib.Path
) -> np.ndarray | None:
    """Cells as float64, times in days since 1970; `None` if some are text."""
    if cells.type != pa.string():
        with file_errors(
            f"{path}, column {name!r} of {cells.type}",
            "columns of numbers, text or times",
            f"Use drop_columns={name}",
        ):
            return _float64(cells)
    for kind in _TEXT_TYPES:
        with contextlib.suppress(pa.ArrowInvalid):
            return _float64(cells.cast(kind))
    return None


def _float64(cells: pa.ChunkedArray) -> np.ndarray:
    if pa.types.is_temporal(cells.type):
        # Nanoseconds are cut off, which Arrow does not do unasked.
        unit = getattr(cells.type, "unit", None)
        times = cells.cast(pa.timestamp("us"), safe=unit != "ns")
        return _float64(times.cast(pa.int64())) / _MICROSECONDS_PER_DAY
    return cells.cast(pa.float64(), safe=False).to_numpy()
