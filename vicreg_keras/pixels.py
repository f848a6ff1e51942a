"""What is learnt of pixels from the training images, for an encoder's first layer."""

from typing import Any

import numpy as np

_MAX_IMAGES = 10_000


def pixel_statistics(split: Any) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel of a split's images.

    Args:
        split: A `vicreg_keras.data.Split` of images. 10,000 random ones are read where
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
