"""The mode `finetune`: accuracy over the number of labels, pretrained or not."""

from vicreg_keras.errors import InputError
from vicreg_keras.evaluate.features import SPLITS
from vicreg_keras.evaluate.few_labels import draw_labeled
from vicreg_keras.evaluate.finetune import FinetuneRecord, FinetuneResult, finetune
from vicreg_keras.evaluate.linear_probe import LinearProbeResult, linear_probe
from vicreg_keras.figures.run_figures import label_efficiency
from vicreg_keras.models.readout import ReadOut
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
    if isinstance(context.encoder, ReadOut) and context.encoder.average != "none":
        raise InputError(
            "Expected average=none for fine-tuning, which trains on single views. "
            f"Received: average={context.encoder.average}. Leave it out."
        )
    num_classes, _ = context.num_classes, context.test
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
    record = context.record(
        FinetuneRecord,
        finetuned=tuple(trained["pretrained"]),
        scratch=tuple(trained["untrained"]),
        frozen=tuple(frozen),
    )
    context.log_metrics(record)
    title = "Accuracy over the number of labels"
    context.save_figure(label_efficiency({"": record}), "label_efficiency", title)
    return record
