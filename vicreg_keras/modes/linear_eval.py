"""The mode `linear_eval`: linear accuracy of the encoder beside its baselines.

Chance, the raw input and an untrained encoder are evaluated by the same protocols on
the same splits. Raw input is always evaluated by `cached`, as SGD at the learning rates
of representations tells nothing about it.
"""

import contextlib
import time
from collections.abc import Iterator, Sequence

import numpy as np
from scipy.special import softmax
from sklearn.metrics import confusion_matrix

from vicreg_keras.errors import InputError
from vicreg_keras.evaluate.augmented_probe import augmented_probe
from vicreg_keras.evaluate.features import SPLITS, Features, input_size_problem
from vicreg_keras.evaluate.few_labels import few_label_probe
from vicreg_keras.evaluate.linear_eval import (
    LinearEvalRecord,
    LinearEvalResult,
    chance,
)
from vicreg_keras.evaluate.linear_probe import linear_probe
from vicreg_keras.evaluate.records import NAMES
from vicreg_keras.figures.examples import confusion, mistake_grid
from vicreg_keras.figures.text_table import percent
from vicreg_keras.modes.baselines import evaluate_each
from vicreg_keras.modes.context import Context
from vicreg_keras.modes.options import LinearEvalOptions

_NUM_MISTAKES = 24
# Training numbers times classes of a step that takes seconds.
_LONG_STEP = 2**25


def run(context: Context, options: LinearEvalOptions) -> LinearEvalRecord:
    """Evaluates the encoder and its baselines, prints a table and logs the metrics.

    Args:
        context: The encoder and its dataset.
        options: Options of the mode.

    Returns:
        The record that was logged.

    Raises:
        InputError: If the dataset lacks labels or a test split, or the protocol needs
            images.
    """
    dataset, protocol = context.dataset, options.protocol
    _ = context.class_names, context.test  # Refused before any work.
    if dataset.columns is not None and protocol != "cached":
        raise InputError(
            "Expected protocol=cached for tables: the others crop and flip images. "
            f"Received: protocol={protocol}."
        )
    results = evaluate_each(
        context,
        SPLITS,
        LinearEvalResult,
        lambda name, splits: _evaluate(context, options, name, splits),
        few_labels=(options.few_labels, options.few_label_seeds),
    )
    record = context.record(
        LinearEvalRecord,
        protocol=protocol,
        chance=chance(dataset),
        results=results,
        raw_input_omitted=input_size_problem(dataset),
    )
    context.log_metrics(record)
    if context.run is not None and protocol != "augmented":
        _draw(context)
    return record


def _evaluate(
    context: Context, options: LinearEvalOptions, name: str, splits: Sequence[Features]
) -> LinearEvalResult:
    """Evaluates the encoder or a baseline by each protocol."""
    train, validation, test = splits
    num_classes, protocol = context.num_classes, options.protocol
    cached = augmented = few_labels = None
    if name == "raw_input" or protocol != "augmented":
        with _step(f"{NAMES[name]}, cached probe", train, num_classes):
            fitted = context.fitted_head if name == "encoder" else None
            cached = linear_probe(*splits, num_classes=num_classes, fitted=fitted)
    encoders = {"encoder": context.encoder, "untrained": context.untrained_encoder}
    encoder = encoders.get(name)
    if encoder is not None and protocol != "cached":
        augmented = augmented_probe(
            encoder,
            context.dataset.train,
            validation,
            test,
            num_classes=num_classes,
            epochs=options.probe_epochs,
            seed=context.seed,
        )
    if options.few_labels:
        with _step(f"{NAMES[name]}, few labels", train, num_classes):
            few_labels = few_label_probe(
                train,
                test,
                num_classes=num_classes,
                labels_per_class=options.few_labels,
                num_draws=options.few_label_seeds,
                seed=context.seed,
            )
    return LinearEvalResult(cached=cached, augmented=augmented, few_labels=few_labels)


@contextlib.contextmanager
def _step(what: str, train: Features, num_classes: int) -> Iterator[None]:
    """Says what takes a while, and then how long it took."""
    num_examples, width = train.representations.shape
    if num_examples * width * num_classes < _LONG_STEP:
        yield
        return
    sizes = f"{num_examples:,} x {width:,} numbers, {num_classes} classes"
    print(f"{what}: {sizes} ...", end="", flush=True)
    start = time.monotonic()
    yield
    print(f" {time.monotonic() - start:.0f} s", flush=True)


def _draw(context: Context) -> None:
    """Draws what the linear head confuses, and its most confident mistakes."""
    test, names = context.test, context.class_names
    scores = context.head.scores(context.features["test"].representations)
    probabilities = softmax(scores.astype(np.float64), axis=1)
    confidences, predicted = probabilities.max(axis=1), scores.argmax(axis=1)
    counts = confusion_matrix(test.labels, predicted, labels=range(len(names)))
    head = (
        f"Linear head on frozen representations (cached), {context.dataset.name}, test"
    )
    context.save_figure(confusion(counts, names, head), "confusion", "Its confusions")
    (wrong,) = np.nonzero(predicted != test.labels)
    order = np.argsort(-confidences[wrong], kind="stable")[:_NUM_MISTAKES]
    tiles = [
        tile._replace(note=f"as {names[predicted[i]]}, {percent(confidences[i])} %")
        for i, tile in zip(wrong[order], context.tiles(test, wrong[order]), strict=True)
    ]
    caption = f"{head}: the mistakes with the highest probability of the wrong class."
    context.save_figure(mistake_grid(tiles, caption), "mistakes", "Its mistakes")
