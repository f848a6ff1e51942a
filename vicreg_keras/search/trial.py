"""One training of a search, in a process of its own.

    python -m vicreg_keras.search.trial TASK.json

A process for each training frees all its memory, and a crash ends one trial only. It
writes lines of JSON to stdout, one for each epoch and the result; progress and errors
are in `trial.log`. It stops, with everything saved, when its stdin is closed: it does
not outlive a search that is killed.
"""

import dataclasses
import json
import math
import os
import pathlib
import signal
import subprocess
import sys
import threading
from collections.abc import Callable

import keras
import tensorflow as tf

import vicreg_keras
from vicreg_keras.data.dataset import Dataset, open_dataset
from vicreg_keras.errors import InputError
from vicreg_keras.evaluate.features import compile_encoder, extract_features
from vicreg_keras.evaluate.knn import knn_eval
from vicreg_keras.evaluate.linear_probe import linear_probe
from vicreg_keras.evaluate.records import from_json, to_json
from vicreg_keras.hardware.precision import POLICIES, choose_precision
from vicreg_keras.search.objectives import OBJECTIVES, make_score
from vicreg_keras.settings import DataOptions, Settings
from vicreg_keras.training.checkpoints import trained_encoder
from vicreg_keras.training.pretrain import pretrain
from vicreg_keras.workdir.files import write_text
from vicreg_keras.workdir.recipe import check_recipe
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
        objective: A key of `OBJECTIVES`.
        score_every: Epochs between two scores in training; 0 for none.
        test: Whether to evaluate on the test split, where there is one with labels.
    """

    folder: str
    settings: Settings
    data: DataOptions
    split_seed: int
    objective: str
    score_every: int = 0
    test: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """What a training gave.

    Attributes:
        score: Objective of the trained encoder, or `None` without one.
        linear_top1: Test accuracy in [0, 1], or `None`.
        knn_top1: Test accuracy in [0, 1], or `None`.
        diverged: Whether loss or representations became NaN or infinite.
        error: Message of an error in what the user gave, or `None`.
    """

    score: float | None = None
    linear_top1: float | None = None
    knn_top1: float | None = None
    diverged: bool = False
    error: str | None = None


class TrialCrash(RuntimeError):
    """The process of a training ended without a result, for example out of memory."""


def run_task(task: Task, report: Report) -> Result:
    """Trains and evaluates in a new process.

    Args:
        task: What to train.
        report: Called after each epoch; an exception that it raises stops the training
            and is raised here.

    Raises:
        InputError: If settings, data and folder don't fit.
        TrialCrash: If the process ends without a result.
    """
    folder = pathlib.Path(task.folder)
    folder.mkdir(parents=True, exist_ok=True)
    path, log = folder / "trial.json", folder / "trial.log"
    write_text(path, json.dumps(to_json(task)))
    root = str(pathlib.Path(vicreg_keras.__file__).parents[1])
    places = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    result = None
    with (
        open(log, "a") as log_file,
        subprocess.Popen(
            [sys.executable, "-m", __name__, path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log_file,
            text=True,
            env=os.environ | {"PYTHONPATH": places},
            # Ctrl-C is for the search, which then stops the training.
            start_new_session=True,
        ) as process,
    ):
        try:
            for line in process.stdout:
                message = json.loads(line)
                if "epoch" in message:
                    report(message["epoch"], message["score"])
                else:
                    result = from_json(Result, message)
        finally:
            process.stdin.close()
            process.wait()
    if result is None:
        raise TrialCrash(f"A training ended with {process.returncode}, see {log}.")
    if result.error:
        raise InputError(result.error)
    return result


def train(task: Task, report: Report) -> Result:
    """Trains and evaluates in this process.

    Args:
        task: What to train.
        report: Called after each epoch.

    Raises:
        InputError: If settings, data and folder don't fit.
        KeyboardInterrupt: If a signal stopped the training.
    """
    settings, run = task.settings, RunFolder(task.folder)
    dataset = open_dataset(task.data, task.split_seed)
    objective = OBJECTIVES[task.objective]
    quick = make_score(objective, dataset, quick=True, seed=settings.seed)

    def on_epoch_end(epoch, logs):
        done, score = epoch + 1, None
        is_due = task.score_every and done % task.score_every == 0
        # A loss that is not finite ends the run right after this.
        if is_due and done < settings.epochs and math.isfinite(float(logs["loss"])):
            score = logs["search_score"] = quick(reports.model.encoder)
        report(done, score)

    reports = keras.callbacks.LambdaCallback(on_epoch_end=on_epoch_end)
    with run.lock():
        check_recipe(run, settings, task.data)
        try:
            trained = pretrain(
                settings, dataset, run, extra_callbacks=[reports], export=False
            )
            if trained.stopped_by:
                raise KeyboardInterrupt
            encoder = trained_encoder(settings, dataset, run)
            score = make_score(objective, dataset)(encoder)
        except FloatingPointError:
            return Result(diverged=True)
    result = Result(score=score)
    return _evaluate(result, encoder, dataset) if task.test else result


def _evaluate(result: Result, encoder: keras.Model, dataset: Dataset) -> Result:
    """Returns the result with test accuracies, where there are labels to have them."""
    num_classes = dataset.num_classes
    if num_classes is None or dataset.test is None:
        return result
    encode = compile_encoder(encoder, dataset.example_shape)
    splits = (dataset.train, dataset.validation, dataset.test)
    features = [extract_features(encode, split, verbose=0) for split in splits]
    linear = linear_probe(*features, num_classes=num_classes)
    knn = knn_eval(*features, num_classes=num_classes)
    linear_top1, knn_top1 = linear.metrics.top1, knn.metrics.top1
    return dataclasses.replace(result, linear_top1=linear_top1, knn_top1=knn_top1)


def _main() -> int:
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    task = from_json(Task, json.loads(pathlib.Path(sys.argv[1]).read_text()))
    precision = choose_precision(task.settings.precision)
    keras.mixed_precision.set_dtype_policy(POLICIES[precision])
    if task.settings.deterministic:
        tf.config.experimental.enable_op_determinism()
    # Lines that libraries print are not for the search.
    messages, sys.stdout = sys.stdout, sys.stderr

    def send(message):
        print(json.dumps(message), file=messages, flush=True)

    try:
        result = train(
            task, lambda epoch, score: send({"epoch": epoch, "score": score})
        )
    except KeyboardInterrupt:
        return 130
    except (InputError, OSError) as error:
        result = Result(error=str(error))
    send(to_json(result))
    return 0


def _stop_with_parent() -> None:
    """Stops training, with everything saved, when the parent closes stdin or ends."""
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(_main())
