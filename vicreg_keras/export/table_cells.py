"""Decoding of a table's cells, as text, to an encoder's examples, in a graph.

By the rules that files are read with, see `data.cells`: the rewrites of each column,
then numbers, `true` and `false`, or ISO 8601 times (days since 1970), whichever the
column is of, and categories by their names. Missing values, and categories that
training did not have, are NaN. However many columns there are, the graph has the same
number of operations for each way that numbers are written.
"""

import decimal
import unicodedata
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import tensorflow as tf

from vicreg_keras.data.cells import (
    BLANKS,
    CANONICAL,
    MAX_CLOCK_DAYS,
    MISSING_CELL,
    NUMBER,
    SECONDS_PER_DAY,
    TIME,
    TIME_PARTS,
    TRUTH,
    canonical,
    days_from_civil,
)
from vicreg_keras.data.columns import Column


# There is no Python control flow to convert, which takes seconds.
@tf.autograph.experimental.do_not_convert
def decode_cells(cells: tf.Tensor, columns: Sequence[Column]) -> tf.Tensor:
    """Returns the examples of a table's cells.

    Args:
        cells: `(batch, num_columns)` strings, in the columns' order; blanks around
            them are ignored.
        columns: Columns of the table.

    Returns:
        float32 tensor `(batch, num_columns)`.

    Raises:
        tf.errors.InvalidArgumentError: If a cell of a column of numbers is neither
            missing nor of the kind that this column is, see `Column.kind`.
    """
    cells = tf.ensure_shape(cells, (None, len(columns)))
    cells = tf.strings.regex_replace(cells, BLANKS, "")
    missing = tf.strings.regex_full_match(cells, MISSING_CELL)
    # Columns that are written alike are decoded together.
    groups: dict[tuple | None, list[int]] = {}
    for place, column in enumerate(columns):
        key = None if column.categories is not None else column.rewrites
        groups.setdefault(key, []).append(place)
    categorical = groups.pop(None, [])
    plain, numeric, parts = [], [], []
    for rewrites, places in groups.items():
        some = tf.gather(cells, places, axis=1)
        for pattern, replacement in rewrites:
            some = tf.strings.regex_replace(some, pattern, replacement)
        plain.append(some)
        numeric += places
    if numeric:
        some = [columns[place] for place in numeric]
        ignored = tf.gather(missing, numeric, axis=1)
        parts.append(_numbers(tf.concat(plain, axis=1), ignored, some))
    if categorical:
        some = tf.gather(cells, categorical, axis=1)
        parts.append(_codes(some, [columns[place].categories for place in categorical]))
    order = np.argsort([*numeric, *categorical])
    examples = tf.gather(tf.concat(parts, axis=1), order, axis=1)
    examples = tf.where(missing, float("nan"), examples)
    return tf.ensure_shape(examples, (None, len(columns)))


def encode_cells(examples: np.ndarray, columns: Sequence[Column]) -> np.ndarray:
    """Returns strings `(N, num_columns)` that `decode_cells` decodes to these examples.

    Args:
        examples: `(N, num_columns)`, NaN for missing values.
        columns: Columns of the table.
    """
    cells = np.full(examples.shape, "", object)
    for (row, place), value in np.ndenumerate(examples):
        column = columns[place]
        if np.isnan(value):
            continue
        if column.categories is not None:
            cells[row, place] = column.categories[int(value)]
        elif column.kind == "truth":
            cells[row, place] = "true" if value else "false"
        elif column.kind.startswith("times"):
            microseconds = round(float(value) * SECONDS_PER_DAY * 1e6)
            cells[row, place] = str(np.datetime64(microseconds, "us"))
        else:
            cells[row, place] = _scientific(value)
    return cells


def _scientific(value):
    """A number as text that no rewrite changes: there is no point or comma in it."""
    sign, digits, exponent = decimal.Decimal(str(np.float32(value))).as_tuple()
    return f"{'-' * sign}{''.join(map(str, digits))}e{exponent}"


def _codes(cells, categories):
    """Codes of categories, compared with those of all columns at once."""
    sizes = [len(names) for names in categories]
    owners = np.repeat(np.arange(len(sizes)), sizes)  # (num_categories,)
    codes = np.concatenate([np.arange(size) for size in sizes]).astype(np.float32)
    names = [name for names in categories for name in names]
    names = canonical(pa.chunked_array([names], pa.string())).to_pylist()
    for pattern, replacement in CANONICAL:
        cells = tf.strings.regex_replace(cells, pattern, replacement)
    cells = tf.gather(cells, owners, axis=1)
    same = cells == tf.constant(names)  # (batch, num_categories)
    # Files are read in NFC; a graph has no normalization, but knows the other form.
    decomposed = [unicodedata.normalize("NFD", name) for name in names]
    if decomposed != names:
        same |= cells == tf.constant(decomposed)
    found = tf.transpose(tf.where(same, codes, -1.0))
    found = tf.transpose(tf.math.segment_max(found, owners))  # (batch, num_columns)
    return tf.where(found < 0, float("nan"), found)


def _numbers(cells, missing, columns):
    """Numbers `(batch, num_columns)`, float32, of plain cells and of missing ones."""
    is_number = tf.strings.regex_full_match(cells, NUMBER)
    is_truth = tf.strings.regex_full_match(cells, TRUTH)
    is_time = tf.strings.regex_full_match(cells, TIME)
    numbers = tf.strings.to_number(tf.where(is_number, cells, "0"), tf.float64)
    days, exists = _days(tf.where(is_time, cells, "1970-01-01"))
    truth = tf.cast(tf.strings.length(cells) == len("true"), tf.float64)
    values = tf.where(is_truth, truth, tf.where(is_time, days, numbers))
    values = tf.cast(values, tf.float32)
    kinds = np.array([column.kind for column in columns])
    is_clock = tf.abs(days) < MAX_CLOCK_DAYS
    good = is_number & (kinds == "numbers")
    good |= (is_truth | (is_number & ((values == 0) | (values == 1)))) & (
        kinds == "truth"
    )
    good |= is_time & exists & ((kinds == "times") | (kinds == "times of day"))
    good &= is_clock | (kinds != "times of day")
    good = missing | (good & tf.math.is_finite(values))
    # The first cell that is none of these, and its column.
    bad = tf.argmax(tf.cast(tf.reshape(~good, [-1]), tf.int32))
    message = tf.strings.join(
        [
            "Expected ",
            tf.constant([column.format or "numbers" for column in columns])[
                bad % len(columns)
            ],
            " in the column ",
            tf.constant([column.name for column in columns])[bad % len(columns)],
            ". Received: ",
            tf.strings.substr(tf.reshape(cells, [-1])[bad], 0, 40, "UTF8_CHAR"),
            ". Check the cells, or leave them empty.",
        ]
    )
    with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(good), [message])]):
        return tf.identity(values)


def _days(times):
    """Days since 1970, float64, of times as ISO 8601 writes them; and which exist."""

    def part(name, dtype, otherwise="0"):
        group = rf"\{1 + TIME_PARTS.index(name)}"
        text = tf.strings.regex_replace(times, TIME, group)
        return tf.strings.to_number(tf.where(text == "", otherwise, text), dtype)

    days, exists = days_from_civil(
        *(part(name, tf.int64) for name in ("year", "month", "day"))
    )
    hour, minute, second, zone_hour, zone_minute = (
        part(name, tf.float64) for name in TIME_PARTS[3:] if name != "sign"
    )
    is_behind = tf.strings.regex_full_match(times, r".*\d-\d{2}:?(?:\d{2})?") & (
        tf.strings.length(times) > len("1970-01-01")
    )
    offset = tf.where(is_behind, -60.0, 60.0)
    offset = tf.cast(offset, tf.float64) * (60 * zone_hour + zone_minute)
    seconds = 3600 * hour + 60 * minute + second - offset
    return tf.cast(days, tf.float64) + seconds / SECONDS_PER_DAY, exists
