"""Curves of a run, or of several side by side, drawn from their records."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

from matplotlib.figure import Figure

from vicreg_keras.evaluate.finetune import FinetuneRecord
from vicreg_keras.evaluate.records import PretrainRecord, last_records, read_records
from vicreg_keras.evaluate.spectrum import SpectrumMetrics, SpectrumRecord
from vicreg_keras.figures import style
from vicreg_keras.figures.style import save
from vicreg_keras.workdir.run_folder import RunFolder

T = TypeVar("T")

_TITLES = {
    "loss": "loss (weighted sum)",
    "embedding_std": "embedding standard deviation",
    "rankme": "RankMe, representations",
    "effective_rank": "effective rank, representations",
    "embedding_effective_rank": "effective rank, embeddings",
}
_RANKS = ("rankme", "effective_rank", "embedding_effective_rank")
_MAX_COLUMNS = 3
_SPECTRA = {
    "encoder": ("trained encoder", {"color": style.TRAINING}),
    "untrained": ("untrained encoder", {"color": style.UNTRAINED, "linestyle": "--"}),
}
# Lower eigenvalues are rounding errors, and would squeeze the others.
_MIN_SHARE = 1e-8
# Ways of training on labels, by attribute of a `FinetuneRecord`.
_ARMS = {
    "finetuned": ("pretrained, fine-tuned", {"color": style.TRAINING}),
    "frozen": (
        "pretrained, frozen, linear on top",
        {"color": style.VALIDATION, "linestyle": "--", "marker": "s"},
    ),
    "scratch": (
        "trained from scratch",
        {"color": style.UNTRAINED, "linestyle": "-.", "marker": "^"},
    ),
}

_Runs = Mapping[str, Sequence[PretrainRecord]]


def draw_run(run: RunFolder) -> None:
    """Draws what a run's records tell of training, and of evaluations where there are.

    Args:
        run: Folder of the run; the figures are written to `run.figures`.
    """
    for name, figure in run_figures({run.path.name: run}).items():
        save(figure, run.figures / f"{name}.png")


def run_figures(runs: Mapping[str, RunFolder]) -> dict[str, Figure]:
    """Draws the curves of runs, those that they have records for.

    Args:
        runs: Folders by the run's name.

    Returns:
        Figures by name, of `loss`, `collapse`, `accuracy`, `spectrum` and
        `label_efficiency`.
    """
    epochs = {name: read_records(run, PretrainRecord) for name, run in runs.items()}
    epochs = {name: records for name, records in epochs.items() if records}
    metrics = set(_metric_names(epochs))
    figures = {}
    if epochs:
        figures["loss"] = loss_curves(epochs)
    if not metrics.isdisjoint([*_RANKS, "embedding_std"]):
        figures["collapse"] = collapse_curves(epochs)
    if "knn_top1" in metrics:
        figures["accuracy"] = accuracy_over_minutes(epochs)
    if spectra := last_records(runs, SpectrumRecord):
        figures["spectrum"] = eigenvalue_decay(spectra)
    if finetuned := last_records(runs, FinetuneRecord):
        figures["label_efficiency"] = label_efficiency(finetuned)
    return figures


def loss_curves(runs: _Runs) -> Figure:
    """Draws the loss, each of its terms, and what changes with them, over epochs.

    One run has a line for training and one for validation; several runs have a line
    each.

    Args:
        runs: Records by the run's name, with `loss`, terms whose names end in `_loss`,
            `embedding_std` and `learning_rate` among their metrics.
    """
    terms = [
        name
        for name in _metric_names(runs)
        if name.endswith("_loss") and not name.startswith("val_")
    ]
    return _panels(runs, ["loss", *terms, "embedding_std", "learning_rate"])


def collapse_curves(runs: _Runs) -> Figure:
    """Draws ranks and the embeddings' standard deviation over epochs.

    The dotted line at 1 is the target of the variance term.

    Args:
        runs: Records by the run's name, with `embedding_std` and, where they were
            measured, `rankme`, `effective_rank` and `embedding_effective_rank` among
            their metrics.
    """
    return _panels(runs, [*_RANKS, "embedding_std"])


def accuracy_over_minutes(runs: _Runs) -> Figure:
    """Draws the kNN accuracy during training.

    Args:
        runs: Records by the run's name; drawn are those with `knn_top1` and `knn_bank`
            among their metrics.
    """
    figure, axes = style.new_figure(7, 4.4)
    for number, (name, epochs) in enumerate(runs.items()):
        scored = [epoch for epoch in epochs if "knn_top1" in epoch.metrics]
        if not scored:
            continue
        bank = int(scored[-1].metrics["knn_bank"])
        label = f"{style.shorten(name)}, kNN" if len(runs) > 1 else "kNN"
        axes.plot(
            [epoch.minutes for epoch in scored],
            [100 * epoch.metrics["knn_top1"] for epoch in scored],
            marker="o",
            label=f"{label}, validation, {bank:,} neighbors to choose from",
            **style.run_style(number),
        )
    axes.set(xlabel="minutes of training", ylabel="top-1 accuracy, percent")
    axes.set_xlim(left=0)
    axes.set_ylim(0, 1.05 * axes.get_ylim()[1])
    style.add_legend(axes, loc="lower right", fontsize=8)
    return figure


def eigenvalue_decay(records: Mapping[str, SpectrumRecord]) -> Figure:
    """Draws eigenvalues over their index, both logarithmic, and the power laws.

    The dotted line is the power law over the indices that it was fitted to. Shares of
    the variance under 1e-8 are left out.

    Args:
        records: By the run's name. Of a single run the encoder and its baselines are
            drawn, of several the encoders.
    """
    figure, axes = style.new_figure(6, 4.5)
    results = {run: record.results for run, record in records.items()}
    for label, look, spectrum in _lines(results, _SPECTRA):
        shares = [share for share in spectrum.eigenvalues if share >= _MIN_SHARE]
        axes.plot(
            range(1, len(shares) + 1),
            shares,
            marker="" if len(shares) > 1 else "o",
            label=f"{label}: {_decay(spectrum)}",
            **look,
        )
        if spectrum.alpha is not None:
            ends = spectrum.alpha_range
            fitted = [spectrum.alpha_scale * end**-spectrum.alpha for end in ends]
            axes.plot(ends, fitted, ":", color=look["color"], linewidth=1)
    # Set, since a logarithmic axis finds no limits where nothing is drawn.
    drawn = [line.get_ydata() for line in axes.lines]
    axes.set_xlim(0.9, 1.1 * max(10, *map(len, drawn)))
    axes.set_ylim(min([0.1, *(min(one) for one in drawn if len(one))]) / 2, 2)
    axes.set(xscale="log", yscale="log")
    axes.set(xlabel="index of the eigenvalue", ylabel="share of the variance")
    style.add_legend(axes, loc="lower left")
    return figure


def label_efficiency(records: Mapping[str, FinetuneRecord]) -> Figure:
    """Draws test accuracy over the number of labeled images, which is logarithmic.

    Args:
        records: By the run's name. Of a single run all ways of training are drawn, of
            several the fine-tuned encoders.
    """
    figure, axes = style.new_figure(6, 4.5)
    arms = {
        run: {arm: getattr(record, arm) for arm in _ARMS}
        for run, record in records.items()
    }
    counts: set[int] = set()
    for label, look, results in _lines(arms, _ARMS):
        points = sorted((one.settings.num_train, one.metrics.top1) for one in results)
        counts |= {count for count, _ in points}
        accuracies = [100 * accuracy for _, accuracy in points]
        look = {"marker": "o"} | look
        axes.plot([count for count, _ in points], accuracies, label=label, **look)
    for chance in {100 / record.num_classes for record in records.values()}:
        dotted = {"color": style.CHANCE, "linewidth": 1, "linestyle": ":"}
        axes.axhline(chance, label="chance", **dotted)
    axes.set_xscale("log")
    axes.set_xlim(min(counts) / 1.5, max(counts) * 1.5)
    axes.set_xticks(sorted(counts), [f"{count:,}" for count in sorted(counts)])
    axes.minorticks_off()
    axes.set(xlabel="labeled training images", ylabel="top-1 test accuracy, percent")
    axes.set_ylim(bottom=0)
    # Above the axes, where no curve can be.
    style.add_legend(figure, loc="outside upper center", ncols=2)
    return figure


def _lines(
    results: Mapping[str, Mapping[str, T]], looks: Mapping[str, tuple[str, dict]]
) -> Iterator[tuple[str, dict, T]]:
    """Yields label, look and result of each line.

    Of a single run there are all results, of several the first one of each.
    """
    if len(results) == 1:
        (by_name,) = results.values()
        for name, result in by_name.items():
            yield (*looks[name], result)
        return
    for number, (run, by_name) in enumerate(results.items()):
        name, result = next(iter(by_name.items()))
        label = f"{style.shorten(run)}, {looks[name][0]}"
        yield label, style.run_style(number), result


def _panels(runs: _Runs, names: Sequence[str]) -> Figure:
    """One panel for each metric that any epoch has."""
    known = _metric_names(runs)
    names = [name for name in names if name in known]
    rows = -(-len(names) // _MAX_COLUMNS)
    columns = -(-len(names) // rows)
    width, height = 3.7 * columns, 2.8 * rows
    figure, grid = style.new_figure(width, height, rows, columns, squeeze=False)
    for axes, name in zip(grid.flat, names, strict=False):
        title = name.removesuffix("_loss").replace("_", " ")
        axes.set_title(_TITLES.get(name, title), fontsize=10)
        for number, (run, epochs) in enumerate(runs.items()):
            if len(runs) > 1:
                _plot(axes, epochs, name, style.shorten(run), **style.run_style(number))
            else:
                _plot(axes, epochs, name, "training", color=style.TRAINING)
                dashed = {"color": style.VALIDATION, "linestyle": "--"}
                _plot(axes, epochs, f"val_{name}", "validation", **dashed)
        axes.set_xlabel("epoch")
        style.integer_ticks(axes)
        if name == "embedding_std":
            axes.axhline(1, color=style.CHANCE, linewidth=1, linestyle=":")
        if name == "embedding_std" or "rank" in name:
            axes.set_ylim(0, 1.05 * axes.get_ylim()[1])
    for axes in grid.flat[len(names) :]:
        axes.remove()
    style.add_legend(max(grid.flat, key=lambda axes: len(axes.lines)))
    return figure


def _metric_names(runs: _Runs) -> list[str]:
    epochs = (epoch for run in runs.values() for epoch in run)
    return list(dict.fromkeys(name for epoch in epochs for name in epoch.metrics))


def _plot(axes, epochs, name, label, **look):
    points = [
        (epoch.epoch, epoch.metrics[name]) for epoch in epochs if name in epoch.metrics
    ]
    if points:
        marker = "." if len(points) <= 60 else ""
        axes.plot(*zip(*points, strict=True), marker=marker, label=label, **look)


def _decay(spectrum: SpectrumMetrics) -> str:
    if not any(spectrum.eigenvalues):
        return "no variance"
    if spectrum.alpha is None:
        return "too few for a power law"
    return f"α = {spectrum.alpha:.2f}"
