"""Named pairs of views of tables."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vicreg_keras.data.columns import Column, table_statistics
from vicreg_keras.errors import InputError
from vicreg_keras.views import table_layers as layers
from vicreg_keras.views.view import View, choose_options

# SCARF's corruption, of both views instead of one alone, and a little noise.
_TABLE = {
    "mixup": 0.0,
    "min_crop": 1.0,
    "scaling_std": 0.0,
    "num_channels": 1,
    "noise_std": 0.1,
    "corruption_probability": 0.3,
    "masking_probability": 0.0,
}
# Windows of a time series.
_SERIES = {**_TABLE, "min_crop": 0.5, "scaling_std": 0.1, "corruption_probability": 0.0}

TABLE_VIEWS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "table": (_TABLE, _TABLE),
    "series": (_SERIES, _SERIES),
}


def make_table_views(
    name: str,
    examples: np.ndarray,
    columns: Sequence[Column],
    *,
    seed: int = 0,
    **options,
) -> tuple[View, View]:
    """Returns the layers of a named pair: the first view and the second.

    Args:
        name: A key of `TABLE_VIEWS`.
        examples: Examples of the training split, `(N, num_columns)`, raw. The unit of
            the noise is their standard deviation, and replaced entries are drawn from
            at most `MAX_MARGINALS` of them.
        columns: Columns of the table.
        seed: Seed of the choice of these examples.
        **options: Options of `Settings` that replace those of both views; `None` keeps
            the pair's.

    Raises:
        InputError: If the name, an option or a value is not possible, or the examples
            are not of these columns.
    """
    values = pair_options(name, **options)
    examples = np.asarray(examples)
    if examples.ndim != 2 or not len(examples) or examples.shape[1] != len(columns):
        raise InputError(
            f"Expected examples of shape (N, {len(columns)}), N above 0. Received: "
            f"examples.shape={examples.shape}. Give the training examples, one number "
            "per column."
        )
    categorical = np.array([column.categories is not None for column in columns])
    if categorical.any() and (values["min_crop"] < 1 or values["scaling_std"] > 0):
        raise InputError(
            "Expected columns of numbers for series. Received: columns with categories "
            f"and min_crop={values['min_crop']}, scaling_std={values['scaling_std']}. "
            "Use the pair 'table' for a table with categories."
        )
    marginals = None
    if values["corruption_probability"]:
        marginals = examples
        if len(examples) > layers.MAX_MARGINALS:
            chosen = np.random.default_rng(seed).choice(
                len(examples), layers.MAX_MARGINALS, replace=False
            )
            marginals = examples[chosen]
    units = np.where(categorical, 0, table_statistics(examples, columns).std)
    num_channels = values["num_channels"]
    # Corruption comes after the noise: a replaced entry is one that its column has.
    view = View(
        [
            layers.Mixup(values["mixup"], categorical),
            layers.RandomWindow(values["min_crop"], num_channels),
            layers.RandomScaling(values["scaling_std"], num_channels),
            layers.RandomNoise(values["noise_std"], units),
            layers.RandomCorruption(values["corruption_probability"], marginals),
            layers.RandomMasking(values["masking_probability"]),
        ]
    )
    view.check_shape(examples.shape)
    # Both views are alike, so one layer serves for both and is compiled once.
    return view, view


def pair_options(name: str, **options) -> dict[str, Any]:
    """Returns all options of a named pair; for the arguments see `make_table_views`."""
    return choose_options(TABLE_VIEWS, name, options)[0]
