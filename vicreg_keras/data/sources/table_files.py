"""CSV and Parquet files: their columns by name, as text or in types of their own."""

import codecs
import collections
import csv
import io
import itertools
import pathlib
import re
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
from tqdm.utils import CallbackIOWrapper

from vicreg_keras.data.cells import MISSING_CELL, NUMBER, TIME, matches, strip_text
from vicreg_keras.data.sources.base import progress_bar, quoted
from vicreg_keras.errors import InputError, file_errors
from vicreg_keras.settings.data import column_name

_BLOCK_BYTES = 4 * 2**20
# Of a Parquet file, read at once.
_COLUMNS_AT_ONCE = 64
_HEAD_BYTES = 2**18
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "pipes"}
# Of a file that is no text in UTF-8: its first bytes.
_SIGNATURES = {
    codecs.BOM_UTF16_LE: "text in UTF-16",
    codecs.BOM_UTF16_BE: "text in UTF-16",
    b"PK\x03\x04": "a zip archive, as Excel's workbooks are",
    b"\x1f\x8b": "compressed by gzip",
    b"PAR1": "a Parquet file",
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
# Fewer names that are numbers in ascending order may be there by chance.
_MIN_ASCENDING = 8


class TableFile:
    """A CSV file, all of whose columns are text, or a Parquet file.

    Args:
        path: The file.
        kind: A key of `KINDS`.
        header: `"first"`, or `"none"` for a CSV file without names, whose columns are
            then `column_0` and so on.

    Attributes:
        path: The file.
        names: The names of the columns, in the file's order.
        num_rows: Number of examples.
        notes: How it was read, where that is not as ever.
        has_decimal_commas: Whether commas are more likely of decimals.

    Raises:
        InputError: If it is not such a file, or has no row.
    """

    def __init__(self, path: pathlib.Path, kind: str, header: str = "first"):
        self.path = path
        self.notes: tuple[str, ...] = ()
        self.has_decimal_commas = False
        self._expected = _EXPECTED[kind]
        with file_errors(path, *self._expected):
            if kind == "csv":
                self._open_csv(header)
            else:
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
            self._check_header()
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

    def _open_csv(self, header):
        with open(self.path, "rb") as file:
            head = file.read(_HEAD_BYTES)
        # Excel's own line, by which it tells the delimiter.
        told = re.match(rb"(?:\xef\xbb\xbf)?sep=(.)\r?\n", head)
        delimiter = told[1].decode() if told else _sniff(head)
        if delimiter != ",":
            name = _DELIMITERS.get(delimiter, repr(delimiter))
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
                self.names[i] = f"Unnamed: {i}"

    def _is_empty(self, i):
        if not isinstance(self._file, pa.Table):
            return False
        return strip_text(self._file.column(i)).null_count == self.num_rows

    def _is_time(self, i, name):
        """Whether a name is a time, as cells below it are."""
        if not matches(pa.array([name]), TIME)[0].as_py():
            return False
        return pa.compute.any(matches(self._file.column(i), TIME)).as_py()

    def _check_header(self):
        """Checks that the first line is no data, as far as that can be told."""
        names = pa.array(self.names)
        numbers = names.filter(matches(names, NUMBER)).cast(pa.float64()).to_pylist()
        times = [name for i, name in enumerate(self.names) if self._is_time(i, name)]
        repeated = sum(
            pa.compute.any(
                pa.compute.equal(strip_text(self._file.column(i)), name)
            ).as_py()
            or False
            for i, name in enumerate(self.names[:50])
        )
        is_data = not _are_names(numbers) or times
        if is_data or 2 * repeated > min(len(names), 50):
            raise InputError(
                "Expected a header that names the columns. Received: "
                f"{self.path} whose first line looks like data: {quoted(self.names)}. "
                "Add a header, or use header=none, which names the columns column_0, "
                "column_1, and so on."
            )


def _are_names(numbers: Sequence[float]) -> bool:
    """Whether these may be names: years, counted from 0 or 1, or many in order."""
    if not numbers or _is_ascending(numbers, _MIN_ASCENDING):
        return True
    steps = {after - before for before, after in itertools.pairwise(numbers)}
    is_counted = len(numbers) > 1 and numbers[0] in (0, 1) and steps == {1}
    are_years = all(1900 <= n <= 2100 and n == int(n) for n in numbers)
    return is_counted or numbers == [0] or (are_years and min(steps, default=1) > 0)


def _is_ascending(values: Sequence, minimum: int) -> bool:
    """Whether so many values or more are in ascending or in descending order."""
    pairs = list(itertools.pairwise(values))
    ordered = all(a < b for a, b in pairs) or all(a > b for a, b in pairs)
    return ordered and len(values) >= minimum


def _sniff(head: bytes) -> str:
    """Returns the delimiter that gives the first lines the same number of cells."""
    for signature, name in _SIGNATURES.items():
        if head.startswith(signature):
            raise ValueError(f"it is {name}")
    if b"\0" in head:
        raise ValueError("null characters, as text in UTF-16 has them")
    text = head.decode("utf-8-sig", errors="replace")
    if len(head) == _HEAD_BYTES:
        text = text[: text.rfind("\n") + 1] or text
    widths = {}
    for delimiter in _DELIMITERS:
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        try:
            lengths = [len(row) for row in itertools.islice(rows, 20) if row]
        except csv.Error:
            continue
        if len(set(lengths)) == 1 and lengths[0] > 1:
            widths[delimiter] = lengths[0]
    lines = [line.split() for line in text.splitlines()[:20] if line.strip()]
    blanks = {len(line) for line in lines}
    if not widths and len(lines) > 1 and len(blanks) == 1 and blanks != {1}:
        raise ValueError("cells are separated by blanks")
    # Of two that fit, commas are rather part of cells: they come last.
    return max(reversed(widths), key=widths.__getitem__) if widths else ","


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
