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

_TITLES = {
    "loss": "loss (weighted sum)",
    "variance_loss": "variance (hinge)",
    "embedding_std": "embedding standard deviation",
    "learning_rate": "learning rate",
}


def loss_names(record: dict) -> list[str]:
    """Returns the names of the loss and of its terms in a record of an epoch."""
    terms = [
        name
        for name in record
        if name.endswith("_loss") and not name.startswith("val_")
    ]
    return ["loss", *terms]


def loss_terms(records: Sequence[dict], path: pathlib.Path) -> None:
    """Draws the loss, each of its terms and two collapse curves over epochs.

    Args:
        records: Records of `metrics.jsonl`, one per epoch: `epoch`, the terms, and
            those of the validation split under `val_` names.
        path: Path of the PNG.
    """
    names = [*loss_names(records[0]), "embedding_std", "learning_rate"]
    figure, axes = plt.subplots(
        (len(names) + 2) // 3,
        3,
        figsize=(11, 2.8 * ((len(names) + 2) // 3)),
        layout="constrained",
    )
    epochs = [record["epoch"] for record in records]
    for axis in axes.flat[len(names) :]:
        axis.remove()
    for axis, name in zip(axes.flat, names, strict=False):
        title = _TITLES.get(name, name.removesuffix("_loss").replace("_", " "))
        axis.set_title(title, fontsize=10)
        values = [record[name] for record in records]
        axis.plot(epochs, values, color=TRAIN, label="training")
        if all(f"val_{name}" in record for record in records):
            values = [record[f"val_{name}"] for record in records]
            axis.plot(epochs, values, "--", color=HELD_OUT, label="validation")
        axis.set_xlabel("epoch")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
        if name == "embedding_std":
            axis.axhline(1, color=CHANCE, linewidth=1, linestyle=":")
            axis.set_ylim(bottom=0)
    axes.flat[0].legend()
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
