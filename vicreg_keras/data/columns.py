"""Columns of a table, and their statistics over the training examples.

An example is float32, one number per column, as it was measured: numbers are not
scaled, a category is its index among the column's categories, and what is missing is
NaN. As with pixels, all that an encoder does to them is inside the encoder.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

# Of `table_images`. Color-blind readers can tell this red and blue apart.
_RED, _BLUE = np.array([[213, 94, 0], [0, 114, 178]], np.float32)
_WHITE, _GRAY = np.float32(255), np.float32(160)


@dataclasses.dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: The name in the table's header.
        categories: Names in the order of their codes, or `None` for numbers.
        format: How its numbers are written, in words; empty for plain ones. It tells
            their `kind`, and no cells of another kind are taken.
        rewrites: Pairs of a regular expression (RE2) and a replacement, applied to each
            cell in turn, that turn its numbers into plain ones and its times into those
            of ISO 8601.
        file_widths: Of a file without a header, the numbers of columns of files in
            which this one has the place that it is named by.
    """

    name: str
    categories: tuple[str, ...] | None = None
    format: str = ""
    rewrites: tuple[tuple[str, str], ...] = ()
    file_widths: tuple[int, ...] = ()

    @property
    def kind(self) -> str:
        """What its cells are: `"numbers"`, `"truth"`, `"times"` or `"times of day"`."""
        if self.format.startswith("times of day"):
            return "times of day"
        if self.format.startswith(("dates", "times")):
            return "times"
        return "truth" if self.format.startswith("true") else "numbers"

    @property
    def decimal(self) -> str:
        """The sign in front of decimals: `","`, or `"."` as in plain numbers."""
        has_comma = self.format.endswith(("decimal commas", "thousands points"))
        return "," if has_comma else "."

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Column":
        """Returns a column from what `dataclasses.asdict` gave, also through JSON."""
        categories, rewrites = config["categories"], config["rewrites"]
        return cls(
            name=config["name"],
            categories=None if categories is None else tuple(categories),
            format=config["format"],
            rewrites=tuple((pattern, text) for pattern, text in rewrites),
            file_widths=tuple(config.get("file_widths", ())),
        )


@dataclasses.dataclass(frozen=True)
class TableStatistics:
    """Statistics of each column, arrays of shape `(num_columns,)`.

    Attributes:
        mean: Mean of the numbers that are present; 0 for categories.
        std: Their population standard deviation; 1 for categories and for numbers
            that are all equal.
        missing: Whether any value is missing.
    """

    mean: np.ndarray
    std: np.ndarray
    missing: np.ndarray


def table_statistics(
    examples: np.ndarray, columns: Sequence[Column]
) -> TableStatistics:
    """Computes mean, standard deviation and missing values of each column.

    Args:
        examples: `(num_examples, num_columns)`, at least one, NaN for missing values.
        columns: The table's columns.
    """
    present = np.ma.masked_invalid(np.asarray(examples, np.float64))
    mean, std = present.mean(axis=0).filled(0), present.std(axis=0).filled(0)
    # Rounding leaves equal numbers a deviation of almost nothing.
    constant = std <= 1e-7 * np.abs(mean)
    numbers = np.array([column.categories is None for column in columns])
    return TableStatistics(
        mean=np.where(numbers, mean, 0).astype(np.float32),
        std=np.where(numbers & ~constant, std, 1).astype(np.float32),
        missing=np.isnan(examples).any(axis=0),
    )


def table_images(
    examples: np.ndarray, columns: Sequence[Column], statistics: TableStatistics
) -> np.ndarray:
    """Draws each example as a small square image, one pixel per column, line by line.

    Numbers are red above the mean and blue below it, the stronger the farther, up to
    two standard deviations; categories are red for the last and blue for the first;
    missing values are gray.

    Args:
        examples: `(num_examples, num_columns)`, NaN for missing values.
        columns: The table's columns.
        statistics: Statistics of the training examples.

    Returns:
        uint8 `(num_examples, side, side, 3)`.
    """
    examples = np.asarray(examples, np.float32)
    num_categories = [len(column.categories or "12") for column in columns]
    last = np.maximum(np.array(num_categories, np.float32) - 1, 1)
    is_number = np.array([column.categories is None for column in columns])
    scaled = (examples - statistics.mean) / statistics.std / 2
    values = np.clip(
        np.where(is_number, scaled, 2 * examples / last.astype(np.float32) - 1), -1, 1
    )
    side = int(np.ceil(np.sqrt(len(columns))))
    strength = np.abs(values)[..., np.newaxis]
    color = np.where(values[..., np.newaxis] > 0, _RED, _BLUE)
    pixels = _WHITE + strength * (color - _WHITE)
    pixels = np.where(np.isnan(examples)[..., np.newaxis], _GRAY, pixels)
    images = np.full((len(examples), side * side, 3), 255, np.uint8)
    images[:, : len(columns)] = np.rint(pixels)
    return images.reshape(len(examples), side, side, 3)
