"""Which settings may a view of rows have, and which of them go together?"""

import math
import numbers
from collections.abc import Sequence

import numpy as np

# A view's marginals are part of its config, and so of every file it is saved in.
MAX_MARGINALS = 4096

# Every setting, with the value that leaves it out.
ALL_OFF = {
    "corruption_probability": 0.0,
    "noise_std": 0.0,
    "masking_probability": 0.0,
    "mixup": 0.0,
    "scaling_std": 0.0,
    "min_crop": 1.0,
    "num_channels": 0,
}

# What is no probability, share or fraction, and so has no upper bound.
_UNBOUNDED = ("noise_std", "scaling_std")


def check_settings(**settings: float) -> dict:
    """Returns the settings as floats and a whole number, or raises ValueError."""
    checked = {}
    for name, value in settings.items():
        if name == "num_channels":
            expected, good = "a whole number of 0 or more", _is_count(value)
        elif name == "min_crop":
            expected, good = "a number in (0, 1]", _is_number(value) and 0 < value <= 1
        elif name in _UNBOUNDED:
            expected = "a number of at least 0"
            good = _is_number(value) and 0 <= value < math.inf
        else:
            expected, good = "a number in [0, 1]", _is_number(value) and 0 <= value <= 1
        if not good:
            remedy = f"{ALL_OFF[name]:g} leaves it out."
            reject(f"{name} to be {expected}", name, value, remedy)
        checked[name] = type(ALL_OFF[name])(value)
    return checked


def check_together(
    settings: dict,
    *,
    marginals: np.ndarray | None,
    std: np.ndarray | None,
    categorical: np.ndarray | None,
) -> int | None:
    """Returns the number of columns where it is known, or raises ValueError."""
    tables = {"marginals": marginals, "std": std, "categorical": categorical}
    for setting, name in (
        ("corruption_probability", "marginals"),
        ("noise_std", "std"),
    ):
        if settings[setting] and tables[name] is None:
            reject(
                f"{name} where {setting} is above 0",
                name,
                None,
                f"Give {name}, or leave {setting} at 0.",
            )
    channels = settings["num_channels"]
    if not channels and (settings["scaling_std"] or settings["min_crop"] < 1):
        reject(
            "num_channels of 1 or more beside scaling_std above 0 or min_crop below 1",
            "num_channels",
            channels,
            "Say how many channels the series have, or leave both out.",
        )
    if channels and categorical is not None and categorical.any():
        reject(
            "numbers alone in the columns of a series",
            "categorical",
            categorical.tolist(),
            "Leave num_channels at 0 for a table with categories.",
        )
    widths = {k: table.shape[-1] for k, table in tables.items() if table is not None}
    if len(set(widths.values())) > 1:
        reject(
            "one number of columns", "columns", widths, "Take all from the same table."
        )
    num_columns = next(iter(widths.values()), None)
    if num_columns is not None:
        check_series(channels, num_columns)
    return num_columns


def check_series(channels: int, num_columns: int) -> None:
    """Raises ValueError unless the columns can be a series of so many channels."""
    if channels and (num_columns % channels or num_columns < 2 * channels):
        reject(
            f"num_channels that divide {num_columns} columns into two steps or more",
            "num_channels",
            channels,
            "Say how many channels a step of the series has.",
        )


def check_marginals(marginals: np.ndarray | None) -> np.ndarray | None:
    """Returns float32 rows, or raises ValueError."""
    if marginals is None:
        return None
    marginals = np.array(marginals, np.float32)
    if marginals.ndim != 2 or not 1 <= len(marginals) <= MAX_MARGINALS:
        reject(
            f"marginals of shape (M, num_columns), M in [1, {MAX_MARGINALS}]",
            "marginals.shape",
            marginals.shape,
            "Pick training rows at random.",
        )
    return marginals


def check_std(std: Sequence[float] | None) -> np.ndarray | None:
    """Returns one float32 a column, or raises ValueError."""
    if std is None:
        return None
    std = np.array(std, np.float32)
    if std.ndim != 1 or not np.all(std >= 0) or np.isinf(std).any():
        reject(
            "std to be finite numbers of 0 or more, one a column",
            "std",
            std.tolist(),
            "table_statistics gives them.",
        )
    return std


def check_categorical(categorical: Sequence[bool] | None) -> np.ndarray | None:
    """Returns one bool a column, or raises ValueError."""
    if categorical is None:
        return None
    categorical = np.array(categorical)
    if categorical.ndim != 1 or categorical.dtype != bool:
        reject(
            "categorical to be True or False, one a column",
            "categorical",
            categorical.tolist(),
            "True stands for a column of categories.",
        )
    return categorical


def reject(expected: str, name: str, value: object, remedy: str) -> None:
    """Raises the ValueError that says what was expected, received and to be done."""
    raise ValueError(f"Expected {expected}. Received: {name}={value!r}. {remedy}")


def _is_number(value):
    return isinstance(value, numbers.Real)


def _is_count(value):
    return isinstance(value, numbers.Integral) and value >= 0
