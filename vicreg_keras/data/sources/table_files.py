"""Tables in csv and parquet files, read a block at a time."""

import csv
import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import Protocol

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from vicreg_keras.data.columns import MISSING
from vicreg_keras.data.sources.base import Progress

_BLOCK_BYTES = 4 * 2**20
_BATCH_ROWS = 2**15
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}


class TableFile(Protocol):
    """What a table is read from.

    Attributes:
        path: The file.
        types: Arrow's type of each column, by its name, in the file's order.
    """

    path: pathlib.Path
    types: dict[str, pa.DataType]

    def batches(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yields the columns `names` of all rows, in order, so many rows at a time."""
        ...


class CsvFile:
    """A csv file: UTF-8 text, commas, a header. Every column comes as text.

    Args:
        path: The file.

    Raises:
        ValueError: If it is not such a file.
    """

    def __init__(self, path: pathlib.Path):
        self.path = path
        self._names = _read_header(path)
        self.types = {name: pa.string() for name in self._names}

    def batches(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yields the columns `names` of all rows, in order, so many rows at a time.

        Raises:
            ValueError: If a row has more or fewer cells than the header, or text is
                not UTF-8.
        """
        # One thread: only then does the parser count rows, and the lines that it names
        # in its messages are what a person needs.
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
        progress = Progress(f"bytes of {self.path.name}", num_bytes)
        done, last_cell = 0, None
        try:
            with pa.OSFile(str(self.path)) as file:
                reader = pa.csv.open_csv(file, read, parse, convert)
                for batch in reader:
                    yield batch
                    if batch.num_rows:
                        last_cell = batch.column(self._names[-1])[-1].as_py()
                    # Not where the file is: the parser has read far ahead.
                    done = min(done + _BLOCK_BYTES, num_bytes)
                    progress.update(done)
        except pa.ArrowInvalid as error:
            raise ValueError(self._message(str(error))) from None
        # To the parser, a quote that is not closed ends where the file does.
        if "\n" in (last_cell or "") and not self._ends_quoted():
            raise ValueError(self._message("straddling"))

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
        reason = " ".join(reason.split())[:200]
        return (
            "Expected comma-separated text. "
            f"Received: {self.path} ({reason}). Correct the file."
        )


class ParquetFile:
    """A parquet file, whose columns have types of their own.

    Args:
        path: The file.

    Raises:
        ValueError: If it is not such a file.
    """

    def __init__(self, path: pathlib.Path):
        self.path = path
        try:
            self._file = pa.parquet.ParquetFile(path)
        except (pa.ArrowException, OSError) as error:
            raise ValueError(self._message(error)) from None
        schema = self._file.schema_arrow
        _check_names(path, schema.names)
        self.types = dict(zip(schema.names, schema.types, strict=True))

    def batches(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yields the columns `names` of all rows, in order, so many rows at a time.

        Raises:
            ValueError: If the file is broken.
        """
        total = self._file.metadata.num_rows
        progress, done = Progress(f"rows of {self.path.name}", total), 0
        try:
            for batch in self._file.iter_batches(_BATCH_ROWS, columns=list(names)):
                yield batch
                done += batch.num_rows
                progress.update(done)
        except (pa.ArrowException, OSError) as error:
            raise ValueError(self._message(error)) from None

    def _message(self, error: Exception) -> str:
        reason = " ".join(str(error).split())[:200].rstrip(". ")
        return (
            "Expected a readable parquet file. "
            f"Received: {self.path} ({reason}). Write the file again."
        )


def _read_header(path: pathlib.Path) -> list[str]:
    with path.open("rb") as file:
        start = file.read(2**16)
    if b"\0" in start:
        raise ValueError(_not_utf8(path, "in its first bytes"))
    try:
        # What is not UTF-8 below the header is found where it is read.
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            lines = csv.reader(file)
            header = next(lines, [])
            has_rows = any(lines)
    except csv.Error as error:
        raise ValueError(
            "Expected comma-separated text. "
            f"Received: {path} ({error}). Correct the file."
        ) from None
    if not header:
        raise ValueError(
            "Expected a csv file whose first line names its columns. Received: "
            f"{path}, where that line is empty. Add a header, and rows below it."
        )
    if any("\ufffd" in name for name in header):
        raise ValueError(_not_utf8(path, "in its header"))
    separator = next((mark for mark in _SEPARATORS if mark in header[0]), None)
    if len(header) == 1 and separator:
        raise ValueError(
            f"Expected cells separated by commas. Received: {path}, with "
            f"{_SEPARATORS[separator]} in its header. Save it with commas."
        )
    names = [name.strip() for name in header]
    _check_names(path, names)
    if not has_rows:
        raise ValueError(
            "Expected at least one row below the header. "
            f"Received: {path} with none. Add rows."
        )
    return names


def _check_names(path: pathlib.Path, names: Sequence[str]) -> None:
    if "" in names:
        raise ValueError(
            "Expected a name for every column. Received: "
            f"{path} without one for column {names.index('') + 1} of {len(names)}. "
            "Name it; pandas writes its row numbers so, without index=False."
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            "Expected columns with different names. Received: "
            f"{path} with {', '.join(map(repr, twice[:5]))} more than once. Rename "
            "them; if the first line holds data, put a header above it."
        )


def _not_utf8(path: pathlib.Path, where: str) -> str:
    return (
        f"Expected text in UTF-8. Received: {path}, with other bytes {where}. "
        "Save it as CSV in UTF-8, uncompressed."
    )
