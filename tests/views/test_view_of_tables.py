"""A view of tables: its draws, its config, and the model that it is part of."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.views.conftest import CATEGORICAL, EXAMPLES, UNITS
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
        Mixup(0, CATEGORICAL),
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


def test_config_builds_the_same_view(view):
    config = view.get_config()
    again = View.from_config(config)
    np.testing.assert_equal(again.get_config(), config)
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
        np.testing.assert_equal(again.get_config(), view.get_config())
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
