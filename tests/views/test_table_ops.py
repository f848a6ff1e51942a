"""Operations on tabular examples, by value, from draws that are chosen by hand."""

import numpy as np
import pytest
import tensorflow as tf

from vicreg_keras.views import table_ops

NAN = np.nan


def uniform(*shape, seed=0):
    return np.random.default_rng(seed).random(shape, np.float32)


# Mixing.


def test_numbers_are_mixed_and_categories_chosen():
    examples = np.array([[0, 0, 0], [10, 1, 1], [20, 2, 2]], np.float32)
    example_draws = np.array([[0.0, 0.6, 0.0], [0.5, 0.5, 0.0]], np.float32)
    entry_draws = np.array([[0.5, 0.3, 0.2]] * 3, np.float32)
    mixed = table_ops.mix(
        examples, [False, True, True], example_draws, entry_draws, 0.5
    )
    # Partners: 1 for example 0, 0 for 1 (two further on), 0 for 2. t = 1/4, 1/4, 0.
    np.testing.assert_allclose(mixed, [[2.5, 0, 1], [7.5, 1, 0], [20, 2, 2]])


def test_mixed_numbers_lie_between_two_examples():
    examples = np.random.default_rng(0).normal(size=(50, 1)).astype(np.float32)
    for maximum in (0.3, 1.0):
        draws = uniform(2, 50), uniform(50, 1)
        mixed = table_ops.mix(examples, [False], *draws, maximum).numpy()
        assert examples.min() <= mixed.min() and mixed.max() <= examples.max()
        assert np.all(np.abs(mixed - examples) <= maximum * np.ptp(examples))
        assert np.all(mixed != examples)


def test_every_other_example_is_mixed_in():
    examples = np.arange(5, dtype=np.float32)[:, None]
    found = [set() for _ in examples]
    for share in (0.0, 0.24, 0.26, 0.49, 0.51, 0.74, 0.76, 0.9999999):
        # t is almost 1: what comes out is the other example's number.
        draws = np.array([[share] * 5, [0.9999999] * 5], np.float32)
        mixed = table_ops.mix(examples, [False], draws, uniform(5, 1), 1.0)
        for others, number in zip(found, mixed.numpy().ravel(), strict=True):
            others.add(round(float(number)))
    assert found == [set(range(5)) - {k} for k in range(5)]


def test_single_example_stays_as_it_is():
    examples = np.array([[3.0, NAN]], np.float32)
    mixed = table_ops.mix(examples, [False] * 2, uniform(2, 1), uniform(1, 2), 1.0)
    np.testing.assert_array_equal(mixed, examples)


def test_missing_values_are_not_mixed():
    examples = np.array([[1, NAN, 0, NAN, 4], [NAN, 2, NAN, 1, 8]], np.float32)
    draws = np.full((2, 2), 0.999, np.float32), np.zeros((2, 5), np.float32)
    mixed = table_ops.mix(
        examples, [False, False, True, True, False], *draws, 1.0
    ).numpy()
    np.testing.assert_array_equal(mixed[:, :4], examples[:, :4])
    assert np.all(mixed[:, 4] != examples[:, 4])


def test_equal_examples_stay_exactly_equal():
    examples = np.full((64, 3), 0.1, np.float32)
    mixed = table_ops.mix(examples, [False] * 3, uniform(2, 64), uniform(64, 3), 1.0)
    np.testing.assert_array_equal(mixed, examples)


# Series.


def ramps(batch, steps):
    """Two channels, interleaved: 0, 1, 2, ... and its tenfold, from 100 downwards."""
    up = np.arange(steps, dtype=np.float32)
    series = np.stack([up, 100 - 10 * up], axis=1)
    return np.tile(series.reshape(1, -1), (batch, 1))


def test_window_of_a_ramp_is_a_slower_ramp():
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


def test_window_of_full_length_is_the_series():
    examples = np.random.default_rng(0).normal(size=(3, 12)).astype(np.float32)
    cropped = table_ops.crop_series(examples, 3, np.zeros((2, 3), np.float32), 0.5)
    np.testing.assert_array_equal(cropped, examples)


def test_window_is_missing_only_beside_a_gap():
    examples = np.array([[0, 1, NAN, 3, 4]], np.float32)
    # All of it: every place is a sample's own, and its neighbors do not matter.
    all_of_it = table_ops.crop_series(examples, 1, np.zeros((2, 1), np.float32), 0.5)
    np.testing.assert_array_equal(all_of_it, examples)
    # Half of it from the left: places 0, 0.5, 1, 1.5 and 2.
    half = np.array([[1.0], [0.0]], np.float32)
    np.testing.assert_array_equal(
        table_ops.crop_series(examples, 1, half, 0.5), [[0, 0.5, 1, NAN, NAN]]
    )
    # And from the right: places 2, 2.5, 3, 3.5 and 4.
    half = np.array([[1.0], [1.0]], np.float32)
    np.testing.assert_array_equal(
        table_ops.crop_series(examples, 1, half, 0.5), [[NAN, NAN, 3, 3.5, 4]]
    )


def test_scaling_stretches_each_channel_about_its_own_mean():
    examples = np.array([[1, 10, 3, 30], [1, 10, 3, 30]], np.float32)
    factors = np.array([[2, 1], [1, 0.5]], np.float32)
    np.testing.assert_allclose(
        table_ops.scale_series(examples, 2, factors), [[0, 10, 4, 30], [1, 15, 3, 25]]
    )


def test_scaling_ignores_missing_values():
    examples = np.array([[1, NAN, 3], [NAN, NAN, NAN]], np.float32)
    scaled = table_ops.scale_series(examples, 1, np.array([[3.0], [3.0]], np.float32))
    np.testing.assert_allclose(scaled, [[-1, NAN, 5], [NAN, NAN, NAN]])


# Corruption.


def test_entries_are_replaced_by_values_of_their_column():
    examples = np.zeros((2, 3), np.float32)
    marginals = np.array([[1, 2, NAN], [10, 20, 30]], np.float32)
    whether = [[0.1, 0.4, 0.29], [0.3, 0.1, 0.1]]
    which = [[0.0, 0.9, 0.49], [0.0, 0.5, 0.9999999]]
    draws = np.array([whether, which], np.float32)
    np.testing.assert_array_equal(
        table_ops.corrupt(examples, marginals, draws, 0.3), [[1, 0, NAN], [0, 20, 30]]
    )


@pytest.mark.parametrize("num_marginals", [1, 3, 4095, 4096])
def test_first_and_last_marginals_are_drawn(num_marginals):
    marginals = np.arange(num_marginals, dtype=np.float32)[:, None]
    ends = np.array([[[0.0]] * 2, [[0.0], [np.nextafter(np.float32(1), 0)]]])
    replaced = table_ops.corrupt(
        np.full((2, 1), NAN, np.float32), marginals, ends.astype(np.float32), 1.0
    )
    np.testing.assert_array_equal(replaced, [[0], [num_marginals - 1]])


def test_ops_give_the_same_under_xla():
    examples = np.random.default_rng(0).normal(size=(6, 8)).astype(np.float32)
    examples[examples > 1.2] = NAN
    marginals = examples[:3]

    def everything(examples):
        examples = table_ops.mix(
            examples, [False] * 8, uniform(2, 6), uniform(6, 8), 0.5
        )
        examples = table_ops.crop_series(examples, 2, uniform(2, 6), 0.5)
        examples = table_ops.scale_series(examples, 2, uniform(6, 2))
        return table_ops.corrupt(examples, marginals, uniform(2, 6, 8, seed=1), 0.3)

    compiled = tf.function(everything, jit_compile=True)(tf.constant(examples))
    np.testing.assert_allclose(compiled, everything(examples), rtol=1e-5, atol=1e-6)
