"""Random layers of tables: examples mixed, cropped, scaled, noisy, replaced, masked."""

import math
from collections.abc import Sequence
from typing import ClassVar

import keras
import numpy as np
import tensorflow as tf

from vicreg_keras.errors import InputError
from vicreg_keras.views import table_ops
from vicreg_keras.views.view import SeededLayer


class TableLayer(SeededLayer):
    """A random layer of tabular examples.

    For the call arguments see `SeededLayer`; inputs are raw examples, `(batch,
    num_columns)`: numbers, codes of categories, NaN for what is missing.
    """

    num_columns: int | None = None  # where an argument determines it

    def check_shape(self, shape: Sequence[int | None]) -> None:
        if len(shape) != 2 or self.num_columns not in (None, shape[1]):
            raise InputError(
                "Expected examples of shape "
                f"(batch, {self.num_columns or 'num_columns'}). "
                f"Received: examples.shape={tuple(shape)}. Give examples of the table "
                "that the view was made for."
            )


@keras.saving.register_keras_serializable(package="vicreg_keras")
class Mixup(TableLayer):
    """Mixes each example with another one of the batch.

    Args:
        maximum: Maximum share of the other example, in `[0, 1]`; the share is uniform
            in `[0, maximum)`, and the probability of the other's category.
        categorical: Which columns hold categories, `(num_columns,)`.

    Reference:
        See `table_ops.mix`.
    """

    identity: ClassVar = {"maximum": 0}

    def __init__(
        self, maximum: float, categorical: Sequence[bool] | np.ndarray, **kwargs
    ):
        super().__init__(**kwargs)
        self.maximum = self._number("maximum", maximum, 1.0)
        self.categorical = np.asarray(categorical, bool)
        self.num_columns = len(self.categorical)

    def augment(self, examples, seed):
        shape = [tf.shape(examples)[0], 2 + self.num_columns]
        draws = self._uniform(shape, seed)
        of_examples, of_entries = tf.transpose(draws[:, :2]), draws[:, 2:]
        return table_ops.mix(
            examples, self.categorical, of_examples, of_entries, self.maximum
        )


class _SeriesLayer(TableLayer):
    """A layer of time series, columns `(steps, num_channels)` in C order."""

    def __init__(self, num_channels: int, **kwargs):
        super().__init__(**kwargs)
        self.num_channels = self._count("num_channels", num_channels)

    def check_shape(self, shape: Sequence[int | None]) -> None:
        super().check_shape(shape)
        if shape[1] % self.num_channels or shape[1] < 2 * self.num_channels:
            raise InputError(
                f"Expected num_channels that divide {shape[1]} columns into two steps "
                f"or more. Received: num_channels={self.num_channels}. Give the number "
                "of channels of a step."
            )


@keras.saving.register_keras_serializable(package="vicreg_keras")
class RandomWindow(_SeriesLayer):
    """Crops a random window of each series and stretches it to the full length.

    Args:
        min_length: Minimum length of the window, as a fraction of the series, in `[0,
            1]`; 1 does not crop.
        num_channels: Channels of a step, whose columns are side by side.
    """

    identity: ClassVar = {"min_length": 1}

    def __init__(self, min_length: float = 0.5, num_channels: int = 1, **kwargs):
        super().__init__(num_channels, **kwargs)
        self.min_length = self._number("min_length", min_length, 1.0)

    def augment(self, examples, seed):
        draws = self._uniform([2, tf.shape(examples)[0]], seed)
        return table_ops.crop_series(
            examples, self.num_channels, draws, self.min_length
        )


@keras.saving.register_keras_serializable(package="vicreg_keras")
class RandomScaling(_SeriesLayer):
    """Stretches each channel of each series about its mean by a random factor.

    Args:
        stddev: Standard deviation of the factors about 1.
        num_channels: Channels of a step, whose columns are side by side.

    Reference:
        See `table_ops.scale_series`.
    """

    identity: ClassVar = {"stddev": 0}

    def __init__(self, stddev: float = 0.1, num_channels: int = 1, **kwargs):
        super().__init__(num_channels, **kwargs)
        self.stddev = self._number("stddev", stddev)

    def augment(self, examples, seed):
        draws = self._normal([tf.shape(examples)[0], self.num_channels], seed)
        factors = 1.0 + self.stddev * draws
        return table_ops.scale_series(examples, self.num_channels, factors)


@keras.saving.register_keras_serializable(package="vicreg_keras")
class RandomNoise(TableLayer):
    """Adds Gaussian noise to each number.

    Args:
        stddev: Standard deviation of the noise, in units of each column.
        units: The unit of each column, `(num_columns,)`, such as its standard
            deviation; 0 for categories.
    """

    identity: ClassVar = {"stddev": 0}

    def __init__(self, stddev: float, units: Sequence[float] | np.ndarray, **kwargs):
        super().__init__(**kwargs)
        self.stddev = self._number("stddev", stddev)
        self.units = np.asarray(units, np.float32)
        self.num_columns = len(self.units)

    def augment(self, examples, seed):
        noise = self._normal(tf.shape(examples), seed)
        return examples + np.float32(self.stddev) * self.units * noise


@keras.saving.register_keras_serializable(package="vicreg_keras")
class RandomCorruption(TableLayer):
    """Replaces entries by what their column holds in other examples.

    Args:
        probability: Probability that an entry is replaced, in `[0, 1]`.
        marginals: Examples whose values are drawn, categories and gaps like any other,
            `(num_marginals, num_columns)`; `None` where the probability is 0.

    Reference:
        See `table_ops.corrupt`.
    """

    identity: ClassVar = {"probability": 0}

    def __init__(self, probability: float, marginals: np.ndarray | None, **kwargs):
        super().__init__(**kwargs)
        self.probability = self._number("probability", probability, 1.0)
        self.marginals = None
        if marginals is not None:
            self.marginals = np.asarray(marginals, np.float32)
            self.num_columns = self.marginals.shape[1]

    def augment(self, examples, seed):
        draws = self._uniform([2, *tf.unstack(tf.shape(examples))], seed)
        return table_ops.corrupt(examples, self.marginals, draws, self.probability)


@keras.saving.register_keras_serializable(package="vicreg_keras")
class RandomMasking(TableLayer):
    """Makes entries missing (NaN).

    Args:
        probability: Probability that an entry is masked, in `[0, 1]`.
    """

    identity: ClassVar = {"probability": 0}

    def __init__(self, probability: float = 0.1, **kwargs):
        super().__init__(**kwargs)
        self.probability = self._number("probability", probability, 1.0)

    def augment(self, examples, seed):
        is_masked = self._uniform(tf.shape(examples), seed) < self.probability
        return tf.where(is_masked, math.nan, examples)
