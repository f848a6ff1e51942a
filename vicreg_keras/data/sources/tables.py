"""Tables in CSV and Parquet files, and user-provided examples."""

import collections
import contextlib
import difflib
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
from tqdm.utils import CallbackIOWrapper

from vicreg_keras.data.columns import MISSING, Column
from vicreg_keras.data.sources.base import (
    NOTHING_KNOWN,
    Known,
    Source,
    progress_bar,
    quoted,
)
from vicreg_keras.data.sources.npz import load_npz
from vicreg_keras.data.sources.table_columns import (
    check_columns,
    read_column,
    strip_text,
)
from vicreg_keras.data.split import Split
from vicreg_keras.errors import InputError, file_errors
from vicreg_keras.settings import DataOptions

_BLOCK_BYTES = 4 * 2**20
# What is expected of a file of each kind, and what to do about another.
_EXPECTED = {
    "csv": (
        "comma-separated text in UTF-8, below a header, with as many cells in each "
        "line as there, and an end to each double quote",
        "Correct the file, or save it anew as CSV in UTF-8, uncompressed",
    ),
    "parquet": ("a readable parquet file", "Write the file again"),
}


def load_table(options: DataOptions, known: Known = NOTHING_KNOWN) -> Source:
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
        known: How the table of the encoder that it is for was read.

    Returns:
        A source with `train` only; names are `"row/17"`, counted from 0 below the
        header.

    Raises:
        InputError: If there is no such file; if a column is missing, empty, an
            identifier, of another type, or numbers with some text among them; or if a
            number is not finite in float32.
    """
    path = options.path()
    file = _TableFile(path, options.dataset.partition(":")[0])
    columns, examples = file.read(_example_columns(file, options), known={})
    check_columns(columns, examples, path)
    labels = class_names = None
    if options.label_column is not None:
        labels, class_names = file.read_classes(options.label_column)
    split = Split(examples, labels, _row_names(examples))
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
    if kind not in (*_EXPECTED, "npz") or not path.is_file():
        raise InputError(
            "Expected a file that ends in .csv, .parquet or .npz, with the columns of "
            f"the training data. Received: {pattern}. Correct the path."
        )
    known = {column.name: column for column in columns}
    if kind != "npz":
        file = _TableFile(path, kind)
        _check_columns_exist(path, file.names, known, "of the training data")
        _, examples = file.read(list(known), known)
        return Split(examples, None, _row_names(examples))
    source = load_npz(DataOptions(dataset=f"npz:{path}"))
    if source.columns is None:
        raise InputError(
            f"Expected a table of {len(columns)} columns. Received: {path} with images "
            "instead. Save a matrix under the key 'examples'."
        )
    found = [column.name for column in source.columns]
    _check_columns_exist(path, found, known, "of the training data")
    indices = [found.index(name) for name in known]
    return Split(source.train.read()[:, indices], None, source.train.names)


class _TableFile:
    """A CSV file, all of whose columns are text, or a Parquet file.

    Args:
        path: The file.
        kind: `"csv"` or `"parquet"`.

    Attributes:
        path: The file.
        names: The names of the columns, in the file's order.

    Raises:
        InputError: If it is not such a file.
    """

    def __init__(self, path: pathlib.Path, kind: str):
        self.path = path
        self._expected = _EXPECTED[kind]
        with file_errors(path, *self._expected):
            # A CSV file is in memory from here on; a path is of a Parquet file.
            source = _read_csv(path) if kind == "csv" else str(path.absolute())
            self._file = pa.dataset.dataset(source)
        self.names = self._file.schema.names
        counts = collections.Counter(self.names)
        bad = [name for name, count in counts.items() if not name or count > 1]
        if bad:
            raise InputError(
                f"Expected a header that names each column once. Received: {path} with "
                f"{quoted(bad)}. Name the columns; pandas writes its row numbers "
                "without a name, unless index=False."
            )

    def read(
        self, names: Sequence[str], known: Mapping[str, Column]
    ) -> tuple[tuple[Column, ...], np.ndarray]:
        """Reads one column after the other.

        Args:
            names: The columns to read, at least one.
            known: The training data's columns; what others hold is inferred.

        Returns:
            The columns, and float32 examples `(num_examples, num_columns)`.

        Raises:
            InputError: If there is no row, or a cell can't be used.
        """
        examples = np.empty((self._file.count_rows(), len(names)), np.float32)
        if not len(examples):
            raise InputError(
                "Expected at least one row below the header. Received: "
                f"{self.path} with none. Add examples."
            )
        columns: list[Column] = []
        for name in progress_bar(f"Reading {self.path}", " columns", len(names), names):
            column, values = read_column(
                name, self._cells(name), self.path, known.get(name)
            )
            examples[:, len(columns)] = values
            columns.append(column)
        return tuple(columns), examples

    def read_classes(self, name: str) -> tuple[np.ndarray, tuple[str, ...]]:
        """Reads a column of classes.

        Returns:
            Labels `(num_examples,)`, and the names of the classes that they number.

        Raises:
            InputError: If a cell is no class, or most classes have a single example.
        """
        where = f"{self.path}, column {name!r}"
        cells = self._cells(name)
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
                f"{where} with {bad.sum():,} others, the first {values[row]} in "
                f"row/{row}, counted from 0. Correct these rows, or use another "
                "label_column."
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

    def _cells(self, name: str) -> pa.ChunkedArray:
        with file_errors(self.path, *self._expected):
            return strip_text(self._file.to_table(columns=[name]).column(name))


def _read_csv(path: pathlib.Path) -> pa.Table:
    """All columns as text, null for missing values."""
    # One thread: only then do the parser's messages name lines.
    read = pa.csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES)
    parse = pa.csv.ParseOptions(newlines_in_values=True)
    with pa.csv.open_csv(pa.OSFile(str(path)), read, parse) as reader:
        header = reader.schema.names
    names = [name.strip() for name in header]
    # UTF-16 text can be valid UTF-8, with null characters.
    if any("\0" in name for name in names):
        raise ValueError("null characters in the header")
    if len(names) == 1 and re.search(r"[;\t|]", names[0]):
        raise InputError(
            f"Expected cells separated by commas. Received: {path} with the header "
            f"{names[0]!r}. Save it with commas."
        )
    convert = pa.csv.ConvertOptions(
        column_types=dict.fromkeys(header, pa.string()),
        null_values=list(MISSING),
        strings_can_be_null=True,
    )
    num_bytes = path.stat().st_size
    with open(path, "rb") as file, progress_bar(f"Reading {path}", "B", num_bytes) as p:
        table = pa.csv.read_csv(
            CallbackIOWrapper(p.update, file), read, parse, convert
        ).rename_columns(names)
    # To the parser, a quote that is not closed ends where the file does.
    end = table.column(len(names) - 1)[-1].as_py() if len(table) else None
    if "\n" in (end or "") and not path.read_bytes().rstrip().endswith(b'"'):
        raise ValueError("a double quote without its end")
    return table


def _row_names(examples: np.ndarray) -> list[str]:
    return [f"row/{i}" for i in range(len(examples))]


def _example_columns(file: _TableFile, options: DataOptions) -> list[str]:
    """The columns that an example is made of."""
    label, dropped = options.label_column, options.drop_columns
    named = dropped if label is None else (label, *dropped)
    _check_columns_exist(
        file.path, file.names, named, "that label_column and drop_columns name"
    )
    names = [name for name in file.names if name not in named]
    if label in dropped or not names:
        raise InputError(
            "Expected a label_column that is not dropped, and at least one column "
            f"beside those left out. Received: label_column={label!r}, drop_columns="
            f"{list(dropped)}, {file.path} with columns {quoted(file.names)}. Drop "
            "fewer."
        )
    return names


def _check_columns_exist(
    path: pathlib.Path, found: Sequence[str], wanted: Iterable[str], which: str
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
