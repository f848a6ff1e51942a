"""A run that is killed or stopped goes on to the same weights."""

import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import numpy as np
import tensorflow as tf

from vicreg_keras.evaluate.records import PretrainRecord, read_records
from vicreg_keras.workdir.run_folder import RunFolder

ROOT = pathlib.Path(__file__).resolve().parents[2]

RECIPE = """
--mode=pretrain
--dataset=digits
--encoder=tiny
--projector=16-16
--num_views=3
--views=grayscale
--jitter_probability=0
--crop_scale=1,1
--flip_probability=0.5
--epochs=3
--warmup_epochs=0.5
--batch_size=64
--score_every=0
--deterministic
--checkpoint_minutes=0
"""


def checkpoint_weights(run):
    reader = tf.train.load_checkpoint(str(run.checkpoints))
    names = sorted(reader.get_variable_to_shape_map())
    return {
        name: reader.get_tensor(name)
        for name in names
        if "VARIABLE_VALUE" in name and "save_counter" not in name
    }


def start(tmp_path, name):
    recipe = tmp_path / "recipe.flags"
    recipe.write_text(RECIPE)
    command = [
        *(sys.executable, str(ROOT / "main.py"), f"--flagfile={recipe}"),
        f"--workdir={tmp_path / name}",
    ]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def newest_step(folder):
    steps = [int(path.stem.split("-")[1]) for path in folder.glob("ckpt-*.index")]
    return max(steps, default=0)


def test_killed_in_an_epoch_it_ends_with_the_weights_of_the_unkilled_run(tmp_path):
    whole = start(tmp_path, "whole")
    victim = start(tmp_path, "killed")
    checkpoints = RunFolder(tmp_path / "killed").checkpoints
    deadline = time.monotonic() + 600
    while newest_step(checkpoints) < 27:  # An epoch has 20 steps.
        assert victim.poll() is None, victim.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    killed_at = newest_step(checkpoints)
    assert 20 < killed_at < 60 and killed_at % 20
    second = start(tmp_path, "killed")
    out, err = second.communicate(timeout=600)
    assert second.returncode == 0, err
    # A kill between a checkpoint and the note that names it goes on one step before.
    assert re.search(rf"at step ({killed_at - 1}|{killed_at}) of 60", err), err
    assert whole.wait(timeout=600) == 0
    expected = checkpoint_weights(RunFolder(tmp_path / "whole"))
    received = checkpoint_weights(RunFolder(tmp_path / "killed"))
    assert expected.keys() == received.keys()
    # All but the minutes that each of them took.
    compared = [name for name in expected if "stopwatch" not in name]
    assert len(compared) > 20
    for name in compared:
        np.testing.assert_array_equal(expected[name], received[name], err_msg=name)
    records, unkilled = (
        read_records(RunFolder(tmp_path / name), PretrainRecord)
        for name in ("killed", "whole")
    )
    assert [record.epoch for record in records] == [1, 2, 3]
    for record, other in zip(records, unkilled, strict=True):
        # An epoch that was continued has the means of all its steps.
        for metrics in (record.metrics, other.metrics):
            metrics.pop("images_per_second", None)
        assert record.metrics == other.metrics


def test_signal_saves_and_tells_how_to_continue(tmp_path):
    process = start(tmp_path, "run")
    checkpoints = RunFolder(tmp_path / "run").checkpoints
    while newest_step(checkpoints) < 3:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "Stopped; all is saved. To continue" in out
    assert "Traceback" not in err
