"""How does a table of numbers look in a terminal?"""

from collections.abc import Sequence


def format_table(rows: Sequence[Sequence[str]], num_left: int = 1) -> str:
    """Rows of text in aligned columns, two spaces apart.

    Args:
        rows: the header and then the others, each with as many cells.
        num_left: so many columns, and the last, are flush left; the rest, which hold
            numbers, flush right.

    Returns:
        Lines without a newline at the end.
    """
    columns = list(zip(*rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    widths[-1] = 0
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width)
            if number < num_left or number == len(row) - 1
            else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def percent(value: float | None, std: float | None = None) -> str:
    """A share in percent with two decimals, and its deviation; `-` for none."""
    if value is None:
        return "-"
    text = f"{100 * value:.2f}"
    return text if std is None else f"{text} ± {100 * std:.2f}"
