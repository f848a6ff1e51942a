"""Columns of a table that an encoder is for, read as those of its training data."""

import pathlib
import re

import numpy as np
import pyarrow as pa
import pyarrow.compute

from vicreg_keras.data.cells import matches
from vicreg_keras.data.columns import Column
from vicreg_keras.data.sources.cell_formats import DOUBT, SHORT, undecided_row
from vicreg_keras.data.sources.column_values import (
    as_float32,
    as_text,
    check_type,
    codes,
    parse_text,
    parse_typed,
    rewrite,
)
from vicreg_keras.data.sources.date_formats import date_format
from vicreg_keras.data.sources.table_categories import any_matches
from vicreg_keras.data.sources.table_columns import (
    ReadColumn,
    is_number,
    num_cells,
    shown_decimal,
)
from vicreg_keras.errors import InputError

UNKNOWN = "categories that training did not have count as missing"
ALL_UNKNOWN = "all values count as missing, training had none of these categories"


def read_known_column(
    column: Column, cells: pa.ChunkedArray, where: str | pathlib.Path
) -> ReadColumn:
    """Reads a column as that of the same name was read in training.

    Args:
        column: The training data's column. Other categories than its own are missing.
        cells: See `infer_column`.
        where: The file, for messages.

    Raises:
        InputError: If some cells are of another kind than the column, as dates in one
            of numbers are, or not finite in float32.
    """
    name = column.name
    if column.categories is not None:
        text = as_text(cells, name, where)
        values = codes(text, column.categories)
        unknown = text.filter(pa.array(np.isnan(values))).drop_null()
        if not len(unknown):
            return ReadColumn(column, values)
        is_all = np.isnan(values).all()
        others = " and others" * (len(unknown.unique()) > 1)
        example = f"{unknown[0].as_py()!r}{others} in {num_cells(unknown)}"
        return ReadColumn(column, values, (ALL_UNKNOWN if is_all else UNKNOWN, example))
    if is_number(cells.type) and column.kind.startswith("times"):
        cells = as_text(cells, name, where)  # As 20200131, which is a date.
    if cells.type != pa.string():
        values = parse_typed(cells, name, where)
        check_type(column, cells, values, where)
    else:
        values = parse_text(cells, column)
        bad = np.isnan(values) & cells.is_valid().to_numpy()
        if bad.any():
            raise _cell_error(column, cells, int(bad.argmax()), where)
    values = as_float32(values, where, name)
    note = _unit_note(column, cells) if column.kind == "numbers" else ("", "")
    if cells.type != pa.string():
        return ReadColumn(column, values, note)
    if column.kind != "numbers":
        _check_order(column, cells, values, where)
        return ReadColumn(column, values, note)
    row = undecided_row(cells)
    return ReadColumn(
        column,
        values,
        note,
        undecided="" if row < 0 else cells[row].as_py(),
        decimal=shown_decimal(column, cells) if row < 0 else "",
        has_short=any_matches(cells, SHORT),
    )


def _cell_error(column, cells, row, where):
    text = cells[row].as_py()
    hint, advice = "", "Correct or empty such cells"
    if rewrite(pa.array([text]), column)[0].as_py().endswith(DOUBT):
        advice = "Write such cells as there, or use a Parquet file"
        kind = "is of thousands" if re.search(r"\.\d+[.,]", text) else "is of decimals"
        if undecided_row(pa.array([text])) == 0:
            kind = "may be of thousands or of decimals"
        hint = f", whose {'point' if '.' in text else 'comma'} {kind}"
    return InputError(
        f"Expected {column.format or 'numbers'} in column {column.name!r}, as in the "
        f"training data. Received: {where} with {text[:60]!r} in row/{row}, counted "
        f"from 0{hint}. {advice}."
    )


def _check_order(column, cells, values, where):
    """Checks that dates, as a whole, are not rather those of another order."""
    orders = ("dates, day first", "dates, month first")
    if column.format not in orders or not any_matches(cells, r"\d"):
        return
    form = date_format(cells.drop_null().unique())
    if form is None or form.name not in orders or form.name == column.format:
        return
    other = parse_text(cells, Column(column.name, None, form.name, form.rewrites))
    if np.nanmax(np.abs(other - values)) > 0:
        raise InputError(
            f"Expected {column.format} in column {column.name!r}, as in the training "
            f"data. Received: {where} with {cells.drop_null()[0].as_py()!r} and the "
            f"like, which are rather {form.name}. Write them as 2020-01-31."
        )


def _unit_note(column, cells):
    """Says that numbers are without the unit or the currency of training."""
    cells = cells.drop_null()
    for pattern, _ in column.rewrites:
        sign = re.search(r"(\^?).*(\\Q.*\\E)", pattern)
        if sign is None:
            continue
        lacks, some_have = cells, False
        if cells.type == pa.string():
            lacks = cells.filter(pa.compute.invert(matches(cells, sign[2])))
            some_have = len(lacks) < len(cells)
        # In training some were without a currency, none without a unit.
        if len(lacks) and not (sign[1] and some_have):
            text = f"numbers without {sign[2][2:-2]!r} are taken as if they had it"
            return text, f"'{lacks[0]}' and the like in {num_cells(lacks)}"
        break
    return "", ""


def read_matrix_column(
    column: Column, values: np.ndarray, where: str | pathlib.Path
) -> ReadColumn:
    """Reads numbers as a column, of which categories are known by their names.

    Args:
        column: Which one.
        values: Numbers or booleans `(num_examples,)`, NaN for missing values.
        where: Their place, for messages.

    Raises:
        InputError: See `read_known_column`.
    """
    # Arrow lacks some of half precision; a matrix has one type for all columns.
    is_truth = values.dtype.kind == "b" and column.categories is None
    if values.dtype.kind == "f" or is_truth:
        values = values.astype(np.float64)
    cells = pa.chunked_array([pa.array(values, from_pandas=True)])
    return read_known_column(column, cells, where)
