"""Tables in CSV and Parquet files, and user-provided examples."""

import contextlib
import difflib
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa

from vicreg_keras.data.columns import Column
from vicreg_keras.data.sources.base import Source, quoted
from vicreg_keras.data.sources.npz import load_npz
from vicreg_keras.data.sources.table_columns import (
    as_float32,
    check_columns,
    infer_column,
    parse_column,
    strip_text,
)
from vicreg_keras.data.sources.table_files import TABLE_FILES, TableFile
from vicreg_keras.data.split import Split
from vicreg_keras.errors import InputError
from vicreg_keras.settings import DataOptions


def load_table(options: DataOptions) -> Source:
    """Loads a CSV file or a Parquet file.

    A CSV file is UTF-8 text with commas, whose first line names the columns. Those of a
    Parquet file are numbers, booleans, dates, times or text.

    Text is numbers if all its cells are numbers, `true` and `false` (1 and 0), or times
    (days since 1970, which float32 holds to some three minutes). Other text is
    categories, in their sorted order. Cells that are empty or say `NA`, `nan`, `null`,
    `None` or `?` are missing.

    Args:
        options: Of these, `dataset`, `csv:PATH` or `parquet:PATH`; `label_column` and
            `drop_columns`.

    Returns:
        A source with `train` only; names are `"row/17"`, counted from 0 below the
        header.

    Raises:
        InputError: If there is no such file; if a column is missing, empty, an
            identifier, of another type, or numbers with some text among them; or if a
            number is not finite in float32.
    """
    path = options.path()
    file = TABLE_FILES[options.dataset.partition(":")[0]](path)
    columns, examples = _read_examples(file, _example_columns(file, options))
    check_columns(columns, examples, path)
    labels = class_names = None
    if options.label_column is not None:
        ((name, cells),) = file.columns([options.label_column])
        labels, class_names = _classes(name, cells, path)
    split = _make_split(examples, labels)
    return Source(split, class_names=class_names, columns=columns)


def load_user_table(pattern: str, *, columns: Sequence[Column]) -> Split:
    """Loads user-provided examples from a CSV, Parquet or npz file.

    Its columns may be in any order, beside others that are not read. Cells are parsed
    as those of the training data; a category that it does not have is missing.

    Args:
        pattern: The file, of a kind that its suffix tells.
        columns: The training data's columns.

    Returns:
        A split without labels; names are those of the file's own rows, `"row/17"`.

    Raises:
        InputError: If there is no such file, it lacks a column, or cells of a column
            of numbers are something else.
    """
    path = pathlib.Path(pattern).expanduser()
    kind = path.suffix.removeprefix(".")
    if kind not in (*TABLE_FILES, "npz") or not path.is_file():
        raise InputError(
            "Expected a file that ends in .csv, .parquet or .npz, with the columns of "
            f"the training data. Received: {pattern}. Correct the path."
        )
    names = [column.name for column in columns]
    if kind != "npz":
        file = TABLE_FILES[kind](path)
        _check_names(path, file.types, names, "of the training data")
        return _make_split(_read_examples(file, names, columns)[1])
    source = load_npz(DataOptions(dataset=f"npz:{path}"))
    if source.columns is None:
        raise InputError(
            f"Expected a table of {len(columns)} columns. Received: {path} with images "
            "instead. Save a matrix under the key 'examples'."
        )
    found = [column.name for column in source.columns]
    _check_names(path, found, names, "of the training data")
    indices = [found.index(name) for name in names]
    return Split(source.train.read()[:, indices], None, source.train.names)


def _make_split(examples: np.ndarray, labels: np.ndarray | None = None) -> Split:
    return Split(examples, labels, [f"row/{i}" for i in range(len(examples))])


def _read_examples(
    file: TableFile, names: Sequence[str], known: Sequence[Column] = ()
) -> tuple[tuple[Column, ...], np.ndarray]:
    """The columns `names`, and float32 `(num_examples, num_columns)`.

    Columns that are not known from training are inferred.
    """
    columns: list[Column] = []
    examples = np.empty((0, len(names)), np.float32)
    by_name = {column.name: column for column in known}
    for name, cells in file.columns(names):
        if not columns:
            examples = np.empty((len(cells), len(names)), np.float32)
        if name in by_name:
            column = by_name[name]
            values = parse_column(column, cells, file.path)
        else:
            column, values = infer_column(name, cells, file.path)
        examples[:, len(columns)] = as_float32(values, file.path, name)
        columns.append(column)
    if not len(examples):
        raise InputError(
            "Expected at least one row below the header. Received: "
            f"{file.path} with none. Add examples."
        )
    return tuple(columns), examples


def _example_columns(file: TableFile, options: DataOptions) -> list[str]:
    """The columns that an example is made of."""
    label, dropped = options.label_column, options.drop_columns
    named = dropped if label is None else (label, *dropped)
    _check_names(
        file.path, file.types, named, "that label_column and drop_columns name"
    )
    names = [name for name in file.types if name not in named]
    if label in dropped or not names:
        raise InputError(
            "Expected a label_column that is not dropped, and at least one column "
            f"beside those left out. Received: label_column={label!r}, drop_columns="
            f"{list(dropped)}, {file.path} with columns {quoted(file.types)}. Drop "
            "fewer."
        )
    return names


def _check_names(
    path: pathlib.Path, found: Iterable[str], wanted: Iterable[str], which: str
) -> None:
    missing = [name for name in wanted if name not in found]
    if missing:
        near = difflib.get_close_matches(missing[0], found, n=5)
        hint = (
            f"near names are {quoted(near)}" if near else f"others are {quoted(found)}"
        )
        raise InputError(
            f"Expected the columns {which}. Received: {path} without "
            f"{quoted(missing)}; {hint}. Correct the names."
        )


def _classes(
    name: str, cells: pa.ChunkedArray, path: pathlib.Path
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels `(num_examples,)` and the names of the classes that they number."""
    where = f"{path}, column {name!r}"
    cells = strip_text(cells)
    values = cells.cast(pa.string()).to_numpy()
    bad = cells.is_null().to_numpy()
    if not (pa.types.is_boolean(cells.type) or pa.types.is_temporal(cells.type)):
        with contextlib.suppress(pa.ArrowInvalid, pa.ArrowNotImplementedError):
            values = cells.cast(pa.float64()).to_numpy()
            # Above 2**53 a float64 no longer tells whole numbers apart.
            bad = (np.abs(values) > 2**53) | (values != np.round(values))
    if bad.any():
        row = int(bad.argmax())
        raise InputError(
            "Expected a class in every row: text or a whole number. Received: "
            f"{where} with {bad.sum():,} others, the first {values[row]} in row/{row}, "
            "counted from 0. Correct these rows, or use another label_column."
        )
    classes, labels = np.unique(values, return_inverse=True)
    if 2 * len(classes) > max(len(labels), 20):
        raise InputError(
            f"Expected labels that several examples share. Received: {where} with "
            f"{len(classes):,} values in {len(labels):,} rows. Use another "
            "label_column."
        )
    if values.dtype == np.float64:
        classes = classes.astype(np.int64)
    return labels, tuple(map(str, classes))
