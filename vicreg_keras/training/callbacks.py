"""Callbacks of pretraining: progress, scores, records and checkpoints."""

import math
import signal
import sys
import time
from collections.abc import Callable

import keras
import tensorflow as tf
from tqdm import tqdm

from vicreg_keras.errors import NonFiniteLossError
from vicreg_keras.evaluate.collapse import COLLAPSED_STD
from vicreg_keras.evaluate.records import PretrainRecord, to_json
from vicreg_keras.workdir.run_folder import RunFolder


class Progress(keras.callbacks.Callback):
    """Prints epoch, images per second, time left and the terms of the loss.

    On a terminal one line is rewritten every second; elsewhere a line is printed at
    most every half minute, and one per epoch.

    Args:
        batch_size: Examples per step.
        total_steps: Steps of the whole run.
        epochs: Epochs of the whole run.

    Raises:
        NonFiniteLossError: While fitting, when the loss is no longer finite.
    """

    def __init__(self, batch_size: int, total_steps: int, epochs: int):
        super().__init__()
        self._batch_size = batch_size
        self._total_steps = total_steps
        self._epochs = epochs
        self._interval = 1.0 if sys.stderr.isatty() else 30.0
        self._step = None
        self._seconds_per_step = None

    def on_epoch_begin(self, epoch, logs=None):
        self._step = int(self.model.step.numpy())
        self._epoch = epoch
        # The first step of an epoch, which compiles or refills buffers, is not timed.
        self._timed_step = self._timed_at = None
        self._shown_at = time.monotonic()

    def on_train_batch_end(self, batch, logs=None):
        self._step += 1
        now = time.monotonic()
        if self._timed_step is None:
            self._timed_step, self._timed_at = self._step, now
        elif now - self._shown_at >= self._interval:
            self._update_speed(now)
            self._shown_at = now
            self._show(f"loss {_finite_loss(logs, self._step):.3f}")

    def on_test_begin(self, logs=None):
        # Validation is not timed.
        self._update_speed(time.monotonic())

    def on_epoch_end(self, epoch, logs=None):
        _finite_loss(logs, self._step)
        if self._seconds_per_step:
            logs["images_per_second"] = self._batch_size / self._seconds_per_step
        terms = [name for name in logs if name.endswith("_loss") and "val" not in name]
        watched = ("embedding_std", "val_loss", "knn_top1", "effective_rank")
        names = ["loss", *terms, *(name for name in watched if name in logs)]
        metrics = (f"{name.removesuffix('_loss')} {logs[name]:.4g}" for name in names)
        self._show(", ".join(metrics), end="\n")
        threshold = COLLAPSED_STD["embedding"]
        if logs["embedding_std"] < threshold:
            weight = self.model.loss_weights["variance_weight"]
            _say(
                f"Collapse: the embeddings' standard deviation is "
                f"{logs['embedding_std']:.2g} (below {threshold}), so all examples "
                "have the same embedding and nothing is learned. The variance term "
                f"prevents this; its weight is {weight:g}."
            )

    def _update_speed(self, now):
        if self._timed_step is not None and self._step > self._timed_step:
            seconds = now - self._timed_at
            self._seconds_per_step = seconds / (self._step - self._timed_step)

    def _show(self, text, end=""):
        speed = ""
        if self._seconds_per_step:
            seconds = self._seconds_per_step * (self._total_steps - self._step)
            speed = (
                f"{self._batch_size / self._seconds_per_step:,.0f} images/s  "
                f"{tqdm.format_interval(seconds)} left  "
            )
        bar = "=" * round(20 * self._step / self._total_steps)
        line = f"epoch {self._epoch + 1}/{self._epochs} [{bar:.<20}] {speed}{text}"
        if sys.stderr.isatty():
            print(f"\r\033[K{line}", end=end, file=sys.stderr, flush=True)
        else:
            _say(line)


class Scores(keras.callbacks.Callback):
    """Adds scores of the encoder to the logs of some epochs.

    Args:
        scorer: See `scores.make_scorer`.
        every: Epochs between two scores; the last epoch is scored, too.
        epochs: Epochs of the whole run.
    """

    def __init__(
        self,
        scorer: Callable[[], tuple[dict[str, float], str | None]],
        every: int,
        epochs: int,
    ):
        super().__init__()
        self._scorer = scorer
        self._every = every
        self._epochs = epochs

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self._every == 0 or epoch + 1 == self._epochs:
            metrics, message = self._scorer()
            logs.update(metrics)
            if message is not None:
                _say(message)


class Stopwatch(tf.Module):
    """Minutes of training, over all the processes that a run took.

    Attributes:
        saved: float64 variable, for the run's checkpoint.
    """

    def __init__(self):
        super().__init__()
        self.saved = tf.Variable(0.0, dtype=tf.float64, trainable=False)
        self.start()

    def start(self) -> None:
        """Continues, from now, from the minutes in `saved`."""
        self._start = time.monotonic() - 60 * float(self.saved.numpy())

    def minutes(self) -> float:
        """Returns the minutes so far, which are assigned to `saved`, too."""
        self.saved.assign((time.monotonic() - self._start) / 60)
        return float(self.saved.numpy())


class MetricsLogger(keras.callbacks.Callback):
    """Adds a `PretrainRecord` to a run's `metrics.jsonl` after every epoch.

    Args:
        run: Folder of the run.
        stopwatch: Stopwatch of the whole run.
        dataset: Name of the dataset.
        seed: Seed of the run.
    """

    def __init__(self, run: RunFolder, stopwatch: Stopwatch, dataset: str, seed: int):
        super().__init__()
        self._run = run
        self._stopwatch = stopwatch
        self._fields = {"dataset": dataset, "seed": seed}

    def on_epoch_end(self, epoch, logs=None):
        record = PretrainRecord(
            **self._fields,
            epoch=epoch + 1,
            step=int(self.model.step.numpy()),
            minutes=self._stopwatch.minutes(),
            metrics={name: float(value) for name, value in logs.items()},
        )
        self._run.append_metrics(to_json(record))


class Stopped(Exception):  # noqa: N818  Not an error.
    """Training was ended by a signal; everything is saved."""


class SaveState(keras.callbacks.Callback):
    """Saves the whole state after every epoch, in between, and on a signal.

    Also a context manager: inside it SIGINT and SIGTERM end training after the current
    step, with everything saved.

    Args:
        manager: Manager of a checkpoint of model, optimizer and stopwatch.
        stopwatch: Brought up to date before each save.
        minutes: Minutes between saves within an epoch.

    Attributes:
        stopped_by: The signal that ended the run early, or `None`.

    Raises:
        Stopped: While fitting, after a signal, when everything is saved.
        NonFiniteLossError: While fitting, instead of saving within an epoch, when the
            loss is no longer finite.
    """

    def __init__(
        self,
        manager: tf.train.CheckpointManager,
        stopwatch: Stopwatch,
        minutes: float = 10.0,
    ):
        super().__init__()
        self._manager = manager
        self._stopwatch = stopwatch
        self._seconds = 60 * minutes
        self._saved_at = time.monotonic()
        self._saved_step = None
        self.stopped_by = None

    def __enter__(self):
        self._earlier = {
            number: signal.signal(number, self._on_signal)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def __exit__(self, *error):
        for number, handler in self._earlier.items():
            signal.signal(number, handler)

    def on_train_batch_end(self, batch, logs=None):
        is_due = time.monotonic() - self._saved_at > self._seconds
        if is_due or self.stopped_by is not None:
            # No run can be continued from a state whose loss is not finite.
            _finite_loss(logs, int(self.model.step.numpy()))
            self._save()

    def on_epoch_end(self, epoch, logs=None):
        self._save()

    def _on_signal(self, number, frame):
        del frame
        self.stopped_by = signal.Signals(number)

    def _save(self):
        step = int(self.model.step.numpy())
        if step != self._saved_step:
            self._stopwatch.minutes()
            self._manager.save(step)
        self._saved_step = step
        self._saved_at = time.monotonic()
        if self.stopped_by is not None:
            raise Stopped


def _finite_loss(logs, step):
    loss = float(logs["loss"])
    if not math.isfinite(loss):
        raise NonFiniteLossError(
            f"Expected a finite loss. Received: loss={loss} at step {step}. Lower "
            "learning_rate, raise warmup_epochs or use precision=float32; the last "
            "checkpoint is from before."
        )
    return loss


def _say(line):
    print(line, file=sys.stderr, flush=True)
