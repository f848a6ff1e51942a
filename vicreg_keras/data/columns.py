"""What is a column of a table, and what is learned of it from the training rows?

A row is float32, one number a column, as it was measured: numbers are not scaled, a
category is its place among the column's categories, and what is missing is NaN. As
with pixels, all that an encoder does to them is inside the encoder.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

# Cells that mean that there is nothing, without the blanks around them.
MISSING = (
    *("", "?", "NA", "na", "N/A", "n/a", "#N/A", "<NA>"),
    *("NaN", "nan", "NAN", "null", "Null", "NULL", "None"),
)

# Of pictures. Red and blue are told apart by color-blind readers, too.
_RED, _BLUE = np.float32([213, 94, 0]), np.float32([0, 114, 178])
_WHITE, _GRAY = np.float32([255, 255, 255]), np.float32([160, 160, 160])


@dataclasses.dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: as its header has it.
        categories: in the order of their codes, or `None` for a column of numbers.
    """

    name: str
    categories: tuple[str, ...] | None = None


@dataclasses.dataclass(frozen=True)
class RowStatistics:
    """What is known of each column from rows, `(num_columns,)` each.

    Attributes:
        mean: of the numbers that are there; 0 for categories.
        std: of them, as a population's; 1 for categories and for numbers that are all
            equal.
        missing: whether any is missing.
    """

    mean: np.ndarray
    std: np.ndarray
    missing: np.ndarray


def row_statistics(rows: np.ndarray, columns: Sequence[Column]) -> RowStatistics:
    """Mean, spread and gaps of each column.

    Args:
        rows: `(N, num_columns)`, N above 0, NaN for what is missing.
        columns: of the table.
    """
    rows = np.asarray(rows, np.float64)
    there = ~np.isnan(rows)
    counts = np.maximum(there.sum(axis=0), 1)
    mean = np.where(there, rows, 0).sum(axis=0) / counts
    squares = np.where(there, np.square(rows - mean), 0).sum(axis=0) / counts
    std = np.sqrt(squares)
    # Rounding leaves equal numbers a spread of almost nothing.
    constant = std <= 1e-7 * np.abs(mean)
    numbers = np.array([column.categories is None for column in columns])
    return RowStatistics(
        mean=np.where(numbers, mean, 0).astype(np.float32),
        std=np.where(numbers & ~constant, std, 1).astype(np.float32),
        missing=~there.all(axis=0),
    )


def scale_rows(
    rows: np.ndarray, columns: Sequence[Column], statistics: RowStatistics
) -> np.ndarray:
    """Raw rows as the numbers that an encoder of rows begins with.

    First every number's distance from the mean, in standard deviations, 0 where it is
    missing; then, for columns of numbers of which the training rows lack some, 1 where
    it is missing; then a column for each category, 1 where it is the row's.

    Args:
        rows: `(N, num_columns)`.
        columns: of the table.
        statistics: of the training rows.

    Returns:
        float32 `(N, width)`.
    """
    rows = np.asarray(rows, np.float32)
    numbers, indicators, categories = input_columns(columns, statistics)
    scaled = (rows - statistics.mean) / statistics.std
    parts = [np.nan_to_num(scaled[:, numbers]), np.isnan(rows[:, indicators])]
    for place in categories:
        codes = np.arange(len(columns[place].categories))
        parts.append(rows[:, [place]] == codes)
    return np.concatenate(parts, axis=1).astype(np.float32)


def input_columns(
    columns: Sequence[Column], statistics: RowStatistics
) -> tuple[list[int], list[int], list[int]]:
    """Which columns become numbers, which have an indicator, which are categories.

    Args:
        columns: of the table.
        statistics: of the training rows.
    """
    numbers = [i for i, column in enumerate(columns) if column.categories is None]
    indicators = [i for i in numbers if statistics.missing[i]]
    categories = [i for i in range(len(columns)) if i not in set(numbers)]
    return numbers, indicators, categories


def row_pictures(
    rows: np.ndarray, columns: Sequence[Column], statistics: RowStatistics
) -> np.ndarray:
    """A small picture of each row: a square a column, row after row of squares.

    Numbers are red above the mean and blue below it, the stronger the farther, up to
    two standard deviations; categories are red for the last and blue for the first;
    what is missing is gray.

    Args:
        rows: `(N, num_columns)`.
        columns: of the table.
        statistics: of the training rows.

    Returns:
        uint8 `(N, side, side, 3)`, a pixel a square.
    """
    rows = np.asarray(rows, np.float32)
    last = [max(len(column.categories or "12") - 1, 1) for column in columns]
    is_number = np.array([column.categories is None for column in columns])
    scaled = (rows - statistics.mean) / statistics.std / 2
    values = np.where(is_number, scaled, 2 * rows / np.float32(last) - 1)
    values = np.clip(values, -1, 1)
    side = int(np.ceil(np.sqrt(len(columns))))
    strength = np.abs(values)[..., np.newaxis]
    color = np.where(values[..., np.newaxis] > 0, _RED, _BLUE)
    pixels = _WHITE + strength * (color - _WHITE)
    pixels = np.where(np.isnan(rows)[..., np.newaxis], _GRAY, pixels)
    pictures = np.full((len(rows), side * side, 3), 255, np.uint8)
    pictures[:, : len(columns)] = np.rint(pixels)
    return pictures.reshape(len(rows), side, side, 3)
