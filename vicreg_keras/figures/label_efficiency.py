"""Accuracy over the number of labels that training used."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from vicreg_keras.figures.style import (
    CHANCE,
    TRAINING,
    UNTRAINED,
    VALIDATION,
    add_legend,
    new_figure,
    run_style,
    shorten,
)

_KNOWN = {
    "finetuned": (
        "pretrained, fine-tuned",
        {"marker": "o", "linestyle": "-", "color": TRAINING},
    ),
    "frozen": (
        "pretrained, frozen, linear on top",
        {"marker": "s", "linestyle": "--", "color": VALIDATION},
    ),
    "scratch": (
        "trained from scratch",
        {"marker": "^", "linestyle": "-.", "color": UNTRAINED},
    ),
}


def label_efficiency(
    curves: Mapping[str, Sequence[tuple[int, float]]], chance: float | None = None
) -> Figure:
    """Draws test accuracy over the number of labeled images, which is logarithmic.

    Args:
        curves: Numbers of labels, each with its accuracy in [0, 1] and in any order,
            under `finetuned`, `frozen` and `scratch` or under names of runs.
        chance: Accuracy in [0, 1] of guessing, or `None` to draw none.

    Raises:
        ValueError: If there is nothing to draw.
    """
    curves = {name: sorted(points) for name, points in curves.items() if points}
    if not curves:
        raise ValueError("Expected at least one curve. Received: none.")
    figure, axes = new_figure(6, 4.5)
    for number, (name, points) in enumerate(curves.items()):
        others = (shorten(name), {"marker": "o"} | run_style(number))
        label, style = _KNOWN.get(name, others)
        counts, accuracies = zip(*points, strict=True)
        axes.plot(counts, [100 * one for one in accuracies], label=label, **style)
    if chance is not None:
        look = {"color": CHANCE, "linewidth": 1, "linestyle": ":"}
        axes.axhline(100 * chance, label="chance", **look)
    counts = sorted({count for points in curves.values() for count, _ in points})
    axes.set_xscale("log")
    axes.set_xlim(counts[0] / 1.5, counts[-1] * 1.5)
    axes.set_xticks(counts, [f"{count:,}" for count in counts])
    axes.minorticks_off()
    axes.set(xlabel="labeled training images", ylabel="top-1 test accuracy, percent")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    # Above the axes, where no curve can be.
    add_legend(figure, loc="outside upper center", ncols=2)
    return figure
