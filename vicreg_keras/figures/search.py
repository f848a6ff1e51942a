"""Scores of a search's trials, and which options mattered."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from vicreg_keras.evaluate.records import TrialRecord
from vicreg_keras.figures.style import BLUE, GRAY, VERMILION, integer_ticks, new_figure


def search_history(trials: Sequence[TrialRecord], title: str, scale: float) -> Figure:
    """Draws the score of every trial, and the best so far.

    Args:
        trials: In the order of their numbers.
        title: Name of the score, with its unit.
        scale: From values to that unit.
    """
    figure, axes = new_figure(7, 4)
    for state, label, color, marker in (
        ("complete", "complete", BLUE, "o"),
        ("pruned", "pruned, last score", GRAY, "x"),
    ):
        scored = [one for one in trials if one.state == state and one.value is not None]
        numbers = [trial.number for trial in scored]
        values = [scale * trial.value for trial in scored]
        if not scored:
            continue
        axes.scatter(numbers, values, c=color, marker=marker, label=label)
        if state == "complete":
            best = np.maximum.accumulate(values)
            axes.step(numbers, best, color=VERMILION, where="post", label="best so far")
    axes.set_xlabel("trial", fontsize=11)
    axes.set_ylabel(title, fontsize=11)
    integer_ticks(axes)
    axes.grid(color=GRAY, alpha=0.3)
    axes.set_axisbelow(True)
    figure.legend(loc="outside upper right", ncols=3, fontsize=11)
    return figure


def search_importance(importances: Mapping[str, float], num_trials: int) -> Figure:
    """Draws the importance of each option for the score.

    Args:
        importances: By the option's name, in [0, 1].
        num_trials: Trials that they were computed from.
    """
    names = sorted(importances, key=importances.__getitem__)
    figure, axes = new_figure(7, 1.2 + 0.4 * len(names))
    bars = axes.barh(names, [importances[name] for name in names], color=BLUE)
    axes.bar_label(bars, fmt="%.2f", padding=4, fontsize=11)
    axes.set_xlim(0, 1.1 * max(importances.values(), default=1.0))
    label = f"importance (PED-ANOVA, {num_trials} complete trials)"
    axes.set_xlabel(label, fontsize=11)
    axes.grid(axis="x", color=GRAY, alpha=0.3)
    axes.set_axisbelow(True)
    return figure
