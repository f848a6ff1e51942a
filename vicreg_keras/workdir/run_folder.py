"""What does a run leave on disk, and how does none of it end half-written?

Every file is written aside and renamed; `metrics.jsonl` is only ever appended to, a
whole line at a time.
"""

import contextlib
import fcntl
import json
import os
import pathlib
import platform
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping

import keras
import tensorflow as tf

from vicreg_keras.errors import InputError
from vicreg_keras.workdir.files import write_text


class RunFolder:
    """The folder of one run.

    Args:
        path: where it is, or shall be.

    Attributes:
        path: the folder itself.
        flags: the resolved flags, `flags.flags`.
        environment: versions and hardware, `environment.json`.
        metrics: one JSON object a line, `metrics.jsonl`.
        checkpoints: the whole state of training.
        encoder: numbered SavedModels.
        features: representations of the splits.
        index: the search index.
        figures: pictures.
        tensorboard: event files.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = pathlib.Path(path)
        self.flags = self.path / "flags.flags"
        self.environment = self.path / "environment.json"
        self.metrics = self.path / "metrics.jsonl"
        self.checkpoints = self.path / "checkpoints"
        self.encoder = self.path / "encoder"
        self.features = self.path / "features"
        self.index = self.path / "index"
        self.figures = self.path / "figures"
        self.tensorboard = self.path / "tensorboard"

    def create(self) -> None:
        """Makes the folder, and makes sure that it can be written.

        Raises:
            OSError: if it can't; the message says which folder.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path):
                pass
        except OSError as error:
            raise OSError(
                "Expected a workdir that can be created and written. Received: "
                f"workdir={self.path} ({error.strerror}). Choose another --workdir."
            ) from error

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Holds the run for this process.

        Raises:
            OSError: if another process trains in the same folder.
        """
        with open(self.path / ".lock", "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise OSError(
                    "Expected a workdir that no other process trains in. Received: "
                    f"workdir={self.path}. Wait for that process, or choose another "
                    "--workdir."
                ) from error
            yield

    def claim(
        self, settings: Mapping[str, str], may_change: Iterable[str] = ()
    ) -> None:
        """Writes the run's flags, or checks that they are those it was started with.

        A folder without a checkpoint holds no training yet: any recipe may have it.

        Args:
            settings: name and value, as text, of every flag that makes the run.
            may_change: names that may differ from what the run was started with.

        Raises:
            ValueError: if the folder belongs to another recipe.
        """
        started = any(self.checkpoints.glob("*.index"))
        earlier = self.read_settings() if started else {}
        free = set(may_change)
        for name in sorted({*earlier, *settings} - free) if earlier else ():
            before, now = (values.get(name, "none") for values in (earlier, settings))
            if before != now:
                raise InputError(
                    f"Expected the recipe that {self.path} was started with "
                    f"({name}={before}). Received: {name}={now}. Choose another "
                    "workdir, or give the same value to continue that run."
                )
        lines = [f"--{name}={value}\n" for name, value in sorted(settings.items())]
        header = f"# Repeat with: python main.py --flagfile={self.flags}\n"
        write_text(self.flags, header + "".join(lines))

    def read_settings(self) -> dict[str, str]:
        """The flags the run was started with, by name; empty where there is no run."""
        if not self.flags.exists():
            return {}
        lines = self.flags.read_text().splitlines()
        found = (re.fullmatch(r"--([a-z0-9_]+)=(.*)", line) for line in lines)
        return {match[1]: match[2] for match in found if match}

    def write_environment(self, **facts) -> None:
        """Writes `environment.json`: versions, hardware, commit and `facts`."""
        environment = {
            "python": platform.python_version(),
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "system": platform.platform(),
            "cores": os.cpu_count(),
            "devices": [device.name for device in tf.config.list_logical_devices()],
            "commit": _commit(),
            **facts,
        }
        write_text(self.environment, json.dumps(environment, indent=2) + "\n")

    def append_metrics(self, row: Mapping) -> None:
        """Adds one line to `metrics.jsonl`, whole and at once."""
        line = json.dumps(row, allow_nan=True) + "\n"
        with open(self.metrics, "ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                # Nothing is added to a line that a kill cut off: both would be lost.
                line = line if file.read(1) == b"\n" else "\n" + line
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())

    def read_metrics(self, mode: str | None = None) -> list[dict]:
        """The lines of `metrics.jsonl`, of one mode or of all, the oldest first.

        A last line that a kill cut off is left out.
        """
        if not self.metrics.exists():
            return []
        rows = []
        for line in self.metrics.read_text().splitlines():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                continue
        return [row for row in rows if mode is None or row.get("mode") == mode]

    def truncate_metrics(self, step: int) -> None:
        """Drops the lines of pretraining that lie behind `step`, and torn ones."""
        rows = [
            row
            for row in self.read_metrics()
            if row.get("mode") != "pretrain" or row["step"] <= step
        ]
        if self.metrics.exists():
            write_text(self.metrics, "".join(json.dumps(row) + "\n" for row in rows))


def _commit():
    """The commit of the checkout this file lies in, or `None`."""
    try:
        return subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=pathlib.Path(__file__).resolve().parent,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
