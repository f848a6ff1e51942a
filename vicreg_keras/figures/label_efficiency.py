"""Accuracy over the number of labels that training used."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from vicreg_keras.figures import style

# Ways of training on labels, by attribute of a `FinetuneRecord`.
ARMS = {
    "finetuned": "pretrained, fine-tuned",
    "frozen": "pretrained, frozen, linear on top",
    "scratch": "trained from scratch",
}
_LOOKS = {
    "finetuned": {"marker": "o", "linestyle": "-", "color": style.TRAINING},
    "frozen": {"marker": "s", "linestyle": "--", "color": style.VALIDATION},
    "scratch": {"marker": "^", "linestyle": "-.", "color": style.UNTRAINED},
}


def label_efficiency(
    curves: Mapping[str, Sequence[tuple[int, float]]], chance: float | None = None
) -> Figure:
    """Draws test accuracy over the number of labeled images, which is logarithmic.

    Args:
        curves: Numbers of labels, each with its accuracy in [0, 1] and in any order,
            by name: `finetuned`, `frozen` and `scratch`, which have colors of their
            own, or any others, such as runs. One or more of them have points.
        chance: Accuracy of guessing in [0, 1], or `None`.
    """
    figure, axes = style.new_figure(6, 4.5)
    curves = {name: sorted(points) for name, points in curves.items() if points}
    for number, (name, points) in enumerate(curves.items()):
        label = ARMS.get(name, style.shorten(name))
        look = _LOOKS.get(name, {"marker": "o"} | style.run_style(number))
        accuracies = [100 * accuracy for _, accuracy in points]
        axes.plot([count for count, _ in points], accuracies, label=label, **look)
    if chance is not None:
        dotted = {"color": style.CHANCE, "linewidth": 1, "linestyle": ":"}
        axes.axhline(100 * chance, label="chance", **dotted)
    counts = sorted({count for points in curves.values() for count, _ in points})
    axes.set_xscale("log")
    axes.set_xlim(counts[0] / 1.5, counts[-1] * 1.5)
    axes.set_xticks(counts, [f"{count:,}" for count in counts])
    axes.minorticks_off()
    axes.set(xlabel="labeled training images", ylabel="top-1 test accuracy, percent")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    # Above the axes, where no curve can be.
    style.add_legend(figure, loc="outside upper center", ncols=2)
    return figure
