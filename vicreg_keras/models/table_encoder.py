"""The encoder of tables: a layer that scales the columns, and dense layers.

It takes raw values, as an encoder of images takes raw pixels: the statistics of the
columns are inside.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from vicreg_keras.data.columns import Column, TableStatistics
from vicreg_keras.data.dataset import Dataset


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


def make_input_encoder(dataset: Dataset) -> keras.Model:
    """Returns a model of the input itself: pixels, or a table's scaled columns.

    Args:
        dataset: The dataset.

    Returns:
        A functional `keras.Model`: `(batch, *example_shape)` raw examples to
        `(batch, width)` float32 vectors, which can be compared.
    """
    inputs = layers.Input(dataset.example_shape)
    if dataset.columns is None:
        outputs = layers.Flatten(dtype="float32")(inputs)
    else:
        outputs = TableInputs.of(dataset.columns, dataset.table_statistics)(inputs)
    return keras.Model(inputs, outputs, name="input")


@keras.saving.register_keras_serializable(package="vicreg_keras")
class TableInputs(layers.Layer):
    """Scales raw values of a table to the numbers that its encoder begins with.

    First the distance of every number from its mean, in standard deviations, 0 where
    it is missing; then, for columns of numbers with missing values in training, 1
    where it is missing; then one column per category, 1 where it is the example's.

    Args:
        columns: Columns of the table, or their configs, see `Column.from_config`.
        mean: Mean of each column.
        std: Standard deviation of each column.
        missing: Whether a value of each column was missing in training.
        **kwargs: See `keras.layers.Layer`.
    """

    def __init__(
        self,
        columns: Sequence[Column | Mapping[str, Any]],
        mean: Sequence[float],
        std: Sequence[float],
        missing: Sequence[bool],
        **kwargs,
    ):
        super().__init__(**{"dtype": "float32", "trainable": False, **kwargs})
        self.columns = tuple(
            one if isinstance(one, Column) else Column.from_config(one)
            for one in columns
        )
        self._config = {
            "mean": np.asarray(mean).tolist(),
            "std": np.asarray(std).tolist(),
            "missing": np.asarray(missing).tolist(),
        }
        counts = np.array([len(one.categories or ()) for one in self.columns])
        self._numbers = np.flatnonzero(counts == 0)
        self._indicators = self._numbers[np.asarray(missing)[self._numbers]]
        # Column and code of each category.
        self._owners = np.repeat(np.arange(len(counts)), counts)
        starts = np.cumsum(counts) - counts
        self._codes = np.arange(len(self._owners)) - starts[self._owners]
        self._mean = np.array(mean, np.float32)[self._numbers]
        self._std = np.array(std, np.float32)[self._numbers]

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
        return cls(columns, **vars(statistics), **kwargs)

    def call(self, inputs):
        parts = []
        if len(self._numbers):
            numbers = tf.gather(inputs, self._numbers, axis=1)
            scaled = (numbers - self._mean) / self._std
            # NaN alone differs from itself: TFLite lacks tf.math.is_nan, and tf2onnx
            # converts only this condition to one that stops NaN.
            parts.append(tf.where(numbers != numbers, 0.0, scaled))
        if len(self._indicators):
            values = tf.gather(inputs, self._indicators, axis=1)
            parts.append(tf.cast(values != values, tf.float32))
        if len(self._owners):
            values = tf.gather(inputs, self._owners, axis=1)
            is_category = values == self._codes.astype(np.float32)
            parts.append(tf.cast(is_category, tf.float32))
        return tf.concat(parts, axis=1)

    def get_config(self):
        columns = [dataclasses.asdict(column) for column in self.columns]
        return {**super().get_config(), "columns": columns, **self._config}
