"""What is watched, said and saved while a model trains?"""

import math
import signal
import sys
import time
from collections.abc import Callable

import keras
import tensorflow as tf

# Under this standard deviation all images have practically the same embedding.
COLLAPSED_STD = 0.01


class Progress(keras.callbacks.Callback):
    """Images a second, time left and the loss: a line that renews itself.

    On a terminal the line is rewritten every second; elsewhere one line is printed at
    most every half minute, and one an epoch.

    Args:
        batch_size: images a step.
        total_steps: steps of the whole run.
        epochs: epochs of the whole run.
        verbose: 0 says nothing; the loss is looked at all the same.

    Raises:
        FloatingPointError: while fitting, when the loss is no longer a number.
    """

    def __init__(
        self,
        batch_size: int,
        total_steps: int,
        epochs: int,
        *,
        verbose: int | bool = 1,
    ):
        super().__init__()
        self._verbose = bool(verbose)
        self._batch_size = batch_size
        self._total_steps = total_steps
        self._epochs = epochs
        self._interval = 1.0 if sys.stderr.isatty() else 30.0
        self._step = None
        self._pace = None  # Seconds a step, smoothed.

    def on_epoch_begin(self, epoch, logs=None):
        self._step = int(self.model.step.numpy())
        self._epoch = epoch
        # The first step of an epoch compiles or refills: it sets no pace.
        self._marked_step = self._marked_time = None
        self._shown = time.monotonic()

    def on_train_batch_end(self, batch, logs=None):
        self._step += 1
        now = time.monotonic()
        if self._marked_step is None:
            self._marked_step, self._marked_time = self._step, now
            return
        if now - self._shown < self._interval:
            return
        self._mark_pace(now)
        self._shown = now
        loss = _check_finite(logs, self._step)
        self._show(f"loss {loss:.3f}")

    def on_test_begin(self, logs=None):
        if self._marked_step is not None and self._step > self._marked_step:
            self._mark_pace(time.monotonic())

    def on_epoch_end(self, epoch, logs=None):
        _check_finite(logs, self._step)
        if self._pace:
            logs["images_per_second"] = self._batch_size / self._pace
        losses = [name for name in logs if name.endswith("_loss") and "val" not in name]
        watched = ("embedding_std", "val_loss", "knn_top1", "effective_rank")
        names = ("loss", *losses, *(name for name in watched if name in logs))
        terms = ", ".join(f"{n.removesuffix('_loss')} {logs[n]:.4g}" for n in names)
        self._show(terms, end="\n")
        if self._verbose and logs["embedding_std"] < COLLAPSED_STD:
            _say(
                f"Collapse: the embeddings' standard deviation is "
                f"{logs['embedding_std']:.2g} (under {COLLAPSED_STD}), so all images "
                "have the same embedding and nothing is learned. The variance term "
                "prevents this; its weight is "
                f"{self.model.loss_weights['variance_weight']:g}."
            )

    def _mark_pace(self, now):
        steps = self._step - self._marked_step
        pace = (now - self._marked_time) / max(steps, 1)
        self._pace = pace if self._pace is None else 0.5 * self._pace + 0.5 * pace
        self._marked_step, self._marked_time = self._step, now

    def _show(self, text, end=""):
        if not self._verbose:
            return
        speed = left = ""
        if self._pace:
            seconds = self._pace * (self._total_steps - self._step)
            speed = f"{self._batch_size / self._pace:,.0f} images/s  "
            left = f"{_duration(seconds)} left  "
        share = self._step / self._total_steps
        bar = ("=" * round(20 * share)).ljust(20, ".")
        line = f"epoch {self._epoch + 1}/{self._epochs} [{bar}] {speed}{left}{text}"
        if sys.stderr.isatty():
            print(f"\r\033[K{line}", end=end, file=sys.stderr, flush=True)
        else:
            _say(line)


class Stopped(Exception):  # noqa: N818  It is no error.
    """Training was ended by a signal; everything is saved."""


class Stopwatch(tf.Module):
    """Minutes of training, over all the processes that a run took.

    Attributes:
        saved: float64 variable, to be kept in the run's checkpoint.
    """

    def __init__(self):
        super().__init__()
        self.saved = tf.Variable(0.0, dtype=tf.float64, trainable=False)
        self.start()

    def start(self) -> None:
        """Goes on, from now, from the minutes that `saved` holds."""
        self._start = time.monotonic() - 60 * float(self.saved.numpy())

    def minutes(self) -> float:
        """The minutes so far; `saved` holds them, too, from now on."""
        self.saved.assign((time.monotonic() - self._start) / 60)
        return float(self.saved.numpy())


class Checkpoints(keras.callbacks.Callback):
    """Saves the whole state at every epoch's end, in between, and on a signal.

    It is a context, too: inside it SIGINT and SIGTERM end training after the step at
    hand, with all saved.

    Args:
        manager: what saves; its checkpoint tracks model, optimizer and stopwatch.
        stopwatch: told the time before each save.
        minutes: also save when so many minutes have passed.

    Attributes:
        stopped_by: the signal that ended the run early, or `None`.

    Raises:
        Stopped: while fitting, when a signal has come and all is saved.
        FloatingPointError: while fitting, instead of saving in between, when the loss
            is no longer a number.
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
            number: signal.signal(number, self._note)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def __exit__(self, *error):
        for number, handler in self._earlier.items():
            signal.signal(number, handler)

    def on_train_batch_end(self, batch, logs=None):
        late = time.monotonic() - self._saved_at > self._seconds
        if late or self.stopped_by is not None:
            # Nobody could go on from a state whose loss is no number.
            _check_finite(logs, int(self.model.step.numpy()))
            self._save()

    def on_epoch_end(self, epoch, logs=None):
        self._save()

    def _note(self, number, frame):
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


class Scores(keras.callbacks.Callback):
    """Adds what a look at the encoder gives to some epochs' logs.

    Args:
        score: called without arguments, gives numbers by name, and a line to be said
            or `None`.
        every: epochs between two looks; the last epoch has one, too.
        epochs: epochs of the whole run.
    """

    def __init__(
        self,
        score: Callable[[], tuple[dict[str, float], str | None]],
        every: int,
        epochs: int,
    ):
        super().__init__()
        self._score = score
        self._every = every
        self._epochs = epochs

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self._every == 0 or epoch + 1 == self._epochs:
            numbers, line = self._score()
            logs.update(numbers)
            if line is not None:
                _say(line)


class History(keras.callbacks.Callback):
    """Hands every epoch's numbers on, with the step and the minutes trained.

    Args:
        write: called with one dict an epoch.
        stopwatch: of the whole run.
    """

    def __init__(self, write: Callable[[dict], None], stopwatch: Stopwatch):
        super().__init__()
        self._write = write
        self._stopwatch = stopwatch

    def on_epoch_end(self, epoch, logs=None):
        self._write(
            {
                "mode": "pretrain",
                "epoch": epoch + 1,
                "step": int(self.model.step.numpy()),
                "minutes": self._stopwatch.minutes(),
                **{name: float(value) for name, value in logs.items()},
            }
        )


def _check_finite(logs, step):
    loss = float(logs["loss"])
    if not math.isfinite(loss):
        raise FloatingPointError(
            f"Expected a finite loss. Received: loss={loss} at step {step}. Lower "
            "--learning_rate, lengthen --warmup_epochs or use --precision=float32; "
            "the last checkpoint is from before."
        )
    return loss


def _duration(seconds):
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"


def _say(line):
    print(line, file=sys.stderr, flush=True)
