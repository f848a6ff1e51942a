"""Columns of a file, each read by itself and then by what the others tell of it.

They are written by one program: where one shows that commas are of decimals, or that
the day is first, it tells how those are meant that could be read in two ways.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence

import numpy as np

from vicreg_keras.data.columns import Column
from vicreg_keras.data.sources.base import progress_bar
from vicreg_keras.data.sources.known_columns import read_known_column
from vicreg_keras.data.sources.table_columns import (
    ReadColumn,
    decimal_points_note,
    infer_column,
)
from vicreg_keras.data.sources.table_files import TableFile
from vicreg_keras.errors import InputError

_POINTS = "numbers with decimal points"
_SIGNS = {".": "points", ",": "commas"}


def infer_columns(
    file: TableFile, names: Sequence[str], kinds: Mapping[str, str]
) -> tuple[list[ReadColumn], np.ndarray]:
    """Reads columns of which nothing is known.

    Args:
        file: The file.
        names: Which columns.
        kinds: What the user says of some of them, see `infer_column`.

    Returns:
        The columns, and their values side by side.
    """
    examples = np.empty((file.num_rows, len(names)), np.float32)
    places = {name: i for i, name in enumerate(names)}

    def read(some, decimal="", order=""):
        def infer(name, cells):
            told = {"kind": kinds.get(name, ""), "decimal": decimal, "order": order}
            return infer_column(name, cells, file.path, **told)

        return _read(file, {name: places[name] for name in some}, examples, infer)

    columns = read(names)
    undecided = {  # Euros have thousands points, whatever others have.
        name: one
        for name, one in columns.items()
        if one.undecided and (one.problem or one.column.decimal == ".")
    }
    signs = {one.decimal for one in columns.values()} - {""}
    orders = {
        order
        for one in columns.values()
        for order in ("day first", "month first")
        if one.column.format == f"dates, {order}"
    }
    decimal = _only(signs) or ("," if file.has_decimal_commas and not signs else "")
    order = _only(orders)
    is_comma = decimal == ","
    again = [name for name, one in undecided.items() if one.problem or is_comma]
    if again and (decimal or order):
        columns |= read(again, decimal, order)
        for name in again:
            one = columns[name]
            if one.note[0] and (signs or one.column.kind != "numbers"):
                note = (f"{one.note[0]}, as other columns show", one.note[1])
                columns[name] = dataclasses.replace(one, note=note)
    for name, one in undecided.items():
        sign = _sign(one)
        is_open = len(signs) > 1 or (sign == "." and name in again and not signs)
        if is_open and not one.problem:
            points = f"{_SIGNS[sign]} may separate thousands or decimals"
            points += " (numeric_columns reads decimals)" * (sign == ".")
            text = f"{one.undecided!r} and the like in column {name!r}, whose {points}"
            columns[name] = dataclasses.replace(one, problem=text)
    for name, one in columns.items() if file.has_decimal_commas else ():
        # As may not be clear from a few rows of such a file.
        is_told = signs == {"."} or kinds.get(name) == "numbers"
        if is_told and (one.decimal or one.undecided) and one.column == Column(name):
            column = Column(name, format=_POINTS)
            columns[name] = dataclasses.replace(one, column=column)
    return [columns[name] for name in names], examples


def _read(file, places, examples, read_one):
    """Reads columns to their places among the examples; returns them by name."""
    columns = {}
    cells = file.read([*places])
    bar = progress_bar(f"Reading {file.path}", " columns", len(places), cells)
    for name, some in bar:
        one = read_one(name, some)
        values = examples[:, places[name]]
        values[:] = one.values
        columns[name] = dataclasses.replace(one, values=values)
    return columns


def _sign(one):
    """What separates thousands or decimals in a column of which nothing tells."""
    return "." if re.search(r"\d\.\d", one.undecided) else ","


def _only(values):
    return next(iter(values)) if len(values) == 1 else ""


def read_known_columns(
    file: TableFile, columns: Sequence[Column]
) -> tuple[list[ReadColumn], np.ndarray]:
    """Reads columns as those of the same names were read in training.

    Args:
        file: The file.
        columns: The columns of the training data.

    Returns:
        The columns, and their values side by side.

    Raises:
        InputError: See `read_known_column`; or if numbers are rather written with other
            signs of thousands and decimals than those of training.
    """
    examples = np.empty((file.num_rows, len(columns)), np.float32)
    places = {column.name: i for i, column in enumerate(columns)}

    def read_known(name, cells):
        return read_known_column(columns[places[name]], cells, file.path)

    read = [*_read(file, places, examples, read_known).values()]
    shown = {one.decimal for one in read}
    for i, one in enumerate(read):
        if one.undecided and one.column.decimal not in shown:
            read[i] = _check_decimal(file, one)
    return read, examples


def _check_decimal(file, one):
    """Checks a column whose numbers may be written in another way than in training."""
    column, sign = one.column, _sign(one)
    if column.format == _POINTS:
        return one
    # Files with semicolons have decimal commas; beside numbers without such a sign it
    # is rather of thousands.
    rather = {","} if file.has_decimal_commas else set()
    if one.has_short:
        rather |= {",", "."} - {sign}
    is_plain = not column.format.endswith(("commas", "points", "lakhs"))  # No unit.
    is_other = rather and column.decimal not in rather
    if is_other and (file.has_decimal_commas or not is_plain):
        kind = "thousands" if sign == column.decimal else "decimals"
        raise InputError(
            f"Expected {column.format or _POINTS} in column {column.name!r}, as in the "
            f"training data. Received: {file.path} with {one.undecided!r} and the "
            f"like, whose {_SIGNS[sign]} are rather of {kind}. "
            "Write such numbers as 1234 or 1.2340, or use a Parquet file."
        )
    note = one.note
    if is_plain and sign == "." and one.has_short:
        note = decimal_points_note(one.undecided, column)
    elif not is_plain and column.decimal != ("," if file.has_decimal_commas else "."):
        note = (f"{column.format}, as in the training data", repr(one.undecided))
    return dataclasses.replace(one, note=one.note if one.note[0] else note)
