"""CSV and Parquet files: their columns by name, as text or in types of their own."""

import codecs
import collections
import difflib
import itertools
import pathlib
import re
from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
from tqdm.utils import CallbackIOWrapper

from vicreg_keras.data.cells import MISSING_CELL, strip_text
from vicreg_keras.data.sources.base import progress_bar, quoted
from vicreg_keras.data.sources.table_header import (
    DELIMITERS,
    check_header,
    find_delimiter,
)
from vicreg_keras.errors import InputError, file_errors
from vicreg_keras.settings.data import column_name

_BLOCK_BYTES = 4 * 2**20
# Of a Parquet file, read at once.
_COLUMNS_AT_ONCE = 64
_HEAD_BYTES = 2**18
# Of a file that is no table: its first bytes.
_SIGNATURES = {
    codecs.BOM_UTF16_LE: "text in UTF-16",
    codecs.BOM_UTF16_BE: "text in UTF-16",
    b"PK\x03\x04": "a zip archive, as Excel's workbooks are",
    b"\x1f\x8b": "compressed by gzip",
    b"PAR1": "a Parquet file",
    b"version https://git-lfs": "a pointer of Git LFS, fetch the file by git lfs pull",
    **dict.fromkeys((b"<!doctype", b"<!DOCTYPE", b"<html", b"<HTML"), "an HTML page"),
    **dict.fromkeys((b'{"', b'[{"'), "JSON"),
    b"<?xml": "XML",
    b"%PDF": "a PDF file",
}
# What is expected of a file of each kind, and what to do about another.
_EXPECTED = {
    "csv": (
        "comma-separated text in UTF-8, below a header, with as many cells in each "
        "line as there, and an end to each double quote",
        "Correct the file, or save it anew as CSV in UTF-8, uncompressed",
    ),
    "parquet": ("a readable parquet file", "Write the file again"),
}
KINDS = tuple(_EXPECTED)


class TableFile:
    """A CSV file, all of whose columns are text, or a Parquet file.

    Args:
        path: The file.
        kind: A key of `KINDS`.
        header: `"first"`, or `"none"` for a CSV file without names, whose columns are
            then `column_0` and so on.

    Attributes:
        path: The file.
        header: Whether the names are its own.
        names: The names of the columns, in the file's order.
        num_rows: Number of examples.
        notes: How it was read, where that is not as ever.
        has_decimal_commas: Whether commas are more likely of decimals.

    Raises:
        InputError: If it is not such a file, or has no row.
    """

    def __init__(self, path: pathlib.Path, kind: str, header: str = "first"):
        self.path, self.header = path, header
        self.notes: tuple[str, ...] = ()
        self.has_decimal_commas = False
        self._expected = _EXPECTED[kind]
        with file_errors(path, *self._expected):
            if kind == "csv":
                self._open_csv(header)
            else:
                with open(path, "rb") as file:
                    head = file.read(_HEAD_BYTES)
                if not head.startswith(b"PAR1"):
                    _check_signature(head)
                # Read as it is needed.
                self._file = pa.dataset.dataset(str(path.absolute()))
                self.num_rows = self._file.count_rows()
        self.names = [column_name(name) for name in self._file.schema.names]
        if kind == "csv" and header == "none":
            self.names = [f"column_{i}" for i in range(len(self.names))]
        self._name_unnamed()
        counts = collections.Counter(self.names)
        if bad := [name for name, count in counts.items() if not name or count > 1]:
            raise InputError(
                f"Expected a header that names each column once. Received: {path} with "
                f"{quoted(bad)}. Name the columns, or use header=none for a CSV file "
                "whose first line is data."
            )
        if kind == "csv" and header == "first":
            check_header(path, self.names, self._file)
        if not self.num_rows:
            raise InputError(
                "Expected at least one row below the header. Received: "
                f"{self.path} with none. Add examples."
            )

    def read(
        self, names: Sequence[str], missing: str = MISSING_CELL
    ) -> Iterator[tuple[str, pa.ChunkedArray]]:
        """Yields the names and the cells of columns, text without blanks around it.

        Args:
            names: Some of the file's columns.
            missing: See `strip_text`.
        """
        positions = {name: i for i, name in enumerate(self.names)}
        for start in range(0, len(names), _COLUMNS_AT_ONCE):
            some = [positions[name] for name in names[start : start + _COLUMNS_AT_ONCE]]
            with file_errors(self.path, *self._expected):
                if isinstance(self._file, pa.Table):
                    columns = [self._file.column(i) for i in some]
                else:
                    own = [self._file.schema.names[i] for i in some]
                    columns = self._file.to_table(columns=own).columns
            for i, cells in zip(some, columns, strict=True):
                yield self.names[i], strip_text(cells, missing)

    def check_names(self, wanted: Iterable[str], which: str) -> None:
        """Checks that there are columns with these names.

        Args:
            wanted: The names.
            which: What they are, for the message.

        Raises:
            InputError: If one is missing.
        """
        present = set(self.names)
        if missing := [name for name in wanted if name not in present]:
            near = difflib.get_close_matches(missing[0], self.names, n=5)
            hint = "near names are" if near else "others are"
            raise InputError(
                f"Expected the columns {which}. Received: {self.path} without "
                f"{quoted(missing)}; {hint} {quoted(near or self.names)}. Correct the "
                "names."
            )

    def _open_csv(self, header):
        with open(self.path, "rb") as file:
            head = file.read(_HEAD_BYTES)
        # Excel's own line, by which it tells the delimiter.
        told = re.match(rb"(?:\xef\xbb\xbf)?sep=(.)\r?\n", head)
        delimiter = told[1].decode() if told else _sniff(head)
        if delimiter != ",":
            name = DELIMITERS.get(delimiter, repr(delimiter))
            self.notes = (f"cells are separated by {name}",)
            self.has_decimal_commas = delimiter == ";"
        try:
            table = _read_csv(self.path, delimiter, header, skip_rows=bool(told))
        except (pa.ArrowInvalid, UnicodeDecodeError):
            _check_encoding(self.path)
            raise
        self._file, self.num_rows = table, len(table)

    def _name_unnamed(self):
        """Names columns without a name as pandas does, which writes its index so."""
        for i, name in enumerate(self.names):
            if not name and (i == 0 or self._is_empty(i)):
                new = (f"Unnamed: {i}.{k}" for k in itertools.count(1))
                free = itertools.chain([f"Unnamed: {i}"], new)
                self.names[i] = next(n for n in free if n not in self.names)

    def _is_empty(self, i):
        if not isinstance(self._file, pa.Table):
            return False
        return strip_text(self._file.column(i)).null_count == self.num_rows


def _check_signature(head: bytes) -> None:
    """Raises a ValueError that tells what a file is that is none of a table."""
    for signature, name in _SIGNATURES.items():
        if head.lstrip().startswith(signature):
            raise ValueError(f"it is {name}")


def _sniff(head: bytes) -> str:
    """Returns the delimiter of text in UTF-8, of which this is the beginning."""
    _check_signature(head)
    if b"\0" in head:
        raise ValueError("null characters, as text in UTF-16 has them")
    text = head.decode("utf-8-sig", errors="replace")
    if len(head) == _HEAD_BYTES:
        text = text[: text.rfind("\n") + 1] or text
    return find_delimiter(text)


def _check_encoding(path: pathlib.Path) -> None:
    """Raises a ValueError that tells the encoding of text that is not UTF-8."""
    content = path.read_bytes()
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = 1 + content[: error.start].count(b"\n")
        raise ValueError(
            f"byte 0x{content[error.start]:02x} in line {line} is not UTF-8; it may be "
            "Windows-1252 or Latin-1"
        ) from None


def _read_csv(
    path: pathlib.Path, delimiter: str, header: str, *, skip_rows: int
) -> pa.Table:
    """All columns as text, as it is."""
    # One thread: only then do the parser's messages name lines.
    read = pa.csv.ReadOptions(
        use_threads=False,
        skip_rows=skip_rows,
        block_size=_BLOCK_BYTES,
        autogenerate_column_names=header == "none",
    )
    parse = pa.csv.ParseOptions(newlines_in_values=True, delimiter=delimiter)
    with pa.csv.open_csv(pa.OSFile(str(path)), read, parse) as reader:
        names = reader.schema.names
    convert = pa.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()))
    num_bytes = path.stat().st_size
    with open(path, "rb") as file, progress_bar(f"Reading {path}", "B", num_bytes) as p:
        table = pa.csv.read_csv(CallbackIOWrapper(p.update, file), read, parse, convert)
    # To the parser, a quote that is not closed ends where the file does.
    end = table.column(len(names) - 1)[-1].as_py() if len(table) else None
    if "\n" in (end or "") and not path.read_bytes().rstrip().endswith(b'"'):
        raise ValueError("a double quote without its end")
    return table
