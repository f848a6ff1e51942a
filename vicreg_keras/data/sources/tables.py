"""Rows of numbers: csv and parquet files, and the tables that scikit-learn brings."""

import difflib
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from vicreg_keras.data.columns import Column
from vicreg_keras.data.sources.base import ArrayExamples, Part, Source
from vicreg_keras.data.sources.table_checks import (
    as_float32,
    check_no_image_size,
    check_not_empty,
)
from vicreg_keras.data.sources.table_columns import (
    numbers_of,
    read_columns,
    without_missing,
)
from vicreg_keras.data.sources.table_files import CsvFile, ParquetFile, TableFile


def load_csv(
    location: str,
    *,
    image_size: int | None,
    label_column: str | None = None,
    drop_columns: Sequence[str] = (),
    **unused: Any,
) -> Source:
    """A csv file: UTF-8 text, commas, and a first line that names the columns.

    A column is one of numbers if all that is there are numbers, `true` and `false`
    (1 and 0), or times (days since 1970, which float32 holds to some three minutes).
    Other text is categories, in their sorted order. Cells that are empty or say `NA`,
    `nan`, `null`, `None` or `?` are missing.

    Args:
        location: The file.
        image_size: Must be `None`.
        label_column: As in `load_dataset`.
        drop_columns: As in `load_dataset`.
        **unused: What other sources need.

    Returns:
        A source with a training part only; names are `"row/17"`, counted from 0 below
        the header.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is not such a file, a column is missing, empty, an
            identifier, or numbers with some text among them, or a number is not
            finite in float32.
    """
    del unused
    path = _existing_file("csv", location)
    check_no_image_size(f"csv:{location}", image_size)
    return _read_table(CsvFile(path), label_column, tuple(drop_columns))


def load_parquet(
    location: str,
    *,
    image_size: int | None,
    label_column: str | None = None,
    drop_columns: Sequence[str] = (),
    **unused: Any,
) -> Source:
    """A parquet file, whose columns are numbers, booleans, dates, times or text.

    Text is read as that of a csv file is, in `load_csv`.

    Args:
        location: The file.
        image_size: Must be `None`.
        label_column: As in `load_dataset`.
        drop_columns: As in `load_dataset`.
        **unused: What other sources need.

    Returns:
        As `load_csv`.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: As `load_csv`; and if a column has another type.
    """
    del unused
    path = _existing_file("parquet", location)
    check_no_image_size(f"parquet:{location}", image_size)
    return _read_table(ParquetFile(path), label_column, tuple(drop_columns))


def load_bundled_table(
    location: str, *, table: str, image_size: int | None, **unused: Any
) -> Source:
    """A labeled table that scikit-learn brings; needs no network.

    Args:
        location: Must be empty.
        table: `"digits"` (1,797 rows of 64 gray levels, 0 to 16), `"breast_cancer"`
            (569 rows of 30 numbers), `"wine"` (178 of 13) or `"iris"` (150 of 4).
        image_size: Must be `None`.
        **unused: What other sources need.

    Returns:
        A source with a training part only; names are `"row/17"`.

    Raises:
        ValueError: If `location` is not empty or `image_size` is given.
    """
    # Imported here: it takes a second that no other source needs.
    from sklearn import datasets

    del unused
    name = "digits_table" if table == "digits" else table
    if location:
        raise ValueError(
            f"Expected `{name}` alone. "
            f"Received: name={f'{name}:{location}'!r}. Use --dataset={name}."
        )
    check_no_image_size(name, image_size)
    loaded = getattr(datasets, f"load_{table}")()
    rows = loaded.data.astype(np.float32)
    train = Part(ArrayExamples(rows), loaded.target.astype(np.int64), _names(len(rows)))
    return Source(
        train,
        class_names=tuple(str(name) for name in loaded.target_names),
        columns=tuple(Column(str(name)) for name in loaded.feature_names),
    )


def _existing_file(scheme: str, location: str) -> pathlib.Path:
    path = pathlib.Path(location).expanduser()
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected an existing {scheme} file. Received: "
            f"name={f'{scheme}:{location}'!r}. Use --dataset={scheme}:PATH."
        )
    return path


def _read_table(
    file: TableFile, label_column: str | None, drop_columns: Sequence[str]
) -> Source:
    names = _example_columns(file, label_column, drop_columns)
    # Twice through the file, once for what the columns are and once for the values:
    # a table is never in memory as text, which takes many times the room.
    columns, labels, num_rows = read_columns(file, names, label_column)
    class_names = None
    if label_column is not None:
        labels, class_names = _classes(
            file.path, label_column, pa.chunked_array(labels)
        )
    rows = np.empty((num_rows, len(columns)), np.float32)
    start = 0
    for batch in file.batches(names):
        stop = start + batch.num_rows
        for place, column in enumerate(columns):
            name = column.column.name
            values = column.values(batch.column(name))
            rows[start:stop, place] = as_float32(values, file.path, name, start)
        start = stop
    found = tuple(column.column for column in columns)
    check_not_empty(rows, file.path, found)
    train = Part(ArrayExamples(rows), labels if class_names else None, _names(num_rows))
    return Source(train, class_names=class_names, columns=found)


def _names(num_rows: int) -> list[str]:
    return [f"row/{i}" for i in range(num_rows)]


def _example_columns(
    file: TableFile, label_column: str | None, drop_columns: Sequence[str]
) -> list[str]:
    """The columns that an example is made of."""
    if label_column is not None:
        _check_known(file, "label_column", label_column)
    for name in drop_columns:
        _check_known(file, "drop_columns", name)
    if label_column in drop_columns:
        raise ValueError(
            "Expected labels in a column that is kept. Received: "
            f"label_column={label_column!r}, drop_columns={list(drop_columns)}. The "
            "label column is no part of an example in any case: drop the others alone."
        )
    names = [name for name in file.types if name not in {label_column, *drop_columns}]
    if not names:
        raise ValueError(
            "Expected at least one column beside those left out. Received: "
            f"{file.path} with columns {list(file.types)}, "
            f"label_column={label_column!r}, drop_columns={list(drop_columns)}. "
            "Leave out fewer."
        )
    return names


def _check_known(file: TableFile, argument: str, name: str) -> None:
    if name in file.types:
        return
    near = difflib.get_close_matches(name, file.types, n=5)
    few = ", ".join(map(repr, list(file.types)[:5]))
    if near:
        hint = f"near names are {', '.join(map(repr, near))}"
    elif len(file.types) > 5:
        hint = f"its {len(file.types)} columns begin with {few}"
    else:
        hint = f"its columns are {few}"
    raise ValueError(
        f"Expected a column of {file.path}. Received: {argument}={name!r}; {hint}. "
        f"Correct --{argument}."
    )


def _classes(
    path: pathlib.Path, name: str, cells: pa.ChunkedArray
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels `(num_rows,)` and the names of the classes that they number."""
    where = f"{path}, column {name!r}"
    cells = without_missing(cells.combine_chunks())
    numbers = None if pa.types.is_boolean(cells.type) else _class_numbers(cells)
    missing = cells.is_null().to_numpy(zero_copy_only=False)
    if numbers is not None:
        missing |= np.isnan(numbers)
    if missing.any():
        raise ValueError(
            "Expected a label in every row. Received: "
            f"{where} with {missing.sum():,} missing, the first in row/"
            f"{missing.argmax()}, counted from 0. Fill them in or remove these rows."
        )
    if numbers is None:
        cells = cells.cast(pa.string())
        classes = sorted(cells.unique().to_pylist())
        labels = pa.compute.index_in(cells, value_set=pa.array(classes)).to_numpy()
    else:
        # Above 2**53 a float64 no longer tells whole numbers apart.
        fractions = (np.abs(numbers) > 2**53) | (numbers != np.round(numbers))
        if fractions.any():
            row = int(fractions.argmax())
            raise ValueError(
                "Expected labels that are classes: text or whole numbers. Received: "
                f"{where} with {numbers[row]:g} in row/{row}, counted from 0. Use "
                "another --label_column, or put these numbers in classes."
            )
        classes, labels = np.unique(numbers.astype(np.int64), return_inverse=True)
    if 2 * len(classes) > max(len(labels), 20):
        raise ValueError(
            "Expected labels that several rows share. Received: "
            f"{where} with {len(classes):,} values in {len(labels):,} rows. Use "
            "another --label_column."
        )
    return labels.astype(np.int64), tuple(map(str, classes))


def _class_numbers(cells: pa.Array) -> np.ndarray | None:
    if pa.types.is_date(cells.type) or pa.types.is_timestamp(cells.type):
        return None
    return numbers_of(cells)
