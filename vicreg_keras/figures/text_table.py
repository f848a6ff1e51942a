"""Tables of texts, for a terminal and for a page."""

import re
import statistics
from collections.abc import Sequence
from typing import NamedTuple

Line = Sequence[str]


class Table(NamedTuple):
    """Lines of texts below a caption; as a `str`, how a terminal displays them.

    Attributes:
        caption: What the texts are of.
        lines: The header, then the other lines, each with as many cells.
    """

    caption: str
    lines: Sequence[Line]

    def __str__(self) -> str:
        return f"{self.caption}\n{format_table(self.lines)}"


def format_table(lines: Sequence[Line]) -> str:
    """Returns text in aligned columns, two spaces apart.

    Args:
        lines: The header, then the other lines, each with as many cells.
    """
    columns = []
    for column, flush_right in zip(
        zip(*lines, strict=True), numeric_columns(lines), strict=True
    ):
        width = max(map(len, column))
        columns.append(
            [cell.rjust(width) if flush_right else cell.ljust(width) for cell in column]
        )
    return "\n".join("  ".join(line).rstrip() for line in zip(*columns, strict=True))


def numeric_columns(lines: Sequence[Line]) -> list[bool]:
    """Returns which columns hold numbers, which are flush right.

    Args:
        lines: The header, then the other lines, each with as many cells.
    """
    return [
        all(re.fullmatch(r"[-+±\d.,e% ]*", cell) for cell in cells)
        for _, *cells in zip(*lines, strict=True)
    ]


def percent(value: float | None, std: float | None = None) -> str:
    """Returns a fraction in percent with two decimals, and its deviation.

    Args:
        value: A fraction, or `None`, for which the text is `"-"`.
        std: Its standard deviation, or `None`.
    """
    if value is None:
        return "-"
    text = f"{100 * value:.2f}"
    return text if std is None else f"{text} ± {100 * std:.2f}"


def decimal(value: float | None, form: str = ".3f") -> str:
    """Returns a number in a format, or `"-"` for `None`."""
    return "-" if value is None else format(value, form)


def mean_and_std(values: Sequence[float], form: str = ".2f", scale: float = 100) -> str:
    """Returns the mean of values, and the standard deviation of several.

    Args:
        values: By default shares, which are shown in percent; for none of them the
            text is `"-"`.
        form: Format of a number.
        scale: Factor of mean and deviation.
    """
    if not values:
        return "-"
    text = f"{scale * statistics.fmean(values):{form}}"
    if len(values) > 1:
        text += f" ± {scale * statistics.stdev(values):{form}}"
    return text
