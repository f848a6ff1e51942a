"""Tests of fine-tuning on digits, on SGD by hand, and on what it must refuse."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from vicreg_keras.data.dataset import Dataset, Split
from vicreg_keras.evaluate import finetune as module
from vicreg_keras.evaluate.augmented_probe import crop_and_flip
from vicreg_keras.evaluate.few_labels import draw_labeled
from vicreg_keras.evaluate.finetune import LEARNING_RATES, FinetuneResult, finetune
from vicreg_keras.evaluate.records import from_json, to_json
from vicreg_keras.models.encoders import make_encoder
from vicreg_keras.settings import DataOptions


@pytest.fixture
def policy():
    """A function that puts a precision in force until the test ends."""
    before = keras.mixed_precision.dtype_policy()
    yield keras.mixed_precision.set_dtype_policy
    keras.mixed_precision.set_dtype_policy(before)


def plain(images, seed):
    """A view that changes nothing: the default one takes seconds to compile."""
    del seed
    return tf.cast(images, tf.float32)


def new_encoder(seed=0):
    keras.utils.set_random_seed(seed)
    return make_encoder("tiny", (8, 8, 3))


@pytest.fixture(autouse=True)
def configure(monkeypatch):
    """A function that sets the module's constants; quick ones from the start."""

    def configure(**constants):
        for name, value in constants.items():
            monkeypatch.setattr(module, name, value)

    configure(LEARNING_RATES=((0.1, 0.3),), MIN_STEPS=10, crop_and_flip=lambda: plain)
    return configure


def run(encoder, dataset, **settings):
    return finetune(encoder, dataset, **{"label_fraction": 0.2, "epochs": 1} | settings)


def copies(encoder):
    return [variable.numpy() for variable in encoder.variables]


def test_learns_in_place_and_says_how(digits, configure):
    configure(MIN_STEPS=80)
    encoder = new_encoder()
    before = copies(encoder)
    result = run(encoder, digits, seed=3)
    assert result.metrics.top1 > 0.7
    assert result.metrics.top5 > result.metrics.top1
    assert result.metrics.validation_top1 > 0.7
    # What was passed in has learned, batch normalization's statistics included.
    for old, new in zip(before, copies(encoder), strict=True):
        assert not np.array_equal(old, new)
    assert vars(result.settings) == {
        "label_fraction": 0.2,
        "num_train": 259,
        "epochs": 1,
        "num_steps": 80,
        "encoder_learning_rate": 0.1,
        "head_learning_rate": 0.3,
        "seed": 3,
    }
    assert from_json(FinetuneResult, to_json(result)) == result

    configure(MIN_STEPS=10)
    # The same again goes on from there, and so is ahead of a start from scratch.
    further = run(encoder, digits, seed=3).metrics
    scratch = run(new_encoder(), digits, seed=3).metrics
    assert further.top1 > scratch.top1 + 0.1
    assert further.validation_log_loss < scratch.validation_log_loss


def test_is_a_function_of_its_seed(digits):
    first, again, other = (
        run(new_encoder(), digits, label_fraction=0.02, seed=seed) for seed in (1, 1, 2)
    )
    # Sums in another order may round otherwise.
    for key in ("validation_log_loss", "train_loss"):
        values = [getattr(result.metrics, key) for result in (first, again, other)]
        assert values[0] == pytest.approx(values[1], rel=1e-3)
        assert values[0] != pytest.approx(values[2], rel=1e-2)


def test_every_pair_starts_anew_and_the_one_that_diverged_is_passed_over(
    digits, configure
):
    both, alone = new_encoder(), new_encoder()
    expected = run(alone, digits)
    configure(LEARNING_RATES=((1e38, 1e38), (0.1, 0.3)))
    tried = run(both, digits)
    assert tried.settings.encoder_learning_rate == 0.1
    assert tried.metrics.validation_log_loss == pytest.approx(
        expected.metrics.validation_log_loss, rel=1e-3
    )
    # The chosen pair's weights stay, also where another one came last.
    last = new_encoder()
    configure(LEARNING_RATES=((0.1, 0.3), (1e38, 1e38)))
    run(last, digits)
    for encoder in (both, last):
        for one, other in zip(copies(encoder), copies(alone), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-2, atol=1e-3)
    configure(LEARNING_RATES=((1e38, 1e38),))
    with pytest.raises(ValueError, match="all of which diverged"):
        run(new_encoder(), digits)


def test_test_labels_choose_nothing(digits, configure):
    test = digits.test
    images = test.read(np.arange(len(test)))
    wrong = Split(images, (test.labels + 1) % 10, test.names)
    configure(LEARNING_RATES=((0.001, 0.01), (0.1, 0.3)), MIN_STEPS=30)
    first = run(new_encoder(), digits)
    second = run(new_encoder(), dataclasses.replace(digits, test=wrong))
    # The other pair hardly moves.
    assert first.settings.encoder_learning_rate == 0.1
    assert second.settings.encoder_learning_rate == 0.1
    assert second.metrics.validation_log_loss == pytest.approx(
        first.metrics.validation_log_loss, rel=1e-3
    )
    assert second.metrics.top1 < first.metrics.top1 - 0.2


# What is left of an encoder that sees one color only: two linear layers.
def one_color_set():
    labels = np.array([0, 0, 0, 1])
    images = np.zeros((4, 2, 2, 3), np.uint8)
    split = Split(images, labels, list("abcd"))
    return Dataset(
        split, split, split, ("a", "b"), options=DataOptions(dataset="color")
    )


def test_is_sgd_with_a_learning_rate_for_each_part(configure):
    color = np.array([0.5, -1.0, 2.0])
    inputs = keras.Input((2, 2, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(inputs)
    outputs = keras.layers.Dense(2, use_bias=False)(pooled)
    encoder = keras.Model(inputs, outputs)
    weights = encoder.get_weights()[0].astype(np.float64)  # (3, 2)
    num_steps, rates, seed = 5, (0.05, 0.4), 7
    # What is learned from is the view; the images themselves are black.
    configure(
        LEARNING_RATES=(rates,),
        MIN_STEPS=1,
        crop_and_flip=lambda: (
            lambda images, seed: tf.ones_like(images, tf.float32) * color
        ),
    )
    result = run(
        encoder, one_color_set(), label_fraction=1.0, epochs=num_steps, seed=seed
    )

    start = keras.initializers.RandomNormal(stddev=0.01, seed=seed)((2, 2))
    parameters = [weights, np.float64(start), np.zeros(2)]
    rates = [rates[0], rates[1], rates[1]]
    velocities = [np.zeros_like(values) for values in parameters]
    for step in range(num_steps):
        encoder_weights, head, biases = parameters
        representation = color @ encoder_weights
        logits = representation @ head + biases
        probabilities = np.exp(logits) / np.exp(logits).sum()
        loss = -(3 * np.log(probabilities[0]) + np.log(probabilities[1])) / 4
        error = probabilities - [0.75, 0.25]
        gradients = [
            np.outer(color, head @ error),
            np.outer(representation, error),
            error,
        ]
        cosine = 0.5 * (1 + np.cos(np.pi * step / num_steps))
        for values, velocity, gradient, rate in zip(
            parameters, velocities, gradients, rates, strict=True
        ):
            velocity[...] = 0.9 * velocity - rate * cosine * gradient
            values += velocity
    assert result.metrics.train_loss == pytest.approx(loss, rel=1e-5)
    np.testing.assert_allclose(encoder.get_weights()[0], parameters[0], rtol=1e-4)
    assert result.settings.num_steps == num_steps
    assert result.metrics.top1 == 0.75  # Black images are as likely of either class.


def test_steps_are_those_of_the_epochs_or_the_minimum(digits, configure):
    few = dataclasses.replace(digits, train=digits.train.take(np.arange(50)))
    for batch_size, epochs, min_steps, expected in ((10, 3, 1, 6), (256, 1, 4, 4)):
        configure(BATCH_SIZE=batch_size, MIN_STEPS=min_steps)
        result = run(new_encoder(), few, label_fraction=0.5, epochs=epochs)
        assert result.settings.num_steps == expected
        assert result.settings.num_train == 25


def test_only_the_drawn_labels_are_learned_from(digits, configure):
    configure(MIN_STEPS=3)
    train = digits.train
    picks = draw_labeled(train.labels, 0.05, seed=0)
    images = train.read()
    images[np.setdiff1d(np.arange(len(train)), picks)] = 0
    only_drawn = Split(images, train.labels, train.names)
    results = [
        run(
            new_encoder(),
            dataclasses.replace(digits, train=split),
            label_fraction=0.05,
        )
        for split in (train, only_drawn)
    ]
    first, second = (result.metrics.validation_log_loss for result in results)
    assert first == pytest.approx(second, rel=1e-3)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_in_mixed_precision(digits, policy, configure, precision):
    configure(MIN_STEPS=30)
    policy(precision)
    encoder = new_encoder()
    # Some arithmetic of half the width is slow on a CPU.
    result = run(encoder, digits, label_fraction=0.02)
    assert encoder.dtype_policy.name == precision
    assert result.metrics.top1 > 0.4
    assert result.metrics.train_loss < 1.0
    assert {variable.dtype for variable in encoder.trainable_variables} == {"float32"}


def test_default_pairs_and_view_are_the_authors(digits, configure):
    configure(LEARNING_RATES=LEARNING_RATES, MIN_STEPS=1, crop_and_flip=crop_and_flip)
    result = run(new_encoder(), digits, label_fraction=0.02)
    settings = result.settings
    chosen = (settings.encoder_learning_rate, settings.head_learning_rate)
    assert chosen in LEARNING_RATES and LEARNING_RATES[0] == (0.03, 0.08)


def test_bad_input_is_refused(digits):
    encoder = new_encoder()
    with pytest.raises(ValueError, match="label_fraction=0.0"):
        run(encoder, digits, label_fraction=0.0)
    with pytest.raises(ValueError, match="with a test split"):
        run(encoder, dataclasses.replace(digits, test=None))
    bare = Split(np.zeros((4, 8, 8, 3), np.uint8), None, list("abcd"))
    for name in ("train", "validation", "test"):
        with pytest.raises(ValueError, match=f"labels for {name}"):
            run(encoder, dataclasses.replace(digits, **{name: bare}))
