"""Tables in CSV and Parquet files, and user-provided examples."""

import contextlib
import difflib
import pathlib
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute

from vicreg_keras.data.columns import Column
from vicreg_keras.data.sources.base import Source, existing_path, quoted, require
from vicreg_keras.data.sources.npz import load_npz
from vicreg_keras.data.sources.table_columns import (
    as_float32,
    check_categories,
    check_not_empty,
    infer_column,
    parse_column,
    strip_text,
)
from vicreg_keras.data.sources.table_files import TABLE_FILES, TableFile
from vicreg_keras.data.split import Split
from vicreg_keras.errors import InputError
from vicreg_keras.settings import DataOptions


def load_csv(location: str, options: DataOptions) -> Source:
    """Loads a CSV file: UTF-8 text, commas, and a first line that names the columns.

    A column is one of numbers if all its cells are numbers, `true` and `false` (1 and
    0), or times (days since 1970, which float32 holds to some three minutes). Other
    text is categories, in their sorted order. Cells that are empty or say `NA`, `nan`,
    `null`, `None` or `?` are missing.

    Args:
        location: The file.
        options: Of these, `label_column` and `drop_columns`.

    Returns:
        A source with `train` only; names are `"row/17"`, counted from 0 below the
        header.

    Raises:
        InputError: If there is no such file; if a column is missing, empty, an
            identifier, or numbers with some text among them; or if a number is not
            finite in float32.
    """
    return _load_table_file("csv", location, options)


def load_parquet(location: str, options: DataOptions) -> Source:
    """Loads a Parquet file, whose columns are numbers, booleans, dates, times or text.

    Text is read as that of a CSV file, see `load_csv`.

    Args:
        location: The file.
        options: Of these, `label_column` and `drop_columns`.

    Returns:
        See `load_csv`.

    Raises:
        InputError: See `load_csv`; and if a column has another type.
    """
    return _load_table_file("parquet", location, options)


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
    suffixes = (*TABLE_FILES, ".npz")
    require(
        path.suffix in suffixes and path.is_file(),
        f"a table in a file that ends in {', '.join(suffixes)}, with the columns of "
        "the training data",
        f"{pattern}, {'of another kind' if path.is_file() else 'where there is none'}",
        "Correct the path",
    )
    names = [column.name for column in columns]
    if path.suffix == ".npz":
        source = load_npz(str(path), DataOptions())
        require(
            source.columns is not None,
            f"a table of {len(columns)} columns",
            f"{path} with images of shape {source.train.example_shape}",
            "Save a matrix under the key 'examples'",
        )
        found = [column.name for column in source.columns]
        _check_columns(path, found, names)
        indices = [found.index(name) for name in names]
        return Split(source.train.read()[:, indices], None, source.train.names)
    file = TABLE_FILES[path.suffix](path)
    _check_columns(path, list(file.types), names)
    known = {column.name: column for column in columns}

    def parse(name, cells):
        return known[name], parse_column(known[name], cells, path)

    return _make_split(_read_examples(file, names, parse)[1])


def _make_split(examples: np.ndarray, labels: np.ndarray | None = None) -> Split:
    return Split(examples, labels, [f"row/{i}" for i in range(len(examples))])


def _load_table_file(scheme: str, location: str, options: DataOptions) -> Source:
    path = existing_path(scheme, location)
    file = TABLE_FILES[f".{scheme}"](path)
    names = _example_columns(file, options)
    columns, examples = _read_examples(
        file, names, lambda name, cells: infer_column(name, cells, path)
    )
    check_categories(columns, examples, path)
    check_not_empty(examples, path, columns)
    labels = class_names = None
    if options.label_column is not None:
        ((name, cells),) = file.columns([options.label_column])
        labels, class_names = _classes(name, cells, path)
    return Source(
        _make_split(examples, labels), class_names=class_names, columns=columns
    )


def _read_examples(
    file: TableFile,
    names: Sequence[str],
    parse: Callable[[str, pa.ChunkedArray], tuple[Column, np.ndarray]],
) -> tuple[tuple[Column, ...], np.ndarray]:
    """The columns `names`, and float32 `(num_examples, num_columns)`."""
    columns: list[Column] = []
    examples = np.empty((0, len(names)), np.float32)
    for name, cells in file.columns(names):
        if not columns:
            examples = np.empty((len(cells), len(names)), np.float32)
        column, values = parse(name, cells)
        examples[:, len(columns)] = as_float32(values, file.path, name)
        columns.append(column)
    require(len(examples), "at least one row", f"{file.path} with none", "Add examples")
    return tuple(columns), examples


def _example_columns(file: TableFile, options: DataOptions) -> list[str]:
    """The columns that an example is made of."""
    label, dropped = options.label_column, options.drop_columns
    named = [("drop_columns", name) for name in dropped]
    for option, name in [("label_column", label), *named] if label else named:
        require(
            name in file.types,
            f"a column of {file.path}",
            f"{option}={name!r}; {_hint(name, list(file.types))}",
            f"Correct {option}",
        )
    received = f"label_column={label!r}, drop_columns={list(dropped)}"
    require(
        label not in dropped,
        "labels in a column that is kept",
        received,
        "The label column is no part of an example in any case: drop the others alone",
    )
    names = [name for name in file.types if name not in {label, *dropped}]
    require(
        names,
        "at least one column beside those left out",
        f"{file.path} with columns {list(file.types)}, {received}",
        "Leave out fewer",
    )
    return names


def _check_columns(path: pathlib.Path, found: list[str], names: Sequence[str]) -> None:
    missing = [name for name in names if name not in found]
    if missing:
        raise InputError(
            f"Expected the {len(names)} columns of the training data. Received: {path} "
            f"without {quoted(missing)}; {_hint(missing[0], found)}. Add or rename "
            "columns."
        )


def _hint(name: str, names: list[str]) -> str:
    near = difflib.get_close_matches(name, names, n=5)
    return f"near names are {quoted(near)}" if near else f"others are {quoted(names)}"


def _classes(
    name: str, cells: pa.ChunkedArray, path: pathlib.Path
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels `(num_examples,)` and the names of the classes that they number."""
    where = f"{path}, column {name!r}"
    cells, numbers = strip_text(cells), None
    if not (pa.types.is_boolean(cells.type) or pa.types.is_temporal(cells.type)):
        with contextlib.suppress(pa.ArrowInvalid, pa.ArrowNotImplementedError):
            numbers = cells.cast(pa.float64()).to_numpy()
    missing = cells.is_null().to_numpy()
    if numbers is not None:
        missing = missing | np.isnan(numbers)
    require(
        not missing.any(),
        "a label in every row",
        f"{where} with {missing.sum():,} missing, the first in row/{missing.argmax()}, "
        "counted from 0",
        "Fill them in or remove these rows",
    )
    if numbers is None:
        cells = cells.cast(pa.string())
        names = sorted(cells.unique().to_pylist())
        labels = pa.compute.index_in(cells, value_set=pa.array(names)).to_numpy()
    else:
        # Above 2**53 a float64 no longer tells whole numbers apart.
        fractions = (np.abs(numbers) > 2**53) | (numbers != np.round(numbers))
        row = int(fractions.argmax())
        require(
            not fractions.any(),
            "labels that are classes: text or whole numbers",
            f"{where} with {numbers[row]:g} in row/{row}, counted from 0",
            "Use another label_column, or put these numbers in classes",
        )
        classes, labels = np.unique(numbers.astype(np.int64), return_inverse=True)
        names = [str(number) for number in classes]
    require(
        2 * len(names) <= max(len(labels), 20),
        "labels that several examples share",
        f"{where} with {len(names):,} values in {len(labels):,} rows",
        "Use another label_column",
    )
    return labels, tuple(names)
