"""Views: lists of layers, and where their randomness comes from."""

import itertools
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from vicreg_keras.model import VICReg
from vicreg_keras.views.image_layers import (
    RandomColorJitter,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomSolarization,
)
from vicreg_keras.views.named_views import make_views
from vicreg_keras.views.view import View

IMAGES = np.random.default_rng(0).integers(0, 256, (8, 12, 12, 3)).astype(np.uint8)
MANY = np.random.default_rng(1).integers(0, 256, (64, 3, 3, 3)).astype(np.uint8)
# Flips and inversions commute, so their order shows in the draws alone.
FLIP = RandomHorizontalFlip(0.5)
INVERT = RandomSolarization(threshold=0, probability=0.5)


def cheap_view():
    """A view that is quick to compile."""
    return View([RandomHorizontalFlip(0.5), RandomColorJitter(brightness=0.4)])


@pytest.fixture(scope="module")
def pair():
    return make_views("paper", crop_size=8)


# Layers and their names.


def test_layers_are_applied_in_their_order():
    jitter = RandomColorJitter(brightness=0.4)
    both = View([jitter, INVERT])(MANY, seed=(0, 1))
    other = View([INVERT, jitter])(MANY, seed=(0, 1))
    np.testing.assert_array_equal(both, INVERT(jitter(MANY, seed=(0, 1)), seed=(0, 1)))
    assert np.any(both.numpy() != other.numpy())


def test_layer_draws_the_same_alone_and_in_a_view():
    np.testing.assert_array_equal(
        View([FLIP])(MANY, seed=(0, 1)), FLIP(MANY, seed=(0, 1))
    )


def test_reordering_layers_changes_no_draws():
    np.testing.assert_array_equal(
        View([FLIP, INVERT])(MANY, seed=(0, 1)), View([INVERT, FLIP])(MANY, seed=(0, 1))
    )


def test_adding_a_layer_changes_no_other_draws():
    flipped = View([FLIP])(MANY, seed=(0, 1)).numpy()
    both = View([INVERT, FLIP])(MANY, seed=(0, 1)).numpy()
    inverted = np.all(both == 255 - flipped, axis=(1, 2, 3))
    assert np.all(inverted | np.all(both == flipped, axis=(1, 2, 3)))
    assert 16 < inverted.sum() < 48


def test_draws_depend_on_the_name():
    other = RandomHorizontalFlip(0.5, name="second_flip")
    first, second = FLIP(MANY, seed=(0, 1)), other(MANY, seed=(0, 1))
    assert np.any(first.numpy() != second.numpy())


def test_default_names_count_no_layers_made_before():
    assert [RandomHorizontalFlip().name for _ in range(2)] == [
        "random_horizontal_flip"
    ] * 2


def test_two_layers_of_a_name_are_refused():
    with pytest.raises(ValueError, match=r"distinct names.*names=\['random_horizon"):
        View([FLIP, RandomHorizontalFlip(0.1)])
    named = RandomHorizontalFlip(0.1, name="second")
    assert len(View([FLIP, named]).layers) == 2


def test_layers_without_effect_are_left_out():
    layers = [
        RandomResizedCrop(scale=(1, 1)),
        RandomHorizontalFlip(0),
        RandomColorJitter(probability=1),
    ]
    assert all(layer.is_identity for layer in layers)
    np.testing.assert_array_equal(View(layers)(IMAGES, seed=(0, 0)), IMAGES)
    effective = (RandomResizedCrop(6, (1, 1)), RandomColorJitter(hue=0.1), FLIP)
    assert not any(layer.is_identity for layer in effective)


@pytest.mark.slow
def test_saved_model_loads_in_a_process_that_imports_vicreg_alone(tmp_path):
    encoder = keras.Sequential([keras.Input((12, 12, 3)), keras.layers.Flatten()])
    VICReg(encoder, None, View([FLIP])).save(tmp_path / "model.keras")
    code = (
        "import keras; from vicreg_keras import VICReg\n"
        f"model = keras.models.load_model({str(tmp_path / 'model.keras')!r})\n"
        "print(model.augmenter[0].layers[0].name)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.split()[-1] == "random_horizontal_flip"


# Seeds.


@pytest.mark.slow
def test_same_seed_gives_the_same_view_wherever_it_is_called(pair):
    alone = pair[0](IMAGES, seed=(3, 4)).numpy()
    np.testing.assert_array_equal(alone, pair[0](IMAGES, seed=np.array([3, 4])))

    @tf.function
    def step(images, seed):
        return pair[0](images, seed=seed) + 0.0

    np.testing.assert_array_equal(alone, step(IMAGES, tf.constant([3, 4])))
    seeds = tf.data.Dataset.from_tensor_slices([[3, 4], [3, 5], [3, 4]])
    for calls in (None, 2):
        mapped = seeds.map(lambda s: pair[0](IMAGES, seed=s), num_parallel_calls=calls)
        first, other, again = mapped.as_numpy_iterator()
        np.testing.assert_array_equal(first, alone)
        np.testing.assert_array_equal(again, alone)
        assert np.abs(other - alone).mean() > 1.0


@pytest.mark.slow
def test_same_seed_gives_the_same_view_in_another_process(pair):
    # Other layers are made before.
    code = (
        "import numpy as np; from vicreg_keras import *; make_views('cifar')\n"
        "images = np.random.default_rng(0).integers(0, 256, (8, 12, 12, 3))\n"
        "view, _ = make_views('paper', crop_size=8)\n"
        "print(float(view(images.astype(np.uint8), seed=(3, 4)).numpy().sum()))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    expected = pair[0](IMAGES, seed=(3, 4)).numpy().sum()
    assert float(result.stdout.split()[-1]) == float(expected)


def test_views_inside_a_dataset_of_unknown_batch():
    dataset = tf.data.Dataset.from_tensor_slices(IMAGES).batch(8)
    view = cheap_view()
    (mapped,) = dataset.map(lambda x: view(x, seed=(3, 4))).as_numpy_iterator()
    np.testing.assert_array_equal(mapped, view(IMAGES, seed=(3, 4)))


def test_steps_have_their_own_randomness(pair):
    @tf.function
    def with_seed(step):
        return pair[0](IMAGES, seed=tf.stack([0, step]))

    @tf.function
    def without_seed():
        return pair[0](IMAGES)

    for call in (lambda k: with_seed(tf.constant(k)), lambda k: without_seed()):
        first, second = call(0).numpy(), call(1).numpy()
        assert np.abs(first - second).mean() > 1.0


def test_images_have_their_own_randomness():
    views = cheap_view()(np.tile(IMAGES[:1], (64, 1, 1, 1)), seed=(0, 0)).numpy()
    assert len(np.unique(views.reshape(64, -1), axis=0)) == 64


def test_without_a_seed_the_global_seed_is_used(pair):
    views = []
    for _ in range(2):
        keras.utils.set_random_seed(5)
        views.append(pair[0](IMAGES).numpy())
    np.testing.assert_array_equal(*views)
    assert np.any(pair[0](IMAGES).numpy() != views[0])


def test_views_of_a_pair_differ_and_neither_is_raw(pair):
    first, second = pair[0](IMAGES, seed=(0, 1)), pair[1](IMAGES, seed=(0, 2))
    raw = pair[0](IMAGES, training=False)
    for one, other in itertools.combinations((first, second, raw), 2):
        assert one.shape == (8, 8, 8, 3) and one.dtype == tf.float32
        distance = np.abs(one.numpy() - other.numpy()).mean(axis=(1, 2, 3))
        assert np.all(distance > 1.0)
    assert 0.0 <= first.numpy().min() and first.numpy().max() <= 255.0
    assert first.numpy().max() > 50.0


# Dtypes, shapes and configs.


def test_views_are_float32_whatever_the_policy():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        view = cheap_view()
    finally:
        keras.config.set_dtype_policy("float32")
    assert view.compute_dtype == "float32" and view.variables == []
    result = view(IMAGES.astype(np.float32), seed=(1, 2))
    assert result.dtype == tf.float32
    np.testing.assert_array_equal(result, cheap_view()(IMAGES, seed=(1, 2)))


def test_outside_training_images_come_back():
    raw = cheap_view()(IMAGES, training=False)
    np.testing.assert_array_equal(raw, IMAGES)
    assert raw.dtype == tf.float32
    cropped = View([RandomResizedCrop(6)])
    assert cropped(IMAGES, training=False).shape == (8, 6, 6, 3)


def test_shapes_are_known_without_running():
    view = View([RandomHorizontalFlip(), RandomResizedCrop(16)])
    assert view(keras.Input((32, 32, 3))).shape == (None, 16, 16, 3)
    assert cheap_view()(keras.Input((32, 32, 3))).shape == (None, 32, 32, 3)


def test_images_of_another_rank_are_refused():
    with pytest.raises(ValueError, match="Expected images of shape"):
        cheap_view()(np.zeros((32, 32, 3), np.uint8), seed=(0, 0))


def test_config_round_trip():
    view = View(
        [RandomResizedCrop(9, interpolation="bicubic"), FLIP, INVERT], name="first"
    )
    stored = keras.saving.serialize_keras_object(view)
    again = keras.saving.deserialize_keras_object(stored)
    assert type(again) is View and again.name == "first"
    assert again.get_config() == view.get_config()
    np.testing.assert_array_equal(again(MANY, seed=(0, 1)), view(MANY, seed=(0, 1)))
