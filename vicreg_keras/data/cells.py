r"""Plain cells of a table: what is missing, a number, a truth value or a time.

The patterns are of RE2, which both Arrow and TensorFlow match with: cells are read
equally from a file and in the graph of a SavedModel.
"""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute

# Around a cell.
BLANKS = r"^[\s\pZ\x0B\x{85}\x{200B}\x{FEFF}]+|[\s\pZ\x0B\x{85}\x{200B}\x{FEFF}]+$"
# Cells that mean a missing value, in capitals or not, without the blanks around them.
MISSING = (
    *("", "?", "na", "n/a", "n.a.", "#n/a", "<na>", "nan", "null", "(null)", "[null]"),
    *(r"\n", "nat", "#div/0!", "#value!", "#ref!", "#num!", "#name?", "#null!"),
)
# Those that may as well be the name of a class.
MISSING_EXCEPT_CLASSES = ("none", "missing", "-", "--", "–", "—", ".", "..", "k.a.")


def _any_of(words: Iterable[str]) -> str:
    # RE2 takes these quotes; it does not know all the escapes of re.escape.
    return "^(?i:" + "|".join(rf"\Q{word}\E" for word in words) + ")$"


MISSING_CLASS = _any_of(MISSING)
MISSING_CELL = _any_of((*MISSING, *MISSING_EXCEPT_CLASSES))

# One way to write categories that files of other kinds write otherwise.
CANONICAL = (
    (r"^([+-]?\d+)\.0+$", r"\1"),
    ("^(?i:true)$", "true"),
    ("^(?i:false)$", "false"),
    (
        r"^(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d(?::\d\d(?:\.\d*[1-9])?)?)(?:\.?0+)?Z?$",
        r"\1 \2",
    ),
    (r"^(\d{4}-\d\d-\d\d \d\d:\d\d):00$", r"\1"),
    (r"^(\d{4}-\d\d-\d\d) 00:00$", r"\1"),
)
# What is infinite is recognized, to be refused.
NUMBER = r"^[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|(?i:inf|infinity))$"
TRUTH = r"^(?i:true|false)$"
# ISO 8601; the names of the groups are those of `TIME_PARTS`.
TIME = (
    r"^(?P<year>\d{4})-(?P<month>0[1-9]|1[0-2])-(?P<day>0[1-9]|[12]\d|3[01])"
    r"(?:[T ](?P<hour>[01]\d|2[0-3]):(?P<minute>[0-5]\d)"
    r"(?::(?P<second>[0-5]\d(?:\.\d+)?))?"
    r"(?:Z|(?P<sign>[+-])(?P<zone_hour>\d{2})(?::?(?P<zone_minute>\d{2}))?)?)?$"
)
TIME_PARTS = (
    *("year", "month", "day", "hour", "minute", "second"),
    *("sign", "zone_hour", "zone_minute"),
)
SECONDS_PER_DAY = 86_400
# Times of day are those of 1970-01-01; with a time zone it is the day before or after.
MAX_CLOCK_DAYS = 2


def strip_text(cells: pa.ChunkedArray, missing: str = MISSING_CELL) -> pa.ChunkedArray:
    """Returns text in Unicode's NFC without blanks around it, null for missing values.

    Args:
        cells: A column; of another type than text it is returned as it is.
        missing: The pattern of missing cells.
    """
    kind = cells.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
        cells = cells.cast(kind)
    if kind not in (pa.string(), pa.large_string(), pa.string_view()):
        return cells
    cells = pa.compute.utf8_normalize(cells.cast(pa.string()), "NFC")
    cells = replace(cells, BLANKS, "")
    return pa.compute.if_else(
        matches(cells, missing), pa.scalar(None, pa.string()), cells
    )


def matches(texts: pa.Array, pattern: str) -> pa.Array:
    """Returns which texts a pattern is found in."""
    return pa.compute.match_substring_regex(texts, pattern)


def replace(texts: pa.Array, pattern: str, replacement: str) -> pa.Array:
    """Returns texts in which all matches of a pattern are replaced."""
    return pa.compute.replace_substring_regex(texts, pattern, replacement)


def canonical(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Returns the names of categories, each written in one way."""
    encoded = texts.combine_chunks().dictionary_encode()
    names = encoded.dictionary
    for pattern, replacement in CANONICAL:
        names = replace(names, pattern, replacement)
    return pa.chunked_array([names.take(encoded.indices)])


def parse_plain(texts: pa.Array, kind: str = "numbers") -> np.ndarray:
    """Parses plain cells: numbers, true and false (1 and 0), times in days since 1970.

    Args:
        texts: `(N,)` without blanks around them.
        kind: What they are, see `Column.kind`.

    Returns:
        float64 `(N,)`, NaN for a cell that is none of these.
    """
    values = np.full(len(texts), np.nan)
    for pattern, parse in _PARSERS[kind]:
        chosen = matches(texts, pattern).fill_null(False)
        if pa.compute.any(chosen).as_py():
            values[_numpy(chosen)] = parse(texts.filter(chosen))
    return values


def _numpy(array):
    return array.to_numpy(zero_copy_only=False)


def _numbers(texts):
    return _numpy(texts.cast(pa.float64()))


def _truth(texts):
    return _numpy(pa.compute.utf8_length(texts)) == len("true")


def _days(times):
    parts = pa.compute.extract_regex(times, TIME)
    fields = [pa.compute.struct_field(parts, [name]) for name in TIME_PARTS]
    signs = _numpy(fields.pop(TIME_PARTS.index("sign")))
    year, month, day, hour, minute, second, zone_hour, zone_minute = (
        np.where(texts == "", "0", texts).astype(float)
        for texts in (_numpy(field).astype(str) for field in fields)
    )
    offset = np.where(signs == "-", -60, 60) * (60 * zone_hour + zone_minute)
    seconds = 3600 * hour + 60 * minute + second - offset
    days, exists = days_from_civil(*(x.astype(np.int64) for x in (year, month, day)))
    return np.where(exists, days + seconds / SECONDS_PER_DAY, np.nan)


def _days_of_clocks(times):
    days = _days(times)
    return np.where(np.abs(days) < MAX_CLOCK_DAYS, days, np.nan)


def _numbers_of_truth(texts):
    numbers = _numbers(texts)
    return np.where((numbers == 0) | (numbers == 1), numbers, np.nan)


_PARSERS = {
    "numbers": ((NUMBER, _numbers),),
    "truth": ((TRUTH, _truth), (NUMBER, _numbers_of_truth)),
    "times": ((TIME, _days),),
    "times of day": ((TIME, _days_of_clocks),),
}


def days_from_civil(year, month, day):
    """Days since 1970-01-01 of dates of the Gregorian calendar, and which exist.

    Args:
        year: Integers, an array or a tensor.
        month: Likewise, 1 to 12.
        day: Likewise, 1 to 31.

    Reference:
        Hinnant, "chrono-Compatible Low-Level Date Algorithms", days_from_civil.
    """
    leap = _leap_days(year) - _leap_days(year - 1)
    is_day = day <= 30 + (month + month // 8) % 2
    exists = is_day & ((month != 2) | (day <= 28 + leap))
    # A year that begins in March has its leap day at the end.
    is_early = (14 - month) // 12  # 1 in January and February.
    year = year - is_early
    month_from_march = month + 12 * is_early - 3
    day_of_year = (153 * month_from_march + 2) // 5 + day - 1
    return 365 * year + _leap_days(year) + day_of_year - 719_468, exists


def _leap_days(year):
    return year // 4 - year // 100 + year // 400
