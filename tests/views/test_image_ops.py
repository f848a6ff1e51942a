"""Operations on pixels against PIL, torchvision and numpy."""

import colorsys
import itertools

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from vicreg_keras.views import image_ops


def noise(batch=4, height=12, width=12, seed=0):
    shape = (batch, height, width, 3)
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


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


def reference_jitter(image, factors, order):
    """torchvision's operations on one image in [0, 255], floats, in numpy."""
    gray = np.array([0.299, 0.587, 0.114])
    image = image.astype(np.float64)
    for name in order:
        factor = factors[name]
        if name == "brightness":
            image = factor * image
        elif name == "contrast":
            image = factor * image + (1 - factor) * (image @ gray).mean()
        elif name == "saturation":
            image = factor * image + (1 - factor) * (image @ gray)[..., None]
        else:
            image = np.apply_along_axis(shift_hue, -1, image, factor)
        image = np.clip(image, 0, 255)
    return image


def shift_hue(pixel, turns):
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
