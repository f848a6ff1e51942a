"""`fit` with all the callbacks, ended by a signal in an epoch, and what was saved."""

import os
import signal
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from tqdm import tqdm

from vicreg_keras.evaluate.records import PretrainRecord, read_records
from vicreg_keras.model import VICReg
from vicreg_keras.models import encoders
from vicreg_keras.settings import Settings
from vicreg_keras.training import callbacks
from vicreg_keras.workdir.run_folder import RunFolder

BATCH_SIZE, STEPS_PER_EPOCH = 16, 4


class Noise(keras.layers.Layer):
    """A view with a seed, quicker to compile than the real ones."""

    def call(self, images, seed):
        noise = tf.random.stateless_normal(tf.shape(images), seed, stddev=40.0)
        return tf.cast(images, tf.float32) + noise


class SignalAt(keras.callbacks.Callback):
    """Sends this process a signal after a step."""

    def __init__(self, step):
        super().__init__()
        self._step = step

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.step.numpy()) == self._step:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.slow
def test_fit_with_all_of_them_is_stopped_and_continued(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(callbacks, "make_scorer", lambda *_: lambda: {"knn_top1": 0.5})
    images = np.random.default_rng(0).integers(0, 256, (64, 8, 8, 3)).astype("uint8")
    model = VICReg(encoders.make_encoder("tiny"), None, Noise())
    model.compile(keras.optimizers.SGD(0.01))
    model.optimizer.build(model.trainable_variables)
    stopwatch = callbacks.Stopwatch()
    checkpoint = tf.train.Checkpoint(
        model=model, optimizer=model.optimizer, stopwatch=stopwatch
    )
    manager = tf.train.CheckpointManager(checkpoint, tmp_path, max_to_keep=5)
    saver = callbacks.SaveState(manager, stopwatch)
    run = RunFolder(tmp_path)
    handler = signal.getsignal(signal.SIGTERM)
    bar = tqdm(total=3 * STEPS_PER_EPOCH)
    with bar, saver, pytest.raises(callbacks.Stopped):
        model.fit(
            tf.data.Dataset.from_tensor_slices(images).batch(BATCH_SIZE).repeat(),
            epochs=3,
            steps_per_epoch=STEPS_PER_EPOCH,
            validation_data=tf.data.Dataset.from_tensors(images[:32]),
            shuffle=False,
            verbose=0,
            callbacks=[
                SignalAt(STEPS_PER_EPOCH + 2),
                callbacks.Monitor(
                    run,
                    Settings(batch_size=BATCH_SIZE, epochs=3, score_every=1),
                    types.SimpleNamespace(name="noise", fingerprint="0"),
                    stopwatch,
                    bar,
                ),
                saver,
            ],
        )
    assert saver.stopped_by is signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is handler
    assert int(model.step.numpy()) == STEPS_PER_EPOCH + 2
    assert [path.rpartition("-")[2] for path in manager.checkpoints] == ["4", "6"]
    # The epoch that was cut short has no record.
    (record,) = read_records(run, PretrainRecord)
    assert (record.epoch, record.step, record.metrics["knn_top1"]) == (1, 4, 0.5)
    assert record.metrics["images_per_second"] > 0
    assert 0 < record.minutes < 10
    names = {"loss", "val_loss", "embedding_std", "learning_rate"}
    assert names <= set(record.metrics)
    lines = capsys.readouterr().err.splitlines()
    (line,) = (line for line in lines if line.startswith("epoch "))
    assert line.startswith("epoch 1/3: loss ")
    assert "images_per_second" in line and "knn_top1 0.5" in line

    saved = [variable.numpy() for variable in model.variables]
    for variable in model.variables:
        variable.assign(tf.zeros_like(variable))
    checkpoint.restore(manager.latest_checkpoint).assert_consumed()
    assert int(model.step.numpy()) == STEPS_PER_EPOCH + 2
    for variable, value in zip(model.variables, saved, strict=True):
        np.testing.assert_array_equal(variable, value)
