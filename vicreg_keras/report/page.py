"""The report of a run, or of several side by side: one HTML file, no network."""

import base64
import hashlib
import importlib.resources
import pathlib
import string
from collections.abc import Callable, Sequence

from vicreg_keras.evaluate.records import PretrainRecord
from vicreg_keras.report.cluster_map import map_section
from vicreg_keras.report.elements import Html, element, join, markup, paragraph
from vicreg_keras.report.examples import (
    confusion_section,
    mistakes_section,
    neighbors_section,
)
from vicreg_keras.report.pictures import Pictures
from vicreg_keras.report.results import results_section
from vicreg_keras.report.runs import Run, not_run_yet, read_runs
from vicreg_keras.report.settings import settings_section, versions_section
from vicreg_keras.report.tables import files_section, labels_section, retrieval_section
from vicreg_keras.report.training import collapse_section, training_section
from vicreg_keras.workdir.files import write_file
from vicreg_keras.workdir.run_folder import RunFolder

_OfRuns = Callable[[Sequence[Run]], Html]
_OfPictures = Callable[[Pictures], Html]
# The sections in their order, with what draws them: of runs, and of pictures.
SECTIONS: dict[str, tuple[_OfRuns | None, _OfPictures | None]] = {
    "Results": (results_section, None),
    "Training": (training_section, None),
    "Collapse": (collapse_section, None),
    "Confusion": (None, confusion_section),
    "Mistakes": (None, mistakes_section),
    "Retrieval": (retrieval_section, neighbors_section),
    "Clusters": (None, map_section),
    "Labels": (labels_section, None),
    "Files": (files_section, None),
    "Settings": (settings_section, None),
    "Versions": (versions_section, None),
}


def build_report(
    folders: Sequence[RunFolder], path: pathlib.Path, pictures: Pictures | None = None
) -> None:
    """Writes the page of what the folders of runs hold.

    Of each mode the last record counts. What is not there yet is named with the command
    that gives it. Several runs are compared: a column each in the tables, a line each
    in the figures, and of the flags those that differ.

    The page opens without a network: scripts, styles and images are part of it, and
    it forbids the browser to load anything.

    Args:
        folders: Folders of at least one run.
        path: Path of the HTML file.
        pictures: Examples of the first run, or `None`.

    Raises:
        InputError: If a folder is not that of a run.
    """
    page = _page(read_runs(folders), pictures)
    with write_file(path) as file:
        # File names may hold bytes that are no text.
        file.write(page.encode("utf-8", "replace"))


def _page(runs: Sequence[Run], pictures: Pictures | None) -> str:
    files = importlib.resources.files(__package__)
    names = ("page.html", "page.css", "map.js")
    page, style, script = (files.joinpath(name).read_text("utf-8") for name in names)
    # This script and no other runs, whatever else the page might come to hold.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    links = [element("a", name, href=f"#{name.lower()}") for name in SECTIONS]
    return string.Template(page).substitute(
        title=markup(f"VICReg: {', '.join(run.name for run in runs)}"),
        subtitle=join(map(_subtitle, runs)),
        links="\n".join(links),
        sections="\n".join(_section(name, runs, pictures) for name in SECTIONS),
        style=style,
        script=script,
        digest=digest,
    )


def _section(name: str, runs: Sequence[Run], pictures: Pictures | None) -> Html:
    of_runs, of_pictures = SECTIONS[name]
    parts = [element("h2", name, id=f"{name.lower()}-heading")]
    if of_runs:
        parts.append(of_runs(runs))
    if of_pictures and pictures is None:
        parts.append(not_run_yet(runs, runs[0], "evaluate"))
    elif of_pictures:
        if len(runs) > 1:
            parts.append(paragraph(f"Of the run {runs[0].name}."))
        parts.append(of_pictures(pictures))
    key = name.lower()
    return element("section", *parts, id=key, aria_labelledby=f"{key}-heading")


def _subtitle(run: Run) -> Html:
    """What was trained on what, as far as the flags tell."""
    known = [run.settings[k] for k in ("encoder", "dataset") if k in run.settings]
    text = f"{run.name}: {' on '.join(known)}" if known else run.name
    for last in run.records[PretrainRecord][-1:]:
        text += f", {last.epoch} epochs, {last.minutes:.1f} minutes"
    return paragraph(f"{text}, without labels." if known else text)
