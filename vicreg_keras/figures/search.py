"""How did a search go, and which values mattered?"""

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from vicreg_keras.figures.style import BLUE, GRAY, VERMILION, plt, save


def search_history(
    trials: Sequence[dict], title: str, scale: float, path: pathlib.Path
) -> None:
    """Draws the score of every trial, and the best so far.

    Args:
        trials: each with its `number`, `state` (`"complete"`, `"pruned"`, ...) and
            `value`, which is `None` where nothing was measured.
        title: what the score is, with its unit.
        scale: from values to that unit.
        path: of the PNG.
    """
    figure, axis = plt.subplots(figsize=(7, 4), layout="constrained")
    for state, label, color, marker in (
        ("complete", "to the end", BLUE, "o"),
        ("pruned", "cut short, last look", GRAY, "x"),
    ):
        drawn = [
            (one["number"], scale * one["value"])
            for one in trials
            if one["state"] == state and one["value"] is not None
        ]
        if drawn:
            numbers, values = zip(*drawn, strict=True)
            axis.scatter(numbers, values, c=color, marker=marker, label=label)
    complete = [one for one in trials if one["state"] == "complete"]
    if complete:
        best = scale * np.maximum.accumulate([one["value"] for one in complete])
        numbers = [one["number"] for one in complete]
        axis.step(numbers, best, color=VERMILION, where="post", label="best so far")
    axis.set_xlabel("trial", fontsize=11)
    axis.set_ylabel(title, fontsize=11)
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.grid(color=GRAY, alpha=0.3)
    axis.set_axisbelow(True)
    figure.legend(loc="outside upper right", ncols=3, fontsize=11)
    save(figure, path)


def search_importance(
    importances: Mapping[str, float], num_trials: int, path: pathlib.Path
) -> None:
    """Draws each value's share in what makes a trial one of the better ones.

    Args:
        importances: of each name a share in [0, 1].
        num_trials: that they were found from.
        path: of the PNG.
    """
    names = sorted(importances, key=importances.get)
    figure, axis = plt.subplots(
        figsize=(7, 1.2 + 0.4 * len(names)), layout="constrained"
    )
    bars = axis.barh(names, [importances[name] for name in names], color=BLUE)
    axis.bar_label(bars, fmt="%.2f", padding=4, fontsize=11)
    axis.set_xlim(0, 1.1 * max(importances.values(), default=1.0))
    axis.set_xlabel(
        f"importance (PED-ANOVA, {num_trials} trials that ran to their end)",
        fontsize=11,
    )
    axis.grid(axis="x", color=GRAY, alpha=0.3)
    axis.set_axisbelow(True)
    save(figure, path)
