"""How many labels does pretraining save? Accuracy over the number of labels."""

import pathlib
from collections.abc import Mapping, Sequence

from vicreg_keras.figures.style import CHANCE, HELD_OUT, TRAIN, UNTRAINED, plt, save

# Names that the evaluation uses, as a reader knows them, with marker, line and color.
_CURVES = {
    "finetuned": ("pretrained, fine-tuned", "o-", TRAIN),
    "frozen": ("pretrained, frozen, linear on top", "s--", HELD_OUT),
    "scratch": ("trained from scratch", "^-.", UNTRAINED),
}


def label_efficiency(results: Mapping[str, Sequence[dict]], path: pathlib.Path) -> None:
    """Draws test accuracy over the number of labeled images, which is logarithmic.

    Args:
        results: under `finetuned`, `frozen` and `scratch` the results of that name, in
            any order; of each, `num_labeled`, `top1` and `num_classes` are read. A
            name may be left out.
        path: of the PNG.

    Raises:
        ValueError: If there is nothing to draw, or another name.
    """
    unknown = sorted(set(results) - set(_CURVES))
    if unknown or not any(results.values()):
        raise ValueError(
            f"Expected results under {', '.join(_CURVES)}. Received: "
            f"{', '.join(unknown) or 'none'}."
        )
    figure, axis = plt.subplots(figsize=(6, 4.5), layout="constrained")
    counts = set()
    for name, (label, style, color) in _CURVES.items():
        points = sorted(
            (numbers["num_labeled"], 100 * numbers["top1"])
            for numbers in results.get(name, ())
        )
        if not points:
            continue
        counts.update(count for count, _ in points)
        axis.plot(*zip(*points, strict=True), style, color=color, label=label)
        num_classes = results[name][0]["num_classes"]
    axis.axhline(
        100 / num_classes, color=CHANCE, linewidth=1, linestyle=":", label="chance"
    )
    axis.set_xscale("log")
    axis.set_xlim(min(counts) / 1.5, max(counts) * 1.5)
    axis.set_xticks(sorted(counts), [f"{count:,}" for count in sorted(counts)])
    axis.minorticks_off()
    axis.set_xlabel("labeled training images")
    axis.set_ylabel("top-1 test accuracy, percent")
    axis.set_ylim(bottom=0)
    axis.grid(alpha=0.3)
    # Above the axes, where no curve can be.
    figure.legend(loc="outside upper center", ncols=2)
    save(figure, path)
