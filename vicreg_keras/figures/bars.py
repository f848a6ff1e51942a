"""Bars that compare variants of the loss, and exported files."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from vicreg_keras.evaluate.records import ExportedFile, RecipeMetrics
from vicreg_keras.figures import style

_FILE_PANELS = (
    ("num_bytes", "size, MiB", style.ORANGE, 2**-20, ".1f"),
    ("milliseconds", "one image, ms", style.GREEN, 1, ".2f"),
    ("linear_top1", "linear top-1, percent", style.BLUE, 100, ".2f"),
    ("knn_top1", "kNN top-1, percent", style.VERMILION, 100, ".2f"),
)


def ablation(results: Mapping[str, Sequence[RecipeMetrics]]) -> Figure:
    """Draws linear and kNN accuracy of each variant: bars for means, dots for seeds.

    Args:
        results: By the variant's name, one for each seed.
    """
    figure, axes = style.new_figure(7, 1.2 + 0.75 * len(results))
    positions = np.arange(len(results))
    for attribute, label, color, offset in (
        ("linear_top1", "linear", style.BLUE, -0.2),
        ("knn_top1", "kNN", style.VERMILION, 0.2),
    ):
        values = [
            [100 * getattr(run, attribute) for run in runs] for runs in results.values()
        ]
        means = [float(np.mean(one)) for one in values]
        axes.barh(positions + offset, means, 0.36, color=color, alpha=0.75, label=label)
        for position, mean, one in zip(positions + offset, means, values, strict=True):
            axes.plot(one, [position] * len(one), "k.", markersize=7)
            axes.text(max(one) + 1, position, f"{mean:.1f}", va="center")
    axes.set_yticks(positions, list(results))
    axes.invert_yaxis()
    axes.set_xlim(0, 108)
    axes.set_xlabel("top-1 accuracy on test images, percent (dots: seeds)")
    axes.grid(visible=False, axis="y")
    style.add_legend(figure, loc="outside upper right", ncols=2)
    return figure


def exported_files(files: Sequence[ExportedFile]) -> Figure:
    """Draws a bar per file for size and latency and, where known, for accuracy.

    Args:
        files: The encoder itself, and then its files.
    """
    panels = [p for p in _FILE_PANELS if getattr(files[0], p[0]) is not None]
    width, height = 2.2 + 2.7 * len(panels), 1.3 + 0.42 * len(files)
    figure, grid = style.new_figure(width, height, 1, len(panels), sharey=True)
    for axes, (name, title, color, scale, form) in zip(grid, panels, strict=True):
        values = [scale * getattr(file, name) for file in files]
        colors = [style.GRAY] + [color] * (len(files) - 1)
        bars = axes.barh([file.file for file in files], values, 0.7, color=colors)
        axes.bar_label(bars, fmt=f"{{:{form}}}", padding=4)
        axes.set_xlim(0, 1.35 * max(values))
        axes.set_title(title)
        axes.grid(visible=False)
    grid[0].invert_yaxis()
    return figure
