"""Operations on tabular examples: pure functions of them and of random draws.

Examples are float32, `(batch, num_columns)`, raw: numbers are unscaled, a category is
its code, NaN is missing. All of it compiles under XLA.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf


def mix(
    examples: tf.Tensor,
    categorical: Sequence[bool],
    example_draws: tf.Tensor,
    entry_draws: tf.Tensor,
    maximum: float,
) -> tf.Tensor:
    """Mixes each example with another one of the batch, `(1 - t) x + t x'`.

    A category stays the example's with probability `1 - t`, else it becomes the
    other's. Where either value is missing, the example keeps its own.

    Args:
        examples: `(batch, num_columns)`; a single example stays as it is.
        categorical: Which columns hold categories, `(num_columns,)`.
        example_draws: Which other example and how much of it, `(2, batch)`, uniform in
            `[0, 1)`.
        entry_draws: Whose category, `(batch, num_columns)`, uniform in `[0, 1)`.
        maximum: `t` is uniform in `[0, maximum)`, in `[0, 1]`.

    Reference:
        Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018.
    """
    batch_size = tf.shape(examples)[0]
    # 1 to batch - 1 examples further on: never the example itself.
    others = tf.cast(tf.maximum(batch_size - 1, 1), tf.float32)
    steps = 1 + tf.cast(example_draws[0] * others, tf.int32)
    other = tf.gather(examples, (tf.range(batch_size) + steps) % batch_size)
    shares = maximum * example_draws[1][:, None]  # (batch, 1)
    # Unlike (1 - t) x + t x', this leaves equal values exactly as they are.
    numbers = examples + shares * (other - examples)
    categories = tf.where(entry_draws < shares, other, examples)
    mixed = tf.where(categorical, categories, numbers)
    is_missing = tf.math.is_nan(examples) | tf.math.is_nan(other)
    return tf.where(is_missing, examples, mixed)


def crop_series(
    examples: tf.Tensor, num_channels: int, draws: tf.Tensor, minimum: float
) -> tf.Tensor:
    """Crops a window of each series and stretches it to the full length, linearly.

    The window starts and ends anywhere, also between two samples, and is the same for
    all channels. Between two samples of which one is missing, the result is missing.

    Args:
        examples: `(batch, steps * num_channels)`, the channels of a step side by side.
        num_channels: Channels of a step.
        draws: Length and start, `(2, batch)`, uniform in `[0, 1)`.
        minimum: The window's length, as a fraction, is uniform in `(minimum, 1]`.
    """
    series = _series(examples, num_channels)
    last = examples.shape[1] // num_channels - 1
    fractions = 1.0 - (1.0 - minimum) * draws[0]
    starts = last * (1.0 - fractions) * draws[1]
    steps = tf.range(last + 1, dtype=tf.float32)
    positions = starts[:, None] + fractions[:, None] * steps  # (batch, steps)
    positions = tf.minimum(positions, float(last))  # rounding
    below = tf.minimum(tf.floor(positions), last - 1.0)
    parts = (positions - below)[:, :, None]
    indices = tf.cast(below, tf.int32)
    low = tf.gather(series, indices, batch_dims=1)
    high = tf.gather(series, indices + 1, batch_dims=1)
    # A sample without weight passes no NaN on.
    between = tf.where(parts < 1.0, low + parts * (high - low), high)
    return _flat(tf.where(parts > 0.0, between, low), examples)


def scale_series(
    examples: tf.Tensor, num_channels: int, factors: tf.Tensor
) -> tf.Tensor:
    """Stretches each channel of each series about its own mean over the steps.

    Unlike Um et al., who multiply what was measured: where a unit's 0 is far away
    (kelvin, or gravity on an accelerometer) that moves a series' level far more than
    its shape. A gap stays a gap.

    Args:
        examples: `(batch, steps * num_channels)`, the channels of a step side by side.
        num_channels: Channels of a step.
        factors: One per example and channel, `(batch, num_channels)`.

    Reference:
        Um et al., "Data Augmentation of Wearable Sensor Data for Parkinson's Disease
        Monitoring using Convolutional Neural Networks", ICMI 2017.
    """
    series = _series(examples, num_channels)
    missing = tf.math.is_nan(series)
    counts = tf.reduce_sum(tf.cast(~missing, tf.float32), axis=1, keepdims=True)
    sums = tf.reduce_sum(tf.where(missing, 0.0, series), axis=1, keepdims=True)
    means = sums / tf.maximum(counts, 1.0)  # (batch, 1, num_channels)
    return _flat(series + (factors[:, None, :] - 1.0) * (series - means), examples)


def corrupt(
    examples: tf.Tensor, marginals: np.ndarray, draws: tf.Tensor, probability: float
) -> tf.Tensor:
    """Replaces entries by what their column holds in other examples, independently.

    Categories and missing values are drawn like any other.

    Args:
        examples: `(batch, num_columns)`.
        marginals: Raw examples, `(num_marginals, num_columns)`.
        draws: Whether and by which, `(2, batch, num_columns)`, uniform in `[0, 1)`.
        probability: Probability that an entry is replaced.

    Reference:
        Bahri et al., "SCARF: Self-Supervised Contrastive Learning using Random Feature
        Corruption", ICLR 2022, algorithm 1.
    """
    num_marginals, num_columns = marginals.shape
    chosen = tf.cast(draws[1] * num_marginals, tf.int32)
    # Indices into the flat table: one gather for all columns.
    indices = chosen * num_columns + tf.range(num_columns)
    values = tf.gather(tf.constant(marginals.ravel()), indices)
    return tf.where(draws[0] < probability, values, examples)


def _series(examples, num_channels):
    return tf.reshape(examples, [-1, examples.shape[1] // num_channels, num_channels])


def _flat(series, examples):
    return tf.reshape(series, tf.shape(examples))
