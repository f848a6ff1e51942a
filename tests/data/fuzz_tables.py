"""Tables as people have them, and what a careful person would read."""

import csv

import numpy as np
import pyarrow as pa

from tests.data import fuzz_cells, fuzz_text
from tests.data.fuzz_cells import MISSING, NUM_ROWS, Made
from tests.data.fuzz_draw import Draw
from tests.data.fuzz_expected import Expected
from tests.data.fuzz_files import BROKEN, Case, read_name
from tests.data.fuzz_types import TYPED_KINDS, typed

_NAMES = (
    *("age", "price", "Income, USD", "größe", "a b", 'the "x"', "x.1", "2019", "猫"),
    *(" width ", "line\nend", "d'Or", "#", "%", "a;b", "c|d", "e\tf", "[1]", "Y", "id"),
    *("nan", "Datum", "--", "x=y", "very long " * 9 + "name"),
)
_CLASSES = (
    *(("ant", "bee", "cat"), ("0", "1"), ("3", "7", "12"), ("Yes", "No"), ("猫", "犬")),
    *(("None", "some"), ("a,b", 'c "d"', "e\nf"), ("True", "False"), ("-", "+")),
    *(("<=50K", ">50K"), ("1.0", "2.0")),
)
_INDICES = ("Unnamed: 0", "__index_level_0__")
# How columns are made, and their kinds.
_COLUMNS = (
    *[(fuzz_cells.numbers, fuzz_cells.NUMBER_KINDS)] * 4,
    *[(fuzz_cells.dates, fuzz_cells.DATE_KINDS)] * 2,
    *[(fuzz_text.categories, fuzz_text.CATEGORY_KINDS)] * 3,
    *[(fuzz_text.integers, fuzz_text.INTEGER_KINDS)] * 2,
    (fuzz_text.truths, fuzz_text.TRUTH_KINDS),
    (fuzz_text.identifiers, fuzz_text.IDENTIFIER_KINDS),
)


def make_tables(seed):
    """A table with random defects, in a CSV or a Parquet file."""
    draw = Draw(seed)
    random = draw.numbers
    suffix = draw.one_of(["csv", "csv", "parquet"])
    number = draw.integer(1, 6)
    names = draw.some(_NAMES, number, number)
    columns = {name: _column(draw, random, suffix) for name in names}
    if not any(made.fate in ("read", "noted") for made in columns.values()):
        columns["size"] = fuzz_text.integers(random, "small")
    _add_index(draw, random, columns, suffix)
    expected = Expected()
    case = Case(columns, None, [None] * NUM_ROWS, {}, expected)
    case.suffix, case.num_grouped = suffix, draw.one_of([7, NUM_ROWS])
    if not draw.one_in(5):
        _add_label(draw, random, case)
    _choose(draw, case)
    case.style = {
        "delimiter": draw.one_of([",", ",", ",", ";", "\t", "|"]),
        "quoting": draw.one_of([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
        "lineterminator": draw.one_of(["\n", "\n", "\r\n"]),
        "has BOM": draw.one_in(6),
        "ends with a delimiter": draw.one_in(12),
        "end": draw.one_of(["one end", "one end", "no end", "two ends"]),
    }
    if len(columns) == 1:  # Nothing tells what is between cells.
        case.style["delimiter"], expected.may_refuse = ",", True
    case.header = draw.some(columns, len(columns), len(columns))
    if suffix == "csv" and "Unnamed: 0" in columns:  # Only there it has no name.
        case.header = ["Unnamed: 0", *[n for n in case.header if n != "Unnamed: 0"]]
    _damage(draw, case)
    _expect(case)
    return case


def _column(draw, random, suffix):
    """A column of any kind."""
    if suffix == "parquet" and draw.one_in(2):
        return typed(random, draw.one_of(TYPED_KINDS))
    make, kinds = draw.one_of(_COLUMNS)
    made = make(random, draw.one_of(kinds))
    if made.values is not None and draw.one_in(3):
        fuzz_cells.add_missing(random, made, draw.some(MISSING, 1, 3))
    if suffix == "parquet" and draw.one_in(2):
        made.typed = None
    return made


def _add_index(draw, random, columns, suffix):
    if draw.one_in(6):
        name = draw.one_of(_INDICES)
        made = fuzz_text.identifiers(random, "index")
        if draw.one_in(2):  # Sorted by it, or shuffled.
            made.cells = made.cells[::-1]
            made.typed = made.typed[::-1]
        columns[name] = made
    if draw.one_in(5):
        kind = draw.one_of(fuzz_text.PROBLEM_KINDS)
        columns["odd"] = fuzz_text.problems(random, kind)


def _add_label(draw, random, case):
    """A column of classes."""
    words = draw.one_of(_CLASSES)
    codes = random.permutation(np.arange(NUM_ROWS) % len(words))
    cells = [words[code] for code in codes]
    classes = [word.removesuffix(".0") for word in cells]
    case.expected.class_names = tuple(sorted({*classes}, key=_order))
    array = None
    if words in (("0", "1"), ("3", "7", "12")):
        array = pa.array([int(word) for word in cells])
    if words == ("True", "False") and draw.one_in(2) and case.suffix == "parquet":
        array = pa.array([word == "True" for word in cells])
        classes = [word.lower() for word in classes]
        case.expected.class_names = ("false", "true")
    if draw.one_in(12):
        bad = draw.one_of(["fractions", "unique", "one class", "another name"])
        cells = {
            "fractions": [f"{i % 9}.5" for i in range(NUM_ROWS)],
            "unique": [f"name {i}" for i in range(NUM_ROWS)],
            "one class": ["same"] * NUM_ROWS,
        }.get(bad, cells)
        case.label = "lost" if bad == "another name" else "label"
        case.columns["label"] = Made(cells, None, fate="label")
        case.options["label_column"] = case.label
        case.expected.refuse(case.label)
        return
    if draw.one_in(4):
        gone = range(0, NUM_ROWS, draw.one_of([2, 5, 9]))
        marker = draw.one_of(["", "NA", "?", "null", "nan"])
        for row in gone:
            cells[row], classes[row] = marker, None
        if array is not None:
            mask = pa.array([one is not None for one in classes])
            array = pa.compute.if_else(mask, array, pa.scalar(None))
        case.expected.said.append(f"{len(gone)} of {NUM_ROWS} rows")
    case.label = draw.one_of(["label", "class", "The class, as seen"])
    case.columns[case.label] = Made(cells, None, array, fate="label")
    case.classes = classes
    case.options["label_column"] = case.label


def _order(name):
    return (int(name), "") if name.isdecimal() else (0, name)


def _choose(draw, case):
    """Options about some of the columns."""
    if len(case.read) > 1 and draw.one_in(6):
        name = draw.one_of([*case.columns])
        if name != case.label and [*case.read] != [name]:
            case.options["drop_columns"] = (name,)
            case.columns[name].fate = "dropped"
    whole = [name for name, made in case.columns.items() if _is_whole(made)]
    whole = [name for name in whole if name not in _INDICES]
    if whole and draw.one_in(3):
        made = case.columns[whole[0]]
        if made.fate == "left out":
            case.options["numeric_columns"] = (whole[0],)
            made.values = list(map(float, made.cells))
        else:
            case.options["categorical_columns"] = (whole[0],)
            texts = [None if v is None else str(int(v)) for v in made.values]
            made.values = texts
        made.fate = "read"
        return
    odd = [name for name, made in case.columns.items() if made.fate == "noticed"]
    if odd and draw.one_in(3):
        case.options["categorical_columns"] = (odd[0],)
        made = case.columns[odd[0]]
        made.fate = "read"
        made.values = [_category(cell.strip()) for cell in made.cells]


def _category(text):
    """How a category is written: whole numbers as such."""
    return text.removesuffix(".0") if text.lstrip("-")[0].isdecimal() else text


def _is_whole(made):
    """Whether a column is of whole numbers as they are, which may be codes."""
    present = [cell for cell in made.cells if cell.strip("-").isdecimal()]
    plain = len(present) == NUM_ROWS or (made.values and None in made.values)
    is_number = made.values is None or isinstance(made.values[0], float)
    is_truth = made.typed is not None and pa.types.is_boolean(made.typed.type)
    may_be = made.fate in ("read", "left out") and not is_truth
    return may_be and len(present) > 30 and plain and is_number


def _damage(draw, case):
    """What is wrong with the file as a whole."""
    if not draw.one_in(7):
        return
    if case.suffix == "parquet":
        case.damage = "cut"
        return
    if draw.one_in(4) and not case.options:
        case.options["header"] = "none"
        return
    case.damage = draw.one_of([*BROKEN])
    if case.damage == "twice the same name" and len(case.header) == 1:
        case.damage = "empty"
    first = [made.cells[0] for made in case.columns.values()]
    if case.damage == "no header" and "1234567.89" not in first:
        case.damage = "empty"  # Nothing tells that text is data.
    if case.damage in ("ragged", "title above") and len(case.header) == 1:
        case.damage = "empty"


def _expect(case):
    """Fills in what is to be expected."""
    expected = case.expected
    if case.options.get("header") == "none":
        renamed = {name: f"column_{i}" for i, name in enumerate(case.header)}
        case.columns = {renamed[name]: case.columns[name] for name in case.header}
        case.header = [*case.columns]
    order = [name for name in case.header if name in case.read]
    if case.damage:
        expected.refuse(BROKEN.get(case.damage, "parquet"))
        expected.may_refuse = case.damage == "no header"
    for name, made in case.columns.items():
        if made.fate == "refused":
            expected.refuse(read_name(name))
        if made.fate in ("noted", "left out", "noticed"):
            expected.said.append(repr(read_name(name)))
        if made.fate == "noticed":
            expected.may_refuse = True
            expected.noticed += (read_name(name),)
    examples = np.stack([case.columns[name].examples() for name in order], axis=1)
    expected.tolerance = 1e-6
    expected.categories = {
        read_name(name): case.columns[name].categories for name in order
    }
    for row, label in enumerate(case.classes):
        is_unlabeled = case.label is not None and label is None
        split = "unlabeled" if is_unlabeled else "train"
        own = expected.splits.setdefault(split, {})
        own[f"row/{row}"] = (examples[row], label)
