"""Views: their steps, their seeds and their settings."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from vicreg_keras.views import image_views

# Quick to compile: flips, and every image's own brightness.
CHEAP = dict(
    crop_scale=(1, 1),
    contrast=0,
    saturation=0,
    hue=0,
    jitter_probability=1,
    grayscale_probability=0,
)


def draw(view, num_draws=10_000):
    """Parameters of every step, `None` for those left out; drawn outside XLA."""
    draws = tf.random.stateless_uniform([view.num_draws, num_draws], [0, 1])
    images = tf.zeros([1, 32, 32, 3])
    drawn = view.get_random_transformation_batch(num_draws, images=images, draws=draws)
    return [step and {name: x.numpy() for name, x in step.items()} for step in drawn]


def noise(batch=4, height=12, width=12, seed=0):
    shape = (batch, height, width, 3)
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def test_a_views_parameters_are_independent():
    view = image_views.View(blur_probability=0.5, solarize_probability=0.5)
    crop, flip, color, gray, blur, solarize = draw(view)
    chances = [flip["apply"], color["apply"], gray["apply"], blur["apply"]]
    values = [*chances, solarize["apply"], crop["width"], color["hue"]]
    assert np.abs(np.corrcoef(values) - np.eye(len(values))).max() < 0.04
    assert abs(flip["apply"].mean() - 0.5) < 0.02


def test_leaving_a_step_out_changes_no_other():
    full, less = (
        draw(image_views.View()),
        draw(image_views.View(flip_probability=0, jitter_probability=0)),
    )
    assert less[1] is None and less[2] is None
    np.testing.assert_array_equal(full[0]["width"], less[0]["width"])
    np.testing.assert_array_equal(full[3]["apply"], less[3]["apply"])


def test_parameters_are_an_images_own():
    images = np.tile(noise(batch=1), (64, 1, 1, 1))
    views = image_views.View(**CHEAP)(images, seed=(0, 0)).numpy()
    assert len(np.unique(views.reshape(64, -1), axis=0)) == 64


@pytest.fixture(scope="module")
def pair():
    return image_views.make_views("paper", crop_size=8)


@pytest.fixture(scope="module")
def images():
    return noise(batch=8)


def test_same_seed_same_view_wherever_it_is_called(pair, images):
    alone = pair[0](images, seed=(3, 4)).numpy()
    np.testing.assert_array_equal(alone, pair[0](images, seed=np.array([3, 4])))

    @tf.function
    def step(images, seed):
        return pair[0](images, seed=seed) + 0.0

    np.testing.assert_array_equal(alone, step(images, tf.constant([3, 4])))
    seeds = tf.data.Dataset.from_tensor_slices([[3, 4], [3, 5], [3, 4]])
    for calls in (None, 2):
        mapped = seeds.map(lambda s: pair[0](images, seed=s), num_parallel_calls=calls)
        first, other, again = mapped.as_numpy_iterator()
        np.testing.assert_array_equal(first, alone)
        np.testing.assert_array_equal(again, alone)
        assert np.abs(other - alone).mean() > 1.0


def test_views_inside_a_dataset_of_unknown_batch(images):
    dataset = tf.data.Dataset.from_tensor_slices(images).batch(8)
    view = image_views.View(**CHEAP)
    (mapped,) = dataset.map(lambda x: view(x, seed=(3, 4))).as_numpy_iterator()
    np.testing.assert_array_equal(mapped, view(images, seed=(3, 4)))


def test_a_step_has_new_randomness_each_time(pair, images):
    @tf.function
    def with_seed(step):
        return pair[0](images, seed=tf.stack([0, step]))

    @tf.function
    def without_seed():
        return pair[0](images)

    for call in (lambda k: with_seed(tf.constant(k)), lambda k: without_seed()):
        first, second = call(0).numpy(), call(1).numpy()
        assert np.abs(first - second).mean() > 1.0


def test_without_a_seed_the_global_one_decides(pair, images):
    views = []
    for _ in range(2):
        keras.utils.set_random_seed(5)
        views.append(pair[0](images).numpy())
    np.testing.assert_array_equal(*views)
    assert np.any(pair[0](images).numpy() != views[0])


def test_views_of_a_pair_differ_and_neither_is_raw(pair, images):
    first, second = pair[0](images, seed=(0, 1)), pair[1](images, seed=(0, 2))
    raw = pair[0](images, training=False)
    for one, other in itertools.combinations((first, second, raw), 2):
        assert one.shape == (8, 8, 8, 3) and one.dtype == tf.float32
        distance = np.abs(one.numpy() - other.numpy()).mean(axis=(1, 2, 3))
        assert np.all(distance > 1.0)
    assert 0.0 <= first.numpy().min() and first.numpy().max() <= 255.0
    assert first.numpy().max() > 50.0


def test_views_are_float32_whatever_the_policy(images):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        view = image_views.View(**CHEAP)
    finally:
        keras.config.set_dtype_policy("float32")
    assert view.compute_dtype == "float32" and view.variables == []
    result = view(images.astype(np.float32), seed=(1, 2))
    same = image_views.View(**CHEAP)(images, seed=(1, 2))
    assert result.dtype == tf.float32
    np.testing.assert_array_equal(result, same)


# Settings.


def test_outside_training_images_come_back(images):
    raw = image_views.View()(images, training=False)
    np.testing.assert_array_equal(raw, images)
    assert raw.dtype == tf.float32
    assert image_views.View(crop_size=6)(images, training=False).shape == (8, 6, 6, 3)


def test_shapes_are_known_without_running():
    view = image_views.View(crop_size=16)
    assert view.compute_output_shape((None, 32, 32, 3)) == (None, 16, 16, 3)
    assert view(keras.Input((32, 32, 3))).shape == (None, 16, 16, 3)
    assert image_views.View()(keras.Input((32, 32, 3))).shape == (None, 32, 32, 3)


def test_what_has_no_strength_is_left_out():
    view = image_views.View(
        crop_scale=(1, 1),
        flip_probability=0,
        jitter_probability=0,
        grayscale_probability=0,
        blur_probability=0,
        solarize_probability=0,
    )
    assert view._steps == [None] * 6
    np.testing.assert_array_equal(view(noise(), seed=(0, 0)), noise())
    assert (
        image_views.View(brightness=0, contrast=0, saturation=0, hue=0)._steps[2]
        is None
    )


@pytest.mark.parametrize("name", image_views.VIEWS)
def test_named_pairs_are_built_and_overridden(name):
    for view, settings in zip(
        image_views.make_views(name, crop_size=24, flip_probability=None),
        image_views.VIEWS[name],
        strict=True,
    ):
        config = view.get_config()
        assert config["crop_size"] == 24
        for key, value in settings.items():
            assert config[key] == value


def test_papers_pair_is_the_authors_asymmetric_one():
    first, second = (view.get_config() for view in image_views.make_views("paper"))
    assert (first["blur_probability"], first["solarize_probability"]) == (1.0, 0.0)
    assert (second["blur_probability"], second["solarize_probability"]) == (0.1, 0.2)


@pytest.mark.parametrize(
    "settings,message",
    [
        (
            {"flip_probability": 1.5},
            r"Expected a number in \[0, 1\]. Received: flip_probability=1.5",
        ),
        ({"crop_scale": (0.5, 1.2)}, r"at most 1. Received: crop_scale=\(0.5, 1.2\)"),
        ({"crop_scale": (0.9, 0.2)}, r"low <= high.* Received: crop_scale="),
        ({"crop_ratio": 1.0}, r"Expected two numbers.* Received: crop_ratio=1.0"),
        ({"blur_sigma": (0, 2)}, r"above 0. Received: blur_sigma=\(0, 2\)"),
        ({"brightness": -0.1}, r"at least 0. Received: brightness=-0.1"),
        ({"hue": 0.6}, r"in \[0, 0.5\]. Received: hue=0.6"),
        ({"solarize_threshold": 300}, r"in \[0, 255\]. Received: solarize_threshold="),
        ({"crop_size": 0}, r"whole number of pixels.* Received: crop_size=0"),
        ({"interpolation": "cubic"}, r"one of bilinear, bicubic. Received: interpol"),
        ({"sepia": 0.5}, r"Expected settings among crop_scale, .* Received: sepia=0.5"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        image_views.make_views("cifar", **settings)


def test_bad_names_and_shapes_are_refused():
    with pytest.raises(ValueError, match="one of paper, cifar, gray. Received: name="):
        image_views.make_views("imagenet")
    with pytest.raises(ValueError, match="Expected images of shape"):
        image_views.View()(np.zeros((32, 32, 3), np.uint8), seed=(0, 0))


def test_config_round_trip():
    view = image_views.View(
        blur_probability=0.3, crop_size=9, interpolation="bicubic", name="first"
    )
    stored = keras.saving.serialize_keras_object(view)
    again = keras.saving.deserialize_keras_object(stored)
    assert type(again) is image_views.View
    assert again.get_config() == view.get_config()
    first, second = draw(view, num_draws=3), draw(again, num_draws=3)
    tf.nest.map_structure(np.testing.assert_array_equal, first[:5], second[:5])
