"""What is done to the rows of a view, once the random numbers are drawn.

Pure functions of float32 rows, `(batch, num_columns)` as measured, and of draws; all
of them run under XLA. Numbers are unscaled, a category is its code, NaN is missing.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf


def mix(
    rows: tf.Tensor,
    categorical: Sequence[bool],
    row_draws: tf.Tensor,
    entry_draws: tf.Tensor,
    maximum: float,
) -> tf.Tensor:
    """Mixes each row with another of the batch, `(1 - t) x + t x'`.

    A category stays the row's own with probability `1 - t`, else it becomes the
    other's. Where either row misses its value the row keeps what it has.

    Args:
        rows: `(batch, num_columns)`; a single row stays as it is.
        categorical: which columns hold categories, `(num_columns,)`.
        row_draws: which other row and how much, `(2, batch)`, uniform in `[0, 1)`.
        entry_draws: whose category, `(batch, num_columns)`, uniform in `[0, 1)`.
        maximum: `t` is uniform in `[0, maximum)`, in `[0, 1]`.

    Reference:
        Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018.
    """
    batch_size = tf.shape(rows)[0]
    # One to batch - 1 rows further on: never the row itself.
    others = tf.cast(tf.maximum(batch_size - 1, 1), tf.float32)
    steps = 1 + tf.cast(row_draws[0] * others, tf.int32)
    other = tf.gather(rows, (tf.range(batch_size) + steps) % batch_size)
    amounts = maximum * row_draws[1][:, None]  # (batch, 1)
    # Unlike (1 - t) x + t x', this leaves equal values exactly as they are.
    numbers = rows + amounts * (other - rows)
    categories = tf.where(entry_draws < amounts, other, rows)
    mixed = tf.where(np.asarray(categorical, bool), categories, numbers)
    return tf.where(tf.math.is_nan(rows) | tf.math.is_nan(other), rows, mixed)


def crop_series(
    rows: tf.Tensor, channels: int, draws: tf.Tensor, minimum: float
) -> tf.Tensor:
    """Cuts a window out of each series and stretches it to the full length, linearly.

    The window starts and ends anywhere, also between two samples, and is the same for
    all channels of a row. Between two samples of which one is missing, the result is
    missing too.

    Args:
        rows: `(batch, steps * channels)`, the channels of a step side by side.
        channels: that a step has.
        draws: length and place, `(2, batch)`, uniform in `[0, 1)`.
        minimum: the window's length, as a fraction, is uniform in `(minimum, 1]`.
    """
    series = _series(rows, channels)
    last = rows.shape[1] // channels - 1
    fractions = 1.0 - (1.0 - minimum) * draws[0]
    starts = last * (1.0 - fractions) * draws[1]
    places = starts[:, None] + fractions[:, None] * tf.range(last + 1, dtype=tf.float32)
    places = tf.minimum(places, float(last))  # rounding, (batch, steps)
    below = tf.minimum(tf.floor(places), last - 1.0)
    parts = (places - below)[:, :, None]
    indices = tf.cast(below, tf.int32)
    low = tf.gather(series, indices, batch_dims=1)
    high = tf.gather(series, indices + 1, batch_dims=1)
    # A sample without weight passes no NaN on.
    between = tf.where(parts < 1.0, low + parts * (high - low), high)
    return _flat(tf.where(parts > 0.0, between, low), rows)


def scale_series(rows: tf.Tensor, channels: int, factors: tf.Tensor) -> tf.Tensor:
    """Stretches each channel of each row about its own mean over the steps.

    Unlike Um et al., who multiply what was measured: where a unit's 0 is far away
    (kelvin, or gravity on an accelerometer) that moves a series' level far more than
    its shape. A gap stays a gap.

    Args:
        rows: `(batch, steps * channels)`, the channels of a step side by side.
        channels: that a step has.
        factors: one a row and channel, `(batch, channels)`.

    Reference:
        Um et al., "Data Augmentation of Wearable Sensor Data for Parkinson's Disease
        Monitoring using Convolutional Neural Networks", ICMI 2017.
    """
    series = _series(rows, channels)
    missing = tf.math.is_nan(series)
    counts = tf.reduce_sum(tf.cast(~missing, tf.float32), axis=1, keepdims=True)
    sums = tf.reduce_sum(tf.where(missing, 0.0, series), axis=1, keepdims=True)
    means = sums / tf.maximum(counts, 1.0)  # (batch, 1, channels)
    return _flat(series + (factors[:, None, :] - 1.0) * (series - means), rows)


def corrupt(
    rows: tf.Tensor, marginals: np.ndarray, draws: tf.Tensor, probability: float
) -> tf.Tensor:
    """Replaces entries by what their column holds in other rows, each on its own.

    Categories and gaps come along as they are.

    Args:
        rows: `(batch, num_columns)`.
        marginals: rows as measured, `(num_marginals, num_columns)`.
        draws: whether and by which, `(2, batch, num_columns)`, uniform in `[0, 1)`.
        probability: that an entry is replaced.

    Reference:
        Bahri et al., "SCARF: Self-Supervised Contrastive Learning using Random Feature
        Corruption", ICLR 2022, algorithm 1.
    """
    num_marginals, num_columns = marginals.shape
    chosen = tf.cast(draws[1] * num_marginals, tf.int32)
    # Indices into the flat table: one gather for all columns.
    places = chosen * num_columns + tf.range(num_columns)
    values = tf.gather(tf.constant(marginals.ravel()), places)
    return tf.where(draws[0] < probability, values, rows)


def _series(rows, channels):
    return tf.reshape(rows, [-1, rows.shape[1] // channels, channels])


def _flat(series, rows):
    return tf.reshape(series, tf.shape(rows))
