"""Rows of a user's own: a file with the columns that an encoder was trained on."""

import difflib
import pathlib
from collections.abc import Sequence

import numpy as np

from vicreg_keras.data.columns import Column
from vicreg_keras.data.sources.arrays import load_npz
from vicreg_keras.data.sources.base import ArrayExamples, Part
from vicreg_keras.data.sources.table_checks import as_float32
from vicreg_keras.data.sources.table_columns import values_of
from vicreg_keras.data.sources.table_files import CsvFile, ParquetFile

_READERS = {".csv": CsvFile, ".parquet": ParquetFile}
_NPZ = ".npz"


def load_rows(pattern: str, *, columns: Sequence[Column]) -> Part:
    """Rows given by what a person types: a csv, parquet or npz file.

    Its columns may lie in any order, beside others that are not read. Cells are read
    as those of the training rows were; a category that those did not have is missing.

    Args:
        pattern: The file, by its suffix.
        columns: What the training rows had.

    Returns:
        A part without labels; names are those of the file's own rows, `"row/17"`.

    Raises:
        ValueError: If there is no such file, it lacks a column, or cells of a column
            of numbers are something else.
    """
    path = pathlib.Path(pattern).expanduser()
    if path.suffix not in (*_READERS, _NPZ) or not path.is_file():
        raise ValueError(
            f"Expected a file of rows that ends in {', '.join((*_READERS, _NPZ))}, "
            f"with the columns of the training data. Received: {pattern}, "
            f"{'of another kind' if path.is_file() else 'where there is none'}. "
            "Correct the path."
        )
    if path.suffix == _NPZ:
        return _npz_rows(path, columns)
    file = _READERS[path.suffix](path)
    names = [column.name for column in columns]
    _check_columns(path, list(file.types), names)
    parts = [np.empty((0, len(columns)), np.float32)]
    num_rows = 0
    for batch in file.batches(names):
        rows = np.empty((batch.num_rows, len(columns)), np.float32)
        for place, column in enumerate(columns):
            cells = batch.column(column.name)
            values = values_of(cells, column, path, num_rows)
            rows[:, place] = as_float32(values, path, column.name, num_rows)
        parts.append(rows)
        num_rows += len(rows)
    if not num_rows:
        raise ValueError(
            f"Expected at least one row. Received: {path} with none. Add rows."
        )
    rows = np.concatenate(parts)
    return Part(ArrayExamples(rows), None, [f"row/{i}" for i in range(num_rows)])


def _npz_rows(path: pathlib.Path, columns: Sequence[Column]) -> Part:
    source = load_npz(str(path), image_size=None)
    if source.columns is None:
        raise ValueError(
            f"Expected rows of {len(columns)} columns. Received: {path} with images of "
            f"shape {source.train.examples.shape}. Save a matrix under the key 'rows'."
        )
    found = [column.name for column in source.columns]
    names = [column.name for column in columns]
    _check_columns(path, found, names)
    rows = source.train.examples.read(slice(None))[:, [found.index(n) for n in names]]
    return Part(ArrayExamples(rows), None, source.train.names)


def _check_columns(
    path: pathlib.Path, found: Sequence[str], names: Sequence[str]
) -> None:
    missing = [name for name in names if name not in found]
    if not missing:
        return
    near = difflib.get_close_matches(missing[0], found, n=3)
    hint = f"; near names are {', '.join(map(repr, near))}" if near else ""
    raise ValueError(
        f"Expected the {len(names)} columns of the training data. Received: {path} "
        f"without {', '.join(map(repr, missing[:5]))}"
        f"{', ...' if len(missing) > 5 else ''}{hint}. Add or rename columns."
    )
