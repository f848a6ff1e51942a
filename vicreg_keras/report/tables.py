"""Sections with a table per run: retrieval, accuracy over labels, exported files."""

from collections.abc import Callable, Sequence
from typing import Any

from vicreg_keras.evaluate.finetune import FinetuneRecord
from vicreg_keras.evaluate.records import NAMES, ExportRecord, Record
from vicreg_keras.evaluate.retrieval import RetrieveRecord
from vicreg_keras.export.compare import NUM_TIMED_CALLS
from vicreg_keras.figures.label_efficiency import ARMS, label_efficiency
from vicreg_keras.figures.text_table import percent
from vicreg_keras.report.elements import Html, element, embed_figure, join, table
from vicreg_keras.report.runs import Run, last_records, missing


def retrieval_section(runs: Sequence[Run]) -> Html:
    """Returns precision, recall and hit rate at every k, beside the baselines.

    Args:
        runs: The runs of the page.
    """
    return _per_run(runs, RetrieveRecord, _retrieval_table)


def labels_section(runs: Sequence[Run]) -> Html:
    """Returns accuracies after training on parts of the labels.

    Args:
        runs: The runs of the page.
    """
    curves: dict[str, list[tuple[int, float]]] = {}
    chances: set[float] = set()
    for name, record in last_records(runs, FinetuneRecord).items():
        for arm in ARMS:
            results = getattr(record, arm)
            points = [(one.settings.num_train, one.metrics.top1) for one in results]
            chances.add(1 / record.num_classes)
            if len(runs) == 1:
                curves[arm] = points
            elif arm == "finetuned":
                curves[f"{name}, fine-tuned"] = points
    tables = _per_run(runs, FinetuneRecord, _labels_table)
    if not curves:
        return tables
    chance = chances.pop() if len(chances) == 1 else None
    return join([embed_figure(label_efficiency(curves, chance), "labels"), tables])


def files_section(runs: Sequence[Run]) -> Html:
    """Returns TFLite and ONNX files beside the encoder.

    Args:
        runs: The runs of the page.
    """
    return _per_run(runs, ExportRecord, _files_table)


def _per_run(
    runs: Sequence[Run], cls: type[Record], draw: Callable[[Any], Html]
) -> Html:
    """The table of each run that has such a record, and commands for the others."""
    parts = []
    for name, record in last_records(runs, cls).items():
        if len(runs) > 1:
            parts.append(element("h3", name))
        parts.append(draw(record))
    return join([*parts, missing(runs, cls)])


def _retrieval_table(record: RetrieveRecord) -> Html:
    metrics = record.results.values()
    lines = []
    for attribute in ("precision", "recall", "hit_rate"):
        values = [getattr(one, attribute) for one in metrics]
        lines.append([f"{attribute.replace('_', ' ')} at"])
        lines += [[k, *(percent(one.get(k)) for one in values)] for k in values[0]]
    index = "exact search" if record.index == "Flat" else f"index {record.index}"
    caption = (
        f"Retrieval on {record.dataset}, percent: {record.num_queries:,} "
        f"{record.split} images search {record.num_database:,} training images by "
        f"cosine similarity, {index}; seed {record.seed}."
    )
    header = ["", *(NAMES[name] for name in record.results)]
    return table(caption, header, lines, "numbers")


def _labels_table(record: FinetuneRecord) -> Html:
    arms = {arm: getattr(record, arm) for arm in ARMS if getattr(record, arm)}
    caption = (
        f"Fine-tuning on {record.dataset}, {record.split} split, "
        f"{record.num_test:,} images, top-1 in percent; seed {record.seed}. Learning "
        f"rates and C are chosen on {record.num_validation:,} validation labels."
    )
    lines = []
    for results in zip(*arms.values(), strict=True):
        settings = results[0].settings
        label = f"{settings.num_train:,} ({100 * settings.label_fraction:g} %)"
        lines.append([label, *(percent(one.metrics.top1) for one in results)])
    return table(caption, ["labels", *(ARMS[arm] for arm in arms)], lines, "numbers")


def _files_table(record: ExportRecord) -> Html:
    caption, (header, *lines) = describe_files(record)
    return table(caption, header, lines, "numbers")


def describe_files(record: ExportRecord) -> tuple[str, list[list[str]]]:
    """Returns what a table of exported files says about them, and its lines.

    Args:
        record: With files.

    Returns:
        Caption and lines of the table, the header first.
    """
    own, first = record.files[:2]
    caption = (
        "Exported files. Differences from the encoder on "
        f"{first.differences.num_examples} validation examples of {record.dataset}, "
        f"where its largest value is {first.differences.max_value:.3g}; milliseconds "
        f"per example, one by one, median of {NUM_TIMED_CALLS}."
    )
    header = ["", "KiB", "ms", "max difference", "mean", "min cosine"]
    if own.linear_top1 is not None:
        header += ["linear top-1", "kNN top-1"]
        caption += (
            f" Top-1 accuracies are in percent, on {own.num_test:,} test examples, "
            "which alone go through the file: linear head and neighbors are the "
            "encoder's."
        )
    lines = [[*header, ""]]
    for file in record.files:
        cells = ["-", "-", "-"]
        if file.differences is not None:
            cells = [
                f"{file.differences.max_difference:.2g}",
                f"{file.differences.mean_difference:.2g}",
                f"{file.differences.min_cosine:.6f}",
            ]
        if own.linear_top1 is not None:
            cells += [percent(file.linear_top1), percent(file.knn_top1)]
        size, time = f"{file.num_bytes / 1024:,.0f}", f"{file.milliseconds:.2f}"
        kind = file.description or "its weights"
        lines.append([file.file, size, time, *cells, kind])
    return caption, lines
