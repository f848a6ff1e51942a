"""What does each term of the loss bring? Accuracy with and without it."""

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from vicreg_keras.figures.style import BLUE, GRAY, VERMILION, plt, save


def ablation(results: Mapping[str, Sequence[dict]], path: pathlib.Path) -> None:
    """Draws linear and kNN accuracy of each variant, a dot a seed.

    Args:
        results: of each variant one dict a seed, with `linear_top1` and `knn_top1` in
            [0, 1].
        path: of the PNG.
    """
    names = list(results)
    figure, axis = plt.subplots(
        figsize=(7, 1.2 + 0.75 * len(names)), layout="constrained"
    )
    places = np.arange(len(names))
    for key, label, color, offset in (
        ("linear_top1", "linear", BLUE, -0.2),
        ("knn_top1", "kNN", VERMILION, 0.2),
    ):
        values = [[100 * run[key] for run in results[name]] for name in names]
        means = [float(np.mean(one)) for one in values]
        axis.barh(places + offset, means, 0.36, color=color, alpha=0.75, label=label)
        for place, mean, one in zip(places, means, values, strict=True):
            axis.plot(one, [place + offset] * len(one), "k.", markersize=7)
            right = max(one) + 1
            axis.text(right, place + offset, f"{mean:.1f}", va="center", fontsize=11)
    axis.set_yticks(places, names, fontsize=12)
    axis.invert_yaxis()
    axis.set_xlim(0, 108)
    axis.set_xlabel("top-1 accuracy on test images, percent (dots: seeds)", fontsize=11)
    axis.grid(axis="x", color=GRAY, alpha=0.3)
    axis.set_axisbelow(True)
    figure.legend(loc="outside upper right", ncols=2, fontsize=11)
    save(figure, path)
