"""The report of a run, or of several side by side: one HTML file, no network."""

import base64
import collections
import hashlib
import importlib.resources
import pathlib
import shlex
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jinja2
import numpy as np
from markupsafe import Markup

from vicreg_keras.errors import InputError
from vicreg_keras.evaluate import collapse, finetune, knn, records
from vicreg_keras.evaluate.clustering import ClusterRecord
from vicreg_keras.evaluate.linear_eval import LinearEvalRecord
from vicreg_keras.evaluate.records import (
    DataChangeRecord,
    PretrainRecord,
    Record,
    RollbackRecord,
    last_records,
    read_records,
)
from vicreg_keras.evaluate.retrieval import RetrieveRecord
from vicreg_keras.evaluate.spectrum import SpectrumRecord
from vicreg_keras.figures.run_figures import run_figures
from vicreg_keras.figures.style import to_png
from vicreg_keras.figures.text_table import Line, Table, numeric_columns
from vicreg_keras.report.images import embed, make_sheet
from vicreg_keras.report.run_files import read_card, read_environment, read_figure
from vicreg_keras.report.tables import summary, tables
from vicreg_keras.workdir.files import write_file
from vicreg_keras.workdir.run_folder import RunFolder, check_owner
from vicreg_keras.workdir.versions import newest_version

_Runs = Mapping[str, RunFolder]


class ClusterMap(NamedTuple):
    """Examples on a figure, whose images are displayed when they are pointed at.

    Attributes:
        figure: Content of the figure's PNG.
        positions: `(num_panels, N, 2)`, see `figures.clusters.positions`.
        images: uint8 `(N, H, W, 3)` in [0, 255].
        texts: What is written beside each image.
    """

    figure: bytes
    positions: np.ndarray
    images: np.ndarray
    texts: Sequence[str]


class Section(NamedTuple):
    """A part of the page.

    Attributes:
        name: Its heading.
        records: The records whose tables it shows.
        figures: Names of figures: curves of all runs, or those in each run's folder.
        note: What the reader has to know.
    """

    name: str
    records: tuple[type[Record], ...]
    figures: tuple[str, ...] = ()
    note: str = ""


_COMPARED = (LinearEvalRecord, knn.KnnEvalRecord, RetrieveRecord, ClusterRecord)
_LABELED = (
    *(LinearEvalRecord, knn.KnnEvalRecord, RetrieveRecord),
    finetune.FinetuneRecord,
)
SECTIONS = (
    Section(
        "Training",
        (PretrainRecord,),
        ("loss", "accuracy"),
        f"The kNN accuracy (k {knn.PUBLISHED_K}, temperature "
        f"{knn.PUBLISHED_TEMPERATURE}, cosine similarity) is of the validation split, "
        "among fewer neighbors than in the kNN evaluation: the two are not to be "
        "compared.",
    ),
    Section(
        "Collapse",
        (SpectrumRecord,),
        ("collapse", "spectrum"),
        f"Under a standard deviation of {collapse.COLLAPSED_STD['embedding']}, all "
        "images have practically the same embedding, and nothing is learned. The ranks "
        "count the directions in which training representations vary, without labels; "
        "the embeddings' falls first where the covariance term fails. alpha is the "
        "exponent of the eigenvalues' decay.",
    ),
    Section(
        "Linear",
        (LinearEvalRecord,),
        ("confusion", "mistakes"),
        "Of a labeled dataset with a test split. cached: logistic regression on frozen "
        "representations of plain images; augmented: a linear head on the frozen "
        "encoder, trained by SGD on cropped and flipped images; labels per class: "
        "logistic regression, mean and standard deviation of draws. Chance is guessing "
        "evenly.",
    ),
    Section("Neighbors", (knn.KnnEvalRecord, RetrieveRecord), ("retrieval",)),
    Section(
        "Clusters",
        (ClusterRecord,),
        ("clusters",),
        "Clusters are found among the representations, not on the map, where "
        "neighborhoods mean something, and sizes of groups and gaps between them do "
        "not. Mutual information (NMI, 0 to 1), the adjusted Rand index (ARI, 0 by "
        "chance, 1 for the same groups) and the silhouette (-1 to 1) are no "
        "percentages.",
    ),
    Section("Labels", (finetune.FinetuneRecord,), ("label_efficiency",)),
    Section("Files", (records.ExportRecord,), ("export",)),
)

_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.PackageLoader(__package__, "."),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
)
_ENVIRONMENT.filters |= {"numeric_columns": numeric_columns, "quote": shlex.quote}
# Its macros, of which a type checker knows nothing.
_HTML: Any = _ENVIRONMENT.get_template("elements.html").module


def build_report(
    folders: Sequence[RunFolder],
    path: pathlib.Path,
    cluster_map: ClusterMap | None = None,
) -> None:
    """Writes the page of what the folders of runs hold.

    Of each mode the last record counts. What is not there yet is named with the command
    that gives it. Several runs are compared: a column each in the table of results, a
    line each in the curves, and of the flags those that differ.

    The page opens without a network: scripts, styles and images are part of it, and
    it forbids the browser to load anything.

    Args:
        folders: Folders of at least one run.
        path: Path of the HTML file.
        cluster_map: What stands for the figure of clusters, or `None`.

    Raises:
        InputError: If a folder is not that of a run, or holds parts of two.
    """
    runs = _name_runs(folders)
    drawn = {
        name: _HTML.figure(embed(to_png(figure)))
        for name, figure in run_figures(runs).items()
    }
    if cluster_map is not None:
        drawn["clusters"] = _map(cluster_map)
    files = importlib.resources.files(__package__)
    style, script = (
        files.joinpath(f).read_text("utf-8") for f in ("page.css", "map.js")
    )
    # This script and no other runs, whatever else the page might come to hold.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = _ENVIRONMENT.get_template("page.html").render(
        runs=[_subtitle(name, run) for name, run in runs.items()],
        title=f"VICReg: {', '.join(runs)}",
        num_records=sum(len(run.read_metrics()) for run in runs.values()),
        sections={
            "Results": _results(runs),
            **{section.name: _section(section, runs, drawn) for section in SECTIONS},
            "Data": _data(runs),
            "Settings": _settings(runs),
            "Versions": _versions(runs),
        },
        style=Markup(style),
        script=Markup(script),
        digest=digest,
    )
    with write_file(path) as file:
        # File names may hold bytes that are no text.
        file.write(page.encode("utf-8", "replace"))


def _name_runs(folders: Sequence[RunFolder]) -> dict[str, RunFolder]:
    """Returns runs by the names of their folders, or by their paths where equal."""
    names = [folder.path.resolve().name for folder in folders]
    counts = collections.Counter(names)
    runs = {}
    for name, folder in zip(names, folders, strict=True):
        if not folder.metrics.exists() and not folder.flags.exists():
            raise InputError(
                "Expected the folder of a run, with metrics.jsonl or flags.flags. "
                f"Received: workdir={folder.path}, which has neither. Train there "
                "first, or name another."
            )
        if (version := newest_version(folder.encoder)) is not None:
            check_owner(version, folder)
        runs[name if counts[name] == 1 else str(folder.path)] = folder
    return runs


def _subtitle(name: str, run: RunFolder) -> str:
    """What was trained on what, as far as the flags tell."""
    flags = run.read_flags()
    known = [flags[key] for key in ("encoder", "dataset") if key in flags]
    text = f"{name}: {' on '.join(known)}" if known else name
    epochs = read_records(run, PretrainRecord)
    trained = newest_version(run.encoder) is not None
    run.check_epochs(max((record.epoch for record in epochs), default=int(trained)))
    for last in epochs[-1:]:
        planned = flags.get("epochs", f"{last.epoch}")
        part = "" if planned == f"{last.epoch}" else f" of {planned}"
        text += f", {last.epoch}{part} epochs, {last.minutes:.1f} minutes"
    return f"{text}, without labels." if known else text


def _results(runs: _Runs) -> Iterator[Markup]:
    compared: dict[str, list[Record]] = {name: [] for name in runs}
    for cls in _COMPARED:
        for name, record in last_records(runs, cls).items():
            compared[name].append(record)
    if any(compared.values()):
        yield _HTML.table(summary(compared))
        yield _HTML.note(
            "All choices (C, k, temperature, learning rate) are made on the validation "
            "split, never on the test split."
        )
    for name, run in runs.items():
        if not compared[name]:
            yield _HTML.missing(name, run, "evaluate")


def _section(
    section: Section, runs: _Runs, drawn: Mapping[str, Markup]
) -> Iterator[Markup]:
    """Tables of each run's records, then figures, and commands for what is missing."""
    for cls in section.records:
        found = last_records(runs, cls)
        for name, record in found.items():
            whose = f"{name}: " if len(runs) > 1 else ""
            for diagnosis in getattr(record, "diagnoses", ()):
                yield _HTML.diagnosis(whose, diagnosis)
            for table in tables(record):
                yield _HTML.table(table._replace(caption=f"{whose}{table.caption}"))
        for name, run in runs.items():
            if name in found:
                continue
            if cls in _LABELED and not _is_labeled(run):
                yield _HTML.note(f"{name}: left out, for it needs a labeled dataset.")
            else:
                yield _HTML.missing(name, run, cls.mode)
    for figure in section.figures:
        if figure in drawn:
            yield drawn[figure]
            continue
        for name, run in runs.items():
            picture = read_figure(run, figure)
            if picture is not None:
                yield _HTML.figure(picture, name if len(runs) > 1 else "")
    if section.note:
        yield _HTML.note(section.note)


def _is_labeled(run: RunFolder) -> bool:
    """Whether the dataset of the run has labels, as far as its clusters tell."""
    for record in last_records({"": run}, ClusterRecord).values():
        return record.results["encoder"].settings.num_classes is not None
    return True


def _map(cluster_map: ClusterMap) -> Markup:
    figure, sheet = embed(cluster_map.figure), make_sheet(cluster_map.images)
    places = cluster_map.positions * (figure.width, figure.height)
    data = {
        "tile": sheet.side,
        "columns": sheet.num_columns,
        "places": np.round(places, 1).tolist(),
        "texts": list(cluster_map.texts),
    }
    return _HTML.map(figure, sheet.address, data)


def _data(runs: _Runs) -> Iterator[Markup]:
    """What each run has read, and what changed while it was trained."""
    cards = {name: read_card(run) for name, run in runs.items()}
    facts = {name: card.facts() if card else {} for name, card in cards.items()}
    yield _values_table("Data of the run.", runs, _side_by_side(facts))
    for name, run in runs.items():
        for change in read_records(run, DataChangeRecord):
            yield _HTML.note(
                f"{name}: from step {change.step:,} on with changed data, where "
                f"{'; '.join(change.changes)}."
            )
        for rollback in read_records(run, RollbackRecord):
            yield _HTML.note(
                f"{name}: went back to step {rollback.step:,}, and on with "
                f"{rollback.learning_rate_factor:g} of the recipe's learning rate. "
                f"{rollback.reason}"
            )


def _settings(runs: _Runs) -> Iterator[Markup]:
    """The flags of a run; of several, first those in which they differ."""
    flags = {name: run.read_flags() for name, run in runs.items()}
    for name, run in runs.items():
        if not flags[name]:
            warnings.warn(f"{run.flags} is missing: it is left out.", stacklevel=2)
    lines = sorted(_side_by_side(flags))
    if len(runs) == 1:
        yield _values_table("Flags of the run.", runs, lines)
        return
    # Every run has a folder of its own: that they differ tells nothing.
    lines = [line for line in lines if line[0] != "workdir"]
    differing = [line for line in lines if len(set(line[1:])) > 1]
    same = [line for line in lines if line not in differing]
    yield _values_table("Flags in which the runs differ.", runs, differing)
    yield _values_table("Flags that are the same.", runs, same)


def _versions(runs: _Runs) -> Iterator[Markup]:
    environments = {name: read_environment(run) for name, run in runs.items()}
    lines = _side_by_side(environments)
    yield _values_table("Versions and hardware of training.", runs, lines)


def _side_by_side(runs: Mapping[str, Mapping[str, str]]) -> list[tuple[str, ...]]:
    """A line per name, with the value of each run."""
    names = dict.fromkeys(name for values in runs.values() for name in values)
    return [(name, *(run.get(name, "-") for run in runs.values())) for name in names]


def _values_table(caption: str, runs: _Runs, lines: Sequence[Line]) -> Markup:
    if not lines:
        return _HTML.note(f"{caption} There are none.")
    return _HTML.table(Table(caption, [("", *runs), *lines]))
