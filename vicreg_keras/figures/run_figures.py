"""The figures of a run, drawn from its records."""

from types import SimpleNamespace

from vicreg_keras.figures.style import save
from vicreg_keras.figures.training import (
    accuracy_over_minutes,
    collapse_curves,
    loss_curves,
)
from vicreg_keras.workdir.run_folder import RunFolder


def draw_run(run: RunFolder) -> None:
    """Draws a run's loss terms, and its ranks and accuracies where there are any.

    Args:
        run: Folder of the run; the figures are written to `run.figures`.
    """
    records = run.read_metrics("pretrain")
    if not records:
        return
    epochs = [
        SimpleNamespace(
            epoch=record["epoch"], minutes=record["minutes"], metrics=record
        )
        for record in records
    ]
    runs = {run.path.name: epochs}
    save(loss_curves(runs), run.figures / "loss.png")
    if any("rankme" in record for record in records):
        save(collapse_curves(runs), run.figures / "collapse.png")
    if any("knn_top1" in record for record in records):
        linear = _linear_top1(run.read_metrics("linear_eval"))
        save(accuracy_over_minutes(runs, linear), run.figures / "accuracy.png")


def _linear_top1(records):
    """Returns accuracies of the last linear evaluation by the cached protocol."""
    results = records[-1]["results"] if records else {}
    return {
        name: protocols.get("cached", protocols.get("chance", {})).get("top1")
        for name, protocols in results.items()
    }
