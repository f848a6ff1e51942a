"""What does each exported file cost? Its size, its time, and its accuracy."""

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from vicreg_keras.figures.style import BLUE, GRAY, GREEN, ORANGE, VERMILION, plt, save

_PANELS = (
    ("mebibytes", "size, MiB", ORANGE, "{:.1f}"),
    ("milliseconds", "one image, ms", GREEN, "{:.2f}"),
    ("linear_top1", "linear top-1, percent", BLUE, "{:.2f}"),
    ("knn_top1", "kNN top-1, percent", VERMILION, "{:.2f}"),
)


def exported_files(rows: Sequence[Mapping], path: pathlib.Path) -> None:
    """Draws a bar a file for size and latency and, where known, for accuracy.

    Args:
        rows: the encoder and then its files, each with `file`, `bytes`,
            `milliseconds` and, with labels, `linear_top1` and `knn_top1` in [0, 1].
        path: of the PNG.
    """
    panels = [panel for panel in _PANELS if _values(rows, panel[0]) is not None]
    figure, axes = plt.subplots(
        1,
        len(panels),
        figsize=(2.2 + 2.7 * len(panels), 1.3 + 0.42 * len(rows)),
        sharey=True,
        layout="constrained",
    )
    places = np.arange(len(rows))
    for axis, (name, title, color, form) in zip(axes, panels, strict=True):
        values = _values(rows, name)
        colors = [GRAY] + [color] * (len(rows) - 1)
        axis.barh(places, values, 0.7, color=colors)
        for place, value in zip(places, values, strict=True):
            axis.text(value, place, f" {form.format(value)}", va="center", fontsize=10)
        axis.set_xlim(0, 1.35 * max(values))
        axis.set_title(title, fontsize=11)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_yticks(places, [row["file"] for row in rows], fontsize=11)
    axes[0].invert_yaxis()
    save(figure, path)


def _values(rows, name):
    """One number a row in the panel's unit, or `None` where they are not known."""
    if name == "mebibytes":
        return [row["bytes"] / 2**20 for row in rows]
    if name not in rows[0]:
        return None
    scale = 1 if name == "milliseconds" else 100
    return [scale * row[name] for row in rows]
