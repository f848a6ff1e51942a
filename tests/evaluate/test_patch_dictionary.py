"""The baseline of whitened patches and k-means."""

import numpy as np
import pytest

from vicreg_keras.data.split import Split
from vicreg_keras.evaluate.patch_dictionary import PatchDictionary


def make_images(side, count=40):
    """Pictures of smooth noise, so that whitening has something to do."""
    noise = np.random.default_rng(0).normal(size=(count, side, side, 3))
    smooth = sum(np.roll(noise, (dy, dx), (1, 2)) for dy in range(3) for dx in range(3))
    return np.clip(128 + 20 * smooth, 0, 255).astype("uint8")


def test_representations_are_as_in_numpy():
    images = make_images(12)
    split = Split(images, None, [f"{i}" for i in range(len(images))])
    dictionary = PatchDictionary(split, width=32, seed=1)
    mean, whitening, centroids = (one.numpy() for one in dictionary.saved_variables)
    assert centroids.shape == (8, 108)
    maps = np.empty((2, 7, 7, 8))
    for i, y, x in np.ndindex(2, 7, 7):
        patch = images[i, y : y + 6, x : x + 6].astype("float64").ravel()
        patch = (patch - patch.mean()) / np.sqrt(patch.var() + 10)
        whitened = (patch - mean) @ whitening
        distances = np.linalg.norm(whitened - centroids, axis=1)
        maps[i, y, x] = np.maximum(distances.mean() - distances, 0)
    halves = slice(0, 4), slice(3, 7)
    expected = [maps[:, y, x].mean(axis=(1, 2)) for y in halves for x in halves]
    found = dictionary(images[:2]).numpy()
    np.testing.assert_allclose(found, np.concatenate(expected, axis=1), atol=1e-3)
    again = PatchDictionary(split, width=32, seed=1)
    np.testing.assert_array_equal(again(images[:2]), found)


def test_whitened_patches_have_uncorrelated_pixels():
    images = make_images(16, count=400)
    split = Split(images, None, [f"{i}" for i in range(len(images))])
    _, whitening, _ = PatchDictionary(split, width=8).saved_variables
    patches = np.stack([one[5:11, 5:11].ravel() for one in images]).astype("float64")
    patches -= patches.mean(axis=1, keepdims=True)
    patches /= np.sqrt(patches.var(axis=1, keepdims=True) + 10)

    def correlation(values):
        matrix = np.corrcoef(values, rowvar=False)
        return np.abs(matrix - np.eye(len(matrix))).mean()

    assert correlation(patches @ whitening.numpy()) < 0.7 * correlation(patches)


@pytest.mark.parametrize(("side", "width"), [(96, 16), (7, 4)])
def test_other_sizes(side, width):
    images = make_images(side, count=6)
    split = Split(images, None, [f"{i}" for i in range(len(images))])
    found = PatchDictionary(split, width)(images)
    assert found.shape == (6, width) and np.isfinite(found).all()
