"""The mode `finetune`: accuracy over the number of labels, pretrained or not."""

from vicreg_keras.errors import InputError
from vicreg_keras.evaluate.augmented_probe import RandomView
from vicreg_keras.evaluate.features import SPLITS
from vicreg_keras.evaluate.few_labels import draw_labeled, frozen_probe
from vicreg_keras.evaluate.finetune import (
    LEARNING_RATES,
    MIN_STEPS,
    FinetuneRecord,
    FinetuneResult,
    finetune,
)
from vicreg_keras.figures.label_efficiency import label_efficiency
from vicreg_keras.figures.style import save
from vicreg_keras.figures.text_table import format_table, percent
from vicreg_keras.modes.context import Context
from vicreg_keras.modes.options import FinetuneOptions


def run(
    context: Context,
    options: FinetuneOptions,
    *,
    min_steps: int = MIN_STEPS,
    learning_rates: tuple[tuple[float, float], ...] = LEARNING_RATES,
    view: RandomView | None = None,
) -> FinetuneRecord:
    """Trains encoders on parts of the labels, prints a table and logs the metrics.

    For every fraction: from the pretrained weights, from scratch, and logistic
    regression on frozen representations; all three on the same labeled images.

    Args:
        context: The run; its own encoders are left as they are.
        options: Options of the mode.
        min_steps: See `finetune`.
        learning_rates: See `finetune`.
        view: See `finetune`.

    Returns:
        The record that was logged.

    Raises:
        InputError: If there is no run, the dataset is a table, or has no labels or no
            test split.
    """
    dataset, seed = context.dataset, context.seed
    _check(context)
    results = {"finetuned": [], "scratch": [], "frozen": []}
    for fraction in options.label_fractions:
        count = len(draw_labeled(dataset.train.labels, fraction, seed))
        results["frozen"].append(
            frozen_probe(
                *(context.features[name] for name in SPLITS),
                num_classes=dataset.num_classes,
                label_fraction=fraction,
                seed=seed,
            )
        )
        for name, weights in (("finetuned", "pretrained"), ("scratch", "untrained")):
            print(f"Training on {count:,} labels from {weights} weights...", flush=True)
            result = finetune(
                context.make_encoder(name == "finetuned"),
                dataset,
                label_fraction=fraction,
                epochs=options.finetune_epochs,
                min_steps=min_steps,
                learning_rates=learning_rates,
                seed=seed,
                view=view,
            )
            results[name].append(result)
    record = FinetuneRecord(
        **context.record_fields,
        split="test",
        **{name: tuple(values) for name, values in results.items()},
    )
    print(_format(record))
    path = context.figure("label_efficiency")
    if path is not None:
        curves = {
            name: [(one.settings.num_train, one.metrics.top1) for one in values]
            for name, values in results.items()
        }
        save(label_efficiency(curves, 1 / dataset.num_classes), path)
        print(f"Accuracy over the number of labels: {path}")
    context.log_metrics(record)
    return record


def _check(context: Context) -> None:
    if context.make_encoder is None:
        raise InputError(
            "Expected workdir=RUN for fine-tuning: a SavedModel can't be trained. "
            "Received: workdir=None."
        )
    if context.dataset.columns is not None:
        raise InputError(
            "Expected images for fine-tuning. Received: "
            f"dataset={context.dataset.name}, a table. Use mode=linear_eval."
        )
    context.require("fine-tuning", labels=True, test=True)


def _format(record: FinetuneRecord) -> str:
    settings = record.finetuned[0].settings
    heading = (
        f"Fine-tuning on {record.dataset}, {record.split} split, {settings.num_test} "
        f"examples of {settings.num_classes} classes; {settings.epochs} epochs, at "
        f"least {settings.min_steps} steps; seed {record.seed}; top-1 accuracy in "
        "percent. Learning rates (of encoder and new layer) and C chosen on "
        f"{settings.num_validation} validation labels."
    )
    rows = [("labels", "of all", "from scratch", "frozen, linear", "fine-tuned", "")]
    for scratch, frozen, tuned in zip(
        record.scratch, record.frozen, record.finetuned, strict=True
    ):
        chosen = (
            f"rates {_rates(scratch)} from scratch, {_rates(tuned)} fine-tuned; "
            f"C {frozen.settings.C:g}"
        )
        converged = "" if frozen.settings.converged else ", not converged"
        rows.append(
            (
                f"{tuned.settings.num_train:,}",
                f"{100 * tuned.settings.label_fraction:g} %",
                *(percent(one.metrics.top1) for one in (scratch, frozen, tuned)),
                f"{chosen}{converged}",
            )
        )
    return f"{heading}\n{format_table(rows, num_left=0)}"


def _rates(result: FinetuneResult) -> str:
    settings = result.settings
    return f"{settings.encoder_learning_rate:g}/{settings.head_learning_rate:g}"
