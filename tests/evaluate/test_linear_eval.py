"""Tests of linear evaluation: baselines, protocols and the table they end in."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

from vicreg_keras.data.dataset import load_dataset
from vicreg_keras.evaluate import linear_eval as module
from vicreg_keras.evaluate.features import extract_features
from vicreg_keras.evaluate.linear_eval import (
    chance,
    format_table,
    input_features,
    linear_eval,
)


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


def quarters(images, training=False):
    """The mean of each 2x2 block: 16 numbers an image."""
    images = tf.cast(images, tf.float32)[..., :1] / 255
    means = tf.nn.avg_pool2d(images, 2, 2, "VALID")
    return tf.reshape(means, (tf.shape(means)[0], 16))


@pytest.fixture(scope="module")
def result(digits):
    return linear_eval(
        quarters,
        digits,
        protocol="both",
        untrained_encoder=lambda images, training=False: quarters(images)[:, :4],
        few_labels=5,
        few_label_seeds=2,
        seed=3,
        epochs=2,
        view=lambda images, seed: tf.cast(images, tf.float32),
        verbose=0,
    )


def test_raw_input_of_digits_reaches_its_known_accuracy(result):
    pixels = result["results"]["raw_input"]["cached"]
    assert 0.95 < pixels["top1"] < 0.99
    assert pixels["converged"]
    assert pixels["representation_size"] == 8 * 8 * 3


def test_every_row_and_protocol_is_there(result, digits):
    protocols = {name: list(rows) for name, rows in result["results"].items()}
    assert protocols == {
        "chance": ["chance"],
        "raw_input": ["cached", "few_labels"],
        "untrained": ["cached", "augmented", "few_labels"],
        "encoder": ["cached", "augmented", "few_labels"],
    }
    accuracies = [
        numbers[key]
        for rows in result["results"].values()
        for numbers in rows.values()
        for key in ("top1", "top5")
    ]
    assert all(0 <= accuracy <= 1 for accuracy in accuracies)
    encoder = result["results"]["encoder"]
    assert encoder["cached"]["top1"] > result["results"]["untrained"]["cached"]["top1"]
    assert encoder["few_labels"]["num_train"] == 50
    # The cached protocol has nothing random.
    assert {name for name in encoder if encoder[name].get("seed") == 3} == {
        "augmented",
        "few_labels",
    }
    assert result["seed"] == 3
    assert result["num_test"] == digits.test.num_examples
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_chance_is_even_guessing(digits):
    numbers = chance(digits)
    assert (numbers["top1"], numbers["top5"]) == (0.1, 0.5)
    commonest = np.bincount(digits.train.labels).argmax()
    assert numbers["majority_top1"] == np.mean(digits.test.labels == commonest)


def test_representations_are_computed_once(digits):
    seen = []

    def encoder(images, training):
        tf.py_function(lambda count: seen.append(int(count)), [tf.shape(images)[0]], [])
        return quarters(images)

    settings = {"raw_input": False, "few_label_seeds": 1, "verbose": 0}
    linear_eval(encoder, digits, **settings)
    splits = (digits.train, digits.validation, digits.test)
    assert sum(seen) == sum(split.num_examples for split in splits)


def test_features_at_hand_are_used(digits):
    def encoder(images, training):
        raise AssertionError("not needed")

    features = {
        name: extract_features(quarters, getattr(digits, name))
        for name in ("train", "validation", "test")
    }
    settings = {"raw_input": False, "few_labels": 0, "verbose": 0}
    given = linear_eval(encoder, digits, features=features, **settings)
    computed = linear_eval(quarters, digits, **settings)
    assert given == computed
    assert set(given["results"]["encoder"]) == {"cached"}


def test_pixels_are_the_pixels(digits):
    features = input_features(digits, "test")
    images = digits.test.read(np.arange(digits.test.num_examples))
    np.testing.assert_array_equal(
        features.representations, images.reshape(len(images), -1)
    )


def test_table_is_aligned_and_names_its_protocol(result):
    table = format_table(result)
    header, columns, *rows = table.splitlines()
    for text in ("digits", "test split", "protocol both", "seed 3", "percent"):
        assert text in header
    assert len(rows) == 9
    end = columns.index("top-1") + len("top-1")
    assert rows[0].split()[:4] == ["chance", "-", "10.00", "50.00"]
    for row in rows:
        assert row[end - 1].isdigit() and row[end] == " "
    top1 = result["results"]["raw_input"]["cached"]["top1"]
    assert f"{100 * top1:.2f}" in rows[1]
    assert rows[-1].startswith("VICReg encoder")
    assert "5 labels a class" in rows[-1] and "±" in rows[-1]
    assert format_table(json.loads(json.dumps(result))) == table


def test_table_says_what_did_not_converge_and_what_has_no_top5(result):
    numbers = result["results"]["raw_input"]["cached"] | {
        "top5": None,
        "converged": False,
    }
    table = format_table(result | {"results": {"raw_input": {"cached": numbers}}})
    assert "not converged" in table
    assert " - " in table.splitlines()[-1]


def test_too_many_pixels_are_left_out_and_said(digits, monkeypatch):
    monkeypatch.setattr(module, "_RAW_PIXELS_LIMIT_BYTES", 1000)
    result = linear_eval(quarters, digits, few_labels=0, verbose=0)
    assert "top1" not in result["results"]["raw_input"]["cached"]
    assert "left out" in format_table(result)


def without_labels(split):
    return dataclasses.make_dataclass("Unlabeled", ["num_examples", "labels"])(
        split.num_examples, None
    )


def test_what_cannot_be_evaluated_is_refused(digits):
    with pytest.raises(ValueError, match="cached, augmented, both.*'linear'"):
        linear_eval(quarters, digits, protocol="linear")
    with pytest.raises(ValueError, match="test split.*digits"):
        linear_eval(quarters, dataclasses.replace(digits, test=None))
    unlabeled = dataclasses.replace(digits, train=without_labels(digits.train))
    with pytest.raises(ValueError, match="labeled dataset.*train"):
        linear_eval(quarters, unlabeled)

    class Encoder:
        example_shape = (32, 32, 3)

    with pytest.raises(ValueError, match="--image_size=32"):
        linear_eval(Encoder(), digits)
