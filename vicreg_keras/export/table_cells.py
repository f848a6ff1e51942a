"""Decoding of a table's cells, as text, to an encoder's examples, in a graph.

By the rules that files are read with: numbers, `true` and `false`, ISO 8601 times (days
since 1970), and categories by their names. Missing values, and categories that training
did not have, are NaN.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from vicreg_keras.data.columns import MISSING, Column

_TIME = (
    r"(\d{4})-(\d{2})-(\d{2})(?:[T ](\d{2}):(\d{2})(?::(\d{2}(?:\.\d+)?))?"
    r"(Z|[+-]\d{2}(?::?\d{2})?)?)?"
)
_SECONDS_A_DAY = 86_400


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
            missing nor a number, true, false or a time.
    """
    cells = tf.strings.strip(tf.ensure_shape(cells, (None, len(columns))))
    missing = tf.reduce_any(cells[..., tf.newaxis] == tf.constant(MISSING), axis=-1)
    rows = [
        _numbers(cells[:, place], missing[:, place], column.name)
        if column.categories is None
        else _codes(cells[:, place], column.categories)
        for place, column in enumerate(columns)
    ]
    rows = tf.where(missing, float("nan"), tf.stack(rows, axis=1))
    return tf.ensure_shape(rows, (None, len(columns)))


def encode_cells(examples: np.ndarray, columns: Sequence[Column]) -> np.ndarray:
    """Returns strings `(N, num_columns)` that `decode_cells` decodes to these examples.

    Args:
        examples: `(N, num_columns)`, NaN for missing values.
        columns: Columns of the table.
    """
    cells = np.full(examples.shape, "", object)
    for (row, place), value in np.ndenumerate(examples):
        categories = columns[place].categories
        if not np.isnan(value):
            text = repr(float(value)) if categories is None else categories[int(value)]
            cells[row, place] = text
    return cells


def _codes(cells, categories):
    same = cells[:, tf.newaxis] == tf.constant(categories)
    codes = tf.cast(tf.argmax(same, axis=1), tf.float32)
    return tf.where(tf.reduce_any(same, axis=1), codes, float("nan"))


def _numbers(cells, missing, name):
    lower = tf.strings.lower(cells)
    is_true, is_false = lower == "true", lower == "false"
    is_time = tf.strings.regex_full_match(cells, _TIME)
    other = missing | is_true | is_false | is_time
    plain = tf.where(other, "0", cells)
    number = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"
    good = tf.reduce_all(tf.strings.regex_full_match(plain, number))
    message = (
        f"Expected numbers, true, false or times in the column {name}. Received: other "
        "text. Check the cells."
    )
    with tf.control_dependencies([tf.debugging.Assert(good, [message])]):
        plain = tf.identity(plain)
    numbers = tf.strings.to_number(plain, tf.float64)
    days = _days(tf.where(is_time, cells, "1970-01-01"))
    numbers = tf.where(is_true, tf.ones_like(numbers), numbers)
    return tf.cast(tf.where(is_time, days, numbers), tf.float32)


def _days(times):
    """Days since 1970, float64, of times as ISO 8601 writes them."""

    def part(number, otherwise):
        text = tf.strings.regex_replace(times, _TIME, rf"\{number}")
        return tf.where(text == "", otherwise, text)

    year, month, day = (tf.strings.to_number(part(i, "1"), tf.int64) for i in (1, 2, 3))
    hour, minute = (tf.strings.to_number(part(i, "0"), tf.float64) for i in (4, 5))
    second = tf.strings.to_number(part(6, "0"), tf.float64)
    seconds = 3600 * hour + 60 * minute + second - 60 * _offset(part(7, "Z"))
    days = _days_from_civil(year, month, day)
    return tf.cast(days, tf.float64) + seconds / _SECONDS_A_DAY


def _offset(zones):
    """Minutes that a zone, such as +01:30 or Z, is ahead of UTC."""
    digits = tf.strings.regex_replace(zones, r"[^\d]", "")
    digits = tf.strings.substr(tf.strings.join([digits, "0000"]), 0, 4)
    number = tf.strings.to_number(digits, tf.int64)
    minutes = tf.cast(60 * (number // 100) + number % 100, tf.float64)
    behind = tf.strings.regex_full_match(zones, r"-.*")
    return tf.where(behind, -minutes, minutes)


def _days_from_civil(year, month, day):
    """Days since 1970-01-01 of a date of the Gregorian calendar, int64.

    Reference:
        Hinnant, "chrono-Compatible Low-Level Date Algorithms", days_from_civil.
    """
    # A year that begins in March has its leap day at the end.
    year = year - tf.cast(month <= 2, tf.int64)
    era = tf.math.floordiv(year, 400)
    year_of_era = year - era * 400
    month_from_march = tf.where(month > 2, month - 3, month + 9)
    day_of_year = (153 * month_from_march + 2) // 5 + day - 1
    leap_days = year_of_era // 4 - year_of_era // 100
    return era * 146_097 + year_of_era * 365 + leap_days + day_of_year - 719_468
