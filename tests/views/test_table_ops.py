"""What is done to rows, by value, from draws that are chosen by hand."""

import numpy as np
import pytest
import tensorflow as tf

from vicreg_keras.views import table_ops

NAN = np.nan


def uniform(*shape, seed=0):
    return np.random.default_rng(seed).random(shape, np.float32)


# Mixing.


def test_numbers_are_mixed_and_categories_taken_from_one_of_the_two():
    rows = np.array([[0, 0, 0], [10, 1, 1], [20, 2, 2]], np.float32)
    row_draws = np.array([[0.0, 0.6, 0.0], [0.5, 0.5, 0.0]], np.float32)
    entry_draws = np.array([[0.5, 0.3, 0.2]] * 3, np.float32)
    mixed = table_ops.mix(rows, [False, True, True], row_draws, entry_draws, 0.5)
    # Partners: 1 for row 0, 0 for row 1 (two further on), 0 for row 2. t = 1/4, 1/4, 0.
    np.testing.assert_allclose(mixed, [[2.5, 0, 1], [7.5, 1, 0], [20, 2, 2]])


def test_mixed_numbers_lie_between_two_rows_and_never_beyond():
    rows = np.random.default_rng(0).normal(size=(50, 1)).astype(np.float32)
    for maximum in (0.3, 1.0):
        draws = uniform(2, 50), uniform(50, 1)
        mixed = table_ops.mix(rows, [False], *draws, maximum).numpy()
        assert rows.min() <= mixed.min() and mixed.max() <= rows.max()
        assert np.all(np.abs(mixed - rows) <= maximum * np.ptp(rows))
        assert np.all(mixed != rows)


def test_the_other_row_is_any_but_the_row_itself():
    rows = np.arange(5, dtype=np.float32)[:, None]
    found = [set() for _ in rows]
    for share in (0.0, 0.24, 0.26, 0.49, 0.51, 0.74, 0.76, 0.9999999):
        # t is almost 1: what comes out is the other row's number.
        draws = np.array([[share] * 5, [0.9999999] * 5], np.float32)
        mixed = table_ops.mix(rows, [False], draws, uniform(5, 1), 1.0)
        for others, number in zip(found, mixed.numpy().ravel(), strict=True):
            others.add(round(float(number)))
    assert found == [set(range(5)) - {k} for k in range(5)]


def test_one_row_has_no_other():
    rows = np.array([[3.0, NAN]], np.float32)
    mixed = table_ops.mix(rows, [False] * 2, uniform(2, 1), uniform(1, 2), 1.0)
    np.testing.assert_array_equal(mixed, rows)


def test_where_either_misses_its_value_the_row_keeps_its_own():
    rows = np.array([[1, NAN, 0, NAN, 4], [NAN, 2, NAN, 1, 8]], np.float32)
    draws = np.full((2, 2), 0.999, np.float32), np.zeros((2, 5), np.float32)
    mixed = table_ops.mix(rows, [False, False, True, True, False], *draws, 1.0).numpy()
    np.testing.assert_array_equal(mixed[:, :4], rows[:, :4])
    assert np.all(mixed[:, 4] != rows[:, 4])


def test_equal_rows_stay_exactly_as_they_are():
    rows = np.full((64, 3), 0.1, np.float32)
    mixed = table_ops.mix(rows, [False] * 3, uniform(2, 64), uniform(64, 3), 1.0)
    np.testing.assert_array_equal(mixed, rows)


# Series.


def ramps(batch, steps):
    """Two channels, interleaved: 0, 1, 2, ... and its tenfold, from 100 downwards."""
    up = np.arange(steps, dtype=np.float32)
    series = np.stack([up, 100 - 10 * up], axis=1)
    return np.tile(series.reshape(1, -1), (batch, 1))


def test_a_cropped_ramp_is_a_slower_ramp():
    draws = uniform(2, 200)
    cropped = table_ops.crop_series(ramps(200, 11), 2, draws, 0.4).numpy()
    up, down = cropped[:, ::2], cropped[:, 1::2]
    fractions = 1 - 0.6 * draws[0]
    np.testing.assert_allclose(np.ptp(up, axis=1), 10 * fractions, atol=1e-5)
    np.testing.assert_allclose(up[:, 0], 10 * (1 - fractions) * draws[1], atol=1e-5)
    slope = np.repeat(fractions[:, None], 10, axis=1)
    np.testing.assert_allclose(np.diff(up), slope, atol=1e-5)
    # The other channel has the same window.
    np.testing.assert_allclose(down, 100 - 10 * up, atol=1e-4)
    assert up.min() >= 0 and up.max() <= 10
    assert up.min() < 0.2 and up.max() > 9.8


def test_a_crop_of_all_is_the_series():
    rows = np.random.default_rng(0).normal(size=(3, 12)).astype(np.float32)
    cropped = table_ops.crop_series(rows, 3, np.zeros((2, 3), np.float32), 0.5)
    np.testing.assert_array_equal(cropped, rows)


def test_a_crop_misses_what_lies_beside_a_gap_and_nothing_else():
    rows = np.array([[0, 1, NAN, 3, 4]], np.float32)
    # All of it: every place is a sample's own, and its neighbors do not matter.
    all_of_it = table_ops.crop_series(rows, 1, np.zeros((2, 1), np.float32), 0.5)
    np.testing.assert_array_equal(all_of_it, rows)
    # Half of it from the left: places 0, 0.5, 1, 1.5 and 2.
    half = np.array([[1.0], [0.0]], np.float32)
    np.testing.assert_array_equal(
        table_ops.crop_series(rows, 1, half, 0.5), [[0, 0.5, 1, NAN, NAN]]
    )
    # And from the right: places 2, 2.5, 3, 3.5 and 4.
    half = np.array([[1.0], [1.0]], np.float32)
    np.testing.assert_array_equal(
        table_ops.crop_series(rows, 1, half, 0.5), [[NAN, NAN, 3, 3.5, 4]]
    )


def test_scaling_stretches_each_channel_about_its_own_mean():
    rows = np.array([[1, 10, 3, 30], [1, 10, 3, 30]], np.float32)
    factors = np.array([[2, 1], [1, 0.5]], np.float32)
    np.testing.assert_allclose(
        table_ops.scale_series(rows, 2, factors), [[0, 10, 4, 30], [1, 15, 3, 25]]
    )


def test_scaling_takes_the_mean_of_what_is_there():
    rows = np.array([[1, NAN, 3], [NAN, NAN, NAN]], np.float32)
    scaled = table_ops.scale_series(rows, 1, np.array([[3.0], [3.0]], np.float32))
    np.testing.assert_allclose(scaled, [[-1, NAN, 5], [NAN, NAN, NAN]])


# Corruption.


def test_an_entry_is_replaced_by_its_own_columns_value():
    rows = np.zeros((2, 3), np.float32)
    marginals = np.array([[1, 2, NAN], [10, 20, 30]], np.float32)
    whether = [[0.1, 0.4, 0.29], [0.3, 0.1, 0.1]]
    which = [[0.0, 0.9, 0.49], [0.0, 0.5, 0.9999999]]
    draws = np.array([whether, which], np.float32)
    np.testing.assert_array_equal(
        table_ops.corrupt(rows, marginals, draws, 0.3), [[1, 0, NAN], [0, 20, 30]]
    )


@pytest.mark.parametrize("num_marginals", [1, 3, 4095, 4096])
def test_every_marginal_row_is_drawn_from_the_first_to_the_last(num_marginals):
    marginals = np.arange(num_marginals, dtype=np.float32)[:, None]
    ends = np.array([[[0.0]] * 2, [[0.0], [np.nextafter(np.float32(1), 0)]]])
    replaced = table_ops.corrupt(
        np.full((2, 1), NAN, np.float32), marginals, ends.astype(np.float32), 1.0
    )
    np.testing.assert_array_equal(replaced, [[0], [num_marginals - 1]])


def test_the_ops_agree_with_themselves_under_xla():
    rows = np.random.default_rng(0).normal(size=(6, 8)).astype(np.float32)
    rows[rows > 1.2] = NAN
    marginals = rows[:3]

    def everything(rows):
        rows = table_ops.mix(rows, [False] * 8, uniform(2, 6), uniform(6, 8), 0.5)
        rows = table_ops.crop_series(rows, 2, uniform(2, 6), 0.5)
        rows = table_ops.scale_series(rows, 2, uniform(6, 2))
        return table_ops.corrupt(rows, marginals, uniform(2, 6, 8, seed=1), 0.3)

    compiled = tf.function(everything, jit_compile=True)(tf.constant(rows))
    np.testing.assert_allclose(compiled, everything(rows), rtol=1e-5, atol=1e-6)
