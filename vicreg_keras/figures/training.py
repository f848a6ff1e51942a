"""Curves of pretraining: loss terms and ranks over epochs, accuracy over minutes."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from vicreg_keras.evaluate.records import PretrainRecord
from vicreg_keras.figures import style

_TITLES = {
    "loss": "loss (weighted sum)",
    "embedding_std": "embedding standard deviation",
    "rankme": "RankMe, representations",
    "effective_rank": "effective rank, representations",
    "embedding_effective_rank": "effective rank, embeddings",
}
_MAX_COLUMNS = 3
_LINEAR = {
    "encoder": ("linear, test (cached)", style.VALIDATION, "-"),
    "untrained": ("the same, encoder untrained", style.UNTRAINED, "--"),
    "raw_input": ("the same, raw input", style.RAW, "-."),
    "chance": ("chance", style.CHANCE, ":"),
}

_Runs = Mapping[str, Sequence[PretrainRecord]]


def loss_curves(runs: _Runs) -> Figure:
    """Draws the loss, each of its terms, and what changes with them, over epochs.

    One run has a line for training and one for validation; several runs have a line
    each.

    Args:
        runs: Records by the run's name, with `loss`, terms whose names end in `_loss`,
            `embedding_std` and `learning_rate` among their metrics.
    """
    terms = [
        name
        for name in _metric_names(runs)
        if name.endswith("_loss") and not name.startswith("val_")
    ]
    return _panels(runs, ["loss", *terms, "embedding_std", "learning_rate"])


def collapse_curves(runs: _Runs) -> Figure:
    """Draws ranks and the embeddings' standard deviation over epochs.

    The dotted line at 1 is the target of the variance term.

    Args:
        runs: Records by the run's name, with `embedding_std` and, where they were
            measured, `rankme`, `effective_rank` and `embedding_effective_rank` among
            their metrics.
    """
    ranks = ("rankme", "effective_rank", "embedding_effective_rank")
    return _panels(runs, [*ranks, "embedding_std"])


def accuracy_over_minutes(
    runs: _Runs, linear_top1: Mapping[str, float] | None = None
) -> Figure:
    """Draws the kNN accuracy during training, and linear accuracies as levels.

    Args:
        runs: Records by the run's name; drawn are those with `knn_top1` and `knn_bank`
            among their metrics.
        linear_top1: Test accuracy in [0, 1] of `encoder`, `untrained`, `raw_input` and
            `chance`, as far as they are known.
    """
    figure, axes = style.new_figure(7, 4.4)
    for number, (name, epochs) in enumerate(runs.items()):
        scored = [epoch for epoch in epochs if "knn_top1" in epoch.metrics]
        if not scored:
            continue
        bank = int(scored[-1].metrics["knn_bank"])
        label = f"{style.shorten(name)}, kNN" if len(runs) > 1 else "kNN"
        axes.plot(
            [epoch.minutes for epoch in scored],
            [100 * epoch.metrics["knn_top1"] for epoch in scored],
            marker="o",
            label=f"{label}, validation, {bank:,} neighbors to choose from",
            **style.run_style(number),
        )
    end = max(epoch.minutes for epochs in runs.values() for epoch in epochs)
    for name, value in (linear_top1 or {}).items():
        label, color, line = _LINEAR[name]
        axes.axhline(100 * value, color=color, linestyle=line, linewidth=1.2)
        # Above the right end of the line.
        look = {"xytext": (-2, 3), "textcoords": "offset points", "fontsize": 8}
        place, text = (end, 100 * value), f"{label}: {100 * value:.1f}"
        axes.annotate(text, place, ha="right", color=color, **look)
    axes.set(xlabel="minutes of training", ylabel="top-1 accuracy, percent")
    axes.set_xlim(0, end * 1.02)
    axes.set_ylim(0, 1.05 * axes.get_ylim()[1])
    axes.grid(alpha=0.3)
    style.add_legend(axes, loc="lower right", fontsize=8)
    return figure


def _panels(runs: _Runs, names: Sequence[str]) -> Figure:
    """One panel for each metric that any epoch has."""
    known = _metric_names(runs)
    names = [name for name in names if name in known]
    rows = -(-len(names) // _MAX_COLUMNS)
    columns = -(-len(names) // rows)
    width, height = 3.7 * columns, 2.8 * rows
    figure, grid = style.new_figure(width, height, rows, columns, squeeze=False)
    for axes, name in zip(grid.flat, names, strict=False):
        title = name.removesuffix("_loss").replace("_", " ")
        axes.set_title(_TITLES.get(name, title), fontsize=10)
        for number, (run, epochs) in enumerate(runs.items()):
            if len(runs) > 1:
                _plot(axes, epochs, name, style.shorten(run), **style.run_style(number))
            else:
                _plot(axes, epochs, name, "training", color=style.TRAINING)
                dashed = {"color": style.VALIDATION, "linestyle": "--"}
                _plot(axes, epochs, f"val_{name}", "validation", **dashed)
        axes.set_xlabel("epoch")
        style.integer_ticks(axes)
        axes.grid(alpha=0.3)
        if name == "embedding_std":
            axes.axhline(1, color=style.CHANCE, linewidth=1, linestyle=":")
        if name == "embedding_std" or "rank" in name:
            axes.set_ylim(bottom=0)
    for axes in grid.flat[len(names) :]:
        axes.remove()
    style.add_legend(max(grid.flat, key=lambda axes: len(axes.lines)))
    return figure


def _metric_names(runs: _Runs) -> list[str]:
    epochs = (epoch for run in runs.values() for epoch in run)
    return list(dict.fromkeys(name for epoch in epochs for name in epoch.metrics))


def _plot(axes, epochs, name, label, **style):
    points = [
        (epoch.epoch, epoch.metrics[name]) for epoch in epochs if name in epoch.metrics
    ]
    if points:
        marker = "." if len(points) <= 60 else ""
        axes.plot(*zip(*points, strict=True), marker=marker, label=label, **style)
