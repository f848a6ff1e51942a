"""What is said, watched and saved while a model trains."""

import io
import math
import os
import signal
import sys
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from tqdm import tqdm

from vicreg_keras.errors import NonFiniteError
from vicreg_keras.evaluate.records import PretrainRecord, read_records
from vicreg_keras.settings import Settings
from vicreg_keras.training import callbacks
from vicreg_keras.workdir.run_folder import RunFolder

GOOD = {"loss": 12.5, "invariance_loss": 0.25, "embedding_std": 0.5}


class Clock:
    """Stands in for the module `time`: passes only when told to."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(callbacks, "time", clock)
    return clock


def stand_in(step=0):
    """What the callbacks need to know of a model."""
    weights, slots = ([keras.Variable([1.0, 2.0], name="own")] for _ in range(2))
    return types.SimpleNamespace(
        step=tf.Variable(step, dtype=tf.int64),
        stop_training=False,
        variables=weights,
        optimizer=types.SimpleNamespace(variables=slots),
    )


def make_monitor(folder, *, model=None, stopwatch=None, **recipe):
    options = {"batch_size": 32, "epochs": 2, "seed": 7, "score_every": 0}
    settings = Settings(**options | recipe)
    monitor = callbacks.Monitor(
        RunFolder(folder),
        settings,
        types.SimpleNamespace(name="digits", fingerprint="0"),
        stopwatch or callbacks.Stopwatch(),
        tqdm(total=8, disable=True),
    )
    monitor.set_model(model or stand_in())
    monitor.on_train_begin()
    return monitor


def run_epoch(monitor, clock, epoch=0, logs=GOOD):
    """Four steps, half a second each but the first; then a slow validation."""
    clock.now += 20
    monitor.on_train_batch_end(0, dict(logs))
    for batch in range(1, 4):
        clock.now += 0.5
        monitor.on_train_batch_end(batch, dict(logs))
    clock.now += 100
    logs = dict(logs)
    monitor.on_epoch_end(epoch, logs)
    return logs


def test_monitor_prints_one_line_an_epoch(clock, capsys, tmp_path):
    logs = run_epoch(make_monitor(tmp_path), clock)
    captured = capsys.readouterr()
    assert captured.out == ""
    # Neither the first step, which compiles, nor validation counts for the pace.
    assert captured.err == (
        "epoch 1/2: loss 12.5, invariance 0.25, embedding_std 0.5, "
        "images_per_second 64\n"
    )
    assert logs["images_per_second"] == pytest.approx(64)


def test_monitor_prints_validation_and_scores(clock, capsys, tmp_path):
    monitor = make_monitor(tmp_path)
    run_epoch(monitor, clock, epoch=1, logs={**GOOD, "val_loss": 13, "knn_top1": 0.5})
    line = capsys.readouterr().err
    assert line.startswith("epoch 2/2: loss 12.5")
    assert "embedding_std 0.5, val_loss 13, knn_top1 0.5, images_per_second 64" in line


def test_bar_counts_steps_and_shows_the_loss(clock, tmp_path):
    monitor = make_monitor(tmp_path)
    monitor._bar = tqdm(total=8, initial=4, file=io.StringIO())
    run_epoch(monitor, clock)
    assert monitor._bar.n == 8 and "loss=12.500" in str(monitor._bar)


def test_a_log_gets_whole_lines(monkeypatch, capsys):
    bar = callbacks.make_bar(total_steps=8)
    bar.delay = bar.mininterval = 0  # Rather than half a minute.
    for _ in range(8):
        bar.update()
    tqdm.write("epoch 1/2", file=sys.stderr)
    bar.close()
    text = capsys.readouterr().err
    assert "\r" not in text and text.endswith("\n")
    assert "epoch 1/2" in text.splitlines() and "8/8" in text


@pytest.mark.parametrize(("std", "collapsed"), [(0.0099, True), (0.0101, False)])
def test_collapse_is_reported(clock, capsys, tmp_path, std, collapsed):
    run_epoch(make_monitor(tmp_path), clock, logs={**GOOD, "embedding_std": std})
    text = capsys.readouterr().err
    assert ("Collapse" in text) is collapsed
    assert (f"standard deviation is {std:.2g} (below 0.01)" in text) is collapsed
    assert ("The variance term prevents this; its weight is 25." in text) is collapsed


def test_a_fall_towards_collapse_is_reported(clock, capsys, tmp_path):
    for epoch, std in enumerate((0.3, 0.4, 0.21, 0.19)):
        # Each in a process of its own.
        logs = {**GOOD, "embedding_std": std}
        run_epoch(make_monitor(tmp_path, variance_weight=0.0), clock, epoch, logs)
        text = capsys.readouterr().err
        assert ("has fallen from 0.4 to 0.19" in text) is (std == 0.19)
        assert ("Its weight is 0; raise it" in text) is (std == 0.19)


@pytest.mark.parametrize(("rank", "collapsed"), [(1.5, True), (300.0, False)])
def test_dimensional_collapse_is_reported(clock, capsys, tmp_path, rank, collapsed):
    scores = {
        "embedding_effective_rank": rank,
        "embedding_possible_rank": 512,
        "embedding_std_mean": 1.0,
        "embedding_relative_variance": 0.5,
    }
    run_epoch(make_monitor(tmp_path), clock, logs={**GOOD, **scores})
    text = capsys.readouterr().err
    assert ("Dimensional collapse. The embeddings vary in" in text) is collapsed


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_a_score_that_is_not_finite_is_not_recorded(
    clock, tmp_path, monkeypatch, score
):
    monkeypatch.setattr(callbacks, "make_scorer", lambda *_: lambda: {"alpha": score})
    monitor = make_monitor(tmp_path, model=stand_in(step=4), score_every=1)
    with pytest.raises(NonFiniteError, match=f"after step 4. Received: alpha={score}"):
        run_epoch(monitor, clock)
    assert not read_records(RunFolder(tmp_path), PretrainRecord)


@pytest.mark.parametrize("part", ["model", "optimizer"])
def test_a_weight_that_is_not_finite_is_not_saved(clock, part):
    saver, saves = make_checkpoints()
    holder = saver.model if part == "model" else saver.model.optimizer
    holder.variables[0].assign([1.0, math.inf])
    with pytest.raises(NonFiniteError, match="after step 0.*infinity in own"):
        saver.on_epoch_end(0, dict(GOOD))
    assert saves == []


@pytest.mark.parametrize(
    ("every", "epochs", "scored"),
    [(1, 3, [0, 1, 2]), (2, 5, [1, 3, 4]), (2, 4, [1, 3]), (9, 3, [2])],
)
def test_scores_every_few_epochs_and_at_the_end(
    clock, every, epochs, scored, tmp_path, monkeypatch
):
    monkeypatch.setattr(callbacks, "make_scorer", lambda *_: lambda: {"knn_top1": 0.5})
    monitor = make_monitor(tmp_path, epochs=epochs, score_every=every)
    logs = [run_epoch(monitor, clock, epoch) for epoch in range(epochs)]
    assert [epoch for epoch in range(epochs) if "knn_top1" in logs[epoch]] == scored


def test_record_has_step_and_minutes_of_the_whole_run(clock, tmp_path):
    stopwatch = callbacks.Stopwatch()
    stopwatch.saved.assign(2.0)
    monitor = make_monitor(
        tmp_path, model=stand_in(step=40), stopwatch=stopwatch, epochs=9
    )
    monitor.on_train_batch_end(0, dict(GOOD))
    clock.now += 90
    logs = {**GOOD, "loss": np.float32(12.5), "knn_bank": 5000}
    monitor.on_epoch_end(3, logs)
    (record,) = read_records(RunFolder(tmp_path), PretrainRecord)
    assert record == PretrainRecord(
        dataset="digits",
        data_fingerprint="0",
        seed=7,
        epoch=4,
        step=40,
        minutes=pytest.approx(3.5),
        metrics={**GOOD, "knn_bank": 5000.0},
    )


class Saves(list):
    """Stands in for a checkpoint manager: the steps it was told to save."""

    save = list.append


def make_checkpoints(minutes=10.0):
    saves = Saves()
    saver = callbacks.SaveState(saves, callbacks.Stopwatch(), minutes)
    saver.set_model(stand_in())
    saver.set_params({"steps": 10})
    return saver, saves


def take_step(saver, batch=0):
    saver.model.step.assign_add(1)
    saver.on_train_batch_end(batch, dict(GOOD))


def test_saves_when_the_minutes_have_passed_and_not_the_same_step_twice(clock):
    saver, saves = make_checkpoints(minutes=10)
    clock.now += 599
    take_step(saver)
    assert saves == []
    clock.now += 2
    take_step(saver)
    assert saves == [2]
    saver.on_epoch_end(0, dict(GOOD))
    take_step(saver)
    assert saves == [2]
    saver.on_epoch_end(1, dict(GOOD))
    assert saves == [2, 3]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_saves_stops_and_restores_handlers(clock, number):
    def mine(number, frame):
        pytest.fail("An earlier handler was called while training.")

    earlier = signal.signal(number, mine)
    try:
        saver, saves = make_checkpoints()
        with saver:
            take_step(saver)
            os.kill(os.getpid(), number)
            with pytest.raises(callbacks.Stopped):
                take_step(saver)
        assert signal.getsignal(number) is mine
    finally:
        signal.signal(number, earlier)
    assert saver.stopped_by is number
    assert saves == [2]


def test_the_last_step_of_an_epoch_is_saved_after_its_record(clock):
    saver, saves = make_checkpoints(minutes=0)
    with saver:
        clock.now += 1
        os.kill(os.getpid(), signal.SIGTERM)
        take_step(saver, batch=9)
        assert saves == []
        with pytest.raises(callbacks.Stopped):
            saver.on_epoch_end(0, dict(GOOD))
    assert saves == [1]


def test_stopwatch_goes_on_from_what_was_saved(clock):
    stopwatch = callbacks.Stopwatch()
    clock.now += 90
    assert stopwatch.minutes() == pytest.approx(1.5)
    other = callbacks.Stopwatch()
    other.saved.assign(stopwatch.saved)
    clock.now += 30
    assert other.minutes() == pytest.approx(2.0)
