"""Sections on how a run was made: its flags, versions and hardware."""

from collections.abc import Sequence

from vicreg_keras.report.elements import Html, element, join, paragraph, table
from vicreg_keras.report.runs import Run


def settings_section(runs: Sequence[Run]) -> Html:
    """Returns the flags of a run, or those in which several runs differ.

    Args:
        runs: The runs of the page.
    """
    names = sorted({name for run in runs for name in run.settings})
    if not names:
        text = "Left out: there is no flags.flags, since nothing was trained here."
        return paragraph(text, kind="missing")
    lines = [
        [f"--{name}", *(run.settings.get(name, "-") for run in runs)]
        for name in names
        # Every run has a folder of its own: that they differ tells nothing.
        if len(runs) == 1 or name != "workdir"
    ]
    if len(runs) == 1:
        return table("Flags of the run.", ["flag", "value"], lines, "settings")
    differing = [line for line in lines if len(set(line[1:])) > 1]
    same = [line[:2] for line in lines if len(set(line[1:])) == 1]
    parts = [paragraph("The runs have the same flags.")]
    if differing:
        caption, header = "Flags in which the runs differ.", [run.name for run in runs]
        parts = [table(caption, ["flag", *header], differing, "settings differing")]
    if same:
        inside = table("Flags that are the same.", ["flag", "value"], same, "settings")
        summary = element("summary", f"The {len(same)} flags that are the same")
        parts.append(element("details", summary, inside))
    return join(parts)


def versions_section(runs: Sequence[Run]) -> Html:
    """Returns versions, hardware and commit.

    Args:
        runs: The runs of the page.
    """
    names = dict.fromkeys(name for run in runs for name in run.environment)
    if not names:
        text = "Left out: there is no environment.json, since nothing was trained here."
        return paragraph(text, kind="missing")
    lines = [
        [name, *(_text(run.environment.get(name)) for run in runs)] for name in names
    ]
    header = ["", *(run.name for run in runs)]
    return table("Versions and hardware of training.", header, lines, "settings")


def _text(value):
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "-" if value is None else str(value)
