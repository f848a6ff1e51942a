"""Dates and times as people write them: the rewrites to those of ISO 8601."""

import numpy as np
import pyarrow as pa
import pyarrow.compute

from vicreg_keras.data.cells import parse_plain
from vicreg_keras.data.sources.cell_formats import Format, Rewriter

# In English and in German.
_MONTHS = (
    *("jan(?:uary?)?", "feb(?:ruary?)?", "m[aä]r(?:ch|z)?", "apr(?:il)?", "ma[iy]"),
    *("jun[ei]?", "jul[iy]?", "aug(?:ust)?", "sept?(?:ember)?", "o[ck]t(?:ober)?"),
    *("nov(?:ember)?", "de[cz](?:ember)?"),
)
_MONTH = "(?i)" + "|".join(_MONTHS)
_WEEKDAY = "^(?i:mon|tues?|wed(?:nes)?|thu(?:rs?)?|fri|sat(?:ur)?|sun)(?i:day)?[.,]* "
_YEAR, _DAY = r"(\d{4}|\d{2})", r"(\d{1,2})(?i:st|nd|rd|th)?"
# What follows a date.
_TAIL = r"((?:[T ,:].*)?)$"
_NAMED = (
    (rf"^{_DAY}[ \-/.,]*#(\d\d)[ \-/.,]*{_YEAR}{_TAIL}", r"\3-\2-\1\4"),
    (rf"^#(\d\d)[ -]*{_DAY}(?:, ?| |-){_YEAR}{_TAIL}", r"\3-\1-\2\4"),
    (rf"^(\d{{4}})[ \-/.,]*#(\d\d)[ \-/.,]*{_DAY}{_TAIL}", r"\1-\2-\3\4"),
    (r"^#(\d\d)[ \-/.,]*(\d{4})$", r"\2-\1-01"),
    (r"^#(\d\d)[-'](\d{2})$", r"\2-\1-01"),
)
_COMPACT = r"((?:19|20)\d{2})(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])"
_YEAR_FIRST = (
    (rf"^(\d{{4}})[/.](\d{{1,2}})[/.](\d{{1,2}}){_TAIL}", r"\1-\2-\3\4"),
    (rf"^(\d{{4}})年(\d{{1,2}})月(\d{{1,2}})日{_TAIL}", r"\1-\2-\3\4"),
    (rf"^{_COMPACT}(?:\.0)?$", r"\1-\2-\3"),
    (rf"^{_COMPACT}[T ](\d\d):?(\d\d):?(\d\d(?:\.\d+)?)(Z?)$", r"\1-\2-\3T\4:\5:\6\7"),
    (r"^(\d{4})[-/.](\d{1,2})$", r"\1-\2-01"),
    (r"^(\d{1,2})[-/.](\d{4})$", r"\2-\1-01"),
)
_NUMERIC = r"^(?P<first>\d{1,2})S(?P<second>\d{1,2})S(?P<third>\d{4}|\d{2})"
_NUMERIC += r"(?P<tail>(?:[T ,].*)?)$"
_PADDING = (
    (r"^(69|[7-9]\d)-(\d{1,2}-\d{1,2}(?:\D.*)?)$", r"19\1-\2"),
    (r"^(\d{2})-(\d{1,2}-\d{1,2}(?:\D.*)?)$", r"20\1-\2"),
    (r"^(\d{4})-(\d)(-.*)$", r"\1-0\2\3"),
    (r"^(\d{4}-\d{2})-(\d)((?:\D.*)?)$", r"\1-0\2\3"),
)
_CLOCK = (
    (r"^(.{10})[T, :]+(\d)", r"\1 \2"),
    (r"^(.{10}) (\d(?:\D.*)?)$", r"\1 0\2"),
    (r"^(.{10} \d\d)((?: ?(?i:[ap]\.?m\.?).*)?)$", r"\1:00\2"),
)
_PM = r" ?(?i:p\.?m\.?)(.*)$"
_AM = r" ?(?i:a\.?m\.?)(.*)$"
_HALF_DAYS = (
    (rf"^(.{{11}})12(:[\d:.]*){_AM}", r"\100\2\3"),
    (rf"^(.{{11}}\d\d:[\d:.]*){_AM}", r"\1\2"),
    (rf"^(.{{11}}12:[\d:.]*){_PM}", r"\1\2"),
    *(
        (rf"^(.{{11}}){hour:02}(:[\d:.]*){_PM}", rf"\1{hour + 12}\2\3")
        for hour in range(1, 12)
    ),
)
_ZONES = ((r" ?(?:UTC|GMT|Z)$", "Z"), (r" ([+-]\d{2}:?\d{2})$", r"\1"))
# What every date or time has.
_HINT = r"\d[/.:年]\d|\d{4}|\d-\d|(?i:[ap]\.?m\.?$)|[a-zA-Z]-\d|\d-[a-zA-Z]"
# What looks like a date or a time, on its own.
WRITTEN_TIME = (
    r"^(?:\d{1,2}[/.-]\d{1,2}[/.-](?:\d{4}|\d{2})|\d{4}[/.-]\d{1,2}[/.-]\d{1,2}"
    r"|\d{1,2} ?-?(?i:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*[ -]\d{2,4}"
    r"|(?i:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]* \d{1,2},? \d{4})"
    r"(?:[T ,].*)?$|^\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?: ?(?i:[ap]\.?m\.?))?$"
)


def date_format(texts: pa.Array, order: str = "") -> Format | None:
    """Finds out how dates, dates with times, or times of day are written.

    Args:
        texts: Distinct cells, see `Rewriter`.
        order: `"day first"` or `"month first"`, where nothing else tells.

    Returns:
        Their format, or `None` if they are none of one kind. It has a problem if day
        and month can't be told apart.
    """
    cells = Rewriter(texts)
    if not cells.all(r"\d") or not cells.all(_HINT):
        return None
    try:
        name = _date(cells, order)
    except _UndecidedError as error:
        text = texts[0].as_py()
        return Format("", problem=f"{error}, such as {text!r},", undecided=text)
    if name is None:
        return None
    for rewrite in _PADDING:
        cells.rewrite(*rewrite)
    if cells.any(r"^.{10}[T, :]"):
        for rewrite in _CLOCK:
            cells.rewrite(*rewrite)
        if cells.any(f"{_AM}|{_PM}"):
            for rewrite in _HALF_DAYS:
                cells.rewrite(*rewrite)
        for rewrite in _ZONES:
            cells.rewrite(*rewrite)
    bad = np.isnan(parse_plain(cells.texts, "times"))
    if bad.mean() > 0.5 or (bad.any() and not name.startswith("dates")):
        return None
    if bad.any():
        text = texts[int(bad.argmax())].as_py()
        return Format("", problem=f"{name}, of which {text!r} is none,")
    return Format(name, tuple(cells.rewrites))


def _date(cells, order):
    """Rewrites dates to numbers, the year first; returns what they are, or `None`."""
    clock = r"^(\d{1,2}(?::\d{2}(?:\D.*)?| ?(?i:[ap]\.?m\.?)))$"
    if cells.all(clock):
        cells.rewrite(clock, r"1970-01-01 \1")
        return "times of day"
    cells.rewrite(_WEEKDAY, "", only_if_any=True)
    if cells.all(_MONTH):
        for number, month in enumerate(_MONTHS, start=1):
            cells.rewrite(rf"(?i){month}\.?", f"#{number:02}")
        return _first_that_fits(cells, _NAMED)
    if cells.all(r"^\d{4}-\d{1,2}-\d{1,2}(?:\D|$)"):
        return "dates"
    for separator in "/-.":
        if cells.all(pattern := _NUMERIC.replace("S", rf"\Q{separator}\E")):
            return _order(cells, separator, pattern, order)
    return _first_that_fits(cells, _YEAR_FIRST)


def _first_that_fits(cells, rewrites):
    for pattern, replacement in rewrites:
        if cells.all(pattern):
            cells.rewrite(pattern, replacement)
            return "dates"
    return None


class _UndecidedError(Exception):
    """Day and month can't be told apart."""


def _order(cells, separator, pattern, order):
    """Decides which of day, month and year is first, by all cells."""
    parts = pa.compute.extract_regex(cells.texts, pattern).flatten()
    first, second, third = (part.cast(pa.int64()).to_numpy() for part in parts[:3])
    is_day = 1 <= third.min() and third.max() <= 31
    if is_day and second.max() <= 12 and not cells.any(pattern.replace(r"|\d{2}", "")):
        if first.max() > 31:
            cells.rewrite(pattern, r"\1-\2-\3\4")
            return "dates, year first"
        if len(np.unique(third)) > len(np.unique(first)):
            raise _UndecidedError("dates in which day and year can't be told apart")
    if max(first.max(), second.max()) > 31:
        return None
    if first.max() > 12 and second.max() > 12:
        raise _UndecidedError("dates, some with the day first, others with the month")
    if separator == "." or first.max() > 12 or (first == second).all():
        day_first = True
    elif second.max() > 12:
        day_first = False
    else:
        day_first = _first_of_month(first, second, third, order)
    cells.rewrite(pattern, r"\3-\2-\1\4" if day_first else r"\3-\1-\2\4")
    return f"dates, {'day' if day_first else 'month'} first"


def _first_of_month(first, second, year, order):
    """Tells by dates that are all on the first of a month, of more than one year."""
    if len(np.unique(year)) > 1 and len(np.unique(first * 100 + second)) > 1:
        if (first == 1).all():
            return True
        if (second == 1).all():
            return False
    if order:
        return order == "day first"
    raise _UndecidedError("dates in which day and month can't be told apart")
