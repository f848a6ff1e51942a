"""The labels of a table: a column of classes."""

import contextlib

import numpy as np
import pyarrow as pa
import pyarrow.compute

from vicreg_keras.data.cells import MISSING_CLASS, MISSING_EXCEPT_CLASSES
from vicreg_keras.data.sources.base import quoted
from vicreg_keras.data.sources.table_files import TableFile
from vicreg_keras.errors import InputError

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
    values, bad = cells.cast(pa.string()).to_numpy(), np.zeros(len(cells), bool)
    missing = cells.is_null().to_numpy()
    if not (pa.types.is_boolean(cells.type) or pa.types.is_temporal(cells.type)):
        with contextlib.suppress(pa.ArrowInvalid, pa.ArrowNotImplementedError):
            values = cells.cast(pa.float64()).to_numpy()
            missing = np.isnan(values)
            # Above 2**53 a float64 no longer tells whole numbers apart.
            bad = (np.abs(values) > 2**53) | (values != np.round(values))
            bad &= ~missing
    if bad.any():
        row = int(bad.argmax())
        raise InputError(
            "Expected a class in every row: text or a whole number. Received: "
            f"{where} with {bad.sum():,} others, the first {values[row]} in "
            f"row/{row}, counted from 0. Correct or empty these cells, or use another "
            "label_column."
        )
    classes, codes = np.unique(values[~missing], return_inverse=True)
    labels = np.full(len(cells), -1)
    labels[~missing] = codes
    is_number = values.dtype == np.float64
    _check_classes(where, len(classes), len(codes), len(labels))
    if is_number:
        classes = classes.astype(np.int64)
    class_names = tuple(map(str, classes))
    return labels, class_names, _notes(name, labels, class_names, is_number)


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
    folded = {one.casefold() for one in class_names}
    if len(folded) < len(class_names):
        notes.append(f"label_column {name!r}: some classes differ in capitals alone")
    return tuple(notes)
