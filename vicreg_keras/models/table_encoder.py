"""What shape is an encoder of rows? A layer that scales, and dense ones.

It takes raw rows, as an encoder of images takes raw pixels: whatever is learned of the
columns is inside.
"""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from vicreg_keras.data.columns import Column, TableStatistics, input_columns

_PACKAGE = "vicreg_keras"


def make_row_encoder(
    columns: Sequence[Column], statistics: TableStatistics, widths: Sequence[int]
) -> keras.Model:
    """An untrained encoder of a table's rows: dense layers with ReLU.

    Args:
        columns: of the table.
        statistics: of the training rows.
        widths: of the layers; the last is the representation's.

    Returns:
        A functional `keras.Model`: `(batch, num_columns)` raw rows, NaN for what is
        missing, to `(batch, widths[-1])` float32 representations.
    """
    inputs = layers.Input((len(columns),), dtype="float32", name="row")
    x = RowInputs.of(columns, statistics, name="scale")(inputs)
    for i, width in enumerate(widths, start=1):
        x = layers.Dense(
            width, "relu", kernel_initializer="he_normal", name=f"dense_{i}"
        )(x)
    outputs = layers.Activation("linear", dtype="float32", name="representation")(x)
    return keras.Model(inputs, outputs, name="mlp")


@keras.saving.register_keras_serializable(package=_PACKAGE)
class RowInputs(layers.Layer):
    """Raw rows as `columns.scale_examples` gives them, in a graph.

    Args:
        numbers: places of columns of numbers.
        indicators: places of those that have an indicator of what is missing.
        categories: places of the others.
        num_categories: of each of these.
        mean: of each column of numbers.
        std: of each column of numbers.
        **kwargs: as of every Keras layer.
    """

    def __init__(
        self,
        numbers: Sequence[int],
        indicators: Sequence[int],
        categories: Sequence[int],
        num_categories: Sequence[int],
        mean: Sequence[float],
        std: Sequence[float],
        **kwargs,
    ):
        super().__init__(**{"dtype": "float32", "trainable": False, **kwargs})
        self._settings = {
            "numbers": [int(i) for i in numbers],
            "indicators": [int(i) for i in indicators],
            "categories": [int(i) for i in categories],
            "num_categories": [int(n) for n in num_categories],
            "mean": [float(value) for value in mean],
            "std": [float(value) for value in std],
        }

    @classmethod
    def of(
        cls, columns: Sequence[Column], statistics: TableStatistics, **kwargs
    ) -> "RowInputs":
        """The layer for a table.

        Args:
            columns: of the table.
            statistics: of the training rows.
            **kwargs: as of every Keras layer.
        """
        numbers, indicators, categories = input_columns(columns, statistics)
        return cls(
            numbers,
            indicators,
            categories,
            [len(columns[i].categories) for i in categories],
            statistics.mean[numbers],
            statistics.std[numbers],
            **kwargs,
        )

    def call(self, rows):
        settings = self._settings
        parts = []
        if settings["numbers"]:
            numbers = tf.gather(rows, settings["numbers"], axis=1)
            scaled = (numbers - np.float32(settings["mean"])) / np.float32(
                settings["std"]
            )
            # Not tf.math.is_nan, which TFLite lacks: NaN alone differs from itself.
            parts.append(tf.where(numbers == numbers, scaled, 0.0))
        if settings["indicators"]:
            gaps = tf.gather(rows, settings["indicators"], axis=1)
            parts.append(tf.cast(gaps != gaps, tf.float32))
        for place, count in zip(
            settings["categories"], settings["num_categories"], strict=True
        ):
            codes = tf.range(count, dtype=tf.float32)
            parts.append(tf.cast(rows[:, place, tf.newaxis] == codes, tf.float32))
        return tf.concat(parts, axis=1)

    def compute_output_shape(self, input_shape):
        settings = self._settings
        width = len(settings["numbers"]) + len(settings["indicators"])
        return (input_shape[0], width + sum(settings["num_categories"]))

    def get_config(self):
        return {**super().get_config(), **self._settings}
