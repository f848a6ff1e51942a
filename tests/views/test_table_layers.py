"""Random layers of tables: what they draw, what they change, what they refuse."""

import math

import numpy as np
import pytest

from tests.views.conftest import EXAMPLES, UNITS, table
from vicreg_keras.views.table_layers import (
    Mixup,
    RandomCorruption,
    RandomMasking,
    RandomNoise,
    RandomScaling,
    RandomWindow,
)
from vicreg_keras.views.view import View

NAN = np.nan


def assert_frequency(happened, probability):
    """Five standard errors of a binomial."""
    error = math.sqrt(probability * (1 - probability) / happened.size)
    assert abs(happened.mean() - probability) <= 5 * error


@pytest.mark.parametrize("probability", [0.05, 0.3, 1.0])
def test_corrupted_entries_are_values_of_their_column(probability):
    # No value is in two columns, and none of the marginals' is in an example.
    marginals = np.arange(40, dtype=np.float32).reshape(10, 4)
    examples = np.full((3000, 4), -1, np.float32)
    corrupt = RandomCorruption(probability, marginals)
    corrupted = corrupt(examples, seed=(0, 1)).numpy()
    for column in range(4):
        values = corrupted[:, column]
        replaced = values[values != -1]
        assert set(replaced) == set(marginals[:, column])
        assert_frequency(values != -1, probability)
        # Each of the ten as often as the others.
        for value in marginals[:, column]:
            assert_frequency(replaced == value, 0.1)
    # Entries of an example are chosen and replaced each on its own.
    together = np.corrcoef(corrupted.T // 4) - np.eye(4)
    assert np.abs(together).max() < 5 / math.sqrt(len(examples))


def test_corruption_draws_gaps_and_codes():
    marginals = np.array([[NAN, 0], [1, 2], [NAN, 2], [NAN, 2]], np.float32)
    corrupt = RandomCorruption(1.0, marginals)
    numbers, codes = corrupt(np.zeros((4000, 2)), seed=(0, 1)).numpy().T
    assert set(numbers[~np.isnan(numbers)]) == {1} and set(codes) == {0, 2}
    assert_frequency(np.isnan(numbers), 0.75)
    assert_frequency(codes == 2, 0.75)


def test_noise_is_in_units_of_the_column_and_keeps_categories_and_gaps():
    examples = table(4000)
    noisy = RandomNoise(0.5, UNITS)(examples, seed=(0, 1)).numpy()
    change = noisy - examples
    np.testing.assert_array_equal(noisy[:, 1], examples[:, 1])
    np.testing.assert_array_equal(np.isnan(change), np.isnan(examples))
    for column in (0, 2, 3):
        present = change[~np.isnan(change[:, column]), column] / UNITS[column]
        # Five standard errors: of a standard deviation, and of a mean.
        assert abs(present.std() - 0.5) < 5 * 0.5 / math.sqrt(2 * len(present))
        assert abs(present.mean()) < 5 * 0.5 / math.sqrt(len(present))


def test_masked_entries_are_missing_and_the_others_unchanged():
    examples = np.random.default_rng(0).normal(size=(2000, 3)).astype(np.float32)
    masked = RandomMasking(0.3)(examples, seed=(0, 1)).numpy()
    is_masked = np.isnan(masked)
    np.testing.assert_array_equal(masked[~is_masked], examples[~is_masked])
    for column in range(3):
        assert_frequency(is_masked[:, column], 0.3)


def test_mixup_shares_are_uniform_and_categories_follow_them():
    # Half are (0, 0), half (1, 1): a mixed example shows its share.
    examples = np.repeat(np.array([[0, 0], [1, 1]], np.float32), 4000, axis=0)
    mixed = Mixup(0.6, [False, True])(examples, seed=(0, 1)).numpy()
    shares = np.abs(mixed - examples)
    mixed = shares[shares[:, 0] > 0]
    assert_frequency(shares[:, 0] > 0, 0.5)
    assert mixed[:, 0].max() < 0.6
    for low in (0.0, 0.2, 0.4):
        inside = (mixed[:, 0] >= low) & (mixed[:, 0] < low + 0.2)
        assert_frequency(inside, 1 / 3)
        changed = mixed[inside, 1]
        assert set(changed) == {0, 1}
        assert_frequency(changed, low + 0.1)


def test_scaling_is_one_factor_per_example_and_channel():
    series = np.random.default_rng(0).normal(size=(3000, 4, 2)).astype(np.float32)
    scale = RandomScaling(0.2, num_channels=2)
    scaled = scale(series.reshape(-1, 8), seed=(0, 1)).numpy().reshape(-1, 4, 2)
    means = series.mean(axis=1, keepdims=True)
    factors = np.linalg.norm(scaled - means, axis=1) / np.linalg.norm(
        series - means, axis=1
    )
    np.testing.assert_allclose(
        scaled, means + factors[:, None] * (series - means), rtol=1e-4, atol=1e-5
    )
    assert np.all(np.abs(factors.mean(axis=0) - 1) < 5 * 0.2 / math.sqrt(3000))
    assert np.all(np.abs(factors.std(axis=0) - 0.2) < 5 * 0.2 / math.sqrt(6000))
    assert abs(np.corrcoef(factors.T)[0, 1]) < 5 / math.sqrt(3000)


def test_windows_of_ramps_are_ramps_of_every_allowed_length():
    ramps = np.tile(np.arange(21, dtype=np.float32), (2000, 1))
    windows = RandomWindow(0.5)(ramps, seed=(0, 1)).numpy()
    lengths = np.ptp(windows, axis=1) / 20
    assert np.all(np.diff(windows) > 0)
    assert windows.min() >= 0 and windows.max() <= 20
    assert 0.5 <= lengths.min() + 1e-6 and lengths.max() <= 1
    assert_frequency(lengths < 0.75, 0.5)
    # Windows start anywhere that they fit.
    starts = windows[:, 0] / (20 * (1 - lengths))
    assert_frequency(starts < 0.5, 0.5)


@pytest.mark.parametrize(
    "build,message",
    [
        (
            lambda: RandomMasking(1.5),
            r"probability of random_masking to be a number in \[0, 1\]. .*=1.5",
        ),
        (lambda: Mixup(-0.1, [False]), "Received: maximum=-0.1"),
        (lambda: RandomCorruption(NAN, EXAMPLES), "Received: probability=nan"),
        (lambda: RandomNoise(math.inf, [1]), "number of at least 0. .*stddev=inf"),
        (lambda: RandomScaling("0.1"), "Received: stddev='0.1'"),
        (lambda: RandomWindow(1.5), r"number in \[0, 1\]. Received: min_length=1.5"),
        (lambda: RandomScaling(0.1, 1.5), "num_channels of .* whole number of at lea"),
        (lambda: RandomScaling(0.1, 0), "Received: num_channels=0"),
    ],
)
def test_impossible_arguments_are_refused_in_one_line(build, message):
    with pytest.raises(ValueError, match=message) as error:
        build()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "layer,shape,message",
    [
        (RandomNoise(0.1, UNITS), (2, 3), r"shape \(batch, 4\). .*shape=\(2, 3\)"),
        (RandomMasking(0.5), (2, 3, 3), r"shape \(batch, num_columns\)"),
        (RandomScaling(0.5, 2), (2, 3), "num_channels that divide 3 columns"),
        (RandomWindow(0.5, 3), (2, 3), "into two steps or more"),
    ],
)
def test_examples_of_another_table_are_refused(layer, shape, message):
    for called in (layer, View([layer])):
        with pytest.raises(ValueError, match=message):
            called(np.zeros(shape, np.float32), seed=(0, 1))
