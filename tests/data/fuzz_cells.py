"""Columns of a table as people write them, and what a careful person would read."""

import dataclasses
import datetime
import re

import numpy as np
import pyarrow as pa

NUM_ROWS = 40
MISSING = (
    *("", "", "NA", "N/A", "n/a", "nan", "NaN", "null", "NULL", "None", "none", "-"),
    *("--", ".", "?", "#DIV/0!", "#N/A", "missing", "NaT", "\\N", " ", "–", "n.a."),
)


@dataclasses.dataclass
class Made:
    """A column.

    Attributes:
        cells: Its cells as a CSV file has them.
        values: What they are: numbers, names of categories, `None` where missing.
        typed: Its cells in a Parquet file.
        fate: `"read"`; `"noted"`, read with a note; `"left out"`, and said so;
            `"refused"`; `"noticed"`, one of these if its name is said.
        is_date: Whether its values are days since 1970.
    """

    cells: list
    values: list | None
    typed: pa.Array | None = None
    fate: str = "read"
    is_date: bool = False

    @property
    def categories(self):
        """The names of its categories, sorted, or `None`."""
        present = {value for value in self.values if value is not None}
        return tuple(sorted(present)) if isinstance(next(iter(present)), str) else None

    def in_types(self):
        """Its values as a Parquet file has them."""
        if self.typed is not None:
            return self.typed
        if not self.is_date:
            return pa.array(self.values)
        days = [None if day is None else round(day * 86_400) for day in self.values]
        return pa.array(days, pa.timestamp("s"))

    def examples(self):
        """float32 `(NUM_ROWS,)`."""
        names = self.categories
        code = float if names is None else names.index
        return np.array(
            [np.nan if value is None else code(value) for value in self.values],
            np.float32,
        )


def add_missing(random, made, markers):
    """Replaces some cells, but for the first ones, by what means a missing value."""
    for row in range(6, NUM_ROWS, 7):
        made.cells[row] = str(random.choice(markers))
        made.values[row] = None
    if made.typed is not None:
        is_missing = np.array([value is None for value in made.values])
        mask = pa.array(~is_missing)
        made.typed = pa.compute.if_else(mask, made.typed, pa.scalar(None))


def _grouped(separator, point, decimals):
    def write(value):
        text = f"{value:,.{decimals}f}"
        return text.replace(",", "_").replace(".", point).replace("_", separator)

    return write


def _lakhs(value):
    whole = str(int(abs(value)))
    head, tail = whole[:-3], whole[-3:]
    groups = []
    while head:
        groups.insert(0, head[-2:])
        head = head[:-2]
    return "-" * (value < 0) + ",".join([*groups, tail])


def _signed(form, negative="-{}"):
    return lambda value: (negative if value < 0 else "{}").format(form(abs(value)))


_TWO = "{:.2f}".format
_COMMA = _grouped("", ",", 2)
# How numbers are written, and how many decimals they have.
_NUMBERS = {
    "plain": (repr, 3),
    "exponents": ("{:.5e}".format, 5),
    "exponents with commas": (lambda value: f"{value:.3e}".replace(".", ","), 3),
    "plus signs": ("{:+.2f}".format, 2),
    "no leading zero": (lambda value: re.sub(r"^(-?)0\.", r"\1.", _TWO(value)), 2),
    "Unicode minus": (_signed(_TWO, "\u2212{}"), 2),
    "thousands": (_grouped(",", ".", 2), 2),
    "thousands of integers": (_grouped(",", ".", 0), 0),
    "decimal commas": (_COMMA, 2),
    "German": (_grouped(".", ",", 2), 2),
    "French": (_grouped("\u202f", ",", 1), 1),
    "spaces": (_grouped(" ", ".", 2), 2),
    "no-break spaces": (_grouped("\xa0", ",", 2), 2),
    "Swiss": (_grouped("'", ".", 2), 2),
    "typographic Swiss": (_grouped("’", ".", 2), 2),
    "lakhs": (_lakhs, 0),
    "dollars": (_signed(lambda value: f"${value:,.2f}"), 2),
    "dollars of integers": (lambda value: f"${value:.0f}", 0),
    "dollars, minus behind": (lambda value: f"${value:.2f}", 2),
    "dollars in parentheses": (_signed(lambda value: f"${value:.2f}", "({})"), 2),
    "euros before": (lambda value: f"€ {_COMMA(value)}", 2),
    "euros behind": (lambda value: f"{_grouped('.', ',', 2)(value)} €", 2),
    "pounds": (_signed(lambda value: f"£{value:,.2f}"), 2),
    "USD": (lambda value: f"USD {value:,.2f}", 2),
    "EUR": (lambda value: f"{_COMMA(value)} EUR", 2),
    "reals": (lambda value: f"R$ {_grouped('.', ',', 2)(value)}", 2),
    "kronor": (lambda value: f"{_grouped(' ', ',', 2)(value)} kr", 2),
    "rupees": (lambda value: f"₹{_lakhs(value)}", 0),
    "percent": ("{:.1f}%".format, 1),
    "percent with a blank": ("{:.0f} %".format, 0),
    "German percent": (lambda value: f"{_COMMA(value)} %", 2),
    "parentheses": (_signed(_TWO, "({})"), 2),
    "minus behind": (_signed(_TWO, "{}-"), 2),
    "kg": ("{:.1f} kg".format, 1),
    "cm": ("{:.0f}cm".format, 0),
    "km/h": (lambda value: f"{value:,.1f} km/h", 1),
    "degrees": ("{:.1f} °C".format, 1),
    "square meters": ("{:.0f} m²".format, 0),
    "k and M": (
        lambda value: (
            f"{value / 1e3:.1f}k" if abs(value) < 1e6 else f"{value / 1e6:.4f}M"
        ),
        -2,
    ),
    "Arabic digits": (
        lambda value: str(int(value)).translate(
            str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")
        ),
        0,
    ),
    "blanks around": (lambda value: f"  {value:.2f} ", 2),
}


def numbers(random, kind):
    """Numbers as people write them."""
    write, decimals = _NUMBERS[kind]
    scale = 3000 if kind in ("k and M", "Swiss") else random.choice([40, 90_000])
    # Of several sizes, as most numbers are, and some of them twice.
    values = random.normal(0, 1, NUM_ROWS) * 10 ** random.uniform(-1, 0, NUM_ROWS)
    values = np.round(values * scale, decimals)
    values[0], values[1] = round(1234567.89, decimals), round(2.25, decimals)
    values[3:6] = np.round([12.5, 12.5, 1100.0], decimals)
    if kind in ("rupees", "Arabic digits", "dollars, minus behind", "cm"):
        values = np.abs(values)
    if "exponents" in kind:
        texts = [write(value).replace(",", ".") for value in values]
        values = np.array(list(map(float, texts)))
    values = (values + 0.0).tolist()  # Not -0.0.
    typed = None
    if kind == "plain":
        typed = pa.array(values)
    fate = "read" if kind in _PLAIN_NUMBERS else "noted"
    return Made([write(value) for value in values], values, typed, fate)


_PLAIN_NUMBERS = (
    *("plain", "exponents", "plus signs", "no leading zero", "blanks around"),
)
NUMBER_KINDS = tuple(_NUMBERS)

# Formats of dates; those that tell day from month by the days that there are.
_DATES = {
    "ISO": "%Y-%m-%d",
    "ISO with slashes": "%Y/%m/%d",
    "American": "%m/%d/%Y",
    "European": "%d/%m/%Y",
    "German": "%d.%m.%Y",
    "dashes": "%d-%m-%Y",
    "American, two digits": "%m/%d/%y",
    "German, two digits": "%d.%m.%y",
    "named months": "%d %b %Y",
    "American named months": "%b %d, %Y",
    "long months": "%B %d, %Y",
    "Oracle": "%d-%b-%y",
    "minutes": "%Y-%m-%d %H:%M",
    "seconds": "%Y-%m-%dT%H:%M:%S",
    "UTC": "%Y-%m-%dT%H:%M:%SZ",
    "zone": "%Y-%m-%d %H:%M:%S+02:00",
    "American with a half day": "%m/%d/%Y %I:%M %p",
    "European with minutes": "%d/%m/%Y %H:%M",
    "compact": "%Y%m%d",
    "time of day": "%H:%M",
    "half day": "%I:%M %p",
    "time with seconds": "%H:%M:%S",
    "weekday": "%a, %d %b %Y",
    "Japanese": "%Y年%m月%d日",
    "month and year": "%m/%Y",
    "year and month": "%Y-%m",
    "named month and year": "%b %Y",
}
_PLAIN_DATES = ("ISO", "minutes", "seconds", "UTC", "zone")
DATE_KINDS = tuple(_DATES)


def dates(random, kind):
    """Dates and times as people write them, in days since 1970."""
    form = _DATES[kind]
    first = datetime.datetime(1999, 1, 14)
    moments = [
        first + datetime.timedelta(minutes=int(minutes))
        for minutes in random.integers(0, 60 * 24 * 9000, NUM_ROWS)
    ]
    moments[0], moments[1] = first, datetime.datetime(2012, 12, 31, 23, 45)
    moments[3:5] = [first, first]
    cells = [moment.strftime(form) for moment in moments]
    if kind != "compact" and random.integers(2):  # As in 1/5/2020.
        unpadded = {"%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y", "%m/%d/%y"}
        if form in unpadded:
            cells = [
                form.replace("%m", str(one.month))
                .replace("%d", str(one.day))
                .replace("%Y", str(one.year))
                .replace("%y", f"{one.year % 100:02}")
                for one in moments
            ]
    epoch = datetime.datetime(1970, 1, 1)
    values = []
    for moment in moments:
        moment = moment.replace(second=0)
        if "%d" not in form and "%Y" in form:
            moment = moment.replace(day=1, hour=0, minute=0)
        elif "%d" not in form:
            moment = moment.replace(year=1970, month=1, day=1)
        elif "%H" not in form and "%I" not in form:
            moment = moment.replace(hour=0, minute=0)
        values.append((moment - epoch).total_seconds() / 86_400 - ("+02" in form) / 12)
    fate = "read" if kind in _PLAIN_DATES else "noted"
    return Made(cells, values, fate=fate, is_date=True)
