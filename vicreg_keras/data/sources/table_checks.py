"""What every table is held to, wherever its rows come from."""

import pathlib
from collections.abc import Sequence

import numpy as np

from vicreg_keras.data.columns import Column


def as_float32(
    values: np.ndarray, path: pathlib.Path, name: str, start: int = 0
) -> np.ndarray:
    """Numbers of one column as float32, NaN for those that are missing.

    Args:
        values: `(num_rows,)`.
        path: Where they are from, for the message.
        name: The column's.
        start: The row of the first.

    Raises:
        ValueError: If one is infinite, or so large that it would be in float32.
    """
    values = np.asarray(values, np.float64)
    beyond = np.abs(values) > np.finfo(np.float32).max
    if beyond.any():
        row = int(beyond.argmax())
        raise ValueError(
            "Expected numbers that are finite in float32, at most 3.4e38. Received: "
            f"{path}, column {name!r} with {values[row]:g} in row/{start + row}, "
            f"counted from 0. Correct or empty the cell, or leave {name!r} out."
        )
    return values.astype(np.float32)


def check_not_empty(
    rows: np.ndarray, path: pathlib.Path, columns: Sequence[Column]
) -> None:
    """Refuses a table with columns in which every number is missing.

    Args:
        rows: `(N, num_columns)`, N above 0.
        path: Where they are from, for the message.
        columns: of the table.
    """
    empty = [
        column.name
        for place, column in enumerate(columns)
        if np.isnan(rows[:, place]).all()
    ]
    if empty:
        raise ValueError(
            "Expected a value in some row of every column. Received: "
            f"{path} with nothing in {', '.join(map(repr, empty[:5]))}"
            f"{', ...' if len(empty) > 5 else ''}. Leave such columns out, of a csv "
            f"or parquet file by --drop_columns={','.join(empty)}."
        )


def check_no_image_size(name: str, image_size: int | None) -> None:
    """Refuses a size of images where there are none.

    Args:
        name: The dataset's.
        image_size: As in `load_dataset`.
    """
    if image_size is not None:
        raise ValueError(
            "Expected no size of images for a table. Received: "
            f"name={name!r}, image_size={image_size}. Leave --image_size out."
        )
