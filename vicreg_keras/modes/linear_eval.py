"""The mode `linear_eval`: linear accuracy of the encoder beside its baselines.

Chance, the raw input and an untrained encoder are evaluated by the same protocols on
the same splits. Raw input is always evaluated by `cached`, as SGD at the learning rates
of representations tells nothing about it.
"""

import numpy as np
from scipy.special import softmax
from sklearn.metrics import confusion_matrix

from vicreg_keras.errors import InputError
from vicreg_keras.evaluate.augmented_probe import augmented_probe
from vicreg_keras.evaluate.features import SPLITS, input_size_problem
from vicreg_keras.evaluate.few_labels import few_label_probe
from vicreg_keras.evaluate.linear_eval import (
    LinearEvalRecord,
    LinearEvalResult,
    chance,
)
from vicreg_keras.evaluate.linear_probe import linear_probe
from vicreg_keras.figures.examples import confusion, mistake_grid
from vicreg_keras.figures.text_table import percent
from vicreg_keras.modes.context import Context
from vicreg_keras.modes.options import LinearEvalOptions

_NUM_MISTAKES = 24


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
    num_classes, _ = context.num_classes, context.test
    if dataset.columns is not None and protocol != "cached":
        raise InputError(
            "Expected protocol=cached for tables: the others crop and flip images. "
            f"Received: protocol={protocol}."
        )
    encoders = {"encoder": context.encoder}
    if context.untrained_encoder is not None:
        encoders["untrained"] = context.untrained_encoder
    results = {}
    for name, splits in context.each(SPLITS):
        train, validation, test = splits
        cached = augmented = few_labels = None
        if name == "raw_input" or protocol != "augmented":
            fitted = context.fitted_head if name == "encoder" else None
            cached = linear_probe(*splits, num_classes=num_classes, fitted=fitted)
        if name in encoders and protocol != "cached":
            augmented = augmented_probe(
                encoders[name],
                dataset.train,
                validation,
                test,
                num_classes=num_classes,
                epochs=options.probe_epochs,
                seed=context.seed,
            )
        if options.few_labels:
            few_labels = few_label_probe(
                train,
                test,
                num_classes=num_classes,
                labels_per_class=options.few_labels,
                num_draws=options.few_label_seeds,
                seed=context.seed,
            )
        results[name] = LinearEvalResult(
            cached=cached, augmented=augmented, few_labels=few_labels
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
