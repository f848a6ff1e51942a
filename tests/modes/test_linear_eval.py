"""`linear_eval`: baselines, protocols, and what is drawn."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from vicreg_keras.errors import InputError
from vicreg_keras.evaluate import augmented_probe
from vicreg_keras.evaluate import features as features_module
from vicreg_keras.evaluate.linear_eval import LinearEvalRecord, chance
from vicreg_keras.evaluate.linear_probe import linear_probe
from vicreg_keras.evaluate.records import read_records
from vicreg_keras.modes import linear_eval
from vicreg_keras.modes.context import Context
from vicreg_keras.modes.options import LinearEvalOptions


class Quarters:
    """The mean of each 2x2 block, or of the first few: 16 values per image."""

    variables = ()

    def __init__(self, width=16):
        self.width = width

    def __call__(self, images, training=False):
        images = tf.cast(images, tf.float32)[..., :1] / 255
        means = tf.nn.avg_pool2d(images, 2, 2, "VALID")
        return tf.reshape(means, (tf.shape(means)[0], 16))[:, : self.width]


def evaluate(dataset, encoder=None, make_encoder=None, **options):
    context = Context(encoder or Quarters(), dataset, make_encoder=make_encoder, seed=3)
    return linear_eval.run(context, LinearEvalOptions(**options))


@pytest.fixture(scope="module")
def record(digits):
    def plain(images, seed):
        return tf.cast(images, tf.float32)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(augmented_probe, "crop_and_flip", lambda: plain)
        return evaluate(
            digits,
            make_encoder=lambda trained: Quarters(4),
            protocol="both",
            probe_epochs=2,
            few_labels=5,
            few_label_seeds=2,
        )


def protocols(result):
    return [key for key, value in vars(result).items() if value is not None]


def test_every_baseline_and_protocol_is_there(record, digits):
    assert {name: protocols(result) for name, result in record.results.items()} == {
        "encoder": ["cached", "augmented", "few_labels"],
        "untrained": ["cached", "augmented", "few_labels"],
        "raw_input": ["cached", "few_labels"],
    }
    encoder, untrained, raw_input = record.results.values()
    for result in record.results.values():
        for protocol in protocols(result):
            metrics = getattr(result, protocol).metrics
            assert 0 < metrics.top1 < metrics.top5 <= 1
    assert encoder.cached.metrics.top1 > untrained.cached.metrics.top1
    assert encoder.few_labels.settings.labels_per_class == 5
    assert encoder.augmented.settings.seed == 3
    assert [draw.seed for draw in encoder.few_labels.settings.draws] == [3, 4]
    assert record.num_test == digits.test.num_examples
    assert raw_input.cached.metrics.top1 > 0.85


def test_chance_is_even_guessing(digits):
    metrics = chance(digits)
    assert (metrics.top1, metrics.top5) == (0.1, 0.5)
    majority = np.bincount(digits.train.labels).argmax()
    assert metrics.majority_top1 == np.mean(digits.test.labels == majority)


def test_record_is_logged_and_equals_the_probe_alone(run_mode, context, capsys):
    record = run_mode("linear_eval", context, few_labels=2, few_label_seeds=2)
    text = capsys.readouterr().out
    for name in ("VICReg encoder", "untrained encoder", "raw input", "chance"):
        assert name in text
    assert read_records(context.run, LinearEvalRecord) == [record]
    splits = [context.features[name] for name in ("train", "validation", "test")]
    assert record.results["encoder"].cached == linear_probe(*splits, num_classes=10)


def test_representations_are_computed_once(digits):
    batches = []

    class Counting(Quarters):
        def __call__(self, images, training=False):
            count = tf.shape(images)[0]
            tf.py_function(lambda count: batches.append(int(count)), [count], [])
            return super().__call__(images)

    evaluate(digits, Counting(), few_label_seeds=1)
    splits = (digits.train, digits.validation, digits.test)
    assert sum(batches) == sum(split.num_examples for split in splits)


def test_raw_input_is_the_pixels(context, digits):
    images = digits.test.read(np.arange(digits.test.num_examples))
    np.testing.assert_array_equal(
        context.input_features["test"].representations,
        images.reshape(len(images), -1),
    )


def test_confusions_and_mistakes_are_drawn(run_mode, context, linear_top1):
    run_mode("linear_eval", context, few_labels=0)
    for name in ("confusion", "mistakes"):
        with Image.open(context.run.figures / f"{name}.png") as image:
            description = image.info["Description"]
        assert description.startswith("Linear head on frozen representations (cached)")
        if name == "confusion":
            top1 = 100 * linear_top1
            assert f"{top1:.2f} percent of 90 are right" in description


def test_too_large_raw_input_is_omitted(digits, monkeypatch):
    monkeypatch.setattr(features_module, "_MAX_INPUT_BYTES", 1000)
    record = evaluate(digits, few_labels=0)
    assert list(record.results) == ["encoder"]
    assert protocols(record.results["encoder"]) == ["cached"]
    assert record.raw_input_omitted.startswith("0.0 GiB")


def test_unusable_datasets_are_refused(digits, unlabeled):
    with pytest.raises(InputError, match="test split.*digits"):
        evaluate(dataclasses.replace(digits, test=None))
    with pytest.raises(InputError, match="labeled dataset"):
        evaluate(unlabeled.dataset)
    with pytest.raises(InputError, match="protocol"):
        evaluate(digits, protocol="linear")
