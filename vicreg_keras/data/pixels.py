"""What is learned of pixels from the training images, for an encoder's first layer."""

from typing import Any

import numpy as np

_MAX_IMAGES = 10_000

# Side of the patches that are whitened; how many are looked at; and what is added to
# their variances, of pixels with mean 0 and standard deviation 1, as airbench does.
_PATCH = 3
_PATCH_IMAGES, _PATCHES_AN_IMAGE = 2000, 100
_PATCH_EPSILON = 5e-4


def pixel_statistics(split: Any) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel of a split's images.

    Args:
        split: A `Split` of images. 10,000 random ones are read where
            there are more.

    Returns:
        Three numbers each, in `[0, 255]`; a standard deviation is at least 1.
    """
    random = np.random.default_rng(0)
    count = min(_MAX_IMAGES, split.num_examples)
    chosen = np.sort(random.permutation(split.num_examples)[:count])
    total, squares, pixels = np.zeros(3), np.zeros(3), 0
    for start in range(0, count, 256):
        images = split.read(chosen[start : start + 256]).astype(np.float64)
        total += images.sum(axis=(0, 1, 2))
        squares += np.square(images).sum(axis=(0, 1, 2))
        pixels += images[..., 0].size
    mean = total / pixels
    std = np.sqrt(np.maximum(squares / pixels - mean**2, 1.0))
    return mean.tolist(), std.tolist()


def whitening_kernel(split: Any, mean: list[float], std: list[float]) -> np.ndarray:
    """The kernel of a convolution that whitens patches of 3 x 3 pixels.

    Its filters are the patches' principal components, each divided by its standard
    deviation, the largest first; then the same with the other sign, for an activation
    follows.

    Args:
        split: A `Split` of images. 100 random patches of each of
            2,000 random images are looked at, or of all where there are fewer.
        mean: Of each channel, as `pixel_statistics` gives it.
        std: Likewise.

    Returns:
        float32 `(3, 3, 3, 54)`, for pixels that `mean` and `std` have normalized.

    Reference:
        Coates, Ng, Lee, "An Analysis of Single-Layer Networks in Unsupervised Feature
        Learning", AISTATS 2011; both signs as in KellerJordan/cifar10-airbench.
    """
    random = np.random.default_rng(0)
    count = min(_PATCH_IMAGES, split.num_examples)
    chosen = np.sort(random.permutation(split.num_examples)[:count])
    size = _PATCH * _PATCH * 3
    second_moments, patches = np.zeros((size, size)), 0
    for start in range(0, count, 256):
        images = split.read(chosen[start : start + 256])
        seen = _random_patches(images, random).astype(np.float64)
        seen = ((seen - mean) / std).reshape(-1, size)
        second_moments += seen.T @ seen
        patches += len(seen)
    variances, components = np.linalg.eigh(second_moments / patches)
    scaled = components / np.sqrt(np.maximum(variances, 0) + _PATCH_EPSILON)
    scaled = scaled[:, ::-1].reshape(_PATCH, _PATCH, 3, size)
    return np.concatenate([scaled, -scaled], axis=-1).astype(np.float32)


def _random_patches(images, random):
    """`(patches, 3, 3, channels)` of images `(N, height, width, channels)`."""
    number, height, width, _ = images.shape
    windows = np.lib.stride_tricks.sliding_window_view(images, (_PATCH, _PATCH), (1, 2))
    shape = (number, _PATCHES_AN_IMAGE)
    tops = random.integers(0, height - _PATCH + 1, shape)
    lefts = random.integers(0, width - _PATCH + 1, shape)
    patches = windows[np.arange(number)[:, None], tops, lefts]
    # Windows come channels first.
    return np.moveaxis(patches, 2, -1).reshape(-1, _PATCH, _PATCH, images.shape[-1])
