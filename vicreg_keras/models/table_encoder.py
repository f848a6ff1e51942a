"""The encoder of tables: a layer that scales the columns, and dense layers.

It takes raw values, as an encoder of images takes raw pixels: the statistics of the
columns are inside.
"""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from vicreg_keras.data.columns import Column, TableStatistics, input_columns


def make_table_encoder(
    columns: Sequence[Column], statistics: TableStatistics, widths: Sequence[int]
) -> keras.Model:
    """Returns an untrained encoder of a table's examples: dense layers with ReLU.

    Args:
        columns: Columns of the table.
        statistics: Statistics of the training examples.
        widths: Widths of the layers; the last one is the representation's.

    Returns:
        A functional `keras.Model`: `(batch, num_columns)` raw values, NaN where one is
        missing, to `(batch, widths[-1])` float32 representations.
    """
    inputs = layers.Input((len(columns),), dtype="float32", name="row")
    x = TableInputs.of(columns, statistics, name="scale")(inputs)
    for i, width in enumerate(widths, start=1):
        x = layers.Dense(
            width, "relu", kernel_initializer="he_normal", name=f"dense_{i}"
        )(x)
    outputs = layers.Activation("linear", dtype="float32", name="representation")(x)
    return keras.Model(inputs, outputs, name="mlp")


@keras.saving.register_keras_serializable(package="vicreg_keras")
class TableInputs(layers.Layer):
    """Scales raw values of a table in a graph; see `data.columns.scale_examples`.

    Args:
        numbers: Positions of columns of numbers.
        indicators: Positions of those with an indicator of missing values.
        categories: Positions of columns of categories.
        num_categories: Number of categories of each of these.
        mean: Mean of each column of numbers.
        std: Standard deviation of each column of numbers.
        **kwargs: See `keras.layers.Layer`.
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
    ) -> "TableInputs":
        """Returns the layer for a table.

        Args:
            columns: Columns of the table.
            statistics: Statistics of the training examples.
            **kwargs: See `keras.layers.Layer`.
        """
        numbers, indicators, categories = input_columns(columns, statistics)
        return cls(
            numbers,
            indicators,
            categories,
            [len(columns[i].categories) for i in categories],
            list(statistics.mean[numbers]),
            list(statistics.std[numbers]),
            **kwargs,
        )

    def call(self, inputs):
        settings = self._settings
        parts = []
        if settings["numbers"]:
            numbers = tf.gather(inputs, settings["numbers"], axis=1)
            mean, std = np.float32(settings["mean"]), np.float32(settings["std"])
            scaled = (numbers - mean) / std
            # Not tf.math.is_nan, which TFLite lacks: NaN alone differs from itself.
            parts.append(tf.where(numbers == numbers, scaled, 0.0))
        if settings["indicators"]:
            values = tf.gather(inputs, settings["indicators"], axis=1)
            parts.append(tf.cast(values != values, tf.float32))
        for position, count in zip(
            settings["categories"], settings["num_categories"], strict=True
        ):
            codes = tf.range(count, dtype=tf.float32)
            parts.append(tf.cast(inputs[:, position, tf.newaxis] == codes, tf.float32))
        return tf.concat(parts, axis=1)

    def compute_output_shape(self, input_shape):
        settings = self._settings
        width = len(settings["numbers"]) + len(settings["indicators"])
        return (input_shape[0], width + sum(settings["num_categories"]))

    def get_config(self):
        return {**super().get_config(), **self._settings}
