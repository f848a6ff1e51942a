"""One run of `benchmarks.recipes`: a process of its own.

    python -m benchmarks.recipes_run minutes 5 --flagfile=flags/cifar10.flags

Trains by main.py's flags until a budget of minutes, or of image views, is spent, and
writes a line of JSON: what it took, and the accuracies of the encoder on one half of
the validation split. The other half chooses the probe's and kNN's settings.
"""

import argparse
import math
import sys
import time

import keras
import numpy as np
import tensorflow as tf
from absl import flags

from benchmarks.contender import send
from vicreg_keras.cli import parse
from vicreg_keras.data.dataset import Dataset, open_dataset
from vicreg_keras.evaluate.features import extract_features
from vicreg_keras.evaluate.knn import knn_eval
from vicreg_keras.evaluate.linear_probe import linear_probe
from vicreg_keras.hardware.precision import apply_precision
from vicreg_keras.model import VICReg
from vicreg_keras.settings import Settings
from vicreg_keras.training.build import build_model
from vicreg_keras.training.optim import warmup_cosine

# Steps that a schedule is divided into, however many are trained.
_RESOLUTION = 100_000
_NO_END = 2**40


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("unit", choices=BUDGETS)
    parser.add_argument("amount", type=float)
    options, more = parser.parse_known_args()
    try:
        # A workdir is asked for, and not written to.
        request = parse(["main.py", "--mode=pretrain", "--workdir=.", *more])
        settings = apply_precision(request.settings)
        dataset = open_dataset(request.data, settings.seed)
        budget = BUDGETS[options.unit](options.amount)
        model, numbers = train(settings, dataset, budget)
        if numbers.pop("finite"):
            numbers |= evaluate(model.encoder, dataset)
    except (ValueError, OSError, flags.Error) as error:
        sys.exit(f"recipes_run: {' '.join(str(error).split())}")
    send(numbers)


class Budget(keras.callbacks.Callback):
    """Ends a fit when it is spent.

    The first step, which compiles, is trained and counted as views, but not timed.

    Attributes:
        spent: float32 variable in [0, 1], the fraction spent as a step begins.
        steps: Number of steps so far.
    """

    def __init__(self, amount: float):
        super().__init__()
        self.amount = amount
        self.spent = tf.Variable(0.0, trainable=False)
        self.steps = 0
        self._start = self._last = None

    def on_train_batch_begin(self, batch, logs=None):
        self.spent.assign(min(self.fraction(), 1.0))

    def on_train_batch_end(self, batch, logs=None):
        self.steps = int(self.model.step.numpy())  # Waits until the step is done.
        self._last = time.monotonic()
        self._start = self._start or self._last
        self.model.stop_training = self.fraction() >= 1

    def minutes(self) -> float:
        """Returns the minutes between the ends of the first and the last step."""
        return 0.0 if self._start is None else (self._last - self._start) / 60


class Minutes(Budget):
    """A budget of time."""

    def fraction(self) -> float:
        return self.minutes() / self.amount


class Views(Budget):
    """A budget of image views, rounded up to whole steps.

    Attributes:
        views_per_step: Set before the first step.
    """

    def fraction(self) -> float:
        return self.steps * self.views_per_step / self.amount


BUDGETS = {"minutes": Minutes, "views": Views}


class Annealed(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule that follows the fraction of a budget rather than the step.

    Args:
        schedule: A schedule over `_RESOLUTION` steps.
        spent: `Budget.spent`.
    """

    def __init__(
        self,
        schedule: keras.optimizers.schedules.LearningRateSchedule,
        spent: tf.Variable,
    ):
        self._schedule = schedule
        self._spent = spent

    def __call__(self, step):
        del step
        return self._schedule(self._spent * _RESOLUTION)


def annealed(settings: Settings, spent: tf.Variable) -> Annealed:
    """Returns the recipe's schedule; the warm-up keeps its fraction of it."""
    schedule = warmup_cosine(
        settings.learning_rate,
        _RESOLUTION,
        round(_RESOLUTION * settings.warmup_epochs / settings.epochs),
        settings.final_learning_rate_fraction,
    )
    return Annealed(schedule, spent)


def train(settings: Settings, dataset: Dataset, budget: Budget) -> tuple[VICReg, dict]:
    """Trains on a budget, whichever part of an epoch that is.

    Returns:
        The model, and `views`, `minutes`, and whether its loss is `finite`.
    """
    if settings.positives != "views":
        raise ValueError(
            "Expected recipes whose views are of one image. Received: "
            f"positives={settings.positives}. Leave it out."
        )
    batches = dataset.train.training_batches(settings.batch_size, seed=settings.seed)
    model = build_model(
        settings, dataset, dataset.train.num_examples // settings.batch_size
    )
    model.optimizer.learning_rate = annealed(settings, budget.spent)
    budget.views_per_step = settings.batch_size * settings.num_views
    history = model.fit(
        batches,
        steps_per_epoch=_NO_END,
        callbacks=[budget],
        shuffle=False,  # They are.
        verbose=0,
    )
    return model, {
        "views": budget.steps * budget.views_per_step,
        "minutes": budget.minutes(),
        "finite": math.isfinite(history.history["loss"][-1]),
    }


def evaluate(encoder: keras.Model, dataset: Dataset) -> dict:
    """Returns accuracies on every second validation image; the others choose."""
    numbers = np.arange(dataset.validation.num_examples)
    halves = [dataset.validation.take(numbers[start::2]) for start in (0, 1)]
    splits = (dataset.train, *halves)
    features = [extract_features(encoder, split, verbose=0) for split in splits]
    classes = dataset.num_classes
    return {
        "linear": linear_probe(*features, num_classes=classes).metrics.top1,
        "knn": knn_eval(*features, num_classes=classes).metrics.top1,
        "num_evaluated": halves[1].num_examples,
    }


if __name__ == "__main__":
    main()
