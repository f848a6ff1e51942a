"""How did training go? Loss terms over epochs, accuracy over minutes."""

import pathlib
from collections.abc import Sequence

from vicreg_keras.figures.style import (
    CHANCE,
    HELD_OUT,
    RAW,
    TRAIN,
    UNTRAINED,
    plt,
    save,
)

_PANELS = (
    ("loss", "loss (weighted sum)"),
    ("invariance_loss", "invariance"),
    ("variance_loss", "variance (hinge)"),
    ("covariance_loss", "covariance"),
    ("embedding_std", "embedding standard deviation"),
    ("learning_rate", "learning rate"),
)


def loss_terms(rows: Sequence[dict], path: pathlib.Path) -> None:
    """Draws the loss, each of its terms and two collapse curves over epochs.

    Args:
        rows: lines of `metrics.jsonl`, one an epoch: `epoch`, the terms, and those
            on held-out images under `val_` names.
        path: of the PNG.
    """
    figure, axes = plt.subplots(2, 3, figsize=(11, 5.6), layout="constrained")
    epochs = [row["epoch"] for row in rows]
    for axis, (name, title) in zip(axes.flat, _PANELS, strict=True):
        axis.set_title(title, fontsize=10)
        axis.plot(epochs, [row[name] for row in rows], color=TRAIN, label="training")
        if all(f"val_{name}" in row for row in rows):
            held_out = [row[f"val_{name}"] for row in rows]
            axis.plot(epochs, held_out, "--", color=HELD_OUT, label="held out")
        axis.set_xlabel("epoch")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
    axes.flat[0].legend()
    axes.flat[4].axhline(1, color=CHANCE, linewidth=1, linestyle=":")
    axes.flat[4].set_ylim(bottom=0)
    save(figure, path)


def accuracy_over_minutes(
    rows: Sequence[dict], probes: Sequence[dict], path: pathlib.Path
) -> None:
    """Draws the kNN accuracy during training and the linear one after it.

    Args:
        rows: lines of `metrics.jsonl`, one an epoch; those with `knn_top1` count.
        probes: results of `linear_eval`; the last one's cached accuracies are drawn.
        path: of the PNG.
    """
    figure, axis = plt.subplots(figsize=(7, 4.4), layout="constrained")
    scored = [row for row in rows if "knn_top1" in row]
    minutes = [row["minutes"] for row in scored]
    bank = int(scored[-1]["knn_bank"])
    axis.plot(
        minutes,
        [100 * row["knn_top1"] for row in scored],
        "o-",
        color=TRAIN,
        label=f"kNN, held out, {bank:,} neighbors to choose from",
    )
    end = rows[-1]["minutes"]
    for name, label, color, style in (
        ("encoder", "linear, test (cached)", HELD_OUT, "-"),
        ("untrained", "the same, encoder untrained", UNTRAINED, "--"),
        ("raw_input", "the same, raw input", RAW, "-."),
        ("chance", "chance", CHANCE, ":"),
    ):
        value = _linear_top1(probes, name)
        if value is None:
            continue
        axis.axhline(100 * value, color=color, linestyle=style, linewidth=1.2)
        axis.annotate(
            f"{label}: {100 * value:.1f}",
            (end, 100 * value),
            xytext=(-2, 3),
            textcoords="offset points",
            ha="right",
            fontsize=8,
            color=color,
        )
    axis.set_xlabel("minutes of training")
    axis.set_ylabel("top-1 accuracy, percent")
    axis.set_xlim(0, end * 1.02)
    axis.set_ylim(bottom=0)
    axis.grid(alpha=0.3)
    axis.legend(loc="lower right", fontsize=8)
    save(figure, path)


def _linear_top1(probes, name):
    if not probes or name not in probes[-1]["results"]:
        return None
    protocols = probes[-1]["results"][name]
    return protocols.get("cached", protocols.get("chance", {})).get("top1")
