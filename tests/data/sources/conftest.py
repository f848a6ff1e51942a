"""Files and columns for the tests of tables and of npz files."""

import numpy as np
import pyarrow as pa
import pytest

from vicreg_keras.data.cells import strip_text
from vicreg_keras.data.sources.base import NOTHING_KNOWN
from vicreg_keras.data.sources.npz import load_npz
from vicreg_keras.data.sources.table_columns import infer_column
from vicreg_keras.data.sources.tables import load_table
from vicreg_keras.settings import DataOptions

NUM_ROWS = 40
LETTERS = [f"{a}{b}" for a in "abcdefghij" for b in "klmn"]
NUMBERS = list(range(NUM_ROWS))


def read_csv(path, text, **options):
    """The source of a csv file with this text."""
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_table(DataOptions(dataset=f"csv:{path}", **options))


def names_of(source):
    return [column.name for column in source.columns]


def csv_of(**columns):
    """Csv text with these columns, of which lists go round until there are enough."""
    lines = [",".join(columns)]
    for row in range(NUM_ROWS):
        lines.append(
            ",".join(str(cells[row % len(cells)]) for cells in columns.values())
        )
    return "\n".join(lines) + "\n"


def read_cells(cells, rows=60, **options):
    """The column of these cells, which go round until there are enough."""
    cells = [cells[row % len(cells)] for row in range(rows)]
    return infer_column("x", strip_text(pa.chunked_array([cells])), "a.csv", **options)


@pytest.fixture
def load(tmp_path):
    """Loads an npz file of the given arrays."""

    def load(known=NOTHING_KNOWN, options=None, **arrays):
        path = tmp_path / "t.npz"
        np.savez(path, **arrays)
        return load_npz(DataOptions(dataset=f"npz:{path}", **(options or {})), known)

    return load
