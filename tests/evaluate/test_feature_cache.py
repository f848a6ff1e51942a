"""Representations are computed once, and anew when anything they depend on changes."""

import keras
import numpy as np
import tensorflow as tf

from vicreg_keras.data.dataset import load_dataset
from vicreg_keras.evaluate.feature_cache import FeatureCache


class Counting:
    """An encoder that counts its images: the mean color times a weight."""

    def __init__(self, weight=2.0):
        self.variables = [tf.Variable([weight])]
        self.num_images = tf.Variable(0)

    def __call__(self, images, training=False):
        assert not training
        self.num_images.assign_add(tf.shape(images)[0])
        means = tf.reduce_mean(tf.cast(images, tf.float32), axis=(1, 2))
        return means * self.variables[0]


def store(encoder, dataset, folder=None):
    return FeatureCache(encoder, dataset, folder)


def test_splits_by_name(digits):
    features = store(Counting(), digits)
    assert list(features) == ["train", "validation", "test"]
    assert len(features) == 3
    images = digits.test.read(range(digits.test.num_examples))
    np.testing.assert_allclose(
        features["test"].representations, 2 * images.mean((1, 2)), rtol=1e-5
    )
    np.testing.assert_array_equal(features["test"].labels, digits.test.labels)


def test_each_split_is_computed_once(digits, tmp_path):
    encoder = Counting()
    features = store(encoder, digits, tmp_path)
    first = features["validation"]
    assert features["validation"] is first
    assert encoder.num_images == digits.validation.num_examples
    again = store(encoder, digits, tmp_path)["validation"]
    assert encoder.num_images == digits.validation.num_examples
    np.testing.assert_array_equal(again.representations, first.representations)
    np.testing.assert_array_equal(again.labels, first.labels)


def test_other_weights_or_examples_are_computed_anew(digits, tmp_path):
    store(Counting(), digits, tmp_path)["test"]
    other = store(Counting(3.0), digits, tmp_path)
    assert other.key != store(Counting(), digits).key
    images = digits.test.read([0])
    np.testing.assert_allclose(
        other["test"].representations[:1], 3 * images.mean((1, 2)), rtol=1e-5
    )
    # Another held-out part has other training images under the same name.
    elsewhere = load_dataset("digits", seed=1)
    first = store(Counting(), digits, tmp_path)["train"]
    second = store(Counting(), elsewhere, tmp_path)["train"]
    assert not np.array_equal(first.representations, second.representations)


def test_a_broken_file_is_written_anew(digits, tmp_path):
    store(Counting(), digits, tmp_path)["test"]
    (path,) = tmp_path.rglob("test.npz")
    path.write_bytes(path.read_bytes()[:100])
    encoder = Counting()
    store(encoder, digits, tmp_path)["test"]
    assert encoder.num_images == digits.test.num_examples
    store(encoder, digits, tmp_path)["test"]
    assert encoder.num_images == digits.test.num_examples


def test_keras_models_are_known_by_their_weights(digits):
    def model(policy):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((8, 8, 3))
        pooled = keras.layers.GlobalAveragePooling2D()(inputs)
        return keras.Model(inputs, keras.layers.Dense(4, dtype=policy)(pooled))

    key = store(model("float32"), digits).key
    assert store(model("float32"), digits).key == key
