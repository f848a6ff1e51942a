"""Callbacks of pretraining: progress, records and checkpoints."""

import functools
import signal
import sys
import time

import keras
import tensorflow as tf
from tqdm import tqdm

from vicreg_keras.data.dataset import Dataset
from vicreg_keras.evaluate.collapse import COLLAPSED_STD, FALLEN_SHARE, FALLEN_STD
from vicreg_keras.evaluate.records import PretrainRecord, read_records, to_json
from vicreg_keras.hardware.interrupts import heeded
from vicreg_keras.settings import Settings
from vicreg_keras.training.finite import check_metrics, check_weights
from vicreg_keras.training.scores import embedding_diagnosis, make_scorer
from vicreg_keras.workdir.run_folder import RunFolder


class Stopwatch(tf.Module):
    """Minutes of training, over all the processes that a run took.

    Attributes:
        saved: float64 variable, for the run's checkpoint.
    """

    def __init__(self):
        super().__init__()
        self.saved = tf.Variable(0.0, dtype=tf.float64, trainable=False)
        self._read_at = time.monotonic()

    def minutes(self) -> float:
        """Returns the minutes so far, which are assigned to `saved`, too."""
        now = time.monotonic()
        self.saved.assign_add((now - self._read_at) / 60)
        self._read_at = now
        return float(self.saved.numpy())


class _Lines:
    """stderr where it is no terminal: each state of a bar is a line of its own."""

    def write(self, text: str) -> None:
        if text := text.strip("\r\n "):
            print(text, file=sys.stderr)

    def flush(self) -> None:
        sys.stderr.flush()


def make_bar(total_steps: int, step: int = 0) -> tqdm:
    """Returns a progress bar on stderr: every 30 s a line where it is no terminal.

    Args:
        total_steps: Steps of the whole run.
        step: Those that are done already.
    """
    options = {"total": total_steps, "initial": step, "unit": "step"}
    if sys.stderr.isatty():
        return tqdm(**options, mininterval=1)
    return tqdm(**options, mininterval=30, maxinterval=30, delay=30, file=_Lines())


class Monitor(keras.callbacks.Callback):
    """Shows progress, and adds a `PretrainRecord` to `metrics.jsonl` after every epoch.

    Images per second and, every few epochs, scores of the encoder are added to the
    epoch's logs, for the callbacks after it.

    Args:
        run: Folder of the run.
        settings: Recipe of the run.
        dataset: Dataset that is trained on.
        stopwatch: Stopwatch of the whole run.
        bar: Progress bar over the steps of the whole run.

    Raises:
        NonFiniteError: While fitting, if an encoder's score is not finite.
    """

    def __init__(
        self,
        run: RunFolder,
        settings: Settings,
        dataset: Dataset,
        stopwatch: Stopwatch,
        bar: tqdm,
    ):
        super().__init__()
        self._run = run
        self._settings = settings
        self._dataset = dataset
        self._stopwatch = stopwatch
        self._bar = bar

    @functools.cached_property
    def _score(self):
        return make_scorer(self.model, self._dataset, self._settings.seed)

    def on_train_begin(self, logs=None):
        # Over the processes that the run took.
        records = read_records(self._run, PretrainRecord)
        stds = (record.metrics.get("embedding_std") for record in records)
        self._stds = [std for std in stds if std is not None]

    def on_train_batch_end(self, batch, logs=None):
        if not self._stds:
            self._stds.append(logs["embedding_std"])
        if batch == 0:
            # The first step of an epoch compiles or refills buffers: it is not timed.
            self._timed_from = time.monotonic()
        self._timed_steps = batch
        self._timed_seconds = time.monotonic() - self._timed_from
        self._bar.set_postfix(loss=f"{logs['loss']:.3f}", refresh=False)
        self._bar.update()

    def on_epoch_end(self, epoch, logs=None):
        settings, epoch = self._settings, epoch + 1
        if self._timed_steps:
            num_images = settings.batch_size * self._timed_steps
            logs["images_per_second"] = num_images / self._timed_seconds
        every = settings.score_every
        if every and (epoch % every == 0 or epoch == settings.epochs):
            scores = self._score()
            check_metrics(scores, int(self.model.step.numpy()))
            logs.update(scores)
        terms = [name for name in logs if name.endswith("_loss") and "val" not in name]
        others = ("embedding_std", "val_loss", "knn_top1", "effective_rank")
        pace = ("learning_rate", "images_per_second")
        names = ["loss", *terms, "gradient_norm", *others, *pace]
        metrics = [
            f"{name.removesuffix('_loss') if name in terms else name} {logs[name]:,.5g}"
            for name in names
            if name in logs
        ]
        line = f"epoch {epoch}/{settings.epochs}: {', '.join(metrics)}"
        tqdm.write(line, file=sys.stderr)
        if warning := _collapse_warning(
            logs, settings.variance_weight, max(self._stds)
        ):
            tqdm.write(warning, file=sys.stderr)
        self._stds.append(logs["embedding_std"])
        record = PretrainRecord(
            dataset=self._dataset.name,
            seed=settings.seed,
            data_fingerprint=self._dataset.fingerprint,
            epoch=epoch,
            step=int(self.model.step.numpy()),
            minutes=self._stopwatch.minutes(),
            metrics={name: float(value) for name, value in logs.items()},
        )
        self._run.append_metrics(to_json(record))


class ContinueEpoch(keras.callbacks.Callback):
    """Lets the metrics of an epoch go on from what they are, where Keras resets them.

    Args:
        model: Restored in the middle of an epoch.
    """

    def __init__(self, model: keras.Model):
        super().__init__()
        self._values = [variable.numpy() for variable in model.metrics_variables]

    def on_epoch_begin(self, epoch, logs=None):
        pairs = zip(self.model.metrics_variables, self._values, strict=True)
        for variable, value in pairs:
            variable.assign(value)


class Stopped(Exception):  # noqa: N818  Not an error.
    """Training was ended by a signal; everything is saved."""


class SaveState(keras.callbacks.Callback):
    """Saves the whole state after every epoch, in between, and on a signal.

    Weights that are not finite are not saved. Also a context manager: inside it SIGINT,
    SIGTERM and SIGHUP end training after the current step, with everything saved.

    Args:
        manager: Manager of a checkpoint of model, optimizer and stopwatch.
        stopwatch: Brought up to date before each save.
        minutes: Minutes between saves within an epoch.

    Attributes:
        stopped_by: The signal that ended the run early, or `None`.

    Raises:
        NonFiniteError: While fitting, if a weight is not finite.
        Stopped: While fitting, after a signal, when everything is saved.
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
            number: signal.signal(number, self._on_signal) for number in heeded()
        }
        return self

    def __exit__(self, *error):
        for number, handler in self._earlier.items():
            signal.signal(number, handler)

    def on_train_batch_end(self, batch, logs=None):
        if batch + 1 == self.params["steps"]:
            return  # At the end of the epoch, when its record is written.
        is_due = time.monotonic() - self._saved_at > self._seconds
        if is_due or self.stopped_by is not None:
            self._save()

    def on_epoch_end(self, epoch, logs=None):
        self._save()

    def _on_signal(self, number, frame):
        del frame
        self.stopped_by = signal.Signals(number)

    def _save(self):
        step = int(self.model.step.numpy())
        if step != self._saved_step:
            check_weights(self.model, step)
            self._stopwatch.minutes()
            self._manager.save(step)
        self._saved_step = step
        self._saved_at = time.monotonic()
        if self.stopped_by is not None:
            raise Stopped


def _collapse_warning(logs, variance_weight, highest_std):
    std, threshold = logs["embedding_std"], COLLAPSED_STD["embedding"]
    if std < threshold:
        return (
            f"Collapse: the embeddings' standard deviation is "
            f"{std:.2g} (below {threshold}), so all examples have "
            "the same embedding and nothing is learned. The variance term prevents "
            f"this; its weight is {variance_weight:g}."
        )
    if std < min(FALLEN_STD, FALLEN_SHARE * highest_std):
        return (
            f"Collapse begins: the embeddings' standard deviation has fallen from "
            f"{highest_std:.2g} to {std:.2g}, where the variance term aims at 1. Its "
            f"weight is {variance_weight:g}; raise it, or lower the learning rate."
        )
    diagnosis = embedding_diagnosis(logs)
    if diagnosis is not None and diagnosis.state == "dimensional collapse":
        return f"Dimensional collapse. {diagnosis.text}"
    return None
