"""Statistics of the training images' pixels, for an encoder's first layer."""

from collections.abc import Iterator

import numpy as np

from vicreg_keras.data.sources.base import at_a_time
from vicreg_keras.data.split import Split

_MAX_IMAGES, _MAX_CHUNK = 10_000, 256  # In all, and at a time.
_MAX_PIXELS = 2**20  # Of which float64 copies are made at a time.

# Side of the patches that are whitened; how many are read; and what is added to their
# variances, of pixels with mean 0 and standard deviation 1, as airbench does.
_PATCH = 3
_PATCH_IMAGES, _PATCHES_PER_IMAGE = 2000, 100
_PATCH_EPSILON = 5e-4


def pixel_statistics(split: Split) -> tuple[list[float], list[float]]:
    """Computes mean and standard deviation of each channel of a split's images.

    Args:
        split: Images. 10,000 random ones are read where there are more.

    Returns:
        Three numbers each, in `[0, 255]`; a standard deviation is at least 1.
    """
    total, squares, num_pixels = np.zeros(3), np.zeros(3), 0
    for images in _chunks(split.sample(_MAX_IMAGES, seed=0)):
        pixels = images.reshape(-1, 3)
        num_pixels += len(pixels)
        for start in range(0, len(pixels), _MAX_PIXELS):
            part = pixels[start : start + _MAX_PIXELS].astype(np.float64)
            total += part.sum(axis=0)
            squares += np.square(part).sum(axis=0)
    mean = total / num_pixels
    std = np.sqrt(np.maximum(squares / num_pixels - mean**2, 1.0))
    return mean.tolist(), std.tolist()


def whitening_kernel(split: Split, mean: list[float], std: list[float]) -> np.ndarray:
    """Computes the kernel of a convolution that whitens patches of 3 x 3 pixels.

    Its filters are the patches' principal components, each divided by its standard
    deviation, the largest first; then the same with the other sign, for an activation
    follows.

    Args:
        split: Images. 100 random patches of each of 2,000 random images are read, or
            of all where there are fewer.
        mean: Mean of each channel, see `pixel_statistics`.
        std: Standard deviation of each channel.

    Returns:
        float32 `(3, 3, 3, 54)`, for pixels that `mean` and `std` have normalized.

    Reference:
        Coates, Ng, Lee, "An Analysis of Single-Layer Networks in Unsupervised Feature
        Learning", AISTATS 2011; both signs as in KellerJordan/cifar10-airbench.
    """
    random = np.random.default_rng(0)
    size = _PATCH * _PATCH * 3
    second_moments, num_patches = np.zeros((size, size)), 0
    for images in _chunks(split.sample(_PATCH_IMAGES, random)):
        patches = _random_patches(images, random).astype(np.float64)
        patches = ((patches - mean) / std).reshape(-1, size)
        second_moments += patches.T @ patches
        num_patches += len(patches)
    variances, components = np.linalg.eigh(second_moments / num_patches)
    scaled = components / np.sqrt(np.maximum(variances, 0) + _PATCH_EPSILON)
    scaled = scaled[:, ::-1].reshape(_PATCH, _PATCH, 3, size)
    return np.concatenate([scaled, -scaled], axis=-1).astype(np.float32)


def _chunks(split: Split) -> Iterator[np.ndarray]:
    size = at_a_time(_MAX_CHUNK, split.example_shape)
    for start in range(0, split.num_examples, size):
        yield split.read(np.arange(start, min(start + size, split.num_examples)))


def _random_patches(images, random):
    """`(patches, 3, 3, channels)` of images `(N, height, width, channels)`."""
    number, height, width, _ = images.shape
    windows = np.lib.stride_tricks.sliding_window_view(images, (_PATCH, _PATCH), (1, 2))
    shape = (number, _PATCHES_PER_IMAGE)
    tops = random.integers(0, height - _PATCH + 1, shape)
    lefts = random.integers(0, width - _PATCH + 1, shape)
    patches = windows[np.arange(number)[:, None], tops, lefts]
    # Windows come channels first.
    return np.moveaxis(patches, 2, -1).reshape(-1, _PATCH, _PATCH, images.shape[-1])
