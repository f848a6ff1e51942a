"""Notes on columns, and what is left out of a table, in words."""

import csv
import io
import shlex
from collections.abc import Mapping, Sequence

from vicreg_keras.data.sources.base import quoted
from vicreg_keras.data.sources.table_columns import ReadColumn


def add_note(notes: dict[str, tuple[list[str], list[str]]], one: ReadColumn) -> None:
    """Adds the column to those that its note is said of."""
    text, example = one.note
    if text:
        names, examples = notes.setdefault(text, ([], []))
        names.append(one.column.name)
        examples.append(example)


def describe_notes(
    notes: Mapping[str, tuple[Sequence[str], Sequence[str]]],
) -> tuple[str, ...]:
    """Returns notes as they are printed, of their columns and examples by text."""
    texts = []
    for text, (names, examples) in notes.items():
        if len(names) > 1 and " in " in examples[0]:  # A count of cells.
            pairs = zip(names, examples, strict=True)
            examples = [f"{name!r}: {example}" for name, example in pairs][:5]
        else:
            examples = [example for example in examples[:1] if example]
        texts.append(", ".join([f"{_columns(names)}: {text}", *examples]))
    return tuple(texts)


def describe_left_out(omitted: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Returns what is left out as it is printed, of columns by reason."""
    texts = []
    for reason, names in omitted.items():
        keep = ""
        if "never" in reason:
            kind = "numeric" if "numbers" in reason else "categorical"
            keep = f"; {kind}_columns={option_value(names)} keeps it"
        texts.append(f"{_columns(names)} ({reason}{keep})")
    return tuple(texts)


def _columns(names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"column {names[0]!r}"
    return f"{len(names):,} columns {quoted(names)}"


def option_value(names: Sequence[str], limit: int = 5) -> str:
    """Returns names as the value of an option of columns is typed."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(names[:limit])
    return shlex.quote(line.getvalue()) + ",..." * (len(names) > limit)
