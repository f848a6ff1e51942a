"""The mode `finetune`: three numbers a fraction, and nothing of the context changed."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from vicreg_keras.data.dataset import Split, load_dataset
from vicreg_keras.evaluate.few_labels import frozen_probe
from vicreg_keras.models.encoders import make_encoder
from vicreg_keras.modes.context import Context
from vicreg_keras.modes.finetune import run_finetune
from vicreg_keras.workdir.run_folder import RunFolder

SETTINGS = {
    "label_fractions": (0.02, 0.5),
    "epochs": 1,
    "min_steps": 6,
    "learning_rates": ((0.03, 0.08),),
    "view": lambda images, seed: tf.cast(images, tf.float32),
}


@pytest.fixture(scope="module")
def digits():
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
    return Context(Saved(encoders.pretrained), dataset, run, encoders(False), seed=4)


def test_table_numbers_and_picture(digits, tmp_path, capsys):
    encoders = Encoders()
    context = make_context(encoders, digits, RunFolder(tmp_path / "run"))
    judged = (context.encoder, context.untrained_encoder)
    before = [[v.numpy() for v in encoder.variables] for encoder in judged]
    encoders.made.clear()

    row = run_finetune(context, make_encoder=encoders, **SETTINGS)

    # A new encoder each time, of both kinds; the context's are bit for bit the same.
    assert [pretrained for pretrained, _ in encoders.made] == [True, False] * 2
    assert len({id(encoder) for _, encoder in encoders.made}) == 4
    for encoder, old in zip(judged, before, strict=True):
        for variable, value in zip(encoder.variables, old, strict=True):
            np.testing.assert_array_equal(variable.numpy(), value)
    results = row["results"]
    assert set(results) == {"finetuned", "scratch", "frozen"}
    for numbers in results.values():
        assert [part["num_labeled"] for part in numbers] == [26, 647]
        assert {part["seed"] for part in numbers} == {4}
        assert {part["num_test"] for part in numbers} == {359}
    for tuned, scratch in zip(results["finetuned"], results["scratch"], strict=True):
        # The same protocol on the same images, from other weights.
        differing = {"top1", "top5", "path", "validation_log_loss", "validation_top1"}
        assert tuned["validation_log_loss"] != scratch["validation_log_loss"]
        for key in set(tuned) - differing:
            assert tuned[key] == scratch[key], key
    splits = [context.features[name] for name in ("train", "validation", "test")]
    assert results["frozen"][0] == frozen_probe(
        *splits, num_classes=10, label_fraction=0.02, seed=4
    )
    assert (row["mode"], row["split"], row["seed"]) == ("finetune", "test", 4)
    assert context.run.read_metrics("finetune") == [row]
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
    ]
    for number, line in enumerate(lines[header + 1 : header + 3]):
        shown = [
            f"{100 * results[name][number]['top1']:.2f}"
            for name in ("scratch", "frozen", "finetuned")
        ]
        assert line.split()[3:6] == shown
        assert "rates 0.03/0.08 from scratch" in line
    assert lines[header + 1].split()[:3] == ["26", "2", "%"]
    assert "144 held-out labels" in printed
    assert "test split, 359 examples of 10 classes" in printed


def test_without_a_run_nothing_is_written(digits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    encoders = Encoders()
    context = make_context(encoders, digits)
    settings = SETTINGS | {"label_fractions": (0.02,), "min_steps": 1}
    row = run_finetune(context, make_encoder=encoders, **settings)
    assert len(row["results"]["finetuned"]) == 1
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_judged_is_refused_before_any_work(digits):
    encoders = Encoders()
    bare = Split(np.zeros((4, 8, 8, 3), np.uint8), None, list("abcd"))
    unlabeled = dataclasses.replace(
        digits, class_names=None, train=bare, validation=bare, test=bare
    )
    for dataset, settings, message in (
        (unlabeled, {}, "Expected a labeled dataset for fine-tuning"),
        (dataclasses.replace(digits, test=None), {}, "test split for fine-tuning"),
        (digits, {"label_fractions": ()}, "at least one fraction"),
        (digits, {"label_fractions": (0.1, 1.5)}, "label_fraction=1.5"),
    ):
        context = make_context(encoders, dataset)
        encoders.made.clear()
        with pytest.raises(ValueError, match=message):
            run_finetune(context, make_encoder=encoders, **SETTINGS | settings)
        assert encoders.made == []
