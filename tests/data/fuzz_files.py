"""Files of tables, sound ones and broken ones."""

import codecs
import csv
import io

import pyarrow as pa
import pyarrow.parquet

from tests.data.fuzz_cells import NUM_ROWS

# Of a CSV file as a whole; what an error about it must contain.
BROKEN = {
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
        damage: A key of `BROKEN`, or empty.
        num_grouped: Number of rows that a Parquet file has together.
    """

    def __init__(self, columns, label, classes, options, expected):
        self.columns, self.label, self.classes = columns, label, classes
        self.options, self.expected = options, expected
        self.style, self.header, self.suffix = {}, [*columns], "csv"
        self.damage, self.num_grouped = "", NUM_ROWS

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
            pa.parquet.write_table(table, path, row_group_size=self.num_grouped)

    def _csv(self):
        # An index that pandas writes has no name.
        names = [name.replace("Unnamed: 0", "") for name in self.header]
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


def read_name(name):
    """A column's name without line ends and blanks around it."""
    return " ".join(name.split())
