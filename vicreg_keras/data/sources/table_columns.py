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
    matches,
    parse_plain,
    replace,
)
from vicreg_keras.data.columns import Column
from vicreg_keras.data.sources.cell_formats import (
    Format,
    number_format,
)
from vicreg_keras.data.sources.column_values import (
    as_float32,
    as_text,
    check_type,
    codes,
    identifies,
    parse_text,
    parse_typed,
)
from vicreg_keras.data.sources.date_formats import date_format
from vicreg_keras.data.sources.table_categories import (
    MANY_CATEGORIES,
    PLAIN_KINDS,
    any_matches,
    describe_numberlike,
)
from vicreg_keras.errors import InputError

# Text with more distinct values is no category that an encoder could use.
_MAX_CATEGORIES = 100
# Nor is text with more than so many that differ in nearly every example.
_MIN_IDENTIFIERS = 10
_IDENTIFIER_FRACTION = 0.9

# Numbers that are not told apart in float32 are said, if they are so many.
_MIN_TOLD_APART, _MAX_COMPARED = 0.75, 10_000
DECIMAL_POINTS = "points are of decimals, not of thousands"


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
    """

    column: Column
    values: np.ndarray
    note: tuple[str, str] = ("", "")
    omitted: str = ""
    problem: str = ""
    is_identifier: bool = False
    undecided: str = ""


def infer_column(
    name: str,
    cells: pa.ChunkedArray,
    where: str | pathlib.Path,
    *,
    kind: str = "",
    decimal_comma: bool = False,
    thousands_points: bool = False,
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
        decimal_comma: See `number_format`.
        thousands_points: Likewise.

    Raises:
        InputError: If the cells have a type that is neither numbers, times nor text;
            or if a number is not finite in float32.
    """
    num_present = len(cells) - cells.null_count
    if not num_present:
        return ReadColumn(Column(name), _all_missing(cells), omitted="nothing")
    if kind == "categories":
        return _read_categories(name, as_text(cells, name, where), kind)
    if cells.type != pa.string():
        exact = parse_typed(cells, name, where)
        values = as_float32(exact, where, name)
        is_number = pa.types.is_integer(cells.type) or pa.types.is_floating(cells.type)
        is_identifier = is_number and not kind and identifies(cells)
        form = _typed_format(cells.type)
        column = Column(name, None, form.name, form.rewrites)
        note = _precision_note(exact, values, ("", ""))
        return ReadColumn(column, values, note, is_identifier=is_identifier)
    has_leading_zeros = (
        kind != "numbers"
        and any_matches(cells, r"^0\d")
        and not any_matches(cells, r"\D")
    )
    if has_leading_zeros:
        return _read_categories(name, cells, "leading zeros")
    form = _find_format(cells, kind, decimal_comma, thousands_points)
    if form is None:
        return _read_categories(name, cells, kind)
    if form.problem:
        problem = f"{form.problem} in column {name!r}"
        return ReadColumn(Column(name), _all_missing(cells), problem=problem)
    column = Column(name, None, form.name, form.rewrites)
    exact = parse_text(cells, column)
    values = as_float32(exact, where, name)
    bad = np.isnan(values) & cells.is_valid().to_numpy()
    if bad.any():
        row = int(bad.argmax())
        date = f"{cells[row].as_py()!r} in row/{row} of column {name!r}"
        problem = f"{date}, which does not exist"
        return ReadColumn(column, values, problem=problem)
    note = (form.name, _example(cells, form)) if form.rewrites else ("", "")
    note = _precision_note(exact, values, note)
    if column.kind == "truth" and any_matches(cells, r"\d"):
        note = ("true or false, written as 1 and 0 as well", "")
    if form.undecided and not note[0] and any_matches(cells, r"^[^.]*$"):
        note = (DECIMAL_POINTS, f"{form.undecided!r} is {float(form.undecided):g}")
    is_identifier = not (kind or form.rewrites or any_matches(cells, r"[-:a-zA-Z]"))
    is_identifier = is_identifier and identifies(cells)
    return ReadColumn(
        column, values, note, is_identifier=is_identifier, undecided=form.undecided
    )


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
        note = (
            "categories that training did not have count as missing",
            f"{unknown[0].as_py()!r} and others in {len(unknown):,} cells"
            if len(unknown.unique()) > 1
            else f"{unknown[0].as_py()!r} in {len(unknown):,} cells",
        )
        return ReadColumn(column, values, note)
    is_number = pa.types.is_integer(cells.type) or pa.types.is_floating(cells.type)
    if is_number and column.kind.startswith("times"):
        cells = as_text(cells, name, where)  # As 20200131, which is a date.
    if cells.type != pa.string():
        check_type(column, cells, where)
        values = parse_typed(cells, name, where)
    else:
        values = parse_text(cells, column)
        bad = np.isnan(values) & cells.is_valid().to_numpy()
        if bad.any():
            row = int(bad.argmax())
            expected = column.format or "numbers"
            raise InputError(
                f"Expected {expected} in column {name!r}, as in the training data. "
                f"Received: {where} with {cells[row].as_py()[:40]!r} in row/{row}, "
                "counted from 0. Correct or empty such cells."
            )
    note = _unit_note(column, cells) if cells.type == pa.string() else ("", "")
    return ReadColumn(column, as_float32(values, where, name), note)


def _unit_note(column, cells):
    """Says that numbers are without the unit or the currency of training."""
    for pattern, _ in column.rewrites:
        sign = re.search(r"(\^?).*(\\Q.*\\E)", pattern)
        if sign is None:
            continue
        lacks = cells.filter(pa.compute.invert(matches(cells, sign[2]))).drop_null()
        # In training some were without a currency, none without a unit.
        if len(lacks) and (not sign[1] or not any_matches(cells, sign[2])):
            text = f"numbers without {sign[2][2:-2]!r} are taken as if they had it"
            return text, f"{lacks[0].as_py()!r} and the like in {len(lacks):,} cells"
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


def _typed_format(kind: pa.DataType) -> Format:
    """The format of cells in a type of their own."""
    if pa.types.is_boolean(kind):
        return Format("true or false")
    if pa.types.is_duration(kind):
        return Format("durations in days")
    if pa.types.is_time(kind):
        return date_format(pa.array(["06:00:00"]))
    return Format("times" if pa.types.is_temporal(kind) else "")


def _find_format(
    cells: pa.ChunkedArray, kind: str, decimal_comma: bool, thousands_points: bool
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
        return date_format(texts) or number_format(
            texts, decimal_comma=decimal_comma, thousands_points=thousands_points
        )
    if pattern == NUMBER and kind != "numbers" and any_matches(cells, r"\d\.\d{3}$"):
        texts = cells.drop_null().unique()
        form = number_format(texts, thousands_points=thousands_points)
        return form if "points" in form.name else Format("", undecided=form.undecided)
    # 20200131 is a number that may be meant as a date.
    if (
        pattern == NUMBER
        and kind != "numbers"
        and not any_matches(cells, r"^.{0,7}$|\D|.{9}")
    ):
        return date_format(cells.drop_null().unique()) or Format("")
    return Format({TIME: "times", TRUTH: "true or false"}.get(pattern, ""))


def _read_categories(name: str, cells: pa.ChunkedArray, kind: str) -> ReadColumn:
    """Text as categories, unless it is something else for the most part."""
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


def _example(cells, form):
    """A cell that shows how numbers are written, and what it is read as."""
    texts = cells.drop_null().unique()[:1000]
    longest = max(texts.to_pylist(), key=len)
    text = pa.array([longest])
    for pattern, replacement in form.rewrites:
        text = replace(text, pattern, replacement)
    (value,) = text.to_pylist()
    if not matches(text, TIME)[0].as_py():
        value = f"{parse_plain(text)[0]:.12g}"
    return f"{longest!r} is {value.removeprefix('1970-01-01 ')}"
