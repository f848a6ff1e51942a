"""How good is the encoder? Its numbers beside what they must beat."""

import dataclasses
from collections.abc import Iterator, Sequence

from vicreg_keras.figures import text_table
from vicreg_keras.report.elements import Html, join, paragraph, small, strong, table
from vicreg_keras.report.records import Record, missing

# What is judged, as the modes call it and as a reader knows it.
SUBJECTS = {
    "encoder": "VICReg encoder",
    "untrained": "untrained encoder",
    "raw_input": "raw input",
    "chance": "chance",
}
_AGREEMENT = {
    "normalized_mutual_information": "mutual information",
    "adjusted_rand_index": "adjusted Rand index",
    "silhouette": "silhouette",
}
_NOTE = (
    "Accuracies and precisions are in percent. Whatever is chosen (C, k, temperature, "
    "learning rate) is chosen on held-out training images, never on the test split. "
    "Mutual information (0 to 1), the adjusted Rand index (0 by chance, 1 for the same "
    "groups) and the silhouette (-1 to 1) are no percentages. Chance is guessing "
    "evenly; of retrieval and of matched clusters it is that of classes of equal size."
)


@dataclasses.dataclass(frozen=True)
class Scores:
    """What one protocol gave.

    Attributes:
        title: what was done.
        protocol: how, on which split of which dataset, and on how many images.
        measures: by name, and of each the text by key of `SUBJECTS`; what was not
            measured is not there.
        chosen: what was chosen on held-out images, for the encoder.
    """

    title: str
    protocol: str
    measures: dict[str, dict[str, str]]
    chosen: str = ""


def results_section(records: Sequence[Record]) -> Html:
    """Linear evaluation, kNN, retrieval and clusters, each beside its baselines.

    With one run the baselines are columns; with several the runs are.

    Args:
        records: the runs.
    """
    missed = join([missing(records, mode) for mode in _GIVERS])
    scores = [list(_all_scores(record)) for record in records]
    if not any(scores):
        return missed
    if len(records) == 1:
        content = _beside_baselines(scores[0])
    else:
        content = _beside_each_other([record.name for record in records], scores)
    return join([content, paragraph(_NOTE), missed])


def retrieval_table(record: Record) -> Html:
    """Precision, recall and hit rate at every k, beside the baselines.

    Args:
        record: of a run with a line of `retrieve`.
    """
    row = record.last["retrieve"]
    results = row["results"]
    names = [name for name in SUBJECTS if name in results]
    own = results["encoder"]
    rows = []
    for measure in ("precision", "recall", "hit_rate"):
        rows.append([f"{measure.replace('_', ' ')} at"])
        for k in own[measure]:
            values = (
                text_table.percent(results[name][measure].get(k)) for name in names
            )
            rows.append([k, *values])
    index = "exact search" if own["index"] == "exact" else f"index {own['index']}"
    caption = (
        f"Retrieval on {row['dataset']}, percent: {own['num_queries']:,} "
        f"{row['split']} images search {own['num_database']:,} training images by "
        f"cosine similarity, {index}; seed {row['seed']}."
    )
    return table(caption, ["", *(SUBJECTS[name] for name in names)], rows, "numbers")


def _all_scores(record: Record) -> Iterator[Scores]:
    """Everything of a run that stands in the first table."""
    for mode, give in _GIVERS.items():
        if mode in record.last:
            yield from give(record.last[mode])


def _linear(row):
    results = {
        name: {
            protocol: numbers["metrics"] | numbers["settings"]
            if "metrics" in numbers
            else numbers
            for protocol, numbers in protocols.items()
            if numbers
        }
        for name, protocols in row["results"].items()
    }
    own = results["encoder"]
    chance = row.get("chance") or results.get("chance", {}).get("chance", {})
    where = f"{row['dataset']}, {row['split']} split, {row['num_test']:,} images; "
    where += f"seed {row['seed']}"
    for protocol, numbers in own.items():
        how, chosen = _LINEAR_WORDS[protocol](numbers)
        judged = results | {"chance": {protocol: chance}}
        measures = {
            "top-1": _percents(judged, protocol, "top1"),
            "top-5": _percents(judged, protocol, "top5"),
        }
        yield Scores(
            "Linear evaluation",
            f"protocol {protocol} ({how}); {where}",
            {name: texts for name, texts in measures.items() if "encoder" in texts},
            chosen,
        )


def _cached_words(numbers):
    how = "logistic regression on frozen representations of plain images"
    return how, f"C {numbers['C']:g}"


def _augmented_words(numbers):
    how = f"linear head on the frozen encoder, SGD, {numbers['epochs']} epochs of "
    how += "cropped and flipped images"
    return how, f"learning rate {numbers['learning_rate']:g}"


def _few_labels_words(numbers):
    count = numbers["labels_per_class"]
    how = f"logistic regression on {count} label{'s' if count > 1 else ''} a class; "
    how += f"mean and standard deviation of {numbers['num_draws']} draws"
    return how, ""


# How a protocol is told, and what was chosen in it.
_LINEAR_WORDS = {
    "cached": _cached_words,
    "augmented": _augmented_words,
    "few_labels": _few_labels_words,
}


def _knn(row):
    results = row["results"]
    own = results["encoder"]
    measures = {}
    for many, key, name in ((1, "top1", "top-1"), (5, "top5", "top-5")):
        if own[key] is not None:
            texts = {
                who: text_table.percent(them[key]) for who, them in results.items()
            }
            texts["chance"] = text_table.percent(many / own["num_classes"])
            measures[name] = texts
    yield Scores(
        "k nearest neighbors",
        f"protocol knn (weighted votes, cosine similarity); "
        f"{row['dataset']}, {row['split']} split, {own['num_test']:,} images; seed "
        f"{row['seed']}",
        measures,
        f"k {own['k']}, temperature {own['temperature']:g}",
    )


def _retrieval(row):
    own = row["results"]["encoder"]
    texts = {
        name: text_table.percent(numbers["mean_average_precision"])
        for name, numbers in row["results"].items()
    }
    texts["chance"] = text_table.percent(1 / own["num_classes"])
    yield Scores(
        "Retrieval",
        f"protocol retrieval (cosine similarity); {row['dataset']}, "
        f"{own['num_queries']:,} {row['split']} images search "
        f"{own['num_database']:,} training images; seed {row['seed']}",
        {"mean average precision": texts},
    )


def _clusters(row):
    results = row["results"]
    own = results["encoder"]
    measures = {}
    if own["matched_accuracy"] is not None:
        texts = {
            name: text_table.percent(numbers["matched_accuracy"])
            for name, numbers in results.items()
        }
        texts["chance"] = text_table.percent(1 / own["num_classes"])
        measures["matched with the classes"] = texts
    for key, name in _AGREEMENT.items():
        texts = {
            who: f"{numbers[key]:.3f}"
            for who, numbers in results.items()
            if numbers.get(key) is not None
        }
        if key == "adjusted_rand_index":
            texts["chance"] = "0.000"
        if "encoder" in texts:
            measures[name] = texts
    yield Scores(
        "Clusters",
        f"protocol kmeans, {own['num_clusters']} clusters (as many as: "
        f"{own['num_clusters_chosen_by']}); {row['dataset']}, {row['split']} split, "
        f"{own['num_examples']:,} images; seed {own['seed']}",
        measures,
    )


_GIVERS = {
    "linear_eval": _linear,
    "knn_eval": _knn,
    "retrieve": _retrieval,
    "cluster": _clusters,
}


def _percents(results, protocol, key):
    """One accuracy of each that has it, by name."""
    found = {name: parts.get(protocol, {}) for name, parts in results.items()}
    return {
        # A narrow column breaks before the sign, not behind it.
        name: text_table.percent(numbers[key], numbers.get(f"{key}_std")).replace(
            "\u00b1 ", "\u00b1\u00a0"
        )
        for name, numbers in found.items()
        if numbers.get(key) is not None
    }


def _beside_baselines(scores: Sequence[Scores]) -> Html:
    rows = []
    for one in scores:
        chosen = f"; chosen: {one.chosen}" if one.chosen else ""
        rows.append([_heading(one.title, f"{one.protocol}{chosen}")])
        for measure, texts in one.measures.items():
            rows.append([measure, *(texts.get(name, "-") for name in SUBJECTS)])
    caption = "The encoder beside what it must beat."
    return table(caption, ["", *SUBJECTS.values()], rows, "numbers scores")


def _beside_each_other(
    names: Sequence[str], scores: Sequence[Sequence[Scores]]
) -> Html:
    """Runs as columns; the same protocol on the same split shares its rows."""
    by_run = [{(one.title, one.protocol): one for one in each} for each in scores]
    rows = []
    for key in dict.fromkeys(key for each in by_run for key in each):
        found = [each.get(key) for each in by_run]
        rows.append([_heading(*key)])
        measures = dict.fromkeys(name for one in found if one for name in one.measures)
        for measure in measures:
            for context, label in SUBJECTS.items():
                cells = [_cell(one, measure, context) for one in found]
                row = [f"{measure}, {label}", *cells]
                if any(cell != "-" for cell in cells):
                    rows.append(map(strong, row) if context == "encoder" else row)
        chosen = [one.chosen if one else "-" for one in found]
        if any(one.chosen for one in found if one):
            rows.append([small("chosen"), *map(small, chosen)])
    caption = "The same numbers of every run, one column a run."
    return table(caption, ["", *names], rows, "numbers")


def _cell(scores, measure, context):
    if scores is None:
        return "-"
    return scores.measures.get(measure, {}).get(context, "-")


def _heading(title, note):
    return join([title, Html("<br>"), small(note)])
