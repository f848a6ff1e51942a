"""`finetune`: three accuracies per fraction, and nothing of the context changed."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from vicreg_keras import load_dataset
from vicreg_keras.data.dataset import Split
from vicreg_keras.errors import InputError
from vicreg_keras.evaluate import finetune
from vicreg_keras.evaluate.finetune import FinetuneRecord
from vicreg_keras.evaluate.linear_probe import linear_probe
from vicreg_keras.evaluate.records import read_records
from vicreg_keras.models.encoders import make_encoder
from vicreg_keras.modes.context import Context
from vicreg_keras.modes.finetune import run
from vicreg_keras.modes.options import FinetuneOptions
from vicreg_keras.workdir.run_folder import RunFolder


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    def plain(images, seed):
        return tf.cast(images, tf.float32)

    monkeypatch.setattr(finetune, "MIN_STEPS", 6)
    monkeypatch.setattr(finetune, "LEARNING_RATES", ((0.03, 0.08),))
    monkeypatch.setattr(finetune, "crop_and_flip", lambda: plain)


@pytest.fixture(scope="module")
def digits():
    """All of them, where the other modes' tests take a part."""
    return load_dataset("digits")


class Saved:
    """An encoder as a run leaves it."""

    path = "runs/digits/encoder/1"

    def __init__(self, encoder):
        self.variables = encoder.variables
        self._encoder = encoder

    def __call__(self, images, training=False):
        return self._encoder(images, training=training)


class Encoders:
    """Makes encoders as the caller of the mode does, and remembers them."""

    def __init__(self):
        keras.utils.set_random_seed(1)
        self.pretrained = make_encoder("tiny", (8, 8, 3))
        self.made = []

    def __call__(self, pretrained):
        keras.utils.set_random_seed(0)
        encoder = make_encoder("tiny", (8, 8, 3))
        if pretrained:
            encoder.set_weights(self.pretrained.get_weights())
        self.made.append((pretrained, encoder))
        return encoder


def make_context(encoders, dataset, run=None):
    return Context(Saved(encoders.pretrained), dataset, run, encoders, seed=4)


def test_table_numbers_and_picture(digits, tmp_path, capsys):
    encoders = Encoders()
    context = make_context(encoders, digits, RunFolder(tmp_path / "run"))
    evaluated = (context.encoder, context.untrained_encoder)
    before = [[v.numpy() for v in encoder.variables] for encoder in evaluated]
    encoders.made.clear()

    options = FinetuneOptions(label_fractions=(0.02, 0.5), finetune_epochs=1)
    record = run(context, options)

    # A new encoder each time, of both kinds; the context's are bit for bit the same.
    assert [pretrained for pretrained, _ in encoders.made] == [True, False] * 2
    assert len({id(encoder) for _, encoder in encoders.made}) == 4
    for encoder, old in zip(evaluated, before, strict=True):
        for variable, value in zip(encoder.variables, old, strict=True):
            np.testing.assert_array_equal(variable.numpy(), value)
    for results in (record.finetuned, record.scratch, record.frozen):
        assert [result.settings.num_train for result in results] == [26, 647]
    for results in (record.finetuned, record.scratch):
        assert {result.settings.seed for result in results} == {4}
    for tuned, scratch in zip(record.finetuned, record.scratch, strict=True):
        # The same protocol on the same images, from other weights.
        assert tuned.metrics.validation_log_loss != scratch.metrics.validation_log_loss
        assert tuned.settings == scratch.settings
    splits = [context.features[name] for name in ("train", "validation", "test")]
    assert record.frozen[0] == linear_probe(
        *splits, num_classes=10, label_fraction=0.02, seed=4
    )
    assert (record.mode, record.split, record.seed) == ("finetune", "test", 4)
    assert (record.num_train, record.num_test) == (1294, 359)
    assert read_records(context.run, FinetuneRecord) == [record]
    assert (context.run.figures / "label_efficiency.png").stat().st_size > 10_000

    printed = capsys.readouterr().out
    lines = printed.splitlines()
    (header,) = (n for n, line in enumerate(lines) if "from scratch  " in line)
    columns = lines[header].split("  ")
    assert [name.strip() for name in columns if name.strip()] == [
        "labels",
        "of all",
        "from scratch",
        "frozen, linear",
        "fine-tuned",
        "chosen on the validation split",
    ]
    for number, line in enumerate(lines[header + 1 : header + 3]):
        shown = [
            f"{100 * results[number].metrics.top1:.2f}"
            for results in (record.scratch, record.frozen, record.finetuned)
        ]
        assert line.split()[3:6] == shown
        assert "rates 0.03/0.08 from scratch" in line
    assert lines[header + 1].split()[:3] == ["26", "2", "%"]
    assert "144 validation labels" in printed
    assert "test split, 359 examples of 10 classes" in printed


def test_without_a_run_nothing_is_written(digits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    context = make_context(Encoders(), digits)
    options = FinetuneOptions(label_fractions=(0.02,), finetune_epochs=1)
    record = run(context, options)
    assert len(record.finetuned) == 1
    assert list(tmp_path.iterdir()) == []


def test_unusable_datasets_are_refused_before_any_work(digits):
    bare = Split(np.zeros((4, 8, 8, 3), np.uint8), None, list("abcd"))
    unlabeled = dataclasses.replace(
        digits, class_names=None, train=bare, validation=bare, test=bare
    )
    table = dataclasses.replace(digits, columns=())
    for dataset, message in (
        (unlabeled, "Expected a labeled dataset"),
        (dataclasses.replace(digits, test=None), "with a test split"),
        (table, "Expected images for fine-tuning"),
    ):
        encoders = Encoders()
        with pytest.raises(InputError, match=message):
            run(make_context(encoders, dataset), FinetuneOptions())
        assert encoders.made == []
    without_run = Context(Encoders().pretrained, digits)
    with pytest.raises(InputError, match="workdir=RUN for fine-tuning"):
        run(without_run, FinetuneOptions())
