"""One training of a recipe, in a process of its own.

    python -m vicreg_keras.search.trial TASK.json

A process for each training frees all its memory, and a crash ends one training only. It
writes lines of JSON to stdout, one for each epoch and the result; progress and errors
are in `trial.log`. It stops, with everything saved, when its stdin is closed: it does
not outlive a program that is killed.
"""

import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

import vicreg_keras
from vicreg_keras.data.dataset import Dataset, open_dataset
from vicreg_keras.errors import InputError, NonFiniteError, machine_error
from vicreg_keras.evaluate.collapse import diagnose_collapse
from vicreg_keras.evaluate.feature_cache import FeatureCache
from vicreg_keras.evaluate.features import SPLITS, compile_encoder
from vicreg_keras.evaluate.knn import knn_eval
from vicreg_keras.evaluate.linear_probe import linear_probe
from vicreg_keras.evaluate.records import RecipeMetrics, from_json, to_json
from vicreg_keras.evaluate.spectrum import spectrum
from vicreg_keras.hardware import interrupts
from vicreg_keras.hardware.precision import apply_precision
from vicreg_keras.search.objectives import OBJECTIVES, quick_subset
from vicreg_keras.settings import DataOptions, Settings
from vicreg_keras.training.build import build_encoder, make_schema
from vicreg_keras.training.checkpoints import saved_encoder
from vicreg_keras.training.identity import check_recipe
from vicreg_keras.training.pretrain import pretrain
from vicreg_keras.training.scores import embedding_diagnosis
from vicreg_keras.workdir.files import write_text
from vicreg_keras.workdir.run_folder import RunFolder

# Function of an epoch that is done, and of its score or `None`.
Report = Callable[[int, float | None], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """A training with its evaluation.

    Attributes:
        folder: Folder of the run; one that has begun is continued.
        settings: The recipe.
        data: The dataset.
        split_seed: Seed of the dataset's splits.
        objective: A key of `OBJECTIVES`, or `None`.
        score_every: Epochs between two scores in training; 0 for none.
        test: Whether the run is to be compared: its encoder is exported, its ranks are
            measured and, with labels, its accuracies on the test split.
        untrained: Whether the encoder is evaluated as it is before training.
    """

    folder: str
    settings: Settings
    data: DataOptions
    split_seed: int
    objective: str | None = None
    score_every: int = 0
    test: bool = False
    untrained: bool = False


class TrialCrash(RuntimeError):
    """The process of a training ended without a result, for example out of memory."""


def training_elsewhere(run: Callable[..., int]) -> Callable[..., int]:
    """Decorates a mode that trains by `run_task`, and returns 130 when interrupted.

    It leaves GPUs to the processes of the trainings.

    Args:
        run: Function that returns an exit status.
    """

    @functools.wraps(run)
    def run_without_gpu(*args, **kwargs):
        with contextlib.suppress(RuntimeError):  # In a process that has used a GPU.
            tf.config.set_visible_devices([], "GPU")
        try:
            return run(*args, **kwargs)
        except KeyboardInterrupt:
            return interrupts.STATUS

    return run_without_gpu


def run_task(task: Task, report: Report) -> RecipeMetrics:
    """Trains and evaluates in a new process.

    Args:
        task: What to train.
        report: Called after each epoch; an exception that it raises stops the training
            and is raised here.

    Raises:
        InputError: If settings, data and folder don't fit.
        NonFiniteError: If the training diverges.
        TrialCrash: If the process ends without a result.
    """
    folder = pathlib.Path(task.folder)
    folder.mkdir(parents=True, exist_ok=True)
    path, log = folder / "trial.json", folder / "trial.log"
    write_text(path, json.dumps(to_json(task)))
    root = str(pathlib.Path(vicreg_keras.__file__).parents[1])
    places = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    with (
        open(log, "a") as log_file,
        subprocess.Popen(
            [sys.executable, "-m", __name__, path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log_file,
            text=True,
            env=os.environ | {"PYTHONPATH": places},
            # Ctrl-C is for this process, which then stops the training.
            start_new_session=True,
        ) as process,
    ):
        try:
            for line in process.stdout:
                match json.loads(line):
                    case {"epoch": epoch, "score": score}:
                        report(epoch, score)
                    case {"metrics": metrics}:
                        return from_json(RecipeMetrics, metrics)
                    case {"error": message, "diverged": diverged}:
                        raise (NonFiniteError if diverged else InputError)(message)
        except BaseException:
            # Within a training it saves everything first.
            process.terminate()
            raise
        finally:
            process.stdin.close()
            process.wait()
    raise TrialCrash(f"A training ended with {process.returncode}, see {log}.")


def train(task: Task, report: Report) -> RecipeMetrics:
    """Trains and evaluates in this process.

    Args:
        task: What to train.
        report: Called after each epoch.

    Raises:
        InputError: If settings, data and folder don't fit.
        KeyboardInterrupt: If a signal stopped the training.
        NonFiniteError: If loss or representations become NaN or infinite.
    """
    settings, run = task.settings, RunFolder(task.folder)
    dataset = open_dataset(task.data, task.split_seed)
    if task.untrained:
        return _evaluate(
            task, build_encoder(settings, make_schema(settings, dataset)), dataset
        )
    with run.lock():
        flags = check_recipe(run, settings, task.data)
        reports = _Reports(task, dataset, report)
        trained = pretrain(
            settings,
            dataset,
            run,
            flags=flags,
            extra_callbacks=[reports],
            export=task.test,
        )
        if trained.stopped_by:
            raise KeyboardInterrupt
        # In the run's own precision, as the untrained encoder.
        metrics = _evaluate(task, saved_encoder(settings, run), dataset)
    diagnosis = embedding_diagnosis(trained.metrics)
    return dataclasses.replace(
        metrics,
        embedding_std=trained.metrics.get("val_embedding_std"),
        embedding_state=diagnosis.state if diagnosis else None,
    )


class _Reports(keras.callbacks.Callback):
    """Reports every epoch of a task, and scores the encoder after some."""

    def __init__(self, task: Task, dataset: Dataset, report: Report):
        super().__init__()
        self._task = task
        self._dataset = quick_subset(dataset, task.settings.seed)
        self._report = report

    def on_train_begin(self, logs=None):
        shape = self._dataset.example_shape
        self._encode = compile_encoder(self.model.encoder, shape)

    def on_epoch_end(self, epoch, logs=None):
        task, done, score = self._task, epoch + 1, None
        is_due = task.score_every and done % task.score_every == 0
        if is_due and done < task.settings.epochs:
            score = OBJECTIVES[task.objective].score(self._encode, self._dataset)
            logs["search_score"] = score
        self._report(done, score)


def _evaluate(task: Task, encoder: keras.Model, dataset: Dataset) -> RecipeMetrics:
    features, num_classes = FeatureCache(encoder, dataset), dataset.num_classes
    metrics: dict[str, Any] = {}
    if task.objective is not None:
        score = OBJECTIVES[task.objective].measure(features, dataset)
        metrics["validation_score"] = float(score)
    if task.test:
        ranks = spectrum(features["validation"].representations)
        metrics["effective_rank"] = ranks.effective_rank
        metrics["rankme"] = ranks.rankme
        metrics["state"] = diagnose_collapse(ranks, kind="representation").state
    if task.test and num_classes is not None and dataset.test is not None:
        splits = [features[name] for name in SPLITS]
        linear = linear_probe(*splits, num_classes=num_classes)
        metrics["linear_top1"] = linear.metrics.top1
        metrics["knn_top1"] = knn_eval(*splits, num_classes=num_classes).metrics.top1
    return RecipeMetrics(seed=task.settings.seed, **metrics)


def _main() -> int:
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    task = from_json(Task, json.loads(pathlib.Path(sys.argv[1]).read_text()))
    apply_precision(task.settings)
    # Lines that libraries print are not for the parent.
    messages, sys.stdout = sys.stdout, sys.stderr

    def send(**message):
        print(json.dumps(message), file=messages, flush=True)

    try:
        metrics = train(task, lambda epoch, score: send(epoch=epoch, score=score))
        send(metrics=to_json(metrics))
    except KeyboardInterrupt:
        return interrupts.STATUS
    except Exception as error:
        found = error if isinstance(error, InputError) else machine_error(error)
        if found is None:
            raise
        send(error=str(found), diverged=isinstance(found, NonFiniteError))
    return 0


def _stop_with_parent() -> None:
    """Stops training, with everything saved, when the parent closes stdin or ends."""
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(_main())
