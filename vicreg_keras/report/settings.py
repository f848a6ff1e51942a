"""With what was a run made, and on what machine? Its flags and versions."""

from collections.abc import Sequence

from vicreg_keras.report.elements import Html, join, paragraph, table
from vicreg_keras.report.records import Record

# Every run has its own: that they differ says nothing.
_OWN = ("workdir",)


def settings_section(records: Sequence[Record]) -> Html:
    """The flags of a run, or those in which several runs differ.

    Args:
        records: the runs.
    """
    known = [record for record in records if record.settings]
    if not known:
        text = "Left out: there is no flags.flags, since nothing was trained here."
        return paragraph(text, "missing")
    names = sorted({name for record in records for name in record.settings})
    rows = [
        [f"--{name}", *(record.settings.get(name, "-") for record in records)]
        for name in names
        if len(records) == 1 or name not in _OWN
    ]
    if len(records) == 1:
        return table("Flags of the run.", ["flag", "value"], rows, "settings")
    differing = [row for row in rows if len(set(row[1:])) > 1]
    alike = [row[:2] for row in rows if len(set(row[1:])) == 1]
    parts = []
    if differing:
        header = ["flag", *(record.name for record in records)]
        parts.append(
            table(
                "Flags in which the runs differ.",
                header,
                differing,
                "settings differing",
            )
        )
    else:
        parts.append(paragraph("The runs have the same flags."))
    if alike:
        inside = table("Flags that are the same.", ["flag", "value"], alike, "settings")
        parts.append(
            Html(
                f"<details><summary>The {len(alike)} flags that are the same"
                f"</summary>{inside}</details>\n"
            )
        )
    return join(parts)


def versions_section(records: Sequence[Record]) -> Html:
    """Versions, hardware and commit.

    Args:
        records: the runs.
    """
    names = list(
        dict.fromkeys(name for record in records for name in record.environment)
    )
    if not names:
        text = "Left out: there is no environment.json, since nothing was trained here."
        return paragraph(text, "missing")
    rows = [
        [name, *(_text(record.environment.get(name)) for record in records)]
        for name in names
    ]
    header = ["", *(record.name for record in records)]
    return table("Versions and hardware of training.", header, rows, "settings")


def _text(value):
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "-" if value is None else str(value)
