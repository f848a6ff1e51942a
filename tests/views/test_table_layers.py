"""Random layers of tables: what they draw, what they change, and their configs."""

import json
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from vicreg_keras.model import VICReg
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
CATEGORICAL = [False, True, False, False]
UNITS = np.array([10, 0, 1e-3, 1], np.float32)


def table(num_examples, seed=0):
    """Heights about 170, three colors, weights of few grams, a column with gaps."""
    random = np.random.default_rng(seed)
    gaps = random.random(num_examples) < 0.25
    columns = [
        random.normal(170, 10, num_examples),
        random.integers(0, 3, num_examples),
        random.normal(0, 1e-3, num_examples),
        np.where(gaps, NAN, random.normal(size=num_examples)),
    ]
    return np.stack(columns, axis=1).astype(np.float32)


EXAMPLES = table(64)


def view_of_everything():
    return View(
        [
            Mixup(0.3, CATEGORICAL),
            RandomNoise(0.1, UNITS),
            RandomCorruption(0.2, EXAMPLES),
            RandomMasking(0.1),
        ]
    )


@pytest.fixture(scope="module")
def view():
    """One for all tests that change nothing: compiling it takes a second."""
    return view_of_everything()


def assert_frequency(happened, probability):
    """Five standard errors of a binomial."""
    error = math.sqrt(probability * (1 - probability) / happened.size)
    assert abs(happened.mean() - probability) <= 5 * error


# Each layer alone.


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


# In a view.


@pytest.mark.slow
def test_categories_stay_codes_through_everything(view):
    codes = view(EXAMPLES, seed=(0, 1)).numpy()[:, 1]
    present = ~np.isnan(codes)
    assert set(codes[present]) == {0, 1, 2}
    assert np.any(codes[present] != EXAMPLES[present, 1])


@pytest.mark.slow
def test_same_seed_gives_the_same_view_wherever_it_is_called(view):
    alone = view(EXAMPLES, seed=(3, 4)).numpy()
    np.testing.assert_array_equal(alone, view(EXAMPLES, seed=np.array([3, 4])))
    for jit_compile in (False, True):
        step = tf.function(
            lambda examples, seed: view(examples, seed=seed), jit_compile=jit_compile
        )
        np.testing.assert_array_equal(
            alone, step(tf.constant(EXAMPLES), tf.constant([3, 4]))
        )
    # A dataset, whose batches are of unknown size.
    batches = tf.data.Dataset.from_tensor_slices(EXAMPLES).batch(64)
    (mapped,) = batches.map(lambda x: view(x, seed=(3, 4))).as_numpy_iterator()
    np.testing.assert_array_equal(alone, mapped)


def test_batches_of_any_size_are_one_program(view):
    step = tf.function(
        lambda examples: view(examples, seed=(0, 1)),
        input_signature=[tf.TensorSpec((None, 4))],
    )
    assert step(EXAMPLES[:1]).shape == (1, 4)
    np.testing.assert_array_equal(step(EXAMPLES), view(EXAMPLES, seed=(0, 1)))


def test_examples_and_steps_have_their_own_draws():
    examples = np.tile(np.arange(8, dtype=np.float32), (100, 1))
    series = [RandomWindow(0.5, 2), RandomScaling(0.2, 2), RandomNoise(0.1, [1] * 8)]
    for layers in ([RandomMasking(0.5)], series):
        view = View(layers)
        first, second = view(examples, seed=(0, 1)), view(examples, seed=(0, 2))
        assert len(np.unique(first, axis=0)) > 70  # of 2 ** 8 masks
        assert np.mean(first.numpy() == second.numpy()) < 0.5


def test_without_a_seed_the_global_seed_is_used(view):
    views = []
    for _ in range(2):
        keras.utils.set_random_seed(5)
        views.append(view(EXAMPLES).numpy())
    np.testing.assert_array_equal(*views)
    assert np.any(view(EXAMPLES).numpy() != views[0])


@pytest.mark.slow
def test_adding_or_moving_a_layer_changes_no_other_draws():
    mask, noise = RandomMasking(0.4), RandomNoise(1.0, np.ones(4))
    masked = mask(EXAMPLES, seed=(0, 1))
    both = View([noise, mask])(EXAMPLES, seed=(0, 1))
    np.testing.assert_array_equal(np.isnan(both), np.isnan(masked))
    np.testing.assert_array_equal(both, View([mask, noise])(EXAMPLES, seed=(0, 1)))


def test_layers_without_effect_are_left_out():
    layers = [
        Mixup(0),
        RandomWindow(1),
        RandomScaling(0),
        RandomNoise(0, UNITS),
        RandomCorruption(0, None),
        RandomMasking(0),
    ]
    assert all(layer.is_identity for layer in layers)
    np.testing.assert_array_equal(View(layers)(EXAMPLES, seed=(0, 1)), EXAMPLES)
    assert not any(layer.is_identity for layer in view_of_everything().layers)


def test_outside_training_examples_come_back_unchanged(view):
    raw = view(EXAMPLES.astype(np.float64), training=False)
    np.testing.assert_array_equal(raw, EXAMPLES)
    assert raw.dtype == tf.float32


def test_views_are_float32_whatever_the_policy(view):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        other = view_of_everything()
    finally:
        keras.config.set_dtype_policy("float32")
    result = other(EXAMPLES, seed=(0, 1))
    assert result.dtype == tf.float32 and other.variables == []
    np.testing.assert_array_equal(result, view(EXAMPLES, seed=(0, 1)))
    assert view(keras.Input((4,))).shape == (None, 4)


def test_config_is_json_and_builds_the_same_view(view):
    config = view.get_config()
    again = View.from_config(json.loads(json.dumps(config, allow_nan=False)))
    assert again.get_config() == config
    np.testing.assert_array_equal(
        again(EXAMPLES, seed=(0, 1)), view(EXAMPLES, seed=(0, 1))
    )
    for layer in (
        RandomWindow(0.25, 2),
        RandomScaling(0.2, 2),
        RandomCorruption(0, None),
    ):
        again = type(layer).from_config(layer.get_config())
        assert again.get_config() == layer.get_config()


# In a model.


class FillMissing(keras.layers.Layer):
    """Missing values become 0."""

    def call(self, examples):
        return tf.where(tf.math.is_nan(examples), 0.0, examples)


def small_model(augmenter, **options):
    keras.utils.set_random_seed(0)
    encoder = keras.Sequential(
        [keras.Input((4,)), FillMissing(), keras.layers.Dense(8, activation="relu")]
    )
    model = VICReg(encoder, None, augmenter, **options)
    model.compile(keras.optimizers.SGD(1e-4))
    return model


@pytest.mark.slow
def test_model_learns_from_tables_and_is_saved_with_its_views(view, tmp_path):
    model = small_model(view)
    before = [w.copy() for w in model.get_weights()]
    batches = tf.data.Dataset.from_tensors(EXAMPLES).repeat()
    history = model.fit(batches, steps_per_epoch=2, shuffle=False, verbose=0).history
    assert np.isfinite(history["loss"][0]) and history["invariance_loss"][0] > 0
    assert any(np.any(a != b) for a, b in zip(before, model.get_weights(), strict=True))
    assert int(model.step) == 2

    path = tmp_path / "model.keras"
    model.save(path)
    loaded = keras.saving.load_model(path, custom_objects={"FillMissing": FillMissing})
    for again in loaded.augmenter:
        assert again.get_config() == view.get_config()
    view_a, view_b = model.views(EXAMPLES, (0, 9))
    again_a, again_b = loaded.views(EXAMPLES, (0, 9))
    np.testing.assert_array_equal(view_a, again_a)
    np.testing.assert_array_equal(view_b, again_b)
    assert np.any(view_a.numpy() != view_b.numpy())


@pytest.mark.slow
def test_tables_have_more_views_than_two(view):
    model = small_model(view, num_views=3)
    several = model.views(EXAMPLES, (0, 9))
    two = small_model(view).views(EXAMPLES, (0, 9))
    np.testing.assert_array_equal(several[:2], two)
    assert not any(np.array_equal(several[2], one, equal_nan=True) for one in two)
    history = model.fit(EXAMPLES, batch_size=64, shuffle=False, verbose=0).history
    assert np.isfinite(history["loss"][0]) and history["invariance_loss"][0] > 0


@pytest.mark.slow
def test_step_compiled_by_xla_has_the_same_views():
    view, losses = RandomMasking(0.3), []
    for jit_compile, seed in ((False, 0), (True, 0), (True, 1)):
        model = small_model(view, seed=seed)
        model.compile(keras.optimizers.SGD(1e-4), jit_compile=jit_compile)
        history = model.fit(EXAMPLES, batch_size=64, shuffle=False, verbose=0).history
        losses.append(history["invariance_loss"][0])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert losses[0] != pytest.approx(losses[2], rel=1e-2)


# Errors.


@pytest.mark.parametrize(
    "build,message",
    [
        (
            lambda: RandomMasking(1.5),
            r"probability of random_masking to be a number in \[0, 1\]. .*=1.5",
        ),
        (lambda: Mixup(-0.1), "Received: maximum=-0.1"),
        (lambda: RandomCorruption(NAN, EXAMPLES), "Received: probability=nan"),
        (lambda: RandomNoise(math.inf, [1]), "number of at least 0. .*stddev=inf"),
        (lambda: RandomScaling("0.1"), "Received: stddev='0.1'"),
        (lambda: RandomWindow(0), r"number in \(0, 1\]. Received: min_length=0"),
        (lambda: RandomScaling(0.1, 1.5), "num_channels of .* whole number of at lea"),
        (lambda: RandomScaling(0.1, 0), "Received: num_channels=0"),
        (lambda: RandomNoise(0.1, [1, NAN]), "units of .* finite numbers"),
        (lambda: RandomNoise(0.1, [[1, 1]]), "units of .* finite numbers"),
        (lambda: Mixup(0.1, [0, 1]), "categorical of mixup to be True or False"),
        (lambda: RandomCorruption(0.3, None), r"marginals.shape of .*=\(\)"),
        (lambda: RandomCorruption(0.3, np.zeros((0, 2))), r"marginals.shape=\(0, 2\)"),
        (lambda: RandomCorruption(0.3, np.zeros((4097, 2))), r"in \[1, 4096\]. .*4097"),
        (lambda: RandomCorruption(0.3, np.zeros(3)), r"marginals.shape=\(3,\)"),
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
