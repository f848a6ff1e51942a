"""The mode `finetune`: accuracy over the number of labels, pretrained or not."""

from vicreg_keras.errors import InputError
from vicreg_keras.evaluate.features import SPLITS
from vicreg_keras.evaluate.few_labels import draw_labeled
from vicreg_keras.evaluate.finetune import (
    MIN_STEPS,
    FinetuneRecord,
    FinetuneResult,
    finetune,
)
from vicreg_keras.evaluate.linear_probe import LinearProbeResult, linear_probe
from vicreg_keras.figures.label_efficiency import ARMS, label_efficiency
from vicreg_keras.figures.style import save
from vicreg_keras.figures.text_table import format_table, percent
from vicreg_keras.modes.context import Context
from vicreg_keras.modes.options import FinetuneOptions


def run(context: Context, options: FinetuneOptions) -> FinetuneRecord:
    """Trains encoders on parts of the labels, prints a table and logs the metrics.

    For every fraction: from the pretrained weights, from scratch, and logistic
    regression on frozen representations; all three on the same labeled images.

    Args:
        context: The run; its own encoders are left as they are.
        options: Options of the mode.

    Returns:
        The record that was logged.

    Raises:
        InputError: If there is no run, the dataset is a table, or has no labels or no
            test split.
    """
    dataset, seed, make_encoder = context.dataset, context.seed, context.make_encoder
    if make_encoder is None:
        raise InputError(
            "Expected workdir=RUN for fine-tuning: a SavedModel can't be trained. "
            "Received: workdir=None."
        )
    if dataset.columns is not None:
        raise InputError(
            "Expected images for fine-tuning. Received: "
            f"dataset={dataset.name}, a table. Use mode=linear_eval."
        )
    fields, num_classes = context.classification_fields, context.num_classes
    frozen: list[LinearProbeResult] = []
    trained: dict[str, list[FinetuneResult]] = {"pretrained": [], "untrained": []}
    for fraction in options.label_fractions:
        count = len(draw_labeled(dataset.train.labels, fraction, seed))
        probe = linear_probe(
            *(context.features[name] for name in SPLITS),
            num_classes=num_classes,
            label_fraction=fraction,
            seed=seed,
        )
        frozen.append(probe)
        for weights, results in trained.items():
            print(f"Training on {count:,} labels from {weights} weights...", flush=True)
            result = finetune(
                make_encoder(weights == "pretrained"),
                dataset,
                label_fraction=fraction,
                epochs=options.finetune_epochs,
                seed=seed,
            )
            results.append(result)
    record = FinetuneRecord(
        **fields,
        finetuned=tuple(trained["pretrained"]),
        scratch=tuple(trained["untrained"]),
        frozen=tuple(frozen),
    )
    print(_format(record))
    path = context.figure("label_efficiency")
    if path is not None:
        curves = {
            arm: [
                (one.settings.num_train, one.metrics.top1)
                for one in getattr(record, arm)
            ]
            for arm in ARMS
        }
        save(label_efficiency(curves, 1 / num_classes), path)
        print(f"Accuracy over the number of labels: {path}")
    context.log_metrics(record)
    return record


def _format(record: FinetuneRecord) -> str:
    epochs = record.finetuned[0].settings.epochs
    heading = (
        f"Fine-tuning on {record.dataset}, {record.split} split, {record.num_test} "
        f"examples of {record.num_classes} classes; {epochs} epochs, at least "
        f"{MIN_STEPS} steps; seed {record.seed}; top-1 accuracy in percent. Learning "
        "rates (of encoder and new layer) and C chosen on "
        f"{record.num_validation} validation labels."
    )
    rows: list[tuple[str, ...]] = [
        ("labels", "of all", "from scratch", "frozen, linear", "fine-tuned", "")
    ]
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
                percent(scratch.metrics.top1),
                percent(frozen.metrics.top1),
                percent(tuned.metrics.top1),
                f"{chosen}{converged}",
            )
        )
    return f"{heading}\n{format_table(rows, num_left=0)}"


def _rates(result: FinetuneResult) -> str:
    settings = result.settings
    return f"{settings.encoder_learning_rate:g}/{settings.head_learning_rate:g}"
