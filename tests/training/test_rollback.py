"""A run whose numbers are not finite stops before it saves them, or goes back."""

import os
import signal
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from vicreg_keras import VICReg, find_nonfinite
from vicreg_keras.errors import NonFiniteError
from vicreg_keras.evaluate.records import PretrainRecord, RollbackRecord, read_records
from vicreg_keras.settings import Settings
from vicreg_keras.training import pretrain as pretraining
from vicreg_keras.training import rollback
from vicreg_keras.training.pretrain import pretrain
from vicreg_keras.workdir.run_folder import RunFolder

SETTINGS = Settings(
    encoder="tiny",
    projector="16-16",
    views="grayscale",
    # One cheap operation, so that little is compiled.
    jitter_probability=0.0,
    crop_scale=(1.0, 1.0),
    flip_probability=0.5,
    epochs=2,
    batch_size=256,
    warmup_epochs=0,
    final_learning_rate_fraction=0.5,
    score_every=0,
    checkpoint_minutes=0,
)
FAILS_IN = 7  # Of 10 steps in two epochs.


class Diverges(keras.callbacks.Callback):
    """Stands for a step that diverges at the recipe's learning rate, not at half of it.

    Args:
        dies: Whether the process is killed when it comes to the step again.
    """

    def __init__(self, dies=False):
        super().__init__()
        self.dies = dies
        self.times = 0

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.step.numpy()) != FAILS_IN:
            return
        self.times += 1
        if self.times == 1:
            raise NonFiniteError("Expected a finite loss. Received: loss=nan.")
        if self.dies:
            raise KeyboardInterrupt


def train(digits, folder, diverges):
    run, options = RunFolder(folder), {"on_nan": "rollback", "export": False}
    pretrain(SETTINGS, digits, run, extra_callbacks=[diverges], **options)
    return run


def weights(run):
    reader = tf.train.load_checkpoint(str(run.checkpoints))
    names = reader.get_variable_to_shape_map()
    return {name: reader.get_tensor(name) for name in names if "encoder" in name}


def test_a_diverged_run_has_no_checkpoint_and_its_step_runs_again(digits, tmp_path):
    run = RunFolder(tmp_path)
    settings = SETTINGS.replace(
        {
            **{"optimizer": "sgd", "learning_rate": 1e30, "batch_size": 1200},
            "checkpoint_minutes": 10,
        }
    )
    with pytest.raises(NonFiniteError) as error:
        pretrain(settings, digits, run)
    text = str(error.value)
    for part in (
        *("after step 1. Received: val_", "Not finite first is", "no checkpoint yet"),
        *(f"kept in {run.nonfinite}/step-2.", "on_nan=rollback", "Lower learning_rate"),
    ):
        assert part in text
    assert not run.checkpoints.exists() and not run.metrics.exists()
    model = keras.models.load_model(run.nonfinite / "step-2.keras")
    assert isinstance(model, VICReg)
    with np.load(run.nonfinite / "step-2.npz") as batch:
        assert batch["images"].dtype == np.uint8 and batch["step"] == 1
        assert f"Not finite first is {find_nonfinite(model, batch['images'])}." in text


def test_a_rollback_halves_the_learning_rate_for_good(digits, tmp_path, capsys):
    run = train(digits, tmp_path / "whole", Diverges())
    (record,) = read_records(run, RollbackRecord)
    # It was saved after each step.
    assert (record.step, record.learning_rate_factor) == (FAILS_IN - 1, 0.5)
    assert "Received: loss=nan." in record.reason
    assert "Going back to step 6, with 0.5 of the recipe's" in capsys.readouterr().err
    rates = [one.metrics["learning_rate"] for one in read_records(run, PretrainRecord)]
    at_end = SETTINGS.learning_rate * SETTINGS.final_learning_rate_fraction
    assert rates[0] > at_end and rates[1] == pytest.approx(at_end / 2)
    # Killed after the rollback, another run ends the same.
    with pytest.raises(KeyboardInterrupt):
        train(digits, tmp_path / "killed", Diverges(dies=True))
    killed = train(digits, tmp_path / "killed", Diverges())
    assert weights(run).keys() == weights(killed).keys()
    for name, value in weights(run).items():
        np.testing.assert_allclose(value, weights(killed)[name], rtol=1e-3, atol=1e-5)
    for one, other in zip(
        *(read_records(one, PretrainRecord) for one in (run, killed)), strict=True
    ):
        for metrics in (one.metrics, other.metrics):
            metrics.pop("images_per_second", None)
        assert one.metrics == pytest.approx(other.metrics, rel=1e-3)


def test_three_rollbacks_without_a_new_checkpoint_are_enough(tmp_path, monkeypatch):
    monkeypatch.setattr(rollback, "find_nonfinite", lambda *_, **__: "the batch")
    monkeypatch.setattr(rollback, "keep", lambda *_: "RUN/nonfinite/step-9")
    dataset = types.SimpleNamespace(name="digits", fingerprint="0")
    run = RunFolder(tmp_path)
    rollbacks = rollback.Rollbacks(run, SETTINGS, dataset, "rollback")
    factor = tf.Variable(1.0)
    manager = types.SimpleNamespace(
        latest_checkpoint=None, checkpoint=types.SimpleNamespace()
    )
    manager.checkpoint.learning_rate_factor = factor

    def go_back(saved, restored):
        manager.latest_checkpoint = saved
        error = NonFiniteError("Received: loss=nan.")
        rollbacks.go_back(error, None, manager, tf.zeros((2, 2)))
        # As `begin` does.
        factor.assign(restored * rollbacks.factor)

    for _ in range(3):
        go_back(None, 1.0)
    assert factor == 0.125
    for _ in range(3):
        go_back("RUN/checkpoints/ckpt-6", 0.125)
    factors = [one.learning_rate_factor for one in read_records(run, RollbackRecord)]
    assert factors == [0.5**n for n in range(1, 7)]
    with pytest.raises(NonFiniteError, match="of step 6. That was after 3 rollbacks"):
        go_back("RUN/checkpoints/ckpt-6", 0.125)


def test_a_signal_at_the_step_that_diverges_ends_the_run(tmp_path, monkeypatch):
    def fit(*_):
        os.kill(os.getpid(), signal.SIGTERM)
        raise NonFiniteError("Received: loss=nan.")

    monkeypatch.setattr(pretraining, "_fit", fit)
    monkeypatch.setattr(pretraining.callbacks, "Monitor", lambda *_: None)
    model = types.SimpleNamespace(step=tf.Variable(0))
    manager = types.SimpleNamespace(checkpoint=types.SimpleNamespace(stopwatch=None))
    dataset = types.SimpleNamespace(pretraining=types.SimpleNamespace(num_examples=512))
    status = types.SimpleNamespace(start=lambda step: None)
    with pytest.raises(KeyboardInterrupt):
        pretraining._train(
            model, manager, SETTINGS, dataset, RunFolder(tmp_path), None, (), status
        )
