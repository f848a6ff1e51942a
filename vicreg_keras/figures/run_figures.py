"""The figures of a run, drawn from its records."""

from vicreg_keras.evaluate.linear_eval import LinearEvalRecord
from vicreg_keras.evaluate.records import PretrainRecord, read_records
from vicreg_keras.figures import training
from vicreg_keras.figures.style import save
from vicreg_keras.workdir.run_folder import RunFolder


def draw_run(run: RunFolder) -> None:
    """Draws a run's loss terms, and its ranks and accuracies where there are any.

    Args:
        run: Folder of the run; the figures are written to `run.figures`.
    """
    epochs = read_records(run, PretrainRecord)
    if not epochs:
        return
    runs = {run.path.name: epochs}
    names = {name for epoch in epochs for name in epoch.metrics}
    save(training.loss_curves(runs), run.figures / "loss.png")
    if "rankme" in names:
        save(training.collapse_curves(runs), run.figures / "collapse.png")
    if "knn_top1" in names:
        top1 = {}
        # Of the last linear evaluation, by the cached protocol.
        for record in read_records(run, LinearEvalRecord)[-1:]:
            results = record.results.items()
            top1 = {
                name: one.cached.metrics.top1 for name, one in results if one.cached
            }
            top1["chance"] = record.chance.top1
        figure = training.accuracy_over_minutes(runs, top1)
        save(figure, run.figures / "accuracy.png")
