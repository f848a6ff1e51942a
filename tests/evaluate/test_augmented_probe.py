"""Tests of the authors' linear evaluation on images whose class is their color."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from vicreg_keras.data.dataset import Split
from vicreg_keras.evaluate import augmented_probe as module
from vicreg_keras.evaluate.augmented_probe import (
    LEARNING_RATES,
    AugmentedProbeResult,
    LinearHeads,
    augmented_probe,
    crop_and_flip,
)
from vicreg_keras.evaluate.features import Features, extract_features
from vicreg_keras.evaluate.records import from_json, to_json
from vicreg_keras.views.image_layers import RandomHorizontalFlip, RandomResizedCrop


# Images whose class is their color, and an encoder with every state there is.
def color_split(num_examples, seed, num_classes=6):
    random = np.random.default_rng(seed)
    labels = np.arange(num_examples) % num_classes
    colors = np.array(
        [[200, 30, 30], [30, 200, 30], [30, 30, 200], [9, 9, 9], [240, 240, 240]]
        + [[120, 20, 200]]
    )
    images = colors[labels][:, None, None] + random.integers(
        -9, 10, (num_examples, 8, 8, 3)
    )
    names = [str(index) for index in range(num_examples)]
    return Split(np.clip(images, 0, 255).astype(np.uint8), labels, names)


@pytest.fixture(scope="module")
def encoder():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(16, 3, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dropout(0.5),
        ]
    )


@pytest.fixture(scope="module")
def colors(encoder):
    """A split to train on, and the features of two others."""
    train, *held_out = (
        color_split(size, seed) for seed, size in enumerate((100, 31, 37))
    )
    return train, *(extract_features(encoder, split) for split in held_out)


def flip(images, seed):
    """A cheap view: the default one takes seconds to compile."""
    images = tf.cast(images, tf.float32)
    return tf.image.stateless_random_flip_left_right(images, seed)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(module, "BATCH_SIZE", 32)


@pytest.fixture
def cheap_view(monkeypatch):
    monkeypatch.setattr(module, "crop_and_flip", lambda: flip)


def test_augmented_probe_learns_and_leaves_the_encoder_alone(encoder, colors):
    before = [variable.numpy().copy() for variable in encoder.variables]
    result = augmented_probe(encoder, *colors, num_classes=6, epochs=15, seed=1)
    metrics, settings = result.metrics, result.settings
    assert metrics.top1 >= 0.95
    assert metrics.top5 >= metrics.top1
    assert settings.learning_rate in LEARNING_RATES
    assert (settings.epochs, settings.seed) == (15, 1)
    assert metrics.validation_top1 >= 0.95
    assert 0 < metrics.train_loss < np.log(6)
    for old, variable in zip(before, encoder.variables, strict=True):
        np.testing.assert_array_equal(old, variable.numpy())
    assert from_json(AugmentedProbeResult, to_json(result)) == result


def test_augmented_probe_is_a_function_of_its_seed(encoder, colors, cheap_view):
    first, again, other = (
        augmented_probe(encoder, *colors, num_classes=6, seed=seed, epochs=1)
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first.metrics.train_loss != other.metrics.train_loss


def test_augmented_probe_is_the_authors_sgd(monkeypatch):
    # A representation that is always 1 and a view that changes nothing: what is left
    # is SGD on biases, followed here by hand in float64.
    labels = np.array([0, 0, 0, 1])
    images = np.zeros((4, 4, 4, 3), np.uint8)
    split = Split(images, labels, list("abcd"))
    ones = Features(np.ones((4, 1), np.float32), labels)
    epochs, rate, decay = 4, 0.5, 0.1
    monkeypatch.setattr(module, "LEARNING_RATES", (rate,))
    monkeypatch.setattr(module, "WEIGHT_DECAY", decay)
    monkeypatch.setattr(
        module, "crop_and_flip", lambda: lambda images, seed: tf.cast(images, "float32")
    )
    result = augmented_probe(
        lambda images, training: tf.ones((tf.shape(images)[0], 1)),
        split,
        ones,
        ones,
        num_classes=2,
        epochs=epochs,
    )
    weights = np.float64(tf.random.stateless_normal((1, 1, 2), (0, 0), stddev=0.01))
    parameters = np.stack([weights.ravel(), np.zeros(2)])  # Weights and biases.
    velocity = np.zeros((2, 2))
    for epoch in range(epochs):
        logits = parameters.sum(axis=0)
        probabilities = np.exp(logits) / np.exp(logits).sum()
        loss = -(3 * np.log(probabilities[0]) + np.log(probabilities[1])) / 4
        gradient = probabilities - [0.75, 0.25] + decay * parameters
        velocity = 0.9 * velocity + gradient
        cosine = 0.5 * (1 + np.cos(np.pi * epoch / epochs))
        parameters = parameters - rate * cosine * velocity
    assert result.metrics.train_loss == pytest.approx(loss, rel=1e-5)
    assert result.metrics.top1 == 0.75


def test_head_choice_does_not_see_test_labels(encoder, colors, cheap_view):
    train, validation, test = colors
    shuffled = Features(test.representations, np.roll(test.labels, 1))
    first, second = (
        augmented_probe(encoder, train, validation, part, num_classes=6, epochs=3)
        for part in (test, shuffled)
    )
    assert first.settings == second.settings
    assert first.metrics.top1 != second.metrics.top1


def test_encoder_sees_views_in_inference_mode():
    seen = []

    def encoder(images, training):
        seen.append((images.dtype, training))
        return tf.reduce_mean(tf.cast(images, tf.float32), axis=(1, 2)) / 255

    split = color_split(12, 0)
    plain = Features(np.zeros((12, 3), np.float32), split.labels)
    augmented_probe(encoder, split, plain, plain, num_classes=6, epochs=1)
    assert {training for _, training in seen} == {False}
    assert {dtype for dtype, _ in seen} == {tf.float32}


def test_default_view_crops_and_flips_and_leaves_colors():
    crop, flip = crop_and_flip().layers
    assert type(crop) is RandomResizedCrop and crop.scale == (0.08, 1.0)
    assert type(flip) is RandomHorizontalFlip and flip.probability == 0.5


def test_diverged_heads_are_passed_over(encoder, colors, cheap_view, monkeypatch):
    monkeypatch.setattr(module, "LEARNING_RATES", (1e38, 0.3))
    result = augmented_probe(encoder, *colors, num_classes=6, epochs=2)
    assert result.settings.learning_rate == 0.3
    monkeypatch.setattr(module, "LEARNING_RATES", (1e38,))
    with pytest.raises(ValueError, match="all of which diverged"):
        augmented_probe(encoder, *colors, num_classes=6, epochs=2)


def test_unlabeled_images_are_refused(encoder, colors):
    train = Split(np.zeros((2, 8, 8, 3), np.uint8), None, ["a", "b"])
    with pytest.raises(ValueError, match="labels for train"):
        augmented_probe(encoder, train, *colors[1:], num_classes=6)


ROWS = np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32)
LABELS = np.arange(20) % 3


def trained(learning_rates, decays=(1.0, 0.5, 0.1)):
    heads = LinearHeads(5, 3, learning_rates, seed=1)
    for decay in decays:
        losses = heads.update(tf.constant(ROWS), tf.constant(LABELS), decay)
    return heads.scores(ROWS), losses.numpy()


def test_every_head_learns_as_if_alone():
    together, losses = trained((0.1, 3.0))
    assert together.shape == (20, 2, 3)
    for head, rate in enumerate((0.1, 3.0)):
        alone, loss = trained((rate,))
        np.testing.assert_allclose(together[:, head], alone[:, 0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(losses[head], loss[0], rtol=1e-5)


def test_heads_start_alike_and_as_their_seed_says():
    scores, losses = trained((0.1, 3.0), decays=(0.0,))
    np.testing.assert_array_equal(scores[:, 0], scores[:, 1])
    np.testing.assert_allclose(losses, np.log(3), atol=0.1)
    other = LinearHeads(5, 3, (0.1,), seed=2).scores(ROWS)
    assert np.abs(other[:, 0] - scores[:, 0]).max() > 1e-3
