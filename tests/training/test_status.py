"""The file that tells from outside what a run does."""

import datetime
import json
import os

import pytest

from tests.training.test_callbacks import Clock
from vicreg_keras.settings import Settings
from vicreg_keras.training import status as module
from vicreg_keras.workdir.run_folder import RunFolder

SETTINGS = Settings(batch_size=32, epochs=3)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def read(folder):
    return json.loads((folder / "status.json").read_text())


def make(folder, step=0):
    status = module.Status(RunFolder(folder), SETTINGS, 10)
    status.start(step)
    return status


def test_a_run_is_watched_while_it_trains(tmp_path, clock):
    with make(tmp_path, step=10) as status:
        begun = read(tmp_path)
        assert (begun["state"], begun["pid"]) == ("running", os.getpid())
        assert (begun["step"], begun["total_steps"]) == (10, 30)
        for batch in range(8):
            clock.now += 2
            status.on_train_batch_end(batch, {"loss": 20.0 - batch})
        # The last of the versions, which are five seconds apart or more.
        found = read(tmp_path)
        assert (found["step"], found["epoch"], found["loss"]) == (17, 1, 14.0)
        assert found["seconds_left"] == 2 * 13
        assert found["images_per_second"] == 16
        updated = datetime.datetime.fromisoformat(found["updated_at"])
        age = datetime.datetime.now(datetime.UTC) - updated
        assert 0 <= age.total_seconds() < 60
        status.on_epoch_end(
            1, {"loss": 13.0, "knn_top1": 0.5, "val_loss": float("nan")}
        )
    ended = read(tmp_path)
    assert (ended["state"], ended["step"], ended["loss"]) == ("stopped", 18, 13.0)
    assert ended["scores"] == {"knn_top1": 0.5, "val_loss": None}
    assert ended["seconds_left"] is None


@pytest.mark.parametrize(
    ("step", "error", "state"),
    [
        (30, None, "finished"),
        (20, None, "stopped"),
        (20, KeyboardInterrupt(), "stopped"),
        (30, KeyboardInterrupt(), "stopped"),
        (20, ValueError("two\nlines"), "failed"),
        (30, ValueError("two\nlines"), "failed"),
    ],
)
def test_the_last_state_says_how_it_ended(tmp_path, step, error, state):
    def work():
        with make(tmp_path, step):
            if error is not None:
                raise error

    if error is None:
        work()
    else:
        with pytest.raises(type(error)):
            work()
    found = read(tmp_path)
    assert found["state"] == state
    assert found["error"] == ("two lines" if state == "failed" else None)


def test_a_full_disk_does_not_end_the_run(tmp_path, monkeypatch):
    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_text", fail)
    with make(tmp_path) as status:
        status.on_train_batch_end(0, {"loss": 1.0})
    assert not (tmp_path / "status.json").exists()
