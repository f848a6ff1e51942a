"""What is known of a run? What lies in its folder, read once."""

import collections
import dataclasses
import json
import pathlib
import shlex
from collections.abc import Callable, Sequence
from types import SimpleNamespace

from vicreg_keras.report.elements import Html, join, paragraph
from vicreg_keras.workdir.run_folder import RunFolder


@dataclasses.dataclass(frozen=True)
class Record:
    """A run as the page tells of it.

    Attributes:
        name: of its folder, different from all others on the page.
        path: of its folder.
        settings: flags by name, as text.
        environment: versions and hardware.
        epochs: lines of pretraining, one an epoch.
        last: the last line of each other mode.
    """

    name: str
    path: pathlib.Path
    settings: dict[str, str]
    environment: dict
    epochs: list[SimpleNamespace]
    last: dict[str, dict]


def read_records(runs: Sequence[RunFolder]) -> list[Record]:
    """Reads the folders of runs.

    Args:
        runs: at least one.

    Raises:
        ValueError: if there is no run, or a folder holds nothing of one.
    """
    if not runs:
        raise ValueError("Expected at least one run to report. Received: none.")
    counts = collections.Counter(run.path.resolve().name for run in runs)
    return [_read(run, counts) for run in runs]


def missing(
    records: Sequence[Record], mode: str, has: Callable[[Record], object] | None = None
) -> Html:
    """A line for each run that lacks what a mode would give, with the command.

    Args:
        records: the runs.
        mode: that is run to get it.
        has: whether a run has it already; by default, whether it has that mode's line.
    """
    if has is None:

        def has(record):
            return mode in record.last

    lines = []
    for record in records:
        if not has(record):
            whose = f"{record.name}: " if len(records) > 1 else ""
            folder = shlex.quote(str(record.path))
            command = f"python main.py --mode={mode} --workdir={folder}"
            line = join([f"{whose}not run yet: ", Html("<code>"), command])
            lines.append(paragraph(Html(f"{line}</code>"), "missing"))
    return join(lines)


def _read(run, counts):
    name = run.path.resolve().name
    rows = [row for row in run.read_metrics() if "mode" in row]
    if not rows and not run.flags.exists():
        raise ValueError(
            "Expected the folder of a run, with metrics.jsonl or flags.flags. "
            f"Received: workdir={run.path}, which has neither. Train there first "
            "(--mode=pretrain), or name another."
        )
    environment = {}
    if run.environment.exists():
        environment = json.loads(run.environment.read_text())
    return Record(
        name=name if counts[name] == 1 else str(run.path),
        path=run.path,
        settings=run.read_settings(),
        environment=environment,
        epochs=[
            SimpleNamespace(epoch=row["epoch"], minutes=row.get("minutes"), metrics=row)
            for row in rows
            if row["mode"] == "pretrain"
        ],
        last={row["mode"]: _flat(row) for row in rows if row["mode"] != "pretrain"},
    )


def _flat(row):
    """A line of the modes that keep metrics and settings apart, with both together."""
    if row["mode"] not in ("knn_eval", "retrieve", "cluster", "spectrum"):
        return row
    results = {
        name: result["metrics"] | result["settings"]
        for name, result in row["results"].items()
    }
    return row | {"results": results}
