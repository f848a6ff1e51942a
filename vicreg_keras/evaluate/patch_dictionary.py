"""A baseline without a net: distances of whitened patches from k-means centroids.

Reference:
    Coates, Ng and Lee, "An Analysis of Single-Layer Networks in Unsupervised Feature
    Learning", AISTATS 2011: 6 x 6 patches with stride 1, normalized and whitened; the
    "triangle" of distances from K centroids; sums over the quadrants. Here they are
    means, and larger images are first resized to 32 pixels.
"""

import keras
import numpy as np
import tensorflow as tf
from sklearn.cluster import MiniBatchKMeans

from vicreg_keras.data.split import Split
from vicreg_keras.models.readout import PoolQuadrants

SIDE = 6  # Pixels of a patch.
_MAX_IMAGE_SIDE = 32
_NUM_IMAGES, _NUM_PATCHES = 10_000, 100_000
# Added to variances of pixels in [0, 255], and of whitened components, as there.
_PIXEL_VARIANCE, _COMPONENT_VARIANCE = 10.0, 0.1


class PatchDictionary(keras.layers.Layer):
    """Representations of images by a dictionary of their patches.

    Args:
        images: Training images, of which patches are drawn.
        width: About how many numbers a representation has; a multiple of four.
        seed: Seed of the draw and of k-means.
    """

    def __init__(self, images: Split, width: int, seed: int = 0):
        super().__init__(autocast=False, trainable=False, name="patch_dictionary")
        patches = _normalize(_draw_patches(images, seed)).numpy()
        mean = patches.mean(axis=0)
        variances, components = np.linalg.eigh(np.cov(patches, rowvar=False))
        scales = 1 / np.sqrt(np.maximum(variances, 0) + _COMPONENT_VARIANCE)
        whitening = (components * scales) @ components.T
        whitened = ((patches - mean) @ whitening).astype(np.float32)
        kmeans = MiniBatchKMeans(
            max(1, width // 4), batch_size=4096, n_init=1, random_state=seed
        ).fit(whitened)
        self.saved_variables = tuple(
            tf.Variable(value.astype(np.float32), trainable=False)
            for value in (mean, whitening, kmeans.cluster_centers_)
        )
        self._pool = PoolQuadrants()
        self.built = True

    def call(self, images):
        mean, whitening, centroids = self.saved_variables
        patches = _normalize(_extract(images))
        whitened = tf.tensordot(patches - mean, whitening, 1)
        squares = (
            tf.reduce_sum(whitened**2, -1, keepdims=True)
            - 2 * tf.tensordot(whitened, centroids, [[-1], [1]])
            + tf.reduce_sum(centroids**2, -1)
        )
        distances = tf.sqrt(tf.maximum(squares, 0))
        nearer = tf.reduce_mean(distances, -1, keepdims=True) - distances
        return self._pool(tf.nn.relu(nearer))


def _draw_patches(images, seed):
    """So many patches, of as many images, as float32 `(N, 6 * 6 * 3)`."""
    draw = np.random.default_rng(seed)
    sample = images.sample(_NUM_IMAGES, draw)
    per_image = -(-_NUM_PATCHES // sample.num_examples)
    found = []
    for batch in sample.batches(256):
        patches = _extract(batch).numpy()
        count, rows, columns, width = patches.shape
        patches = patches.reshape(count, rows * columns, width)
        places = draw.integers(rows * columns, size=(count, per_image))
        found.append(np.take_along_axis(patches, places[..., None], axis=1))
    return np.concatenate(found).reshape(-1, found[0].shape[-1])


def _extract(images):
    """Patches at each place: `(N, H, W, 3)` to `(N, H - 5, W - 5, 108)`."""
    images = tf.cast(images, tf.float32)
    if max(images.shape[1:3]) > _MAX_IMAGE_SIDE:
        size = (_MAX_IMAGE_SIDE, _MAX_IMAGE_SIDE)
        images = tf.image.resize(images, size, antialias=True)
    sizes, ones = (1, SIDE, SIDE, 1), (1, 1, 1, 1)
    return tf.image.extract_patches(images, sizes, ones, ones, "VALID")


def _normalize(patches):
    """Brings each patch to mean 0 and variance 1, but for those without contrast."""
    mean, variance = tf.nn.moments(patches, [-1], keepdims=True)
    return (patches - mean) / tf.sqrt(variance + _PIXEL_VARIANCE)
