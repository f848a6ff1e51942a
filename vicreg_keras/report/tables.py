"""What the records of evaluations say, as tables that modes print and the page shows.

In each table the baselines come first, and the encoder last.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from vicreg_keras.evaluate.accuracy import ClassificationMetrics
from vicreg_keras.evaluate.clustering import ClusterRecord
from vicreg_keras.evaluate.finetune import MIN_STEPS, FinetuneRecord, FinetuneResult
from vicreg_keras.evaluate.knn import KnnEvalRecord
from vicreg_keras.evaluate.linear_eval import LinearEvalRecord, LinearEvalResult
from vicreg_keras.evaluate.records import NAMES, ExportRecord, Record
from vicreg_keras.evaluate.retrieval import RetrieveRecord
from vicreg_keras.evaluate.spectrum import SpectrumRecord
from vicreg_keras.export.compare import NUM_TIMED_CALLS
from vicreg_keras.figures.text_table import Line, Table, decimal, percent

_CHOSEN = "chosen on the validation split"


def tables(record: Record) -> list[Table]:
    """Returns the tables of an evaluation's record.

    Args:
        record: What a mode logged; a record of another kind has no table.
    """
    describe = _TABLES.get(type(record))
    found = list(describe(record)) if describe else []
    if record.read_out is None:
        return found
    note = f" Representation of the encoders: {record.read_out}."
    return [one._replace(caption=one.caption + note) for one in found]


def summary(runs: Mapping[str, Sequence[Record]]) -> Table:
    """Returns the table of the metrics to look at first.

    Args:
        runs: By the run's name, the last record of each evaluation. Columns are the
            encoder and its baselines of a single run, the encoders of several.
    """
    datasets = {record.dataset for records in runs.values() for record in records}
    cells: dict[str, dict[str, str]] = {}
    for run, records in runs.items():
        for record in records:
            for metric, texts in _headlines(record):
                if record.read_out is not None:
                    metric += f" ({record.read_out})"
                if len(datasets) > 1:
                    metric += f", {record.dataset}"
                line = cells.setdefault(metric, {})
                if len(runs) > 1:
                    line[run] = texts["encoder"]
                else:
                    line.update({NAMES[name]: text for name, text in texts.items()})
    columns = dict.fromkeys(column for line in cells.values() for column in line)
    lines: list[Line] = [("", *columns)]
    for metric, line in cells.items():
        lines.append((metric, *(line.get(column, "-") for column in columns)))
    title = "The encoder of each run" if len(runs) > 1 else "What pretraining added"
    caption = f"{title} on {' and '.join(sorted(datasets))}; in percent."
    all_records = [record for records in runs.values() for record in records]
    states = {(record.dataset, record.data_fingerprint) for record in all_records}
    if len(states) > len(datasets):
        caption += (
            " The data changed between these evaluations: repeat them to compare."
        )
    return Table(caption, lines)


def _headlines(record: Record) -> Iterator[tuple[str, dict[str, str]]]:
    """Yields the first metrics of a record, each as texts by what was evaluated."""
    if isinstance(record, LinearEvalRecord):
        protocols: dict[str, dict[str, str]] = {}
        for name, result in record.results.items():
            for protocol, metrics, _ in _protocols(result):
                texts = protocols.setdefault(f"linear top-1, {protocol}", {})
                texts[name] = _accuracy(metrics, "top1")
        yield from protocols.items()
    elif isinstance(record, KnnEvalRecord):
        texts = {
            name: percent(one.metrics.top1) for name, one in record.results.items()
        }
        yield "kNN top-1", texts
    elif isinstance(record, RetrieveRecord):
        texts = {
            name: percent(one.mean_average_precision)
            for name, one in record.results.items()
        }
        yield "mean average precision", texts
    elif isinstance(record, ClusterRecord):
        clusters = {name: one.metrics for name, one in record.results.items()}
        if clusters["encoder"].matched_accuracy is None:
            texts = {name: decimal(one.silhouette) for name, one in clusters.items()}
            yield "silhouette of clusters (not in percent)", texts
        else:
            texts = {
                name: percent(one.matched_accuracy) for name, one in clusters.items()
            }
            yield "clusters matched with classes", texts


def _linear_eval(record: LinearEvalRecord) -> Iterator[Table]:
    top1, top5 = percent(record.chance.top1), percent(record.chance.top5)
    lines: list[Line] = [("", "protocol", "top-1", "top-5", _CHOSEN)]
    majority = f"always the most frequent class: {percent(record.chance.majority_top1)}"
    lines.append((NAMES["chance"], "-", top1, top5, majority))
    if record.raw_input_omitted:
        omitted = f"omitted: {record.raw_input_omitted}"
        lines.append((NAMES["raw_input"], "cached", "-", "-", omitted))
    for name, result in reversed(record.results.items()):
        for protocol, metrics, chosen in _protocols(result):
            accuracies = (_accuracy(metrics, key) for key in ("top1", "top5"))
            lines.append((NAMES[name], protocol, *accuracies, chosen))
    caption = (
        f"Linear evaluation of {record.dataset}, {record.split} split: "
        f"{record.num_test} examples of {record.num_classes} classes, "
        f"{record.num_train} training and {record.num_validation} validation examples; "
        f"protocol {record.protocol}, seed {record.seed}; accuracy in percent."
    )
    yield Table(caption, lines)


def _accuracy(metrics: ClassificationMetrics, name: str) -> str:
    return percent(getattr(metrics, name), getattr(metrics, f"{name}_std", None))


def _protocols(
    result: LinearEvalResult,
) -> Iterator[tuple[str, ClassificationMetrics, str]]:
    """Yields each protocol that was run, its metrics, and what was chosen."""
    if cached := result.cached:
        chosen = f"C {cached.settings.C:g}" + _convergence(cached.settings.converged)
        yield "cached", cached.metrics, chosen
    if augmented := result.augmented:
        rate, epochs = augmented.settings.learning_rate, augmented.settings.epochs
        yield "augmented", augmented.metrics, f"learning rate {rate:g}, {epochs} epochs"
    if few_labels := result.few_labels:
        settings = few_labels.settings
        values = sorted({draw.C for draw in settings.draws})
        chosen = f"C {', '.join(f'{value:g}' for value in values)} "
        chosen += f"({settings.C_chosen_by}), {len(settings.draws)} draws"
        chosen += _convergence(settings.converged)
        count = settings.labels_per_class
        protocol = f"{count} label{'s' if count > 1 else ''} per class"
        if settings.rare_classes:
            protocol = (
                f"up to {protocol}, {settings.min_labels_per_class} of the rarest"
            )
        yield protocol, few_labels.metrics, chosen


def _convergence(converged: bool) -> str:
    return "" if converged else ", not converged"


def _knn_eval(record: KnnEvalRecord) -> Iterator[Table]:
    settings = record.results["encoder"].settings
    num_classes = settings.num_classes
    top1, top5 = 1 / num_classes, 5 / num_classes if num_classes > 5 else None
    lines: list[Line] = [("", "top-1", "top-5", _CHOSEN)]
    lines.append((NAMES["chance"], percent(top1), percent(top5), ""))
    for name, result in reversed(record.results.items()):
        accuracies = (_accuracy(result.metrics, key) for key in ("top1", "top5"))
        chosen = f"k {result.settings.k}, temperature {result.settings.temperature:g}"
        lines.append((NAMES[name], *accuracies, chosen))
    caption = (
        f"Weighted kNN on {record.dataset}, {record.split} split, {settings.num_test} "
        f"examples; cosine similarity; seed {record.seed}; accuracy in percent."
    )
    yield Table(caption, lines)


def _retrieve(record: RetrieveRecord) -> Iterator[Table]:
    names = list(reversed(record.results))
    results = [record.results[name] for name in names]
    lines: list[Line] = [("", *(NAMES[name] for name in names))]
    for measure in ("precision", "recall", "hit_rate"):
        for k in getattr(results[0], measure):
            values = [getattr(one, measure)[k] for one in results]
            lines.append([f"{measure.replace('_', ' ')} at {k}", *map(percent, values)])
    values = [one.mean_average_precision for one in results]
    lines.append(["mean average precision", *map(percent, values)])
    chance = record.chance_precision
    chance = 1 / record.num_classes if chance is None else chance
    caption = (
        f"Retrieval on {record.dataset}: {record.num_queries} {record.split} examples "
        f"against {record.num_database} training ones; cosine similarity, index "
        f"{record.index}; seed {record.seed}; in percent. By chance, precision is "
        f"{percent(chance)}."
    )
    yield Table(caption, lines)
    if metrics := record.index_metrics:
        recall = f"recall@{record.num_neighbors}"
        caption = f"Index beside exact search, built in {metrics.build_seconds:.1f} s."
        exact = metrics.exact_queries_per_second
        own = f"{record.index} ({record.search_parameters})"
        lines = [("", recall, "queries/s", "times as fast", "MiB")]
        for name, found, speed, size in (
            (own, metrics.recall, metrics.queries_per_second, metrics.num_bytes),
            ("exact search", 1.0, exact, metrics.exact_num_bytes),
        ):
            costs = f"{speed:,.0f}", f"{speed / exact:.1f}", f"{size / 2**20:.1f}"
            lines.append((name, f"{found:.4f}", *costs))
        yield Table(caption, lines)


def _cluster(record: ClusterRecord) -> Iterator[Table]:
    settings = record.results["encoder"].settings
    num_classes = settings.num_classes
    header = ["silhouette", "silhouette by class", "matched accuracy", "NMI", "ARI"]
    width = len(header) if num_classes else 1
    lines: list[Line] = [["", *header[:width]]]
    if num_classes:
        matched = percent(1 / num_classes)
        lines.append([NAMES["chance"], "-", "-", matched, "-", "0.000"])
    for name, result in reversed(record.results.items()):
        metrics = result.metrics
        cells = [
            decimal(metrics.silhouette),
            decimal(metrics.silhouette_by_class),
            percent(metrics.matched_accuracy),
            decimal(metrics.normalized_mutual_information),
            decimal(metrics.adjusted_rand_index),
        ]
        lines.append([NAMES[name], *cells[:width]])
    caption = (
        f"k-means on {record.dataset}, {record.split} split, {settings.num_examples} "
        f"examples, {settings.num_clusters} clusters (chosen by: "
        f"{settings.num_clusters_chosen_by}), seed {record.seed}; accuracy in percent."
    )
    yield Table(caption, lines)


def _spectrum(record: SpectrumRecord) -> Iterator[Table]:
    ranks = ("RankMe", "effective rank", "possible rank", "alpha")
    lines: list[Line] = [("", *ranks, "std, mean", "dead", "of dimensions")]
    for name, result in reversed(record.results.items()):
        cells = (
            f"{result.rankme:.1f}",
            f"{result.effective_rank:.1f}",
            str(result.possible_rank),
            decimal(result.alpha, ".2f"),
            f"{result.std_mean:.3g}",
            str(result.dead_dimensions),
            str(record.representation_size),
        )
        lines.append((NAMES[name], *cells))
    caption = (
        f"Spectrum of {record.num_examples} representations of {record.dataset}, "
        f"{record.split} split, without labels; seed {record.seed}."
    )
    yield Table(caption, lines)


def _finetune(record: FinetuneRecord) -> Iterator[Table]:
    accuracies = ("from scratch", "frozen, linear", "fine-tuned")
    lines: list[Line] = [("labels", "of all", *accuracies, _CHOSEN)]
    for scratch, frozen, tuned in zip(
        record.scratch, record.frozen, record.finetuned, strict=True
    ):
        chosen = (
            f"rates {_rates(scratch)} from scratch, {_rates(tuned)} fine-tuned; "
            f"C {frozen.settings.C:g}{_convergence(frozen.settings.converged)}"
        )
        arms = (_accuracy(one.metrics, "top1") for one in (scratch, frozen, tuned))
        fraction = f"{100 * tuned.settings.label_fraction:g} %"
        lines.append((f"{tuned.settings.num_train:,}", fraction, *arms, chosen))
    caption = (
        f"Fine-tuning on {record.dataset}, {record.split} split, {record.num_test} "
        f"examples of {record.num_classes} classes; "
        f"{record.finetuned[0].settings.epochs} epochs, at least {MIN_STEPS} steps; "
        f"seed {record.seed}; top-1 accuracy in percent. Learning rates (of encoder "
        f"and new layer) and C chosen on {record.num_validation} validation labels."
    )
    yield Table(caption, lines)


def _rates(result: FinetuneResult) -> str:
    settings = result.settings
    return f"{settings.encoder_learning_rate:g}/{settings.head_learning_rate:g}"


def _export(record: ExportRecord) -> Iterator[Table]:
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
    yield Table(caption, lines)


_TABLES: dict[type[Record], Callable[[Any], Iterator[Table]]] = {
    LinearEvalRecord: _linear_eval,
    KnnEvalRecord: _knn_eval,
    RetrieveRecord: _retrieve,
    ClusterRecord: _cluster,
    SpectrumRecord: _spectrum,
    FinetuneRecord: _finetune,
    ExportRecord: _export,
}
