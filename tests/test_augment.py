"""Views: their parameters' distributions, their pixels, and their seeds."""

import itertools
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from vicreg_keras import augment, image_ops

NUM_DRAWS = 10_000
CHEAP = {"brightness": 0.4, "contrast": 0.4, "crop_scale": (1, 1), "hue": 0}


def draw(layer, size=(32, 32), num_draws=NUM_DRAWS, seed=0):
    """Parameters of `num_draws` images, as arrays; drawn outside XLA, for speed."""
    draws = tf.random.stateless_uniform([layer.num_draws, num_draws], [seed, 1])
    drawn = layer.get_random_transformation_batch(
        num_draws, images=tf.zeros([1, *size, 3]), draws=draws
    )
    return tf.nest.map_structure(np.asarray, drawn)


def noise(batch=4, height=12, width=12, seed=0):
    shape = (batch, height, width, 3)
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


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


# What is drawn.


@pytest.mark.parametrize(
    "size,scale",
    [((32, 32), (0.08, 1.0)), ((32, 32), (0.2, 1.0)), ((20, 90), (0.6, 1))],
)
def test_crop_boxes_are_distributed_as_torchvisions(size, scale):
    ratio = (3 / 4, 4 / 3)
    layer = augment.RandomResizedCrop(scale=scale, ratio=ratio)
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


def test_crop_falls_back_to_the_centre_where_nothing_fits():
    layer = augment.RandomResizedCrop(scale=(0.9, 1.0))
    wide = draw(layer, (20, 90), num_draws=5)
    assert set(wide["height"]) == {20} and set(wide["width"]) == {27}
    assert set(wide["top"]) == {0} and set(wide["left"]) == {31}
    tall = draw(layer, (90, 20), num_draws=5)
    assert set(tall["height"]) == {27} and set(tall["width"]) == {20}


def test_jitter_factors_are_torchvisions():
    drawn = draw(augment.RandomColorJitter(0.4, 1.5, 0.2, 0.1, probability=0.8))
    assert_uniform(drawn["brightness"], 0.6, 1.4)
    assert_uniform(drawn["contrast"], 0.0, 2.5)
    assert_uniform(drawn["saturation"], 0.8, 1.2)
    assert_uniform(drawn["hue"], -0.1, 0.1)
    assert abs(drawn["apply"].mean() - 0.8) < 0.015
    factors = [drawn[n] for n in ("brightness", "contrast", "saturation", "hue")]
    assert np.abs(np.corrcoef(factors) - np.eye(4)).max() < 0.04


def test_every_order_of_the_jitter_is_equally_likely():
    drawn = draw(augment.RandomColorJitter(0.4, 0.4, 0.2, 0.1))
    names = ("brightness", "contrast", "saturation", "hue")
    turns = np.stack([drawn[f"{name}_turn"] for name in names], axis=1)
    for order in itertools.permutations(range(4)):
        frequency = np.mean(np.all(turns == order, axis=1))
        assert abs(frequency - 1 / 24) < 0.008  # four standard errors


@pytest.mark.parametrize(
    "kind", [augment.RandomHorizontalFlip, augment.RandomGrayscale]
)
def test_probability_is_the_one_given(kind):
    for probability in (0.0, 0.2, 0.5, 1.0):
        frequency = draw(kind(probability))["apply"].mean()
        assert abs(frequency - probability) < 0.02


def test_blur_and_solarization_draws():
    drawn = draw(augment.RandomGaussianBlur((0.1, 2.0), probability=0.1))
    assert_uniform(drawn["sigma"], 0.1, 2.0)
    assert abs(drawn["apply"].mean() - 0.1) < 0.012
    drawn = draw(augment.RandomSolarization(probability=0.2))
    assert abs(drawn["apply"].mean() - 0.2) < 0.016


def test_a_views_parameters_are_independent():
    view = augment.View(blur=0.5, solarize=0.5)
    crop, flip, color, grey, blur, solarize = draw(view)
    chances = [flip["apply"], color["apply"], grey["apply"], blur["apply"]]
    values = [*chances, solarize["apply"], crop["width"], color["hue"]]
    assert np.abs(np.corrcoef(values) - np.eye(len(values))).max() < 0.04
    assert abs(flip["apply"].mean() - 0.5) < 0.02


def test_leaving_a_step_out_changes_no_other():
    full, less = draw(augment.View()), draw(augment.View(flip=0, jitter=0))
    assert less[1] is None and less[2] is None
    np.testing.assert_array_equal(full[0]["width"], less[0]["width"])
    np.testing.assert_array_equal(full[3]["apply"], less[3]["apply"])


# What happens to pixels.


@pytest.mark.parametrize("interpolation", image_ops.INTERPOLATIONS)
@pytest.mark.parametrize("size", [(32, 32), (12, 20)])
def test_crop_and_resize_is_pils(interpolation, size):
    images = noise(batch=5, height=24, width=36)
    boxes = [(0, 0, 24, 36), (3, 5, 7, 9), (20, 33, 4, 3), (1, 0, 23, 5), (9, 9, 1, 1)]
    box = dict(
        zip(("top", "left", "height", "width"), np.transpose(boxes), strict=True)
    )
    ours = image_ops.crop_and_resize(
        tf.cast(images, tf.float32), box, size, interpolation
    )
    method = Image.Resampling[interpolation.upper()]
    for image, (top, left, height, width), result in zip(
        images, boxes, ours.numpy(), strict=True
    ):
        for channel in range(3):
            plane = Image.fromarray(image[..., channel].astype(np.float32))
            plane = plane.crop((left, top, left + width, top + height))
            expected = np.clip(plane.resize(size[::-1], method), 0, 255)
            np.testing.assert_allclose(result[..., channel], expected, atol=255e-5)


def test_crop_of_the_whole_image_is_the_image():
    layer = augment.RandomResizedCrop(scale=(1.0, 1.0))
    np.testing.assert_allclose(layer(noise(), seed=(0, 0)), noise(), atol=1e-3)


def test_flip_mirrors_left_and_right_only():
    flipped = augment.RandomHorizontalFlip(1.0)(noise(), seed=(0, 0))
    np.testing.assert_array_equal(flipped, noise()[:, :, ::-1])


def reference_jitter(image, factors, order):
    """torchvision's operations on one image in [0, 255], floats, in numpy."""
    grey = np.array([0.299, 0.587, 0.114])
    image = image.astype(np.float64)
    for name in order:
        factor = factors[name]
        if name == "brightness":
            image = factor * image
        elif name == "contrast":
            image = factor * image + (1 - factor) * (image @ grey).mean()
        elif name == "saturation":
            image = factor * image + (1 - factor) * (image @ grey)[..., None]
        else:
            image = np.apply_along_axis(shift_hue, -1, image, factor)
        image = np.clip(image, 0, 255)
    return image


def shift_hue(pixel, turns):
    import colorsys

    hue, saturation, value = colorsys.rgb_to_hsv(*(pixel / 255))
    return 255 * np.array(colorsys.hsv_to_rgb((hue + turns) % 1, saturation, value))


def test_jitter_is_torchvisions_in_every_order():
    names = ("brightness", "contrast", "saturation", "hue")
    orders = list(itertools.permutations(names))
    images = noise(batch=24, height=4, width=5)
    images[:, 0] = [[0, 0, 0], [255, 255, 255], [255, 0, 0], [9, 9, 9], [0, 200, 200]]
    generator = np.random.default_rng(3)
    factors = {
        "brightness": generator.uniform(0.4, 1.8, 24),
        "contrast": generator.uniform(0.4, 1.8, 24),
        "saturation": generator.uniform(0.0, 2.0, 24),
        "hue": generator.uniform(-0.5, 0.5, 24),
    }
    jitter = {name: tf.constant(f, tf.float32) for name, f in factors.items()}
    for name in names:
        jitter[f"{name}_turn"] = tf.constant([order.index(name) for order in orders])
    results = image_ops.color_jitter(tf.cast(images, tf.float32), jitter)
    for k, order in enumerate(orders):
        mine = {name: f[k] for name, f in factors.items()}
        expected = reference_jitter(images[k], mine, order)
        np.testing.assert_allclose(results[k], expected, atol=0.01)


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue"])
def test_one_jitter_alone_changes_pixels_of_0_to_255(name):
    layer = augment.RandomColorJitter(**{name: 0.4})
    drawn = draw(layer, num_draws=4)
    results = layer.augment_images(tf.cast(noise(), tf.float32), drawn)
    for image, factor, result in zip(noise(), drawn[name], results, strict=True):
        expected = reference_jitter(image, {name: factor}, [name])
        np.testing.assert_allclose(result, expected, atol=0.01)
        assert np.abs(result - image).mean() > 1.0


def test_jitter_leaves_what_is_not_chosen_untouched():
    layer = augment.RandomColorJitter(0.4, 0.4, 0.2, 0.1)
    drawn = {**draw(layer, num_draws=4), "apply": np.array([True, False, True, False])}
    results = layer.augment_images(tf.cast(noise(), tf.float32), drawn)
    changed = np.any(results.numpy() != noise(), axis=(1, 2, 3))
    assert changed.tolist() == [True, False, True, False]


def test_images_of_one_channel_can_be_jittered():
    layer = augment.RandomColorJitter(brightness=0.4, contrast=0.4)
    images = tf.cast(noise(), tf.float32)
    drawn = draw(layer, num_draws=4)
    grey = layer.augment_images(images[..., :1], drawn)
    same = layer.augment_images(tf.repeat(images[..., :1], 3, axis=-1), drawn)
    np.testing.assert_allclose(grey, same[..., :1], atol=1e-3)


def test_grayscale_has_three_equal_channels():
    grey = augment.RandomGrayscale(1.0)(noise(), seed=(0, 0)).numpy()
    expected = noise() @ np.array([0.299, 0.587, 0.114])
    for channel in range(3):
        np.testing.assert_allclose(grey[..., channel], expected, atol=0.05)


def test_blur_is_a_gaussian_with_reflected_edges():
    images, sigma = noise(batch=3, height=24, width=20), np.array([0.1, 0.8, 2.0])
    results = image_ops.gaussian_blur(
        tf.cast(images, tf.float32), tf.constant(sigma, tf.float32)
    )
    for image, width, result in zip(images, sigma, results.numpy(), strict=True):
        taps = np.exp(-0.5 * (np.arange(-12, 13) / width) ** 2)
        taps /= taps.sum()
        padded = np.pad(image.astype(float), ((12, 12), (12, 12), (0, 0)), "reflect")
        for axis in (0, 1):
            padded = np.apply_along_axis(np.convolve, axis, padded, taps, "valid")
        np.testing.assert_allclose(result, padded, atol=0.01)


def test_blur_keeps_constant_images_to_the_corners():
    images = np.full((2, 8, 8, 3), 100, np.uint8)
    blurred = augment.RandomGaussianBlur((2.0, 2.0))(images, seed=(0, 0))
    np.testing.assert_allclose(blurred, images, atol=1e-3)


def test_solarization_inverts_from_the_threshold_on():
    images = np.array([0, 127, 127.5, 128, 200, 255], np.float32)
    images = np.tile(images[None, None, :, None], (1, 1, 1, 3))
    solarized = augment.RandomSolarization(128, 1.0)(images, seed=(0, 0))
    np.testing.assert_allclose(solarized[0, 0, :, 0], [0, 127, 127.5, 127, 55, 0])


def test_parameters_are_an_images_own():
    images = np.tile(noise(batch=1), (64, 1, 1, 1))
    views = augment.View(**CHEAP, blur=1.0)(images, seed=(0, 0)).numpy()
    assert len(np.unique(views.reshape(64, -1), axis=0)) == 64


# Seeds.


@pytest.fixture(scope="module")
def pair():
    return augment.make_views("paper", crop_size=8)


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


def test_views_inside_a_dataset_of_unknown_batch(pair, images):
    dataset = tf.data.Dataset.from_tensor_slices(images).batch(8)
    mapped = dataset.map(lambda x: pair[0](x, seed=(3, 4)))
    (view,) = mapped.as_numpy_iterator()
    np.testing.assert_array_equal(view, pair[0](images, seed=(3, 4)))


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


def test_seeded_under_op_determinism_and_mixed_precision(pair, images):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        view = augment.View(**CHEAP)
    finally:
        keras.config.set_dtype_policy("float32")
    assert view.compute_dtype == "float32" and view.variables == []
    result = view(images.astype(np.float32), seed=(1, 2))
    same = augment.View(**CHEAP)(images, seed=(1, 2))
    assert result.dtype == tf.float32
    np.testing.assert_array_equal(result, same)


# Settings.


def test_outside_training_images_come_back(images):
    raw = augment.View()(images, training=False)
    np.testing.assert_array_equal(raw, images)
    assert raw.dtype == tf.float32
    assert augment.View(crop_size=6)(images, training=False).shape == (8, 6, 6, 3)


def test_shapes_are_known_without_running():
    view = augment.View(crop_size=16)
    assert view.compute_output_shape((None, 32, 32, 3)) == (None, 16, 16, 3)
    assert view(keras.Input((32, 32, 3))).shape == (None, 16, 16, 3)
    assert augment.View()(keras.Input((32, 32, 3))).shape == (None, 32, 32, 3)


@pytest.mark.parametrize(
    "layer",
    [
        augment.View(blur=0.3, crop_size=9, interpolation="bicubic", name="first"),
        augment.RandomResizedCrop(5, (0.3, 0.9), (0.5, 2.0), "bicubic"),
        augment.RandomHorizontalFlip(0.3),
        augment.RandomColorJitter(0.1, 0.2, 0.3, 0.4, 0.5),
        augment.RandomGrayscale(0.3),
        augment.RandomGaussianBlur((0.2, 0.4), 0.6),
        augment.RandomSolarization(100, 0.3),
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


def test_what_has_no_strength_is_left_out():
    view = augment.View(crop_scale=(1, 1), flip=0, jitter=0, grey=0, blur=0, solarize=0)
    assert view._steps == [None] * 6
    np.testing.assert_array_equal(view(noise(), seed=(0, 0)), noise())
    assert augment.View(brightness=0, contrast=0, saturation=0, hue=0)._steps[2] is None


@pytest.mark.parametrize("name", augment.VIEWS)
def test_named_pairs_are_built_and_overridden(name):
    for view, settings in zip(
        augment.make_views(name, crop_size=24, flip=None),
        augment.VIEWS[name],
        strict=True,
    ):
        config = view.get_config()
        assert config["crop_size"] == 24
        for key, value in settings.items():
            assert config[key] == value


def test_papers_pair_is_the_authors_asymmetric_one():
    first, second = (view.get_config() for view in augment.make_views("paper"))
    assert (first["blur"], first["solarize"]) == (1.0, 0.0)
    assert (second["blur"], second["solarize"]) == (0.1, 0.2)


@pytest.mark.parametrize(
    "settings,message",
    [
        ({"flip": 1.5}, r"Expected a probability in \[0, 1\]. Received: flip=1.5"),
        ({"crop_scale": (0.5, 1.2)}, r"at most 1. Received: crop_scale=\(0.5, 1.2\)"),
        ({"crop_scale": (0.9, 0.2)}, r"low <= high.* Received: crop_scale="),
        ({"crop_ratio": 1.0}, r"Expected two numbers.* Received: crop_ratio=1.0"),
        ({"blur_sigma": (0, 2)}, r"above 0. Received: blur_sigma=\(0, 2\)"),
        ({"brightness": -0.1}, r"at least 0. Received: brightness=-0.1"),
        ({"hue": 0.6}, r"turns in \[0, 0.5\]. Received: hue=0.6"),
        ({"solarize_threshold": 300}, r"pixel value .*: solarize_threshold=300"),
        ({"crop_size": 0}, r"whole number of pixels.* Received: crop_size=0"),
        ({"interpolation": "cubic"}, r"one of bilinear, bicubic. Received: interpol"),
        ({"sepia": 0.5}, r"Expected settings among crop_scale, .* Received: sepia=0.5"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        augment.make_views("cifar", **settings)


def test_bad_names_and_shapes_are_refused():
    with pytest.raises(ValueError, match="one of paper, cifar, grey. Received: name="):
        augment.make_views("imagenet")
    with pytest.raises(ValueError, match="Expected images of shape"):
        augment.View()(np.zeros((32, 32, 3), np.uint8), seed=(0, 0))
