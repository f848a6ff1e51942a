"""One column of a table: numbers, categories, or a reason why it is neither.

Numbers, booleans and times become float64, categories their codes, missing values NaN.
"""

import dataclasses
import pathlib
import re

import numpy as np
import pyarrow as pa
import pyarrow.compute

from vicreg_keras.data.cells import (
    NUMBER,
    TIME,
    TRUTH,
    canonical,
    matches,
    parse_plain,
)
from vicreg_keras.data.columns import Column
from vicreg_keras.data.sources.cell_formats import SHORT, Format, number_format
from vicreg_keras.data.sources.column_values import (
    as_float32,
    as_text,
    codes,
    identifies,
    parse_text,
    parse_typed,
    rewrite,
    typed_format,
)
from vicreg_keras.data.sources.date_formats import date_format
from vicreg_keras.data.sources.table_categories import (
    MANY_CATEGORIES,
    PLAIN_KINDS,
    any_matches,
    describe_numberlike,
)

# Text with more distinct values is no category that an encoder could use.
_MAX_CATEGORIES = 100
# Nor is text with more than so many that differ in nearly every example.
_MIN_IDENTIFIERS = 10
_IDENTIFIER_FRACTION = 0.9

# Numbers that are not told apart in float32 are said, if they are so many.
_MIN_TOLD_APART, _MAX_COMPARED = 0.75, 10_000


@dataclasses.dataclass(frozen=True)
class ReadColumn:
    """A column as it was read.

    Attributes:
        column: Name, and categories or how numbers are written.
        values: float32 `(num_examples,)`, NaN for missing values.
        note: How it was read, where it could be read in other ways; and an example.
        omitted: Why it is left out, or empty.
        problem: Why it can't be used, or empty.
        is_identifier: Whether its whole numbers never repeat.
        undecided: See `Format`.
        decimal: The sign of decimals that its text shows, if it does.
        has_short: Whether some numbers beside an undecided one have no such sign.
    """

    column: Column
    values: np.ndarray
    note: tuple[str, str] = ("", "")
    omitted: str = ""
    problem: str = ""
    is_identifier: bool = False
    undecided: str = ""
    decimal: str = ""
    has_short: bool = False


def infer_column(
    name: str,
    cells: pa.ChunkedArray,
    where: str | pathlib.Path,
    *,
    kind: str = "",
    decimal: str = "",
    order: str = "",
) -> ReadColumn:
    """Reads a column of which nothing is known.

    Text is numbers or times if all of it is, as `cells`, `cell_formats` and
    `date_formats` know them; otherwise it is categories, sorted. Times are days since
    1970, which float32 holds to some three minutes.

    Args:
        name: The column's name.
        cells: All of its cells, of a type of their own or text, see `strip_text`.
        where: The file, for messages.
        kind: `"numbers"` or `"categories"`, if the user says so.
        decimal: See `number_format`.
        order: See `date_format`.

    Raises:
        InputError: If the cells have a type that is neither numbers, times nor text;
            or if a number is not finite in float32.
    """
    if cells.null_count == len(cells):
        return ReadColumn(Column(name), _all_missing(cells), omitted="nothing")
    if kind == "categories":
        return _read_categories(name, as_text(cells, name, where), kind)
    if not kind and _may_be_dates(cells):
        cells = as_text(cells, name, where)  # As 20200131 in a CSV file.
    is_text = cells.type == pa.string()
    if not is_text:
        form = Format(typed_format(cells.type))
        if form.name == "times of day":
            form = date_format(pa.array(["06:00:00"]))
    elif (
        kind != "numbers"
        and not any_matches(cells, r"\D")
        and any_matches(cells, r"^0\d")
    ):
        return _read_categories(name, cells, "leading zeros")
    else:
        form = _find_format(cells, kind, decimal, order)
    if form is None:
        return _read_categories(name, cells, kind)
    column = Column(name, None, form.name, form.rewrites)
    if problem := form.problem and f"{form.problem} in column {name!r}":
        nothing = _all_missing(cells)
        return ReadColumn(column, nothing, problem=problem, undecided=form.undecided)
    if is_text:
        exact = parse_text(cells, column)
    else:
        exact = parse_typed(cells, name, where)
    values = as_float32(exact, where, name)
    bad = np.isnan(values) & cells.is_valid().to_numpy()
    if is_text and bad.any():
        row = int(bad.argmax())
        date = f"{cells[row].as_py()!r} in row/{row} of column {name!r}"
        return ReadColumn(column, values, problem=f"{date}, which does not exist")
    note = (
        (form.name, _example(cells, column)) if is_text and form.rewrites else ("", "")
    )
    note = _precision_note(exact, values, note)
    if is_text and column.kind == "truth" and any_matches(cells, r"\d"):
        note = ("true or false, written as 1 and 0 as well", "")
    if form.undecided and not note[0] and any_matches(cells, SHORT):
        note = decimal_points_note(form.undecided, column)
    return ReadColumn(
        column,
        values,
        note,
        is_identifier=not kind and column == Column(name) and identifies(cells),
        undecided=form.undecided,
        decimal="" if form.undecided else shown_decimal(column, cells),
    )


def shown_decimal(column: Column, cells: pa.ChunkedArray) -> str:
    """Returns the sign of decimals of a column that shows it, or an empty text."""
    is_text = column.kind == "numbers" and cells.type == pa.string()
    return column.decimal if is_text and any_matches(cells, r"\d[.,]\d") else ""


def decimal_points_note(text: str, column: Column) -> tuple[str, str]:
    """Returns a note on points that may be of thousands."""
    return "points are of decimals, not of thousands", _shown(text, column)


def num_cells(cells: pa.ChunkedArray) -> str:
    """Returns the number of cells in words."""
    return f"{len(cells):,} cell{'s' * (len(cells) > 1)}"


def is_number(kind: pa.DataType) -> bool:
    """Returns whether a type is one of numbers."""
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def _may_be_dates(cells):
    if not is_number(cells.type) or pa.types.is_float16(cells.type):
        return False  # Those are smaller.
    bounds = pa.compute.min_max(cells).as_py()
    return bounds["min"] >= 1900_01_01 and bounds["max"] <= 2099_12_31


def _precision_note(exact, values, note):
    """Adds to a note how many of the distinct numbers float32 tells apart."""
    present = ~np.isnan(values)
    num_exact = len(np.unique(exact[present][:_MAX_COMPARED]))
    num_left = len(np.unique(values[present][:_MAX_COMPARED]))
    if num_left >= _MIN_TOLD_APART * num_exact:
        return note
    text, example = note
    lost = f"float32 tells {num_left:,} of {num_exact:,} values apart"
    return f"{text}; {lost}" if text else lost, example


def _find_format(
    cells: pa.ChunkedArray, kind: str, decimal: str, order: str
) -> Format | None:
    """The format of text: a plain one without a name, another one, or `None`."""
    for pattern, _ in PLAIN_KINDS:
        if pa.compute.all(matches(cells, pattern)).as_py():
            break
        is_truth = pattern == TRUTH and any_matches(cells, TRUTH)
        if is_truth and pa.compute.all(matches(cells, f"{TRUTH}|^[01]$")).as_py():
            break
    else:
        texts = cells.drop_null().unique()
        return date_format(texts, order) or number_format(texts, decimal)
    if pattern == NUMBER and kind != "numbers" and any_matches(cells, r"\d\.\d{3}$"):
        form = number_format(cells.drop_null().unique(), decimal) or Format("")
        return form if "points" in form.name else Format("", undecided=form.undecided)
    # 20200131 is a number that may be meant as a date.
    if pattern == NUMBER and kind != "numbers":
        if pa.compute.all(matches(cells, r"^\d{8}(?:\.0)?$")).as_py():
            return date_format(cells.drop_null().unique()) or Format("")
    return Format({TIME: "times", TRUTH: "true or false"}.get(pattern, ""))


def _read_categories(name: str, cells: pa.ChunkedArray, kind: str) -> ReadColumn:
    """Text as categories, unless it is something else for the most part."""
    cells = canonical(cells)
    texts = cells.drop_null()
    categories = tuple(sorted(texts.unique().to_pylist()))
    column = Column(name, categories)
    num_present, num_distinct = len(texts), len(categories)
    limit = max(_MIN_IDENTIFIERS, _IDENTIFIER_FRACTION * num_present)
    problem = omitted = ""
    note = ("", "")
    if kind == "leading zeros":
        code = next(text for text in categories if text.startswith("0"))
        note = ("whole numbers with leading zeros are categories", repr(code))
    elif kind != "categories":
        note, problem = describe_numberlike(name, cells, num_distinct)
    if kind == "numbers":
        row = pa.compute.index(matches(cells, NUMBER), False).as_py()
        problem = f"{cells[row].as_py()!r} in row/{row} of column {name!r}"
    is_identifier = num_distinct == num_present > _MIN_IDENTIFIERS
    if not problem and is_identifier and kind != "categories":
        omitted = "text that never repeats"
    elif not problem and kind != "categories":
        if num_distinct > min(_MAX_CATEGORIES, limit):
            problem = (
                f"{num_distinct} different texts, such as {categories[0][:40]!r}, in "
                f"column {name!r}"
            )
    folded = {category.casefold(): category for category in categories}
    if len(folded) < num_distinct and not note[0]:
        first = next(c for c in categories if folded[c.casefold()] != c)
        note = (
            "categories that differ in capitals alone are kept apart",
            f"{first!r} and {folded[first.casefold()]!r}",
        )
    if num_distinct > MANY_CATEGORIES and not (note[0] or kind):
        note = ("many categories", f"{num_distinct} such as {categories[0][:40]!r}")
    values = _all_missing(cells) if problem else codes(cells, categories)
    return ReadColumn(column, values, note, omitted, problem)


def _all_missing(cells):
    return np.full(len(cells), np.nan, np.float32)


def _example(cells, column):
    """Cells that show how numbers are written, and what they are read as."""
    texts = cells.drop_null().unique()[:1000].to_pylist()
    texts = sorted(reversed(texts), key=len)
    # One of each magnitude, if there are several: 1.5K, 2M.
    endings = {}
    for text in texts:
        letters = re.search("[A-Za-z]*$", text)[0] if "' and '" in column.format else ""
        endings[letters] = text
    return ", ".join(_shown(text, column) for text in [*endings.values()][:4])


def _shown(text, column):
    plain = rewrite(pa.array([text]), column)
    (value,) = plain.to_pylist()
    if not matches(plain, TIME)[0].as_py():
        value = f"{parse_plain(plain)[0]:.12g}"
    return f"{text!r} is {value.removeprefix('1970-01-01 ')}"
