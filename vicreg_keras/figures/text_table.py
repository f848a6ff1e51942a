"""Tables of numbers in a terminal."""

import statistics
from collections.abc import Sequence


def format_table(rows: Sequence[Sequence[str]], num_left: int = 1) -> str:
    """Returns text in aligned columns, two spaces apart.

    Args:
        rows: The header, then the other lines, each with as many cells.
        num_left: Number of first columns that are flush left, as the last one is; the
            others, which hold numbers, are flush right.
    """
    columns = []
    for number, column in enumerate(zip(*rows, strict=True)):
        width = max(map(len, column))
        flush_left = number < num_left or number == len(rows[0]) - 1
        columns.append(
            [cell.ljust(width) if flush_left else cell.rjust(width) for cell in column]
        )
    return "\n".join("  ".join(row).rstrip() for row in zip(*columns, strict=True))


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
