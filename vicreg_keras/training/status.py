"""The file `status.json` of a run, for those who watch it from outside."""

import contextlib
import datetime
import json
import math
import os
import platform
import time

import keras

from vicreg_keras.settings import Settings
from vicreg_keras.workdir.files import write_text
from vicreg_keras.workdir.run_folder import RunFolder

_SECONDS = 5  # Between two versions of the file, at least.


class Status(keras.callbacks.Callback):
    """Keeps `status.json` up to date, written whole each time.

    Also a context manager, around all that a process does for a run: the last state is
    `"finished"`, `"stopped"` by a signal, or `"failed"`. A file that is not updated any
    more while it says `"running"` is of a process that was killed. A file that can't be
    written ends nothing.

    Args:
        run: Folder of the run.
        settings: Recipe of the run.
        steps_per_epoch: Steps of an epoch.
    """

    def __init__(self, run: RunFolder, settings: Settings, steps_per_epoch: int):
        super().__init__()
        self._path = run.path / "status.json"
        self._batch_size = settings.batch_size
        self._steps_per_epoch = steps_per_epoch
        self._values = {
            "state": "running",
            "pid": os.getpid(),
            "host": platform.node(),
            "step": 0,
            "total_steps": settings.epochs * steps_per_epoch,
            "epoch": 0,
            "epochs": settings.epochs,
            "seconds_left": None,
            "images_per_second": None,
            "loss": None,
            "scores": {},
            "error": None,
        }
        self.start(0)

    def start(self, step: int) -> None:
        """Begins, or begins again, to count.

        Args:
            step: Steps that are done already.
        """
        self._first_step = self._written_step = self._step = step
        self._started_at = self._written_at = time.monotonic()

    def __enter__(self):
        self._write()
        return self

    def __exit__(self, kind, error, _):
        state = "finished" if self._step >= self._values["total_steps"] else "stopped"
        if kind is not None and issubclass(kind, Exception):
            state = "failed"
            self._values["error"] = " ".join(f"{error}".split())[:1000]
        elif kind is not None:
            state = "stopped"
        self._values |= {"state": state, "seconds_left": None}
        self._write()

    def on_train_batch_end(self, batch, logs=None):
        self._step += 1
        now = time.monotonic()
        if self._step == self._first_step + 1:
            # The first step compiles.
            self._started_at = self._written_at = now
            self._written_step = self._step
        if now - self._written_at < _SECONDS:
            return
        steps = self._step - self._first_step - 1
        left = self._values["total_steps"] - self._step
        num_images = self._batch_size * (self._step - self._written_step)
        self._values |= {
            "loss": _finite((logs or {}).get("loss")),
            "seconds_left": round(left * (now - self._started_at) / steps, 1),
            "images_per_second": round(num_images / (now - self._written_at), 1),
        }
        self._write()

    def on_epoch_end(self, epoch, logs=None):
        scores = {name: _finite(value) for name, value in (logs or {}).items()}
        for name in {"loss", "images_per_second"} & scores.keys():
            self._values[name] = scores.pop(name)
        self._values["scores"] = scores

    def _write(self):
        self._written_at, self._written_step = time.monotonic(), self._step
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        self._values |= {
            "step": self._step,
            "epoch": self._step // self._steps_per_epoch,
            "updated_at": now,
        }
        # Where the disk is full, the run may yet end well.
        with contextlib.suppress(OSError):
            write_text(self._path, json.dumps(self._values, indent=2) + "\n")


def _finite(value):
    """A number as JSON has it."""
    if value is None or not math.isfinite(value):
        return None
    return float(value)
