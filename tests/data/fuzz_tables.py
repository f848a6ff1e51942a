"""Tables as people have them, and what a careful person would read."""

import codecs
import csv
import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from tests.data import fuzz_cells, fuzz_text
from tests.data.fuzz_cells import MISSING, NUM_ROWS, Made
from tests.data.fuzz_draw import Draw
from tests.data.fuzz_expected import Expected
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
# How columns are made, and their kinds.
_COLUMNS = (
    *[(fuzz_cells.numbers, fuzz_cells.NUMBER_KINDS)] * 4,
    *[(fuzz_cells.dates, fuzz_cells.DATE_KINDS)] * 2,
    *[(fuzz_text.categories, fuzz_text.CATEGORY_KINDS)] * 3,
    *[(fuzz_text.integers, fuzz_text.INTEGER_KINDS)] * 2,
    (fuzz_text.truths, fuzz_text.TRUTH_KINDS),
    (fuzz_text.identifiers, fuzz_text.IDENTIFIER_KINDS),
)
# Of a CSV file as a whole; what an error about it must contain.
_BROKEN = {
    "ragged": "",
    "open quote": "quote",
    "UTF-16": "UTF-16",
    "Latin-1": "UTF-8",
    "empty": "",
    "header alone": "row",
    "compressed": "gzip",
    "workbook": "zip",
    "title above": "",
    "twice the same name": "header",
    "no header": "header=none",
}


class Case:
    """A table.

    Args:
        columns: `Made` by name as it is read, but for labels.
        label: Name of the column of classes, or `None`.
        classes: Of each row, `None` where it is missing.
        options: Of `load_dataset`.
        expected: What a careful person would read.

    Attributes:
        style: How a CSV file is written: arguments of `csv.writer`, and others.
        header: Names as they are written, in the file's order.
        suffix: `"csv"` or `"parquet"`.
    """

    def __init__(self, columns, label, classes, options, expected):
        self.columns, self.label, self.classes = columns, label, classes
        self.options, self.expected = options, expected
        self.style, self.header, self.suffix = {}, [*columns], "csv"
        self.damage = ""

    @property
    def read(self):
        """The columns that an example is made of."""
        return {
            name: made
            for name, made in self.columns.items()
            if made.fate in ("read", "noted")
        }

    def write(self, path):
        """Writes the file."""
        if self.suffix == "csv":
            path.write_bytes(self._csv())
            return
        arrays = {name: _array(self.columns[name]) for name in self.header}
        table = pa.table(arrays)
        if self.damage == "cut":
            file = io.BytesIO()
            pa.parquet.write_table(table, file)
            path.write_bytes(file.getvalue()[:-50])
        else:
            pa.parquet.write_table(table, path)

    def _csv(self):
        names = [_written(name) for name in self.header]
        rows = [
            [self.columns[name].cells[i] for name in self.header]
            for i in range(NUM_ROWS)
        ]
        if self.damage != "no header" and self.options.get("header") != "none":
            rows.insert(0, names)
        if self.damage == "twice the same name":
            rows[0][-1] = rows[0][0]
        if self.damage == "header alone":
            del rows[1:]
        if self.damage == "ragged":
            rows[5] = rows[5][:-1]
        if self.damage == "title above":
            rows.insert(0, ["Table 1"])
        if self.style.get("ends with a delimiter"):
            rows = [[*row, ""] for row in rows]
        text = io.StringIO(newline="")
        options = {k: self.style[k] for k in ("delimiter", "quoting", "lineterminator")}
        csv.writer(text, **options).writerows(rows)
        return self._encoded(text.getvalue())

    def _encoded(self, text):
        end = self.style["lineterminator"]
        text += {"no end": "", "two ends": end + end}.get(self.style["end"], "")
        if self.style["end"] == "no end":
            text = text.removesuffix(end)
        if self.damage == "open quote":
            text += f'"never closed{end}x'
        if self.damage == "Latin-1":
            return text.encode("utf-8") + "é".encode("latin-1")
        if self.damage == "UTF-16":
            return text.encode("utf-16")
        content = codecs.BOM_UTF8 * self.style["has BOM"] + text.encode()
        starts = {"compressed": b"\x1f\x8b\x08\0", "workbook": b"PK\x03\x04"}
        if self.damage in starts:
            return starts[self.damage] + content
        return b"" if self.damage == "empty" else content

    def __repr__(self):
        cells = {
            name: (made.fate, made.cells[:8]) for name, made in self.columns.items()
        }
        return (
            f"Case({cells}, label={self.label!r}, options={self.options}, "
            f"{self.style}, {self.suffix}, {self.damage!r}, said={self.expected.said}, "
            f"refused={self.expected.refused})"
        )


def _array(made):
    return pa.array(made.cells) if made.typed is None else made.typed


def _written(name):
    # An index that pandas writes has no name.
    return "" if name == "Unnamed: 0" and len(name) % 2 == 0 else name


def read_name(name):
    """A column's name without line ends and blanks around it."""
    return " ".join(name.split())


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
    case.suffix = suffix
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
        name = draw.one_of(["Unnamed: 0", "__index_level_0__"])
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
    odd = [name for name, made in case.columns.items() if made.fate == "noticed"]
    if odd and draw.one_in(3):
        case.options["categorical_columns"] = (odd[0],)
        made = case.columns[odd[0]]
        made.fate, made.values = "read", [cell.strip() for cell in made.cells]


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
    case.damage = draw.one_of([*_BROKEN])
    if case.damage == "twice the same name" and len(case.header) == 1:
        case.damage = "empty"
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
        expected.refuse(_BROKEN.get(case.damage, "parquet"))
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
