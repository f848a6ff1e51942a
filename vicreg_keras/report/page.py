"""The report of a run, or of several beside each other: one HTML file, no network."""

import base64
import hashlib
import importlib.resources
import pathlib
from collections.abc import Callable, Sequence

from vicreg_keras.report.cluster_map import map_section
from vicreg_keras.report.elements import Html, join, markup, paragraph
from vicreg_keras.report.exports import files_section
from vicreg_keras.report.label_efficiency import labels_section
from vicreg_keras.report.mistakes import confusion_section, mistakes_section
from vicreg_keras.report.neighbors import retrieval_numbers, retrieval_pictures
from vicreg_keras.report.pictures import Pictures, check_pictures
from vicreg_keras.report.records import Record, missing, read_records
from vicreg_keras.report.results import results_section
from vicreg_keras.report.settings import settings_section, versions_section
from vicreg_keras.report.training import collapse_section, training_section
from vicreg_keras.workdir.files import write_file
from vicreg_keras.workdir.run_folder import RunFolder

Section = Callable[[Sequence[Record], Pictures | None], Html]


def build_report(
    runs: Sequence[RunFolder], path: pathlib.Path, pictures: Pictures | None = None
) -> None:
    """Writes the page.

    It tells what the runs' folders hold: of each mode the last line of
    `metrics.jsonl`, the flags, the versions. What is not there yet is named with the
    command that gives it. Several runs are compared: a column each in the tables, a
    line each in the charts, and of the flags those that differ.

    The page opens without a network: scripts, styles and images are part of it, and
    it forbids the browser to load anything.

    Args:
        runs: at least one.
        path: of the HTML file.
        pictures: of the first run, or `None`.

    Raises:
        ValueError: if there is no run, a folder holds nothing of one, or as
            `pictures.check_pictures`.
    """
    records = read_records(runs)
    if pictures is not None:
        check_pictures(pictures)
    contents = {name: SECTIONS[name](records, pictures) for name in SECTIONS}
    page = _page(records, contents)
    with write_file(path) as file:
        # File names may hold bytes that are no text.
        file.write(page.encode("utf-8", "replace"))


def _of_pictures(draw: Callable[[Pictures], Html]) -> Section:
    """A section of pictures, which may not be there, and are of the first run."""

    def section(records, pictures):
        if pictures is None:
            return missing(records[:1], "evaluate", lambda record: False)
        drawn = draw(pictures)
        if len(records) == 1:
            return drawn
        return join([paragraph(f"Of the run {records[0].name}."), drawn])

    return section


def _of_records(tell: Callable[[Sequence[Record]], Html]) -> Section:
    """A section that needs no pictures."""
    return lambda records, pictures: tell(records)


def _retrieval(records, pictures):
    drawn = _of_pictures(retrieval_pictures)(records, pictures)
    return join([retrieval_numbers(records), drawn])


# What stands on the page, in this order.
SECTIONS: dict[str, Section] = {
    "Results": _of_records(results_section),
    "Training": _of_records(training_section),
    "Collapse": _of_records(collapse_section),
    "Confusion": _of_pictures(confusion_section),
    "Mistakes": _of_pictures(mistakes_section),
    "Retrieval": _retrieval,
    "Clusters": _of_pictures(map_section),
    "Labels": _of_records(labels_section),
    "Files": _of_records(files_section),
    "Settings": _of_records(settings_section),
    "Versions": _of_records(versions_section),
}


def _page(records: Sequence[Record], contents: dict[str, Html]) -> str:
    files = importlib.resources.files(__package__)
    style = files.joinpath("page.css").read_text("utf-8")
    script = files.joinpath("map.js").read_text("utf-8")
    # This script and no other runs, whatever else the page might come to hold.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    names = ", ".join(record.name for record in records)
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
{_subtitle(records)}<nav aria-label="Sections">
{"".join(links)}</nav>
</header>
<main>
{"".join(sections)}</main>
<script>{script}</script>
</body>
</html>
"""


def _subtitle(records):
    """What was trained on what, as far as the flags tell."""
    lines = []
    for record in records:
        settings = record.settings
        known = [settings[name] for name in ("encoder", "dataset") if name in settings]
        told = f"{record.name}: {' on '.join(known)}" if known else record.name
        if record.epochs:
            last = record.epochs[-1]
            told += f", {last.epoch} epochs, {last.minutes:.1f} minutes"
        lines.append(paragraph(f"{told}, without labels." if known else told))
    return join(lines)
