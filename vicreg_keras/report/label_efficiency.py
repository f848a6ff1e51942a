"""How many labels does pretraining save? Accuracy over the number of labels."""

from collections.abc import Sequence

from vicreg_keras.figures import text_table
from vicreg_keras.figures.label_efficiency import label_efficiency
from vicreg_keras.report.elements import Html, embed_figure, join, markup, table
from vicreg_keras.report.records import Record, missing

_ARMS = {
    "finetuned": "pretrained, fine-tuned",
    "frozen": "pretrained, frozen, linear on top",
    "scratch": "trained from scratch",
}


def labels_section(records: Sequence[Record]) -> Html:
    """Fine-tuning on parts of the labels, a table for each run.

    Args:
        records: the runs.
    """
    found = [record for record in records if "finetune" in record.last]
    if not found:
        return missing(records, "finetune")
    parts = [_figure(records)]
    for record in found:
        if len(records) > 1:
            parts.append(Html(f"<h3>{markup(record.name)}</h3>\n"))
        parts.append(_table(record.last["finetune"]))
    return join([*parts, missing(records, "finetune")])


def _figure(records):
    curves, chances = {}, set()
    for record in records:
        results = _results(record.last.get("finetune", {}))
        for arm, numbers in results.items():
            points = [(one["num_labeled"], one["top1"]) for one in numbers]
            chances.update(1 / one["num_classes"] for one in numbers)
            if len(records) == 1:
                curves[arm] = points
            elif arm == "finetuned":
                curves[f"{record.name}, fine-tuned"] = points
    chance = chances.pop() if len(chances) == 1 else None
    return embed_figure(label_efficiency(curves, chance), "labels")


def _results(row):
    if not row or "results" in row:
        return row.get("results", {})
    return {
        arm: [
            {"num_labeled": one["settings"]["num_train"]}
            | one["metrics"]
            | one["settings"]
            for one in row.get(arm, [])
        ]
        for arm in _ARMS
    }


def _table(row):
    results = _results(row)
    arms = [arm for arm in _ARMS if results.get(arm)]
    first = results[arms[0]][0]
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
        for same in zip(*(results[arm] for arm in arms), strict=True)
    ]
    header = ["labels", *(_ARMS[arm] for arm in arms)]
    return table(caption, header, rows, "numbers")
