"""Runs as the page shows them: what is in their folders, read once."""

import collections
import dataclasses
import json
import pathlib
import shlex
from collections.abc import Sequence

from vicreg_keras.errors import InputError
from vicreg_keras.evaluate.clustering import ClusterRecord
from vicreg_keras.evaluate.finetune import FinetuneRecord
from vicreg_keras.evaluate.knn import KnnEvalRecord
from vicreg_keras.evaluate.linear_eval import LinearEvalRecord
from vicreg_keras.evaluate.records import (
    ExportRecord,
    PretrainRecord,
    Record,
    read_records,
)
from vicreg_keras.evaluate.retrieval import RetrieveRecord
from vicreg_keras.evaluate.spectrum import SpectrumRecord
from vicreg_keras.report.elements import Html, element, join, paragraph
from vicreg_keras.workdir.run_folder import RunFolder

_RECORDS = (
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
        epochs: Epochs of pretraining.
        last: The last record of each type.
    """

    name: str
    path: pathlib.Path
    settings: dict[str, str]
    environment: dict
    epochs: list[PretrainRecord]
    last: dict[type[Record], Record]


def read_runs(folders: Sequence[RunFolder]) -> list[Run]:
    """Reads the folders of runs.

    Args:
        folders: Folders of runs.

    Raises:
        InputError: If a folder is not that of a run.
    """
    counts = collections.Counter(folder.path.resolve().name for folder in folders)
    return [_read(folder, counts) for folder in folders]


def missing(runs: Sequence[Run], cls: type[Record] | None) -> Html:
    """Returns a line with the command for each run that lacks a record.

    Args:
        runs: The runs of the page.
        cls: Type of the record; `None` for epochs of pretraining.
    """
    if cls is None:
        absent, mode = [run for run in runs if not run.epochs], "pretrain"
    else:
        absent, mode = [run for run in runs if cls not in run.last], cls.mode
    return join([not_run_yet(runs, run, mode) for run in absent])


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
    records = {cls: read_records(folder, cls) for cls in _RECORDS}
    name = folder.path.resolve().name
    return Run(
        name=name if counts[name] == 1 else str(folder.path),
        path=folder.path,
        settings=folder.read_flags(),
        environment=environment,
        epochs=read_records(folder, PretrainRecord),
        last={cls: found[-1] for cls, found in records.items() if found},
    )
