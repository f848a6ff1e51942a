"""The mode `linear_eval`: linear accuracy of the encoder beside its baselines.

Chance, the raw input and an untrained encoder are evaluated by the same protocols on
the same splits. Raw input is always evaluated by `cached`, as SGD at the learning rates
of representations tells nothing about it.
"""

from collections.abc import Iterator

from vicreg_keras.errors import InputError
from vicreg_keras.evaluate.accuracy import ClassificationMetrics
from vicreg_keras.evaluate.augmented_probe import augmented_probe
from vicreg_keras.evaluate.features import SPLITS, input_size_problem
from vicreg_keras.evaluate.few_labels import few_label_probe
from vicreg_keras.evaluate.linear_eval import (
    LinearEvalRecord,
    LinearEvalResult,
    chance,
)
from vicreg_keras.evaluate.linear_probe import linear_probe
from vicreg_keras.evaluate.records import NAMES
from vicreg_keras.figures.text_table import format_table, percent
from vicreg_keras.modes.context import Context
from vicreg_keras.modes.options import LinearEvalOptions

_HEADER = ("", "protocol", "top-1", "top-5", "chosen on the validation split")


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
    fields, num_classes = context.classification_fields, context.num_classes
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
        if name == "encoder" and protocol != "augmented":
            cached = context.linear_probe
        elif name == "raw_input" or protocol != "augmented":
            cached = linear_probe(*splits, num_classes=num_classes)
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
    record = LinearEvalRecord(
        **fields,
        protocol=protocol,
        chance=chance(dataset),
        results=results,
        raw_input_omitted=input_size_problem(dataset),
    )
    print(format_record(record))
    context.log_metrics(record)
    return record


def format_record(record: LinearEvalRecord) -> str:
    """Returns a text table of a record, accuracies in percent.

    Each line has a baseline or the encoder, a protocol, and in the last column what was
    chosen on the validation split.
    """
    top1, top5 = percent(record.chance.top1), percent(record.chance.top5)
    rows: list[tuple[str, ...]] = [_HEADER]
    rows.append((NAMES["chance"], "-", top1, top5, ""))
    if record.raw_input_omitted:
        omitted = f"omitted: {record.raw_input_omitted}"
        rows.append((NAMES["raw_input"], "cached", "-", "-", omitted))
    for name in reversed(record.results):
        for protocol, metrics, chosen in _lines(record.results[name]):
            stds = (getattr(metrics, f"{key}_std", None) for key in ("top1", "top5"))
            texts = map(percent, (metrics.top1, metrics.top5), stds)
            rows.append((NAMES[name], protocol, *texts, chosen))
    heading = (
        f"Linear evaluation of {record.dataset}, {record.split} split: "
        f"{record.num_test} examples of {record.num_classes} classes, "
        f"{record.num_train} training and {record.num_validation} validation examples; "
        f"protocol {record.protocol}, seed {record.seed}; accuracy in percent."
    )
    return f"{heading}\n{format_table(rows, num_left=2)}"


def _lines(
    result: LinearEvalResult,
) -> Iterator[tuple[str, ClassificationMetrics, str]]:
    """Protocol, metrics and what was chosen, for each protocol that was run."""
    if cached := result.cached:
        chosen = f"C {cached.settings.C:g}" + _convergence(cached.settings.converged)
        yield "cached", cached.metrics, chosen
    if augmented := result.augmented:
        rate, epochs = augmented.settings.learning_rate, augmented.settings.epochs
        yield "augmented", augmented.metrics, f"learning rate {rate:g}, {epochs} epochs"
    if few_labels := result.few_labels:
        settings = few_labels.settings
        values = sorted({draw.C for draw in settings.draws})
        chosen = f"C {', '.join(f'{value:g}' for value in values)} "
        chosen += f"({settings.C_chosen_by}), {len(settings.draws)} draws"
        chosen += _convergence(settings.converged)
        count = settings.labels_per_class
        protocol = f"{count} label{'s' if count > 1 else ''} per class"
        yield protocol, few_labels.metrics, chosen


def _convergence(converged: bool) -> str:
    return "" if converged else ", not converged"
