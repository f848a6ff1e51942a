"""Notes on columns, and what is left out of a table, in words."""

import csv
import io
import shlex
from collections.abc import Mapping, Sequence

from vicreg_keras.data.sources.base import quoted
from vicreg_keras.data.sources.table_columns import ReadColumn


def add_note(notes: dict[str, tuple[list[str], str]], one: ReadColumn) -> None:
    """Adds the column to those that its note is said of."""
    text, example = one.note
    if text:
        notes.setdefault(text, ([], example))[0].append(one.column.name)


def describe_notes(notes: Mapping[str, tuple[Sequence[str], str]]) -> tuple[str, ...]:
    """Returns notes as they are printed, of their columns and an example by text."""
    return tuple(
        f"{_columns(names)}: {text}" + (f", {example}" if example else "")
        for text, (names, example) in notes.items()
    )


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
