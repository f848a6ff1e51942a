"""CSV and Parquet files as Arrow columns."""

import collections
import pathlib
import re
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from vicreg_keras.data.columns import MISSING
from vicreg_keras.data.sources.base import file_errors, progress_bar, quoted
from vicreg_keras.errors import InputError

_BLOCK_BYTES = 4 * 2**20
# What is expected of a file of each kind, and what to do about another.
_CSV = (
    "comma-separated text in UTF-8, below a header, with as many cells in each line as "
    "there, and an end to each double quote",
    "Correct the file, or save it anew as CSV in UTF-8, uncompressed",
)
_PARQUET = ("a readable parquet file", "Write the file again")


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
        with file_errors(path, *_CSV), self._open() as reader:
            self._header = reader.schema.names
            # UTF-16 text can be valid UTF-8, with null characters.
            if any("\0" in name for name in self._header):
                raise ValueError("null characters in the header")
        names = [name.strip() for name in self._header]
        if len(names) == 1 and re.search(r"[;\t|]", names[0]):
            raise InputError(
                f"Expected cells separated by commas. Received: {path} with the header "
                f"{names[0]!r}. Save it with commas."
            )
        _check_names(path, names)
        self.types = {name: pa.string() for name in names}

    def columns(self, names: Sequence[str]) -> Iterator[tuple[str, pa.ChunkedArray]]:
        """Yields each of the columns with its name.

        All of them are in memory as text at first; each is freed once it was used.

        Raises:
            InputError: If a row has more or fewer cells than the header, or text is
                not UTF-8.
        """
        with file_errors(self.path, *_CSV):
            table = self._read(names)
        for name in names:
            column, table = table.column(name), table.drop_columns(name)
            yield name, column

    def _read(self, names: Sequence[str]) -> pa.Table:
        """The columns `names` and the last one, as text, null for missing values."""
        last = list(self.types)[-1]
        header = dict(zip(self.types, self._header, strict=True))
        convert = pa.csv.ConvertOptions(
            column_types=dict.fromkeys(self._header, pa.string()),
            include_columns=[header[name] for name in dict.fromkeys([*names, last])],
            null_values=list(MISSING),
            strings_can_be_null=True,
        )
        num_bytes = self.path.stat().st_size
        progress = progress_bar(f"Reading {self.path}", "B", num_bytes)
        with self._open(convert) as reader, progress:
            batches = []
            for batch in reader:
                batches.append(batch)
                progress.update(min(_BLOCK_BYTES, num_bytes - progress.n))
        table = pa.Table.from_batches(batches, reader.schema)
        table = table.rename_columns(list(dict.fromkeys([*names, last])))
        # To the parser, a quote that is not closed ends where the file does.
        end = table.column(last)[-1].as_py() if len(table) else None
        if "\n" in (end or "") and not self.path.read_bytes().rstrip().endswith(b'"'):
            raise ValueError("a double quote without its end")
        return table

    def _open(
        self, convert: pa.csv.ConvertOptions | None = None
    ) -> pa.csv.CSVStreamingReader:
        return pa.csv.open_csv(
            pa.OSFile(str(self.path)),
            # One thread: only then do the parser's messages name lines.
            pa.csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES),
            pa.csv.ParseOptions(newlines_in_values=True),
            convert,
        )


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
        with file_errors(self.path, *_PARQUET):
            self._file = pa.parquet.ParquetFile(path)
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
                with file_errors(self.path, *_PARQUET):
                    column = self._file.read(columns=[name]).column(name)
                yield name, column
                progress.update()


TableFile = CsvFile | ParquetFile
TABLE_FILES: dict[str, type[TableFile]] = {"csv": CsvFile, "parquet": ParquetFile}


def _check_names(path: pathlib.Path, names: Sequence[str]) -> None:
    counts = collections.Counter(names)
    bad = [name for name, count in counts.items() if not name or count > 1]
    if bad:
        raise InputError(
            f"Expected a header that names each column once. Received: {path} with "
            f"{quoted(bad)}. Name the columns; pandas writes its row numbers without a "
            "name, unless index=False."
        )
