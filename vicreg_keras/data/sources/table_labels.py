"""The labels of a table: a column of classes."""

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute

from vicreg_keras.data.cells import (
    MISSING_CLASS,
    MISSING_EXCEPT_CLASSES,
    NUMBER,
    matches,
    replace,
)
from vicreg_keras.data.sources.base import quoted
from vicreg_keras.data.sources.table_files import TableFile
from vicreg_keras.errors import InputError, file_errors

_EXPECTED = "a class in every row: text or a whole number"
_WHOLE = r"^[+-]?\d+\.?0*$"
_OWN_WRITING = r"[+-]?(?:0[\d.]+|[\d.]+[eE][+-]?\d+)"
# More whole numbers, in fewer examples of each, are rather a quantity than classes.
_MAX_NUMBERS, _MIN_EXAMPLES_PER_NUMBER = 20, 20


def read_labels(
    file: TableFile, name: str
) -> tuple[np.ndarray, tuple[str, ...], tuple[str, ...]]:
    """Reads a column of classes.

    Args:
        file: The table.
        name: The column.

    Returns:
        Labels `(num_examples,)`, -1 where there is none; the names of the classes that
        they number; and notes.

    Raises:
        InputError: If a cell is no class, most classes have a single example, or there
            are less than two classes.
    """
    where = f"{file.path}, column {name!r}"
    ((_, cells),) = file.read([name], MISSING_CLASS)
    with file_errors(where, _EXPECTED, "Use another label_column"):
        values = _classes(cells, where)
    present = values.is_valid().to_numpy()
    classes, codes = np.unique(values.drop_null().to_numpy(), return_inverse=True)
    labels = np.full(len(cells), -1)
    labels[present] = codes
    _check_classes(where, len(classes), len(codes), len(labels))
    class_names = tuple(map(str, classes))
    is_number = values.type == pa.int64()
    return labels, class_names, _notes(name, labels, class_names, is_number)


def _classes(cells, where):
    """Cells as whole numbers, or as text where only that tells classes apart."""
    kind = cells.type
    is_number = pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    if kind == pa.string():
        is_number = pa.compute.all(matches(cells, NUMBER)).as_py()
    if is_number:
        values = cells.cast(pa.float64()).to_numpy()
        # Above 2**53 a float64 no longer tells whole numbers apart.
        bad = (np.abs(values) > 2**53) | (values != np.round(values))
        if kind == pa.string():
            bad &= ~matches(cells, _WHOLE).fill_null(True).to_numpy()
        if (bad := bad & ~np.isnan(values)).any():
            row = int(bad.argmax())
            raise InputError(
                f"Expected {_EXPECTED}. Received: {where} with {bad.sum():,} others, "
                f"the first {values[row]} in row/{row}, counted from 0. Correct or "
                "empty these cells, or use another label_column."
            )
    if kind != pa.string() and is_number:
        cells = pa.chunked_array([pa.array(values, from_pandas=True)]).cast(pa.int64())
    texts = cells.cast(pa.string())
    if is_number or pa.types.is_integer(kind):
        plain = replace(replace(texts, r"\.0*$", ""), r"^\+", "")
        # Otherwise as they are written, such as 007 or 1E2.
        if pa.compute.all(matches(plain, r"^(?:0|-?[1-9]\d{0,17})$")).as_py():
            return plain.cast(pa.int64())
    return texts


def _check_classes(where, num_classes, num_labels, num_rows):
    if num_classes < 2:
        raise InputError(
            f"Expected labels of two classes or more. Received: {where} with "
            f"{num_labels:,} labels of {num_classes} in {num_rows:,} rows. Add labels, "
            "or leave label_column out to train without."
        )
    if 2 * num_classes > max(num_labels, 20):
        raise InputError(
            f"Expected labels that several examples share. Received: {where} with "
            f"{num_classes:,} values in {num_labels:,} rows. Use another label_column, "
            "or leave it out to train without labels."
        )


def _notes(name, labels, class_names, is_number):
    notes = []
    num_labels, num_rows = int((labels >= 0).sum()), len(labels)
    if num_labels < num_rows:
        notes.append(
            f"{num_rows - num_labels:,} of {num_rows:,} rows have no {name!r}: they "
            "are trained on without a label, and not evaluated"
        )
    is_quantity = is_number and len(class_names) > _MAX_NUMBERS
    if is_quantity and num_labels < _MIN_EXAMPLES_PER_NUMBER * len(class_names):
        notes.append(
            f"label_column {name!r} looks like a regression target: {len(class_names)} "
            f"whole numbers in {num_labels:,} rows, each of which is a class here"
        )
    words = [one for one in class_names if one.lower() in MISSING_EXCEPT_CLASSES]
    if words:
        notes.append(f"label_column {name!r}: {quoted(words)} is a class")
    numbers = [one for one in class_names if re.fullmatch(_OWN_WRITING, one)]
    if numbers:
        notes.append(
            f"label_column {name!r}: classes as they are written, {numbers[0]!r}"
        )
    folded = {one.casefold() for one in class_names}
    if len(folded) < len(class_names):
        notes.append(f"label_column {name!r}: some classes differ in capitals alone")
    return tuple(notes)
