"""The mode `finetune`: accuracy over the number of labels, with and without."""

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from vicreg_keras.evaluate.few_labels import draw_labeled, frozen_probe
from vicreg_keras.evaluate.finetune import LEARNING_RATES, MIN_STEPS, finetune
from vicreg_keras.figures.label_efficiency import label_efficiency
from vicreg_keras.figures.style import save
from vicreg_keras.modes import text_table
from vicreg_keras.modes.context import Context

_STARTS = {"finetuned": "the pretrained weights", "scratch": "untrained weights"}


def run_finetune(
    context: Context,
    *,
    make_encoder: Callable[[bool], keras.Model],
    label_fractions: Sequence[float] = (0.01, 0.1, 1.0),
    epochs: int = 20,
    min_steps: int = MIN_STEPS,
    batch_size: int = 256,
    learning_rates: Sequence[tuple[float, float]] = LEARNING_RATES,
    view: Callable[..., tf.Tensor] | None = None,
) -> dict:
    """Trains encoders on parts of the labels, prints the table, and keeps the numbers.

    For every fraction: from the pretrained weights, from scratch, and logistic
    regression on the context's representations as they are; all three on the same
    labeled images.

    Args:
        context: what is judged; its own encoders are left as they are.
        make_encoder: gives a new trainable encoder at every call, with the pretrained
            weights if its argument is true, else untrained.
        label_fractions: of the training images, each in (0, 1].
        epochs: as of `finetune`.
        min_steps: as of `finetune`.
        batch_size: as of `finetune`.
        learning_rates: as of `finetune`.
        view: as of `finetune`.

    Returns:
        The row that was kept: `results` has under `finetuned`, `scratch` and `frozen`
        one dict for each fraction, as `finetune` and `frozen_probe` return them.

    Raises:
        ValueError: if the dataset has no labels or no test split, a fraction is out
            of range, or as `finetune`.
    """
    context.require("fine-tuning", labels=True, test=True)
    if not label_fractions:
        raise ValueError(
            "Expected at least one fraction of the labels. Received: none."
        )
    labels, seed = context.dataset.train.labels, context.seed
    counts = [len(draw_labeled(labels, part, seed)) for part in label_fractions]
    results = {"frozen": [], "finetuned": [], "scratch": []}
    for fraction, count in zip(label_fractions, counts, strict=True):
        drawn = {"label_fraction": fraction, "seed": seed}
        results["frozen"].append(_frozen(context, drawn))
        for name, start in _STARTS.items():
            print(f"Training on {count:,} labels from {start}...", flush=True)
            numbers = finetune(
                make_encoder(name == "finetuned"),
                context.dataset,
                epochs=epochs,
                min_steps=min_steps,
                batch_size=batch_size,
                learning_rates=learning_rates,
                view=view,
                **drawn,
            )
            results[name].append(numbers)
    _print_table(context, results)
    path = context.figure("label_efficiency")
    if path is not None:
        curves = {
            name: [(numbers["num_labeled"], numbers["top1"]) for numbers in one]
            for name, one in results.items()
        }
        save(label_efficiency(curves, 1 / context.dataset.num_classes), path)
        print(f"Accuracy over the number of labels: {path}")
    return context.keep("finetune", {"split": "test", "results": results})


def _frozen(context, drawn):
    splits = (context.features[name] for name in ("train", "validation", "test"))
    return frozen_probe(*splits, num_classes=context.dataset.num_classes, **drawn)


def _print_table(context, results):
    first = results["finetuned"][0]
    print(
        f"Fine-tuning on {context.dataset.name}, test split, {first['num_test']} "
        f"examples of {first['num_classes']} classes; {first['epochs']} epochs, and "
        f"{first['min_steps']} steps or more; seed {context.seed}; top-1 accuracy in "
        "percent. Learning rates (of encoder and new layer) and C chosen on "
        f"{first['num_validation']} held-out labels."
    )
    rows = [("labels", "of all", "from scratch", "frozen, linear", "fine-tuned", "")]
    for scratch, frozen, tuned in zip(
        results["scratch"], results["frozen"], results["finetuned"], strict=True
    ):
        chosen = (
            f"rates {_rates(scratch)} from scratch, {_rates(tuned)} fine-tuned; "
            f"C {frozen['C']:g}"
        )
        rows.append(
            (
                f"{tuned['num_labeled']:,}",
                f"{100 * tuned['label_fraction']:g} %",
                *(text_table.percent(arm["top1"]) for arm in (scratch, frozen, tuned)),
                chosen if frozen["converged"] else f"{chosen}, not converged",
            )
        )
    print(text_table.format_table(rows, num_left=0))


def _rates(numbers):
    return f"{numbers['encoder_learning_rate']:g}/{numbers['head_learning_rate']:g}"
