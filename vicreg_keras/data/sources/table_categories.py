"""Text that is categories although some of it looks like numbers or times."""

import pyarrow as pa
import pyarrow.compute

from vicreg_keras.data.cells import NUMBER, TIME, TRUTH, matches, replace
from vicreg_keras.data.sources.cell_formats import (
    ADDRESS,
    SIGNED_NUMBER,
    WRITTEN_NUMBER,
)
from vicreg_keras.data.sources.date_formats import WRITTEN_TIME

# More distinct values are said; they are no categories if most look like numbers.
MANY_CATEGORIES = 20
PLAIN_KINDS = ((NUMBER, "numbers"), (TRUTH, "true or false"), (TIME, "times"))
# Text in fewer cells than the rest is rather a total, a source or a unit.
_MISTAKES = 0.95
# Digits in front, a duration in ISO 8601, or a clock: no plain words.
_HOLDS_NUMBERS = r"^[^\pL]*\pN|^P[\dT]|\d:\d\d"


def any_matches(cells: pa.ChunkedArray, pattern: str) -> bool:
    """Returns whether a pattern is found in any cell."""
    return bool(pa.compute.any(matches(cells, pattern)).as_py())


def describe_numberlike(name, cells, num_distinct):
    """A note and a problem about text of which some looks like numbers or times."""
    if not any_matches(cells, r"\pN"):
        return ("", ""), ""
    is_address = matches(cells, ADDRESS)
    num_present = len(cells) - cells.null_count
    for pattern, kind in (
        *PLAIN_KINDS,
        (WRITTEN_NUMBER, "numbers of another kind"),
        (f"{TIME}|{WRITTEN_TIME}", "dates or times of another kind"),
        (f"{WRITTEN_NUMBER}|{SIGNED_NUMBER}", "numbers of another kind"),
    ):
        found = pa.compute.and_not(matches(cells, pattern), is_address)
        fraction = pa.compute.mean(found.cast(pa.int8())).as_py()
        if fraction <= 0.5:
            continue
        row = _odd_row(cells, pattern)
        odd = repr(cells[max(row, 0)].as_py()[:40])
        is_many = num_distinct > MANY_CATEGORIES or _MISTAKES < fraction < 1
        if not (is_many or 2 * num_distinct > num_present):
            return ("categories, since not all cells are numbers", odd), ""
        if row < 0:
            return ("", ""), (
                f"{odd} and the like in column {name!r}, which are no single numbers "
                "or times"
            )
        return ("", ""), (
            f"{odd} in row/{row} of column {name!r}, beside {kind} in "
            f"{100 * fraction:.1f} % of its cells"
        )
    row = pa.compute.index(matches(cells, _HOLDS_NUMBERS), True).as_py()
    if row < 0 or num_distinct > MANY_CATEGORIES:
        return ("", ""), ""
    return ("categories, although cells hold digits", repr(cells[row].as_py()[:40])), ""


def _odd_row(cells, pattern):
    """The first row without a pattern, or that is written otherwise; -1 for none."""
    row = pa.compute.index(matches(cells, pattern), False).as_py()
    if row >= 0:
        return row
    shapes = replace(cells, r"\d+(?:[.]\d+)?", "#").combine_chunks()
    shapes = shapes.dictionary_encode().indices
    common = pa.compute.mode(shapes)[0]["mode"]
    return pa.compute.index(pa.compute.not_equal(shapes, common), True).as_py()
