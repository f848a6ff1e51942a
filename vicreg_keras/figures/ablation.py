"""Accuracy with and without each term of the loss."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from vicreg_keras.evaluate.records import RecipeMetrics
from vicreg_keras.figures.style import BLUE, GRAY, VERMILION, new_figure


def ablation(results: Mapping[str, Sequence[RecipeMetrics]]) -> Figure:
    """Draws linear and kNN accuracy of each variant: bars for means, dots for seeds.

    Args:
        results: By the variant's name, one for each seed.
    """
    figure, axes = new_figure(7, 1.2 + 0.75 * len(results))
    positions = np.arange(len(results))
    for attribute, label, color, offset in (
        ("linear_top1", "linear", BLUE, -0.2),
        ("knn_top1", "kNN", VERMILION, 0.2),
    ):
        values = [
            [100 * getattr(run, attribute) for run in runs] for runs in results.values()
        ]
        means = [float(np.mean(one)) for one in values]
        axes.barh(positions + offset, means, 0.36, color=color, alpha=0.75, label=label)
        for position, mean, one in zip(positions + offset, means, values, strict=True):
            axes.plot(one, [position] * len(one), "k.", markersize=7)
            axes.text(max(one) + 1, position, f"{mean:.1f}", va="center", fontsize=11)
    axes.set_yticks(positions, list(results), fontsize=12)
    axes.invert_yaxis()
    axes.set_xlim(0, 108)
    axes.set_xlabel("top-1 accuracy on test images, percent (dots: seeds)", fontsize=11)
    axes.grid(axis="x", color=GRAY, alpha=0.3)
    axes.set_axisbelow(True)
    figure.legend(loc="outside upper right", ncols=2, fontsize=11)
    return figure
