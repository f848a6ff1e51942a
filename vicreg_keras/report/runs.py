"""Runs as the page shows them: what is in their folders, read once."""

import collections
import dataclasses
import json
import pathlib
import shlex
from collections.abc import Sequence
from typing import Any

from vicreg_keras.errors import InputError
from vicreg_keras.evaluate.clustering import ClusterRecord
from vicreg_keras.evaluate.finetune import FinetuneRecord
from vicreg_keras.evaluate.knn import KnnEvalRecord
from vicreg_keras.evaluate.linear_eval import LinearEvalRecord
from vicreg_keras.evaluate.records import (
    ExportRecord,
    PretrainRecord,
    Record,
    RecordT,
    read_records,
)
from vicreg_keras.evaluate.retrieval import RetrieveRecord
from vicreg_keras.evaluate.spectrum import SpectrumRecord
from vicreg_keras.report.elements import Html, element, join, paragraph
from vicreg_keras.workdir.run_folder import RunFolder

_RECORDS = (
    PretrainRecord,
    LinearEvalRecord,
    KnnEvalRecord,
    RetrieveRecord,
    ClusterRecord,
    SpectrumRecord,
    FinetuneRecord,
    ExportRecord,
)
# Options that a mode needs to give its record.
_OPTIONS = {"export": {"format": "tflite"}}


@dataclasses.dataclass(frozen=True)
class Run:
    """A run as the page shows it.

    Attributes:
        name: Name of its folder, different from all others on the page.
        path: Path of its folder.
        settings: Flags by name, as text.
        environment: Versions and hardware.
        records: Records of each type, the oldest first.
    """

    name: str
    path: pathlib.Path
    settings: dict[str, str]
    environment: dict
    records: dict[type[Record], list[Any]]


def read_runs(folders: Sequence[RunFolder]) -> list[Run]:
    """Reads the folders of runs.

    Args:
        folders: Folders of runs.

    Raises:
        InputError: If a folder is not that of a run.
    """
    counts = collections.Counter(folder.path.resolve().name for folder in folders)
    return [_read(folder, counts) for folder in folders]


def last_records(runs: Sequence[Run], cls: type[RecordT]) -> dict[str, RecordT]:
    """Returns the last record of each run that has one, by the run's name.

    Args:
        runs: The runs of the page.
        cls: Type of the records.
    """
    return {run.name: run.records[cls][-1] for run in runs if run.records[cls]}


def missing(runs: Sequence[Run], cls: type[Record]) -> Html:
    """Returns a line with the command for each run that lacks a record.

    Args:
        runs: The runs of the page.
        cls: Type of the record.
    """
    absent = [run for run in runs if not run.records[cls]]
    return join(not_run_yet(runs, run, cls.mode) for run in absent)


def not_run_yet(runs: Sequence[Run], run: Run, mode: str) -> Html:
    """Returns a line with the command that runs a mode.

    Args:
        runs: The runs of the page.
        run: The one that lacks what the mode gives.
        mode: Name of the mode.
    """
    whose = f"{run.name}: " if len(runs) > 1 else ""
    path = shlex.quote(str(run.path))
    flags = {"mode": mode, **_OPTIONS.get(mode, {}), "workdir": path}
    words = ["python main.py", *(f"--{name}={value}" for name, value in flags.items())]
    command = element("code", " ".join(words))
    return paragraph(f"{whose}not run yet: ", command, kind="missing")


def _read(folder, counts):
    if not folder.metrics.exists() and not folder.flags.exists():
        raise InputError(
            "Expected the folder of a run, with metrics.jsonl or flags.flags. "
            f"Received: workdir={folder.path}, which has neither. Train there first, "
            "or name another."
        )
    environment = {}
    if folder.environment.exists():
        environment = json.loads(folder.environment.read_text())
    name = folder.path.resolve().name
    return Run(
        name=name if counts[name] == 1 else str(folder.path),
        path=folder.path,
        settings=folder.read_flags(),
        environment=environment,
        records={cls: read_records(folder, cls) for cls in _RECORDS},
    )
