"""Which columns of a table are numbers, which are categories, and which are neither?

Arrow's cells become float64, as it is decided here; NaN is what is missing.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute

from vicreg_keras.data.columns import MISSING, Column
from vicreg_keras.data.sources.table_files import TableFile

# A text with more values than this is no category that an encoder could use.
_MAX_CATEGORIES = 100
# Nor is one, above so many values, that has another value in nearly every row.
_FEW_CATEGORIES = 10
_IDENTIFIER_SHARE = 0.9
# With more numbers than this, the other cells are mistakes rather than categories.
_NUMBER_SHARE = 0.95

_MICROSECONDS_A_DAY = 24 * 60 * 60 * 1_000_000
_NUMBER = r"^[+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|(?i:inf|infinity|nan))$"


@dataclasses.dataclass(frozen=True)
class TableColumn:
    """A column, and how its cells are read.

    Attributes:
        column: Name and categories.
        values: The function from Arrow's cells to float64 `(num_cells,)`.
    """

    column: Column
    values: Callable[[pa.Array], np.ndarray]


def read_columns(
    file: TableFile, names: Sequence[str], label_column: str | None
) -> tuple[list[TableColumn], list[pa.Array], int]:
    """What the columns `names` hold; reads those that are text once, to the end.

    Text is categories, sorted, unless all that is there are numbers, `true` and
    `false`, or times as ISO 8601 writes them. Times are days since 1970, which
    float32 holds to some three minutes. Blanks around text are no part of it.

    Args:
        file: The table.
        names: The columns of an example.
        label_column: One whose cells are wanted as they are, or `None`.

    Returns:
        `(columns, labels, num_rows)`: the columns in the order of `names`, and the
        cells of the label column in parts.

    Raises:
        ValueError: If a column has a type that is neither numbers, times nor text; if
            some cells among numbers are text; if a text has as many values as an
            identifier; or if there are no rows.
    """
    for name in names:
        _check_type(file.path, name, file.types[name])
    texts = {name: _Texts() for name in names if _is_text(file.types[name])}
    labels, num_rows = [], 0
    wanted = [*texts] + ([] if label_column is None else [label_column])
    # Without one to look at, any column tells how many rows there are.
    for batch in file.batches(wanted or names[:1]):
        for name, text in texts.items():
            text.add(batch.column(name), num_rows)
        if label_column is not None:
            labels.append(batch.column(label_column))
        num_rows += batch.num_rows
    if not num_rows:
        raise ValueError(
            f"Expected at least one row. Received: {file.path} with none. Add rows."
        )
    _check_mixed(file, texts)
    _check_identifiers(file, texts)
    columns = []
    for name in names:
        column, values = Column(name), _typed_values
        if name in texts:
            values = texts[name].reader()
            if values is None:
                categories = tuple(sorted(texts[name].values))
                column, values = Column(name, categories), _codes_of(categories)
        columns.append(TableColumn(column, values))
    return columns, labels, num_rows


def values_of(
    cells: pa.Array, column: Column, path: pathlib.Path, start: int
) -> np.ndarray:
    """Cells of a column of which it is known what it holds, float64, NaN for missing.

    Args:
        cells: Some of the column's, text or of a type of their own.
        column: Name and categories. A category that is none of them is missing.
        path: Where they are from, for the message.
        start: The row of the first.

    Raises:
        ValueError: If the column is one of numbers and these cells are not all
            numbers, all `true` and `false`, or all times.
    """
    if column.categories is not None:
        return _codes_of(column.categories)(cells.cast(pa.string()))
    if not _is_text(cells.type):
        _check_type(path, column.name, cells.type)
        return _typed_values(cells)
    text = _Texts()
    text.add(cells, start)
    if text.reader() is None:
        row, value = text.first_text
        raise ValueError(
            f"Expected numbers, true, false or times in column {column.name!r}, as in "
            f"the training data. Received: {path} with {value[:40]!r} in row/{row}, "
            "counted from 0. Correct or empty the cell."
        )
    return text.reader()(cells)


def without_missing(cells: pa.Array) -> pa.Array:
    """Text without the blanks around it, null where it says that there is nothing."""
    if not _is_text(cells.type):
        return cells
    cells = pa.compute.utf8_trim_whitespace(_as_strings(cells))
    missing = pa.compute.is_in(cells, value_set=pa.array(MISSING))
    return pa.compute.if_else(missing, pa.scalar(None, pa.string()), cells)


def numbers_of(cells: pa.Array) -> np.ndarray | None:
    """float64 of text or numbers, or `None` if some of them are not numbers."""
    try:
        return _float64(_as_strings(cells).cast(pa.float64()))
    except pa.ArrowInvalid:
        return None


class _Texts:
    """What has been seen of a text column."""

    def __init__(self):
        self.values = set()  # Complete up to _MAX_CATEGORIES; above, refused anyhow.
        self.num_present = 0
        self.num_numbers = 0
        self.first_text = None  # (row, text) of the first that is no number
        self._readers = [_numbers, _booleans, _times, _zoned_times]

    def add(self, cells: pa.Array, start: int) -> None:
        """Takes the next cells, of which the first is row `start`."""
        all_numbers = numbers_of(cells) is not None
        cells = _as_strings(cells) if all_numbers else without_missing(cells)
        num_present = len(cells) - cells.null_count
        self.num_present += num_present
        if len(self.values) <= _MAX_CATEGORIES:
            self.values |= set(cells.unique().drop_null().to_pylist())
        all_numbers = all_numbers or numbers_of(cells) is not None
        if all_numbers:
            self.num_numbers += num_present
        else:
            self._count_numbers(cells, start)
        self._readers = [
            read
            for read in self._readers
            # Once is enough: it is what most of the time goes into.
            if (all_numbers if read is _numbers else _reads(read, cells))
        ]

    def reader(self) -> Callable[[pa.Array], np.ndarray] | None:
        """What reads every cell so far as a number, or `None`."""
        return self._readers[0] if self._readers else None

    def _count_numbers(self, cells, start):
        like_numbers = pa.compute.match_substring_regex(cells, _NUMBER)
        self.num_numbers += pa.compute.sum(like_numbers).as_py() or 0
        if self.first_text is None:
            place = pa.compute.index(like_numbers, False).as_py()
            if place >= 0:
                self.first_text = (start + place, cells[place].as_py())


def _reads(reader: Callable[[pa.Array], np.ndarray], cells: pa.Array) -> bool:
    try:
        reader(cells)
    except pa.ArrowInvalid:
        return False
    return True


def _numbers(cells: pa.Array) -> np.ndarray:
    # As they are first: most tables have no blanks, and looking for them takes longer.
    values = numbers_of(cells)
    if values is None:
        values = _float64(without_missing(cells).cast(pa.float64()))
    return values


def _booleans(cells: pa.Array) -> np.ndarray:
    return _float64(without_missing(cells).cast(pa.bool_()))


def _times(cells: pa.Array) -> np.ndarray:
    return _days(without_missing(cells).cast(pa.timestamp("us")))


def _zoned_times(cells: pa.Array) -> np.ndarray:
    return _days(without_missing(cells).cast(pa.timestamp("us", "UTC")))


def _codes_of(categories: Sequence[str]) -> Callable[[pa.Array], np.ndarray]:
    names = pa.array(categories, pa.string())
    return lambda cells: _float64(
        pa.compute.index_in(without_missing(cells), value_set=names)
    )


def _typed_values(cells: pa.Array) -> np.ndarray:
    if pa.types.is_date(cells.type) or pa.types.is_timestamp(cells.type):
        unit = cells.type.unit if pa.types.is_timestamp(cells.type) else "us"
        # Nanoseconds are cut off, which Arrow does not do unasked.
        return _days(cells.cast(pa.timestamp("us"), safe=unit != "ns"))
    return _float64(cells)


def _days(times: pa.Array) -> np.ndarray:
    return _float64(times.cast(pa.int64())) / _MICROSECONDS_A_DAY


def _float64(cells: pa.Array) -> np.ndarray:
    return cells.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return (
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
    )


def _as_strings(cells: pa.Array) -> pa.Array:
    return cells.cast(pa.string()) if _is_text(cells.type) else cells


def _check_type(path: pathlib.Path, name: str, kind: pa.DataType) -> None:
    known = _is_text(kind) or any(
        check(kind)
        for check in (
            pa.types.is_integer,
            pa.types.is_floating,
            pa.types.is_decimal,
            pa.types.is_boolean,
            pa.types.is_date,
            pa.types.is_timestamp,
            pa.types.is_null,
        )
    )
    if not known:
        raise ValueError(
            "Expected columns of numbers, text or times. Received: "
            f"{path}, column {name!r} of {kind}. Use --drop_columns={name}."
        )


def _check_mixed(file: TableFile, texts: dict[str, _Texts]) -> None:
    for name, text in texts.items():
        share = text.num_numbers / max(text.num_present, 1)
        if text.reader() is None and share > _NUMBER_SHARE and text.first_text:
            row, value = text.first_text
            raise ValueError(
                f"Expected numbers, as in {100 * share:.1f} % of the cells of column "
                f"{name!r}. Received: {file.path} with {value[:40]!r} in row/{row}, "
                "counted from 0. Correct or empty such cells, or use "
                f"--drop_columns={name}."
            )


def _check_identifiers(file: TableFile, texts: dict[str, _Texts]) -> None:
    found = [
        name
        for name, text in texts.items()
        if text.reader() is None
        and (
            len(text.values) > _MAX_CATEGORIES
            or len(text.values)
            > max(_FEW_CATEGORIES, _IDENTIFIER_SHARE * text.num_present)
        )
    ]
    if found:
        shown = ", ".join(map(repr, found[:5])) + (", ..." if len(found) > 5 else "")
        raise ValueError(
            f"Expected text columns of at most {_MAX_CATEGORIES} categories, most of "
            f"them in several rows. Received: {file.path} with more in {shown}. "
            f"Use --drop_columns={','.join(found)}."
        )
