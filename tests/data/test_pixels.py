"""Tests of pixel statistics: the filters whiten patches."""

import numpy as np
import pytest

from vicreg_keras.data.pixels import pixel_statistics, whitening_kernel
from vicreg_keras.data.split import Split


def split_of(images):
    return Split(images, None, [str(i) for i in range(len(images))])


def smooth_images(number, side=12):
    """Images whose neighboring pixels and channels are alike, as in photographs."""
    random = np.random.default_rng(0)
    noise = random.normal(size=(number, side + 4, side + 4, 3))
    noise += random.normal(size=(number, side + 4, side + 4, 1))
    for axis in (1, 2):
        noise = sum(np.roll(noise, i, axis) for i in range(-2, 3)) / 5
    pixels = 120 + 200 * noise[:, 2:-2, 2:-2]
    return np.clip(pixels, 0, 255).astype(np.uint8)


def responses(images, kernel, mean, std):
    """The filters' responses to every patch: `(patches, filters)`."""
    pixels = (images - np.array(mean)) / np.array(std)
    windows = np.lib.stride_tricks.sliding_window_view(pixels, (3, 3), (1, 2))
    return np.einsum("nijchw,hwcf->nijf", windows, kernel).reshape(-1, kernel.shape[-1])


@pytest.fixture(scope="module")
def fitted():
    split = split_of(smooth_images(2000))
    statistics = pixel_statistics(split)
    return split, statistics, whitening_kernel(split, *statistics)


def test_filters_whiten_images_they_were_not_made_of(fitted):
    split, statistics, kernel = fitted
    assert kernel.shape == (3, 3, 3, 54)
    assert kernel.dtype == np.float32
    seen = responses(split.read(range(500)), kernel[..., :27], *statistics)
    covariance = seen.T @ seen / len(seen)
    # The smallest components are held back by the epsilon: their variance is below 1.
    variances = np.diag(covariance)
    np.testing.assert_allclose(variances[:9], 1, atol=0.15)
    assert (variances < 1.2).all()
    off_diagonal = covariance - np.diag(variances)
    assert abs(off_diagonal).max() < 0.15
    # The same patches as they are: neighbors are alike.
    raw = responses(
        split.read(range(500)), np.eye(27).reshape(3, 3, 3, 27), *statistics
    )
    assert abs(np.corrcoef(raw.T) - np.eye(27)).max() > 0.8


def test_largest_component_comes_first_and_every_filter_twice(fitted):
    _, _, kernel = fitted
    np.testing.assert_array_equal(kernel[..., :27], -kernel[..., 27:])
    # A filter is divided by its component's deviation: the larger, the shorter.
    norms = np.sqrt(np.square(kernel[..., :27]).sum(axis=(0, 1, 2)))
    assert (np.diff(norms) >= -1e-6).all()


def test_same_images_same_filters(fitted):
    split, statistics, kernel = fitted
    np.testing.assert_array_equal(whitening_kernel(split, *statistics), kernel)


def test_images_without_color():
    gray = np.repeat(smooth_images(50)[..., :1], 3, axis=-1)
    split = split_of(gray)
    statistics = pixel_statistics(split)
    kernel = whitening_kernel(split, *statistics)
    seen = responses(gray, kernel, *statistics)
    assert np.isfinite(seen).all()
    assert seen.var(axis=0).max() < 1.5


def test_images_of_one_patch():
    split = split_of(np.random.default_rng(0).integers(0, 256, (20, 3, 3, 3), np.uint8))
    assert np.isfinite(whitening_kernel(split, *pixel_statistics(split))).all()
