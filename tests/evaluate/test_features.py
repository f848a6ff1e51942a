"""Tests of extracting representations."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from vicreg_keras.data.dataset import Split
from vicreg_keras.evaluate.features import (
    check_example_shape,
    compile_encoder,
    extract_features,
)


def make_split(num_examples=7, size=4, labels=True, seed=0):
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (num_examples, size, size, 3), dtype=np.uint8)
    labels = np.arange(num_examples) % 3 if labels else None
    names = [str(index) for index in range(num_examples)]
    return Split(images, labels, names)


def flatten(images, training=False):
    images = tf.cast(images, tf.float32)
    return tf.reshape(images, (tf.shape(images)[0], -1))


def make_model(size=4):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((size, size, 3)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(5, 3),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5),
            keras.layers.GlobalAveragePooling2D(),
        ]
    )
    model.layers[2].moving_mean.assign(np.linspace(-1, 1, 5))
    return model


@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
def test_every_example_once_and_in_order(batch_size):
    split = make_split()
    features = extract_features(flatten, split, batch_size=batch_size)
    expected = split.read(np.arange(7)).reshape(7, -1)
    np.testing.assert_array_equal(features.representations, expected)
    assert features.representations.dtype == np.float32
    np.testing.assert_array_equal(features.labels, split.labels)
    assert features.labels.dtype == np.int64


def test_split_without_labels_gives_none():
    assert extract_features(flatten, make_split(labels=False)).labels is None


def test_inference_mode_and_untouched_variables():
    model, split = make_model(), make_split()
    before = [variable.numpy() for variable in model.variables]
    first = extract_features(model, split, batch_size=3).representations
    second = extract_features(model, split, batch_size=7).representations
    # Dropout would make them differ, and batch statistics would depend on the batch.
    np.testing.assert_allclose(first, second, rtol=1e-5, atol=1e-6)
    expected = model(split.read(np.arange(7)), training=False)
    np.testing.assert_allclose(first, expected, rtol=1e-5, atol=1e-6)
    for old, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(old, variable.numpy())


def test_compiled_once_it_follows_the_variables():
    traces = []
    scale = tf.Variable(1.0)

    def encoder(images, training):
        traces.append(training)
        return flatten(images) * scale

    split = make_split()
    encode = compile_encoder(encoder, split.example_shape)
    first = extract_features(encode, split, batch_size=3).representations
    scale.assign(2.0)
    second = extract_features(encode, split, batch_size=3).representations
    np.testing.assert_array_equal(2 * first, second)
    assert traces == [False]


def test_half_precision_comes_out_as_float32():
    features = extract_features(
        lambda images, training: tf.cast(flatten(images), tf.bfloat16), make_split()
    )
    assert features.representations.dtype == np.float32


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_non_finite_representations_are_refused(value):
    def encoder(images, training):
        rows = flatten(images)
        return tf.where(rows[:, :1] == rows[2, 0], value, rows)

    with pytest.raises(ValueError, match="finite computed representations.*at index 2"):
        extract_features(encoder, make_split())


def test_other_shapes_than_rows_are_refused():
    with pytest.raises(ValueError, match="one vector per example"):
        extract_features(lambda images, training: images, make_split())
    with pytest.raises(ValueError, match="split with examples"):
        extract_features(flatten, make_split().take([]))


def test_size_mismatch_names_the_argument():
    with pytest.raises(ValueError, match="image_size=4"):
        extract_features(make_model(4), make_split(size=5))
    with pytest.raises(ValueError, match="Expected images of the encoder's shape"):
        check_example_shape(make_model(4), (7,))
    with pytest.raises(ValueError, match="tabular examples.*another dataset"):
        check_example_shape(keras.Model(*2 * [keras.Input((7,))]), (5, 5, 3))
    check_example_shape(flatten, (5, 5, 3))
    check_example_shape(keras.Sequential([keras.Input((None, None, 3))]), (9, 7, 3))


@pytest.mark.parametrize("verbose", [0, 1])
def test_a_progress_bar_is_shown_only_for_long_work(capsys, verbose):
    extract_features(flatten, make_split(), verbose=verbose)
    assert capsys.readouterr() == ("", "")
