"""Random layers of images: their draws, against torchvision's, and their effects."""

import itertools
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from vicreg_keras.views import image_layers

NUM_DRAWS = 10_000


def draw(layer, size=(32, 32), num_draws=NUM_DRAWS, seed=0):
    """Parameters of `num_draws` images, as arrays; drawn outside XLA, for speed."""
    seed = tf.constant([seed, 1], tf.int64)
    draws = layer._uniform([layer.num_draws, num_draws], seed)
    drawn = layer.get_random_transformation_batch(
        num_draws, images=tf.zeros([1, *size, 3]), draws=draws
    )
    return tf.nest.map_structure(np.asarray, drawn)


def noise(batch=4, height=12, width=12, seed=0):
    shape = (batch, height, width, 3)
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def apply(layer, images):
    """The layer's work on a batch, outside XLA, for speed."""
    drawn = draw(layer, images.shape[1:3], num_draws=len(images))
    return layer.augment_images(tf.cast(images, tf.float32), drawn).numpy()


def torchvision_boxes(height, width, scale, ratio, num_draws):
    """torchvision's RandomResizedCrop.get_params in numpy: top, left, height, width."""
    generator = np.random.default_rng(1)
    boxes = []
    for _ in range(num_draws):
        for _ in range(10):
            area = height * width * generator.uniform(*scale)
            aspect = math.exp(generator.uniform(*np.log(ratio)))
            w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < w <= width and 0 < h <= height:
                top = generator.integers(0, height - h + 1)
                boxes.append((top, generator.integers(0, width - w + 1), h, w))
                break
        else:
            w, h = width, height
            if width / height < min(ratio):
                h = round(w / min(ratio))
            elif width / height > max(ratio):
                w = round(h * max(ratio))
            boxes.append(((height - h) // 2, (width - w) // 2, h, w))
    return np.array(boxes, np.float64)


def assert_uniform(values, low, high):
    assert low <= values.min() and values.max() <= high
    spread = high - low
    assert values.min() < low + 0.01 * spread and values.max() > high - 0.01 * spread
    assert abs(values.mean() - (low + high) / 2) < 0.015 * spread
    assert abs(values.std() - spread / math.sqrt(12)) < 0.01 * spread


@pytest.mark.parametrize(
    "size,scale",
    [((32, 32), (0.08, 1.0)), ((32, 32), (0.2, 1.0)), ((20, 90), (0.6, 1))],
)
def test_crop_boxes_have_torchvisions_distribution(size, scale):
    ratio = (3 / 4, 4 / 3)
    layer = image_layers.RandomResizedCrop(scale=scale, ratio=ratio)
    drawn = draw(layer, size)
    expected = torchvision_boxes(*size, scale, ratio, NUM_DRAWS)
    for k, name in enumerate(("top", "left", "height", "width")):
        ours, theirs = drawn[name], expected[:, k]
        assert np.array_equal(ours, np.round(ours))
        assert abs(ours.mean() - theirs.mean()) < 0.06 * theirs.std() + 1e-6
        assert abs(ours.std() - theirs.std()) < 0.04 * theirs.std() + 1e-6
        assert abs(ours.min() - theirs.min()) <= 1
        assert abs(ours.max() - theirs.max()) <= 1
    assert np.all(drawn["top"] + drawn["height"] <= size[0])
    assert np.all(drawn["left"] + drawn["width"] <= size[1])


def test_crop_falls_back_to_the_center_where_nothing_fits():
    layer = image_layers.RandomResizedCrop(scale=(0.9, 1.0))
    wide = draw(layer, (20, 90), num_draws=5)
    assert set(wide["height"]) == {20} and set(wide["width"]) == {27}
    assert set(wide["top"]) == {0} and set(wide["left"]) == {31}
    tall = draw(layer, (90, 20), num_draws=5)
    assert set(tall["height"]) == {27} and set(tall["width"]) == {20}


def test_jitter_factors_are_torchvisions():
    drawn = draw(image_layers.RandomColorJitter(0.4, 1.5, 0.2, 0.1, probability=0.8))
    assert_uniform(drawn["brightness"], 0.6, 1.4)
    assert_uniform(drawn["contrast"], 0.0, 2.5)
    assert_uniform(drawn["saturation"], 0.8, 1.2)
    assert_uniform(drawn["hue"], -0.1, 0.1)
    assert abs(drawn["apply"].mean() - 0.8) < 0.015
    factors = [drawn[n] for n in ("brightness", "contrast", "saturation", "hue")]
    assert np.abs(np.corrcoef(factors) - np.eye(4)).max() < 0.04


def test_orders_of_the_jitter_are_equally_likely():
    drawn = draw(image_layers.RandomColorJitter(0.4, 0.4, 0.2, 0.1))
    names = ("brightness", "contrast", "saturation", "hue")
    turns = np.stack([drawn[f"{name}_turn"] for name in names], axis=1)
    for order in itertools.permutations(range(4)):
        frequency = np.mean(np.all(turns == order, axis=1))
        assert abs(frequency - 1 / 24) < 0.008  # four standard errors


@pytest.mark.parametrize(
    "kind", [image_layers.RandomHorizontalFlip, image_layers.RandomGrayscale]
)
def test_layers_are_applied_with_their_probability(kind):
    for probability in (0.0, 0.2, 0.5, 1.0):
        frequency = draw(kind(probability))["apply"].mean()
        assert abs(frequency - probability) < 0.02


def test_blur_and_solarization_draws():
    drawn = draw(image_layers.RandomGaussianBlur((0.1, 2.0), probability=0.1))
    assert_uniform(drawn["sigma"], 0.1, 2.0)
    assert abs(drawn["apply"].mean() - 0.1) < 0.012
    drawn = draw(image_layers.RandomSolarization(probability=0.2))
    assert abs(drawn["apply"].mean() - 0.2) < 0.016


def test_layers_draw_independently():
    drawn = [
        draw(layer)
        for layer in (
            image_layers.RandomHorizontalFlip(0.5),
            image_layers.RandomColorJitter(hue=0.1, probability=0.8),
            image_layers.RandomGrayscale(0.2),
            image_layers.RandomGaussianBlur(probability=0.5),
            image_layers.RandomSolarization(probability=0.5),
        )
    ]
    values = [parameters["apply"] for parameters in drawn]
    values += [draw(image_layers.RandomResizedCrop())["width"], drawn[1]["hue"]]
    assert np.abs(np.corrcoef(values) - np.eye(len(values))).max() < 0.04


def test_crop_of_the_whole_image_is_the_image():
    layer = image_layers.RandomResizedCrop(scale=(1.0, 1.0))
    np.testing.assert_allclose(apply(layer, noise()), noise(), atol=1e-3)


def test_flip_mirrors_left_and_right_only():
    flipped = apply(image_layers.RandomHorizontalFlip(1.0), noise())
    np.testing.assert_array_equal(flipped, noise()[:, :, ::-1])


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue"])
def test_each_jitter_changes_pixels(name):
    layer = image_layers.RandomColorJitter(**{name: 0.4})
    drawn = draw(layer, num_draws=4)
    results = layer.augment_images(tf.cast(noise(), tf.float32), drawn)
    distance = np.abs(results.numpy() - noise()).mean(axis=(1, 2, 3))
    assert np.all(distance > 1.0) and len(np.unique(distance)) == 4


def test_jitter_changes_chosen_images_only():
    layer = image_layers.RandomColorJitter(0.4, 0.4, 0.2, 0.1)
    drawn = {**draw(layer, num_draws=4), "apply": np.array([True, False, True, False])}
    results = layer.augment_images(tf.cast(noise(), tf.float32), drawn)
    changed = np.any(results.numpy() != noise(), axis=(1, 2, 3))
    assert changed.tolist() == [True, False, True, False]


def test_images_of_one_channel_can_be_jittered():
    layer = image_layers.RandomColorJitter(brightness=0.4, contrast=0.4)
    images = tf.cast(noise(), tf.float32)
    drawn = draw(layer, num_draws=4)
    gray = layer.augment_images(images[..., :1], drawn)
    same = layer.augment_images(tf.repeat(images[..., :1], 3, axis=-1), drawn)
    np.testing.assert_allclose(gray, same[..., :1], atol=1e-3)


def test_grayscale_has_three_equal_channels():
    gray = apply(image_layers.RandomGrayscale(1.0), noise())
    expected = noise() @ np.array([0.299, 0.587, 0.114])
    for channel in range(3):
        np.testing.assert_allclose(gray[..., channel], expected, atol=0.05)


def test_blur_keeps_constant_images_to_the_corners():
    images = np.full((2, 8, 8, 3), 100, np.uint8)
    blurred = apply(image_layers.RandomGaussianBlur((2.0, 2.0)), images)
    np.testing.assert_allclose(blurred, images, atol=1e-3)


def test_solarization_inverts_from_the_threshold():
    images = np.array([0, 127, 127.5, 128, 200, 255], np.float32)
    images = np.tile(images[None, None, :, None], (1, 1, 1, 3))
    solarized = apply(image_layers.RandomSolarization(128, 1.0), images)
    np.testing.assert_allclose(solarized[0, 0, :, 0], [0, 127, 127.5, 127, 55, 0])


@pytest.mark.parametrize(
    "layer",
    [
        image_layers.RandomResizedCrop(5, (0.3, 0.9), (0.5, 2.0), "bicubic"),
        image_layers.RandomHorizontalFlip(0.3),
        image_layers.RandomColorJitter(0.1, 0.2, 0.3, 0.4, 0.5),
        image_layers.RandomGrayscale(0.3),
        image_layers.RandomGaussianBlur((0.2, 0.4), 0.6),
        image_layers.RandomSolarization(100, 0.3),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_config_round_trip(layer):
    stored = keras.saving.serialize_keras_object(layer)
    again = keras.saving.deserialize_keras_object(stored)
    assert type(again) is type(layer)
    assert again.get_config() == layer.get_config()
    first, second = draw(layer, num_draws=3), draw(again, num_draws=3)
    tf.nest.map_structure(np.testing.assert_array_equal, first, second)


def test_layer_is_a_function_of_its_seed():
    layer = image_layers.RandomHorizontalFlip()
    views = [layer(noise(64), seed=(0, k)).numpy() for k in (1, 1, 2)]
    np.testing.assert_array_equal(views[0], views[1])
    assert np.any(views[0] != views[2])
