"""Values of a table's columns: Arrow's types and text as numbers."""

import pathlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute

from vicreg_keras.data.cells import MAX_CLOCK_DAYS, canonical, parse_plain, replace
from vicreg_keras.data.columns import Column
from vicreg_keras.data.sources.base import Known, quoted
from vicreg_keras.errors import InputError, file_errors

# Whole numbers that never repeat identify the examples of a table of this size.
_MIN_ROWS_OF_IDENTIFIERS = 20

_MICROSECONDS_PER_DAY = 24 * 60 * 60 * 1_000_000


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


def check_columns(
    columns: Sequence[Column], examples: np.ndarray, path: pathlib.Path
) -> None:
    """Checks that every column has a value in some example.

    Args:
        columns: The table's columns.
        examples: `(num_examples, num_columns)`, at least one, NaN for missing values.
        path: The file, for the message.

    Raises:
        InputError: If all values of a column are missing.
    """
    empty = np.flatnonzero(np.isnan(examples).all(axis=0))
    if len(empty):
        names = ", ".join(f"nothing in {columns[i].name!r}" for i in empty[:5])
        raise InputError(
            "Expected a value in some example of every column. Received: "
            f"{path} with {names}. Leave such columns out."
        )


def match_columns(
    where: str | pathlib.Path, names: Sequence[str], known: Known
) -> tuple[tuple[Column, ...], list[int]]:
    """Returns which columns of a matrix of numbers are read, and their positions.

    Args:
        where: The matrix, for the message.
        names: Names of its columns.
        known: The columns of the encoder that it is for, if any.

    Raises:
        InputError: If one of these is missing.
    """
    columns = known.columns
    if columns is None:
        return tuple(map(Column, names)), list(range(len(names)))
    positions = {name: i for i, name in enumerate(names)}
    missing = [column.name for column in columns if column.name not in positions]
    if missing:
        raise InputError(
            "Expected the columns of the encoder's training data, by name. Received: "
            f"{where} with no {quoted(missing)}, in {quoted(names)}. Give the names in "
            "an array column_names, or use a CSV or Parquet file."
        )
    return columns, [positions[column.name] for column in columns]


def as_text(
    cells: pa.ChunkedArray, name: str, where: str | pathlib.Path
) -> pa.ChunkedArray:
    """Returns cells as text, whole numbers without a decimal point."""
    if pa.types.is_floating(cells.type):
        cells = pa.compute.if_else(
            pa.compute.is_nan(cells), pa.scalar(None, cells.type), cells
        )
        if pa.compute.all(pa.compute.equal(cells, pa.compute.floor(cells))).as_py():
            cells = cells.cast(pa.int64(), safe=False)
    with _type_errors(cells, name, where):
        return cells.cast(pa.string())


def parse_text(cells: pa.ChunkedArray, column: Column) -> np.ndarray:
    """Returns text as float64, NaN for what is of another kind once rewritten."""
    if not column.rewrites:
        return parse_plain(cells.combine_chunks(), column.kind)
    encoded = cells.combine_chunks().dictionary_encode()
    texts = rewrite(encoded.dictionary, column)  # Each text is parsed once.
    indices = encoded.indices.fill_null(len(texts)).to_numpy()
    return np.append(parse_plain(texts, column.kind), np.nan)[indices]


def rewrite(texts: pa.Array, column: Column) -> pa.Array:
    """Returns text as a column's rewrites make it plain."""
    for pattern, replacement in column.rewrites:
        texts = replace(texts, pattern, replacement)
    return texts


def typed_format(kind: pa.DataType) -> str:
    """Returns the format of cells in a type of their own, see `Column`."""
    if pa.types.is_boolean(kind):
        return "true or false"
    if pa.types.is_duration(kind):
        return "durations in days"
    if pa.types.is_time(kind):
        return "times of day"
    return "times" if pa.types.is_temporal(kind) else ""


def check_type(
    column: Column,
    cells: pa.ChunkedArray,
    values: np.ndarray,
    where: str | pathlib.Path,
) -> None:
    """Checks that typed cells are of the kind that a known column is.

    Args:
        column: The column.
        cells: Its cells.
        values: What they are, see `parse_typed`.
        where: The file, for the message.

    Raises:
        InputError: If they are dates in a column of numbers, or the like.
    """
    own = Column(column.name, format=typed_format(cells.type))
    present = values[~np.isnan(values)]
    fits, example = own.kind == column.kind, ""
    if pa.types.is_duration(cells.type):
        fits = own.format == column.format
    elif (own.kind, column.kind) == ("numbers", "truth"):
        others = present[~np.isin(present, (0, 1))]
        fits = not len(others)
        example = "" if fits else f" such as {others[0]:g}"
    elif (own.kind, column.kind) == ("times", "times of day"):
        fits = bool((np.abs(present) < MAX_CLOCK_DAYS).all())
    if not fits and len(present):
        raise InputError(
            f"Expected {column.format or column.kind} in column {column.name!r}, as in "
            f"the training data. Received: {where} with {cells.type}{example}. Save "
            "the column in the type that it had."
        )


def parse_typed(
    cells: pa.ChunkedArray, name: str, where: str | pathlib.Path
) -> np.ndarray:
    """Returns numbers, booleans and times as float64, times in days."""
    kind = cells.type
    with _type_errors(cells, name, where):
        if pa.types.is_duration(kind):
            cells = cells.cast(pa.duration("us"), safe=False).cast(pa.int64())
            return _float64(cells) / _MICROSECONDS_PER_DAY
        if pa.types.is_time(kind):
            cells = cells.cast(pa.time64("us"), safe=False).cast(pa.int64())
            return _float64(cells) / _MICROSECONDS_PER_DAY
        if pa.types.is_temporal(kind):
            # Nanoseconds are cut off, which Arrow does not do unasked.
            safe = getattr(kind, "unit", None) != "ns"
            times = cells.cast(pa.timestamp("us"), safe=safe)
            return _float64(times.cast(pa.int64())) / _MICROSECONDS_PER_DAY
        return _float64(cells)


def _type_errors(cells, name, where):
    return file_errors(
        f"{where}, column {name!r} of {cells.type}",
        "columns of numbers, text or times",
        f"Save it as one of these, or use drop_columns={name}",
    )


def _float64(cells):
    return cells.cast(pa.float64(), safe=False).to_numpy()


def codes(cells: pa.ChunkedArray, categories: Sequence[str]) -> np.ndarray:
    """Returns the codes of text, float32, NaN for what is no category."""
    values = canonical(pa.chunked_array([categories], pa.string()))
    found = pa.compute.index_in(canonical(cells), value_set=values)
    return _float64(found).astype(np.float32)


def identifies(cells: pa.ChunkedArray) -> bool:
    """Returns whether all cells are whole numbers of at least 0 that never repeat."""
    present = cells.drop_null()
    if len(present) < _MIN_ROWS_OF_IDENTIFIERS:
        return False
    if pa.compute.count_distinct(present).as_py() < len(present):
        return False
    values = _float64(present)
    return bool((values >= 0).all() and (values == np.floor(values)).all())
