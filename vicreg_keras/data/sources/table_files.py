"""CSV and Parquet files as Arrow columns."""

import csv
import pathlib
import re
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from vicreg_keras.data.columns import MISSING
from vicreg_keras.data.sources.base import progress_bar, quoted, require
from vicreg_keras.errors import InputError

_BLOCK_BYTES = 4 * 2**20
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}


class CsvFile:
    """A CSV file: UTF-8 text, commas, a header. Every column is text.

    Args:
        path: The file.

    Attributes:
        path: The file.
        types: Arrow's type of each column, by its name, in the file's order.

    Raises:
        InputError: If it is not such a file.
    """

    def __init__(self, path: pathlib.Path):
        self.path = path
        self._names = _read_header(path)
        self.types = {name: pa.string() for name in self._names}

    def columns(self, names: Sequence[str]) -> Iterator[tuple[str, pa.ChunkedArray]]:
        """Yields each of the columns with its name.

        All of them are in memory as text at first; each is freed once it was used.

        Raises:
            InputError: If a row has more or fewer cells than the header, or text is
                not UTF-8.
        """
        table = self._read(names)
        for name in names:
            column, table = table.column(name), table.drop_columns(name)
            yield name, column

    def _read(self, names: Sequence[str]) -> pa.Table:
        """The columns `names` and the last one, as text, null for missing values."""
        # One thread: only then does the parser count rows, and the lines that it names
        # in its messages are what a user needs.
        read = pa.csv.ReadOptions(
            use_threads=False,
            block_size=_BLOCK_BYTES,
            column_names=self._names,
            skip_rows_after_names=1,
        )
        parse = pa.csv.ParseOptions(newlines_in_values=True)
        convert = pa.csv.ConvertOptions(
            column_types=self.types,
            include_columns=list(dict.fromkeys([*names, self._names[-1]])),
            null_values=list(MISSING),
            strings_can_be_null=True,
        )
        num_bytes = self.path.stat().st_size
        progress = progress_bar(f"Reading {self.path}", "B", num_bytes)
        try:
            with pa.OSFile(str(self.path)) as file, progress:
                reader, batches = pa.csv.open_csv(file, read, parse, convert), []
                for batch in reader:
                    batches.append(batch)
                    progress.update(min(_BLOCK_BYTES, num_bytes - progress.n))
        except pa.ArrowInvalid as error:
            raise InputError(self._message(str(error))) from None
        table = pa.Table.from_batches(batches, reader.schema)
        # To the parser, a quote that is not closed ends where the file does.
        last_cell = table.column(self._names[-1])[-1].as_py() if len(table) else None
        if "\n" in (last_cell or "") and not self._ends_quoted():
            raise InputError(self._message("straddling"))
        return table

    def _ends_quoted(self) -> bool:
        with self.path.open("rb") as file:
            file.seek(max(0, self.path.stat().st_size - 256))
            return file.read().rstrip().endswith(b'"')

    def _message(self, reason: str) -> str:
        if found := re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+)", reason):
            line, expected, got = found.groups()
            return (
                f"Expected {expected} cells in each line, as in the header. Received: "
                f"{self.path} with {got} in line {line}. Correct the line; text that "
                "holds commas stands in double quotes."
            )
        if found := re.search(r"column #(\d+): .*invalid UTF8", reason):
            where = f"in column {self._names[int(found.group(1))]!r}"
            return _not_utf8(self.path, where)
        if "straddling" in reason or "out of sync" in reason:
            reason = f"a double quote without its end, or a row over {_BLOCK_BYTES:,} B"
        return _not_csv(self.path, reason)


class ParquetFile:
    """A Parquet file, whose columns have types of their own.

    Args:
        path: The file.

    Attributes:
        path: The file.
        types: Arrow's type of each column, by its name, in the file's order.

    Raises:
        InputError: If it is not such a file.
    """

    def __init__(self, path: pathlib.Path):
        self.path = path
        try:
            self._file = pa.parquet.ParquetFile(path)
        except (pa.ArrowException, OSError) as error:
            raise InputError(self._message(error)) from None
        schema = self._file.schema_arrow
        _check_names(path, schema.names)
        self.types = dict(zip(schema.names, schema.types, strict=True))

    def columns(self, names: Sequence[str]) -> Iterator[tuple[str, pa.ChunkedArray]]:
        """Yields each of the columns with its name; reads one at a time.

        Raises:
            InputError: If the file is broken.
        """
        with progress_bar(f"Reading {self.path}", " columns", len(names)) as progress:
            for name in names:
                try:
                    column = self._file.read(columns=[name]).column(name)
                except (pa.ArrowException, OSError) as error:
                    raise InputError(self._message(error)) from None
                yield name, column
                progress.update()

    def _message(self, error: Exception) -> str:
        reason = " ".join(str(error).split())[:200].rstrip(". ")
        return (
            "Expected a readable parquet file. "
            f"Received: {self.path} ({reason}). Write the file again."
        )


TableFile = CsvFile | ParquetFile
# By the suffix of the file's name.
TABLE_FILES: dict[str, type[TableFile]] = {".csv": CsvFile, ".parquet": ParquetFile}


def _read_header(path: pathlib.Path) -> list[str]:
    with path.open("rb") as file:
        start = file.read(2**16)
    if b"\0" in start:
        raise InputError(_not_utf8(path, "in its first bytes"))
    try:
        # What is not UTF-8 below the header is found where it is read.
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            lines = csv.reader(file)
            header = next(lines, [])
            has_examples = any(lines)
    except csv.Error as error:
        raise InputError(_not_csv(path, str(error))) from None
    require(
        header,
        "a csv file whose first line names its columns",
        f"{path}, where that line is empty",
        "Add a header, and examples below it",
    )
    if any("\ufffd" in name for name in header):
        raise InputError(_not_utf8(path, "in its header"))
    separator = next((mark for mark in _SEPARATORS if mark in header[0]), None)
    require(
        len(header) > 1 or not separator,
        "cells separated by commas",
        f"{path}, with {_SEPARATORS.get(separator)} in its header",
        "Save it with commas",
    )
    names = [name.strip() for name in header]
    _check_names(path, names)
    require(
        has_examples,
        "at least one row below the header",
        f"{path} with none",
        "Add examples",
    )
    return names


def _check_names(path: pathlib.Path, names: list[str]) -> None:
    unnamed = [str(i) for i, name in enumerate(names, start=1) if not name]
    require(
        not unnamed,
        "a name for every column",
        f"{path} without one for column {', '.join(unnamed)} of {len(names)}",
        "Name it; pandas writes its row numbers so, without index=False",
    )
    twice = sorted({name for name in names if names.count(name) > 1})
    require(
        not twice,
        "columns with different names",
        f"{path} with {quoted(twice)} more than once",
        "Rename them; if the first line holds data, put a header above it",
    )


def _not_utf8(path: pathlib.Path, where: str) -> str:
    return (
        f"Expected text in UTF-8. Received: {path}, with other bytes {where}. "
        "Save it as CSV in UTF-8, uncompressed."
    )


def _not_csv(path: pathlib.Path, reason: str) -> str:
    reason = " ".join(reason.split())[:200]
    return (
        f"Expected comma-separated text. Received: {path} ({reason}). Correct the file."
    )
