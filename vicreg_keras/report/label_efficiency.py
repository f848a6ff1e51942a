"""How many labels does pretraining save? Accuracy over the number of labels."""

from collections.abc import Sequence

from vicreg_keras.figures.style import HELD_OUT, TRAIN, UNTRAINED
from vicreg_keras.modes import text_table
from vicreg_keras.report.charts import DASHED, DOTTED, Series, line_chart, run_series
from vicreg_keras.report.elements import Html, join, markup, table
from vicreg_keras.report.records import Record, missing

# What is compared, as `finetune` calls it and as a reader knows it, and its look.
_ARMS = {
    "finetuned": ("pretrained, fine-tuned", TRAIN, ""),
    "frozen": ("pretrained, frozen, linear on top", HELD_OUT, DASHED),
    "scratch": ("trained from scratch", UNTRAINED, DOTTED),
}


def labels_section(records: Sequence[Record]) -> Html:
    """Fine-tuning on parts of the labels, a table for each run.

    Args:
        records: the runs.
    """
    found = [record for record in records if "finetune" in record.last]
    if not found:
        return missing(records, "finetune")
    parts = [_chart(records)]
    for record in found:
        if len(records) > 1:
            parts.append(Html(f"<h3>{markup(record.name)}</h3>\n"))
        parts.append(_table(record.last["finetune"]))
    return join([*parts, missing(records, "finetune")])


def _chart(records):
    series, chances = [], set()
    for number, record in enumerate(records):
        results = record.last.get("finetune", {}).get("results", {})
        for arm in _ARMS:
            numbers = results.get(arm, [])
            points = sorted((one["num_labeled"], 100 * one["top1"]) for one in numbers)
            chances.update(100 / one["num_classes"] for one in numbers)
            if len(records) == 1:
                series.append(Series(_ARMS[arm][0], points, *_ARMS[arm][1:]))
            elif arm == "finetuned":
                series.append(run_series(number, record.name, points))
    title = "Top-1 test accuracy, percent"
    return line_chart(
        title if len(records) == 1 else f"{title}, fine-tuned",
        series,
        x_label="labeled training images",
        level=(chances.pop(), "chance") if len(chances) == 1 else None,
        from_zero=True,
        logarithmic_x=True,
    )


def _table(row):
    arms = [arm for arm in _ARMS if row["results"].get(arm)]
    first = row["results"][arms[0]][0]
    caption = (
        f"Fine-tuning on {row['dataset']}, {row['split']} split, "
        f"{first['num_test']:,} images, top-1 in percent; seed {row['seed']}. Learning "
        f"rates and C are chosen on {first['num_validation']:,} held-out labels."
    )
    rows = [
        [
            f"{same[0]['num_labeled']:,} ({100 * same[0]['label_fraction']:g} %)",
            *(text_table.percent(numbers["top1"]) for numbers in same),
        ]
        for same in zip(*(row["results"][arm] for arm in arms), strict=True)
    ]
    header = ["labels", *(_ARMS[arm][0] for arm in arms)]
    return table(caption, header, rows, "numbers")
