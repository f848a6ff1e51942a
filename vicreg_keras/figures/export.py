"""Size, time and accuracy of exported files."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from vicreg_keras.evaluate.records import ExportedFile
from vicreg_keras.figures import style

_PANELS = (
    ("num_bytes", "size, MiB", style.ORANGE, 2**-20, ".1f"),
    ("milliseconds", "one image, ms", style.GREEN, 1, ".2f"),
    ("linear_top1", "linear top-1, percent", style.BLUE, 100, ".2f"),
    ("knn_top1", "kNN top-1, percent", style.VERMILION, 100, ".2f"),
)


def exported_files(files: Sequence[ExportedFile]) -> Figure:
    """Draws a bar per file for size and latency and, where known, for accuracy.

    Args:
        files: The encoder itself, and then its files.
    """
    panels = [panel for panel in _PANELS if getattr(files[0], panel[0]) is not None]
    width, height = 2.2 + 2.7 * len(panels), 1.3 + 0.42 * len(files)
    figure, grid = style.new_figure(width, height, 1, len(panels), sharey=True)
    positions = np.arange(len(files))
    for axes, (name, title, color, scale, form) in zip(grid, panels, strict=True):
        values = [scale * getattr(file, name) for file in files]
        colors = [style.GRAY] + [color] * (len(files) - 1)
        bars = axes.barh(positions, values, 0.7, color=colors)
        axes.bar_label(bars, fmt=f"{{:{form}}}", padding=4, fontsize=10)
        axes.set_xlim(0, 1.35 * max(values))
        axes.set_title(title, fontsize=11)
        axes.spines[["top", "right"]].set_visible(False)
    grid[0].set_yticks(positions, [file.file for file in files], fontsize=11)
    grid[0].invert_yaxis()
    return figure
