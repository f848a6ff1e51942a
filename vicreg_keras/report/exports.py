"""What does each exported file cost? Size, time, differences, accuracy."""

from collections.abc import Sequence

from vicreg_keras.figures import text_table
from vicreg_keras.report.elements import Html, join, markup, table
from vicreg_keras.report.records import Record, missing


def files_section(records: Sequence[Record]) -> Html:
    """TFLite and ONNX files beside the encoder, a table for each run.

    Args:
        records: the runs.
    """
    parts = []
    for record in records:
        if not _has(record):
            continue
        if len(records) > 1:
            parts.append(Html(f"<h3>{markup(record.name)}</h3>\n"))
        parts.append(_table(record.last["export"]))
    return join([*parts, missing(records, "export --format=tflite", _has)])


def _has(record):
    return "export" in record.last


def _table(row):
    own, *files = row["files"]
    caption = (
        f"Exported files. Differences from the encoder on {files[0]['num_compared']} "
        f"held-out images of {row['dataset']}, where its largest number is "
        f"{files[0]['max_number']:.3g}; milliseconds are those of one image alone."
    )
    header = ["", "size, KiB", "ms", "largest difference", "least cosine"]
    labeled = "linear_top1" in own
    if labeled:
        header += ["linear top-1", "kNN top-1"]
        caption += (
            f" Accuracies are in percent, on {own['num_test']:,} test images, which "
            "alone go through the file: linear head and neighbors are the encoder's."
        )
    return table(
        caption, header, [_cells(one, labeled) for one in row["files"]], "numbers"
    )


def _cells(numbers, labeled):
    cells = [
        numbers["file"],
        f"{numbers['bytes'] / 1024:,.0f}",
        f"{numbers['milliseconds']:.2f}",
    ]
    if "min_cosine" in numbers:
        cells.append(f"{numbers['max_difference']:.2g}")
        cells.append(f"{numbers['min_cosine']:.6f}")
    else:
        cells += ["-", "-"]
    if labeled:
        cells += (
            text_table.percent(numbers[key]) for key in ("linear_top1", "knn_top1")
        )
    return cells
