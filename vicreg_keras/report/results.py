"""The first table of the page: quality of the encoder beside its baselines."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from vicreg_keras.evaluate.clustering import ClusterRecord
from vicreg_keras.evaluate.few_labels import FewLabelResult
from vicreg_keras.evaluate.knn import KnnEvalRecord
from vicreg_keras.evaluate.linear_eval import LinearEvalRecord
from vicreg_keras.evaluate.linear_probe import LinearProbeResult
from vicreg_keras.evaluate.records import NAMES, Record
from vicreg_keras.evaluate.retrieval import RetrieveRecord
from vicreg_keras.figures.text_table import percent
from vicreg_keras.report.elements import Html, element, join, paragraph, table
from vicreg_keras.report.runs import Run, missing

_NOTE = (
    "Accuracies and precisions are in percent. All choices (C, k, temperature, "
    "learning rate) are made on the validation split, never on the test split. "
    "Mutual information (0 to 1), the adjusted Rand index (0 by chance, 1 for the same "
    "groups) and the silhouette (-1 to 1) are no percentages. Chance is guessing "
    "evenly; of retrieval and of matched clusters it is that of classes of equal size."
)

# Name of a metric, attribute of the results' metrics, format, and value by chance.
_Line = tuple[str, str, Callable[..., str], float | None]
_DECIMALS = "{:.3f}".format


@dataclasses.dataclass(frozen=True)
class Scores:
    """Metrics of one protocol.

    Attributes:
        title: What was evaluated.
        protocol: How, on which split of which dataset, and on how many examples.
        metrics: By the metric's name, texts by a key of `NAMES`; what was not measured
            is not there.
        chosen: What was chosen on the validation split, for the encoder.
    """

    title: str
    protocol: str
    metrics: dict[str, dict[str, str]]
    chosen: str = ""


def results_section(runs: Sequence[Run]) -> Html:
    """Returns linear evaluation, kNN, retrieval and clusters, each beside baselines.

    With one run the baselines are columns; with several the runs are.

    Args:
        runs: The runs of the page.
    """
    absent = join(missing(runs, cls) for cls in _SCORES)
    scores: list[list[Scores]] = [[] for _ in runs]
    for found, run in zip(scores, runs, strict=True):
        for cls, score in _SCORES.items():
            for record in run.records[cls][-1:]:
                found.extend(score(record))
    if not any(scores):
        return absent
    if len(runs) == 1:
        content = _beside_baselines(scores[0])
    else:
        content = _side_by_side([run.name for run in runs], scores)
    return join([content, paragraph(_NOTE), absent])


def _linear(record: LinearEvalRecord) -> Iterator[Scores]:
    where = f"{record.dataset}, {record.split} split, {record.num_test:,} images; "
    where += f"seed {record.seed}"
    for protocol in ("cached", "augmented", "few_labels"):
        results = {
            name: getattr(result, protocol)
            for name, result in record.results.items()
            if getattr(result, protocol) is not None
        }
        if "encoder" not in results:
            continue
        how, chosen = _describe_linear(results["encoder"])
        metrics = _metrics(
            results,
            ("top-1", "top1", percent, record.chance.top1),
            ("top-5", "top5", percent, record.chance.top5),
        )
        heading = f"protocol {protocol} ({how}); {where}"
        yield Scores("Linear evaluation", heading, metrics, chosen)


def _describe_linear(result):
    """How a protocol works, and what it chose."""
    settings = result.settings
    if isinstance(result, LinearProbeResult):
        how = "logistic regression on frozen representations of plain images"
        return how, f"C {settings.C:g}"
    if isinstance(result, FewLabelResult):
        count = settings.labels_per_class
        how = f"logistic regression on {count} label{'s' * (count > 1)} per class; "
        how += f"mean and standard deviation of {len(settings.draws)} draws"
        return how, ""
    how = f"linear head on the frozen encoder, SGD, {settings.epochs} epochs of "
    how += "cropped and flipped images"
    return how, f"learning rate {settings.learning_rate:g}"


def _knn(record: KnnEvalRecord) -> Iterator[Scores]:
    settings = record.results["encoder"].settings
    metrics = _metrics(
        record.results,
        ("top-1", "top1", percent, 1 / settings.num_classes),
        ("top-5", "top5", percent, 5 / settings.num_classes),
    )
    yield Scores(
        "k nearest neighbors",
        f"weighted votes, cosine similarity; {record.dataset}, {record.split} split, "
        f"{settings.num_test:,} images; seed {record.seed}",
        metrics,
        f"k {settings.k}, temperature {settings.temperature:g}",
    )


def _retrieval(record: RetrieveRecord) -> Iterator[Scores]:
    texts = {
        name: percent(one.mean_average_precision)
        for name, one in record.results.items()
    }
    texts["chance"] = percent(1 / record.num_classes)
    yield Scores(
        "Retrieval",
        f"cosine similarity; {record.dataset}, {record.num_queries:,} {record.split} "
        f"images search {record.num_database:,} training images; seed {record.seed}",
        {"mean average precision": texts},
    )


def _clusters(record: ClusterRecord) -> Iterator[Scores]:
    settings = record.results["encoder"].settings
    chance = 1 / settings.num_classes if settings.num_classes else None
    metrics = _metrics(
        record.results,
        ("matched with the classes", "matched_accuracy", percent, chance),
        ("mutual information", "normalized_mutual_information", _DECIMALS, None),
        ("adjusted Rand index", "adjusted_rand_index", _DECIMALS, 0.0),
        ("silhouette", "silhouette", _DECIMALS, None),
    )
    yield Scores(
        "Clusters",
        f"k-means, {settings.num_clusters} clusters (chosen by: "
        f"{settings.num_clusters_chosen_by}); {record.dataset}, {record.split} split, "
        f"{settings.num_examples:,} images; seed {record.seed}",
        metrics,
    )


_SCORES: dict[type[Record], Callable[[Any], Iterator[Scores]]] = {
    LinearEvalRecord: _linear,
    KnnEvalRecord: _knn,
    RetrieveRecord: _retrieval,
    ClusterRecord: _clusters,
}


def _metrics(results: Mapping[str, Any], *lines: _Line) -> dict[str, dict[str, str]]:
    """Texts of each metric that the encoder has."""
    metrics = {}
    for name, attribute, text, chance in lines:
        texts = {}
        for key, result in results.items():
            value = getattr(result.metrics, attribute)
            std = getattr(result.metrics, f"{attribute}_std", None)
            if value is not None:
                # A narrow column breaks before the sign, not behind it.
                texts[key] = text(value, std).replace("± ", "±\u00a0")
        if "encoder" in texts:
            metrics[name] = texts
            if chance is not None:
                texts["chance"] = text(chance)
    return metrics


def _beside_baselines(scores: Sequence[Scores]) -> Html:
    lines = []
    for one in scores:
        chosen = f"; chosen: {one.chosen}" if one.chosen else ""
        lines.append([_heading(one.title, f"{one.protocol}{chosen}")])
        for metric, texts in one.metrics.items():
            lines.append([metric, *(texts.get(name, "-") for name in NAMES)])
    caption = "The encoder beside its baselines."
    return table(caption, ["", *NAMES.values()], lines, "numbers scores")


def _side_by_side(runs: Sequence[str], scores: Sequence[Sequence[Scores]]) -> Html:
    """Runs as columns; the same protocol on the same split shares its lines."""
    by_run = [{(one.title, one.protocol): one for one in each} for each in scores]
    lines = []
    for key in dict.fromkeys(key for each in by_run for key in each):
        found = [each.get(key, Scores(*key, metrics={})) for each in by_run]
        lines.append([_heading(*key)])
        for metric in dict.fromkeys(name for one in found for name in one.metrics):
            for name, label in NAMES.items():
                cells = [one.metrics.get(metric, {}).get(name, "-") for one in found]
                line: list[Any] = [f"{metric}, {label}", *cells]
                if name == "encoder":
                    line = [element("strong", cell) for cell in line]
                if set(cells) != {"-"}:
                    lines.append(line)
        if any(one.chosen for one in found):
            line = ["chosen", *(one.chosen or "-" for one in found)]
            lines.append([element("small", cell) for cell in line])
    caption = "The same metrics of every run, one column per run."
    return table(caption, ["", *runs], lines, "numbers")


def _heading(title, note):
    return join([title, element("br"), element("small", note)])
