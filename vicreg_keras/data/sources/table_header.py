"""The first lines of a CSV file: what separates cells, and whether one is a header."""

import contextlib
import csv
import io
import itertools
import pathlib
import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute

from vicreg_keras.data.cells import (
    NUMBER,
    TIME,
    matches,
    parse_plain,
    replace,
    strip_text,
)
from vicreg_keras.data.sources.base import quoted
from vicreg_keras.data.sources.cell_formats import WRITTEN_NUMBER
from vicreg_keras.data.sources.date_formats import WRITTEN_TIME
from vicreg_keras.errors import InputError

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "pipes"}
_NUM_LINES = 20  # By which the delimiter is found.
# A cell whose commas are of one number, or stand before a blank.
_OWN_COMMAS = (
    r"(?:[^,]|, )*|[^\d,]*(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|[\d. ]*,[\d-]+)[^\d,]*"
)
_YEAR = r"^(?:19|20)\d\d$"
_TIMES = f"{TIME}|{WRITTEN_TIME}"
# Fewer names that are numbers in ascending order may be there by chance.
_MIN_ASCENDING = 8
# Rows by which a column is one of their numbers.
_NUM_COUNTED = 5
# Rows and columns that the first line is compared with.
_NUM_ROWS, _NUM_COLUMNS = 1000, 50


def find_delimiter(text: str) -> str:
    """Returns the delimiter that gives the lines of a text the same number of cells.

    Args:
        text: Whole lines, the first of a file.

    Raises:
        ValueError: If there are blanks instead, or no name for the first cells.
    """
    tables, shares = {}, {}
    for one in DELIMITERS:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=one)
        with contextlib.suppress(csv.Error):
            rows = [row for row in itertools.islice(reader, _NUM_LINES) if row]
            if rows and len(rows[0]) > 1:
                tables[one] = rows
                shares[one] = np.mean([len(row) == len(rows[0]) for row in rows])
    # Those with the same number in all lines; or in most, of which an error will tell.
    best = max(shares.values(), default=0)
    fitting = [one for one in tables if shares[one] == best >= 0.5]
    if best < 1 and any(_lacks_name(rows) for rows in tables.values()):
        raise ValueError("the header has one name less than the rows have cells")
    if not fitting:
        lines = [line for line in text.splitlines()[:_NUM_LINES] if line.strip()]
        rows = [re.findall(r'"[^"]*"|\S+', line) for line in lines]
        is_table = len(rows) > 1 and {len(row) for row in rows} == {len(rows[0])} != {1}
        # As R writes tables, beside names of rows; else it may be text.
        if is_table or (
            _lacks_name(rows)
            and (
                all(name[0] == '"' for name in rows[0])
                or [row[0] for row in rows[1:]] == [*map(str, range(1, len(rows)))]
            )
        ):
            raise ValueError("cells are separated by blanks")
        return ","
    # Of two that fit, commas are rather part of cells, if they may be.
    others = [one for one in fitting if one != "," and _has_own_commas(tables[one])]
    return max(reversed(others or fitting), key=lambda one: len(tables[one][0]))


def _lacks_name(rows):
    """Whether each row has one cell more than the first one, which has several."""
    more = {len(row) - len(rows[0]) for row in rows[1:]}
    return more == {1} and len(rows[0]) > 1


def _has_own_commas(rows):
    cells = [cell for row in rows for cell in row if "," in cell]
    return all(re.fullmatch(_OWN_COMMAS, cell.strip()) for cell in cells)


def check_header(path: pathlib.Path, names: Sequence[str], table: pa.Table) -> None:
    """Checks that the first line is no data, as far as that can be told.

    Args:
        path: The file, for the message.
        names: What stands there.
        table: What stands below, as text.

    Raises:
        InputError: If it is written as the cells below are, or they repeat it.
    """
    plain = {i: name.replace(",", ".") for i, name in enumerate(names)}
    numbers = {i: float(x) for i, x in plain.items() if re.fullmatch(NUMBER, x)}
    is_data = _are_cells(names, numbers, table)
    if not is_data:
        alike = _find_alike(path, names, table)
        is_data = len(alike) > min(len(names), _NUM_COLUMNS) / 2 and not (
            numbers.keys() >= alike and _are_counted(names, numbers, table)
        )
    if is_data:
        raise InputError(
            f"Expected a header that names the columns. Received: {path} whose first "
            f"line looks like data: {quoted(names)}. Add a header, or use header=none, "
            "which names the columns column_0, column_1, and so on."
        )


def _find_alike(path, names, table):
    """Which names may be cells of their columns; an error if a row repeats all."""
    named = [(i, n) for i, n in enumerate(names) if not n.startswith("Unnamed: ")]
    counts, alike, rows = [], set(), np.ones(len(table), bool)
    for i, name in named:
        if i >= _NUM_COLUMNS and not rows.any():
            break
        cells = strip_text(table.column(i), missing=r"[^\s\S]")
        equal = pa.compute.equal(cells, name).to_numpy()
        rows &= equal
        counts.append(int(equal.sum()))
        if i < _NUM_COLUMNS and (
            equal.any() or _is_cell(name, table.column(i)[:_NUM_ROWS])
        ):
            alike.add(i)
    if rows.any() and set(counts) == {rows.sum()}:
        more = f", one of {rows.sum():,}" if rows.sum() > 1 else ""
        raise InputError(
            f"Expected a header in the first line alone. Received: {path} whose row/"
            f"{rows.argmax()}, counted from 0, repeats it{more}. "
            "Remove such rows, or use header=none if the first line is data."
        )
    return alike


def _are_counted(names, numbers, table):
    """Whether numbers in order are names, as of pandas, even if cells are alike."""
    others = {i: name for i, name in enumerate(names) if i not in numbers}
    texts = strip_text(pa.array([*others.values()], pa.string()))
    if texts.null_count or not all(matches(texts, r"\pL").to_pylist()):
        return False
    values = [*numbers.values()]
    if len(values) > 1 and any(_is_text_above(others[i], table, i) for i in others):
        return True
    counted = (_counts_on(value, table.column(i)) for i, value in numbers.items())
    is_by_chance = len(values) < _MIN_ASCENDING and (values[0] > 1 or any(counted))
    if len(values) < 3 or is_by_chance:
        return False
    # Rows in order, or permuted, would be of ranks, combinations or growth.
    rows = _known_rows(numbers, table)
    rows = rows[np.ptp(rows, axis=1) > 0]
    is_ordered = (np.diff(rows, axis=1) * np.sign(np.diff(values)) >= 0).all(axis=1)
    is_permuted = (np.sort(rows, axis=1) == np.sort(values)).all(axis=1)
    return len(rows) > 0 and max(is_ordered.mean(), is_permuted.mean()) <= 0.5


def _is_text_above(name, table, i):
    """Whether cells are row numbers, or below a text are numbers or few others."""
    cells = strip_text(table.column(i)[:_NUM_ROWS])
    num_cells = len(cells) - cells.null_count
    num_values = pa.compute.count_distinct(cells).as_py()
    are_numbers = pa.compute.all(matches(cells, f"{NUMBER}|{WRITTEN_NUMBER}")).as_py()
    if name == f"Unnamed: {i}":
        return are_numbers and num_values == num_cells > 1
    return are_numbers or 0 < 5 * num_values <= num_cells


def _are_cells(names, numbers, table):
    """Whether some names are numbers or times, as the cells below are."""
    if not _are_names([*numbers.values()]) or _go_on(numbers, table):
        return True
    written = matches(pa.array(names), rf"^[^\pL]*\d|{WRITTEN_NUMBER}|{_TIMES}")
    others = [i for i in np.flatnonzero(written).tolist() if i not in numbers]
    return any(_is_cell(names[i], table.column(i)[:_NUM_ROWS]) for i in others)


def _is_cell(name, cells):
    """Whether a name is written as most cells are, or they count on from it."""
    texts, cells = pa.array([name]), strip_text(cells)
    if matches(texts, _TIMES)[0].as_py():
        return pa.compute.any(matches(cells, _TIMES)).as_py()
    if re.fullmatch(_YEAR, name):
        alike = matches(cells, _YEAR)
    elif re.fullmatch(NUMBER, name):
        return _counts_on(float(name), cells)
    elif re.search(r"\d", name):
        alike = pa.compute.equal(_shapes(cells), _shapes(texts)[0])
    else:
        return False
    return (pa.compute.mean(alike).as_py() or 0) > 0.5


def _counts_on(value, cells):
    """Whether cells go on from a number as numbers of rows do."""
    ahead = parse_plain(strip_text(cells[:_NUM_COUNTED])) - value
    return np.array_equal(ahead, np.arange(1, len(ahead) + 1)) and len(ahead) > 1


def _shapes(texts):
    return replace(replace(texts, r"\d(?:[\d.,' ]*\d)?", "#"), r"^[-−+]|\s", "")


def _are_names(numbers: Sequence[float]) -> bool:
    """Whether these may be names: years, counted from 0 or 1, or many in order."""
    steps = np.diff(numbers)
    is_later, is_earlier = (steps > 0).all(), (steps < 0).all()
    if not numbers or (len(numbers) >= _MIN_ASCENDING and (is_later or is_earlier)):
        return True
    is_counted = len(numbers) > 1 and numbers[0] in (0, 1) and (steps == 1).all()
    are_years_in_order = (is_later or is_earlier) and _are_years(numbers)
    return bool(is_counted or numbers == [0] or are_years_in_order)


def _are_years(values):
    return np.all(
        (np.floor(values) == values) & (np.abs(np.subtract(values, 2000)) <= 100)
    )


def _go_on(numbers, table):
    """Whether rows go on as numbers in order do, of their columns' own size."""
    names, steps = np.array([*numbers.values()]), np.diff([*numbers.values()])
    if len(names) < 2 or np.allclose(steps, steps[0]):
        return False
    known = _known_rows(numbers, table)
    if not len(known):
        return False
    is_ordered = (np.diff(known, axis=1) * np.sign(steps) >= 0).all(axis=1)
    low, high = known.min(axis=0), known.max(axis=0)
    margin = (high - low) / 2
    is_among = (low - margin <= names) & (names <= high + margin)
    if _are_years(names):
        is_among &= _are_years(known)
    return is_ordered.mean() > 0.5 and is_among.mean() > 0.5


def _known_rows(positions, table):
    """Rows of some columns' numbers, without those that lack one."""
    texts = [strip_text(table.column(i)[:_NUM_ROWS]) for i in positions]
    rows = np.stack([parse_plain(replace(text, ",", ".")) for text in texts], axis=1)
    return rows[~np.isnan(rows).any(axis=1)]
