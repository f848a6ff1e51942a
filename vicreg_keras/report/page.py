"""The report of a run, or of several side by side: one HTML file, no network."""

import base64
import hashlib
import importlib.resources
import pathlib
from collections.abc import Callable, Sequence

from vicreg_keras.report.cluster_map import map_section
from vicreg_keras.report.elements import Html, join, markup, paragraph
from vicreg_keras.report.examples import (
    confusion_section,
    mistakes_section,
    neighbors_section,
)
from vicreg_keras.report.pictures import Pictures, check_pictures
from vicreg_keras.report.results import results_section
from vicreg_keras.report.runs import Run, not_run_yet, read_runs
from vicreg_keras.report.settings import settings_section, versions_section
from vicreg_keras.report.tables import files_section, labels_section, retrieval_section
from vicreg_keras.report.training import collapse_section, training_section
from vicreg_keras.workdir.files import write_file
from vicreg_keras.workdir.run_folder import RunFolder

_OF_RUNS: dict[str, Callable[[Sequence[Run]], Html]] = {
    "Results": results_section,
    "Training": training_section,
    "Collapse": collapse_section,
    "Retrieval": retrieval_section,
    "Labels": labels_section,
    "Files": files_section,
    "Settings": settings_section,
    "Versions": versions_section,
}
_OF_PICTURES: dict[str, Callable[[Pictures], Html]] = {
    "Confusion": confusion_section,
    "Mistakes": mistakes_section,
    "Retrieval": neighbors_section,
    "Clusters": map_section,
}
# The sections in their order; "Retrieval" has a part of each kind.
SECTIONS = (
    *("Results", "Training", "Collapse", "Confusion", "Mistakes", "Retrieval"),
    *("Clusters", "Labels", "Files", "Settings", "Versions"),
)


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
        InputError: If there is no run, or a folder is not that of a run.
        ValueError: If pictures can't be shown, see `check_pictures`.
    """
    runs = read_runs(folders)
    if pictures is not None:
        check_pictures(pictures)
    page = _page(runs, {name: _section(name, runs, pictures) for name in SECTIONS})
    with write_file(path) as file:
        # File names may hold bytes that are no text.
        file.write(page.encode("utf-8", "replace"))


def _section(name, runs, pictures):
    parts = []
    if name in _OF_RUNS:
        parts.append(_OF_RUNS[name](runs))
    if name in _OF_PICTURES and pictures is None:
        parts.append(not_run_yet(runs, runs[0], "evaluate"))
    elif name in _OF_PICTURES:
        if len(runs) > 1:
            parts.append(paragraph(f"Of the run {runs[0].name}."))
        parts.append(_OF_PICTURES[name](pictures))
    return join(parts)


def _page(runs: Sequence[Run], contents: dict[str, Html]) -> str:
    files = importlib.resources.files(__package__)
    style = files.joinpath("page.css").read_text("utf-8")
    script = files.joinpath("map.js").read_text("utf-8")
    # This script and no other runs, whatever else the page might come to hold.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    names = ", ".join(run.name for run in runs)
    title = f"VICReg: {names}"
    links = [f'<a href="#{name.lower()}">{name}</a>\n' for name in contents]
    sections = [
        f'<section id="{name.lower()}" aria-labeledby="{name.lower()}-heading">\n'
        f'<h2 id="{name.lower()}-heading">{name}</h2>\n{content}</section>\n'
        for name, content in contents.items()
    ]
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{markup(title)}</title>
<style>
{style}</style>
</head>
<body>
<header>
<h1>{markup(title)}</h1>
{_subtitle(runs)}<nav aria-label="Sections">
{"".join(links)}</nav>
</header>
<main>
{"".join(sections)}</main>
<script>{script}</script>
</body>
</html>
"""


def _subtitle(runs):
    """What was trained on what, as far as the flags tell."""
    lines = []
    for run in runs:
        known = [run.settings[k] for k in ("encoder", "dataset") if k in run.settings]
        text = f"{run.name}: {' on '.join(known)}" if known else run.name
        if run.epochs:
            last = run.epochs[-1]
            text += f", {last.epoch} epochs, {last.minutes:.1f} minutes"
        lines.append(paragraph(f"{text}, without labels." if known else text))
    return join(lines)
