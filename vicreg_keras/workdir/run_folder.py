"""The folder of a run: its flags, environment, records and paths.

Every file is written aside and renamed; `metrics.jsonl` is only ever appended to, a
whole line at a time.
"""

import contextlib
import fcntl
import importlib.metadata
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


class RunLockedError(InputError):
    """Another process trains in the same folder."""


class RunFolder:
    """The folder of one run.

    Args:
        path: Path of the folder, which may not exist yet.

    Attributes:
        path: The folder itself.
        flags: The resolved flags, `flags.flags`.
        environment: Versions and hardware, `environment.json`.
        data_card: What was read, `data.json`.
        examples: Names, digests and classes of the examples, `examples.npz`.
        metrics: One JSON object per line, `metrics.jsonl`.
        checkpoints: The whole state of training.
        encoder: Numbered SavedModels.
        features: Representations of the splits.
        index: The search index.
        nonfinite: The last batch and model whose loss or gradient was not finite.
        figures: Figures.
        tensorboard: Event files.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = pathlib.Path(path)
        self.flags = self.path / "flags.flags"
        self.environment = self.path / "environment.json"
        self.data_card = self.path / "data.json"
        self.examples = self.path / "examples.npz"
        self.metrics = self.path / "metrics.jsonl"
        self.checkpoints = self.path / "checkpoints"
        self.encoder = self.path / "encoder"
        self.features = self.path / "features"
        self.index = self.path / "index"
        self.nonfinite = self.path / "nonfinite"
        self.figures = self.path / "figures"
        self.tensorboard = self.path / "tensorboard"

    def create(self) -> None:
        """Makes the folder, and checks that it is writable.

        Raises:
            InputError: If it is not.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path):
                pass
        except OSError as error:
            raise InputError(
                "Expected a workdir that can be created and written. Received: "
                f"workdir={self.path} ({error.strerror}). Choose another workdir."
            ) from error

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Locks the run for this process.

        Raises:
            RunLockedError: If another process trains in the same folder.
        """
        with open(self.path / ".lock", "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise RunLockedError(
                    "Expected a workdir that no other process trains in. Received: "
                    f"workdir={self.path}. Wait for that process, or choose another "
                    "workdir."
                ) from error
            yield

    def check_flags(
        self, flags: Mapping[str, str], may_change: Iterable[str] = ()
    ) -> None:
        """Checks that flags are those that the run was started with.

        A folder without a checkpoint takes any flags.

        Args:
            flags: Value, as text, of every flag of the recipe by name.
            may_change: Names that may differ from what the run was started with.

        Raises:
            InputError: If the run was started with others.
        """
        if any(self.checkpoints.glob("*.index")):
            check_unchanged(self.path, self.read_flags(), flags, may_change)

    def write_flags(self, flags: Mapping[str, str]) -> None:
        """Writes the run's flags.

        Args:
            flags: Value, as text, of every flag of the recipe by name.
        """
        lines = [f"--{name}={value}\n" for name, value in sorted(flags.items())]
        write_text(self.flags, "".join(lines))

    def read_flags(self) -> dict[str, str]:
        """Returns the flags of the run by name; none if there is no run."""
        if not self.flags.exists():
            return {}
        lines = self.flags.read_text().splitlines()
        matches = (re.fullmatch(r"--([a-z0-9_]+)=(.*)", line) for line in lines)
        return {match[1]: match[2] for match in matches if match}

    def write_environment(self, **facts: str | int) -> None:
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

    def append_metrics(self, record: Mapping) -> None:
        """Appends one record to `metrics.jsonl`, whole and at once."""
        line = json.dumps(record, allow_nan=True) + "\n"
        with open(self.metrics, "ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                # A line that a kill cut off is ended first: else both would be lost.
                line = line if file.read(1) == b"\n" else "\n" + line
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())

    def read_metrics(self, mode: str | None = None) -> list[dict]:
        """Returns the records of one mode or of all, the oldest first.

        A last line that a kill cut off is left out.
        """
        if not self.metrics.exists():
            return []
        records = []
        for line in self.metrics.read_text().splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                records.append(json.loads(line))
        return [record for record in records if mode in (None, record.get("mode"))]

    def truncate_metrics(self, epoch: int) -> None:
        """Removes the records of later epochs, and lines that are cut off.

        Args:
            epoch: Whole epochs of pretraining that are done.
        """
        records = [
            record
            for record in self.read_metrics()
            if record.get("mode") != "pretrain" or record["epoch"] <= epoch
        ]
        if self.metrics.exists():
            lines = (json.dumps(record) + "\n" for record in records)
            write_text(self.metrics, "".join(lines))


def check_unchanged(
    path: pathlib.Path,
    earlier: Mapping[str, str],
    flags: Mapping[str, str],
    may_change: Iterable[str] = (),
) -> None:
    """Checks that what is in a folder is continued with the same values.

    Args:
        path: The folder.
        earlier: Values by name that it was started with; none for a new folder.
        flags: Values by name to continue with.
        may_change: Names whose values may differ.

    Raises:
        InputError: If another value differs.
    """
    for name in sorted({*earlier, *flags} - set(may_change)) if earlier else ():
        before, now = (values.get(name, "none") for values in (earlier, flags))
        if before != now:
            raise InputError(
                f"Expected what {path} was started with ({name}={before}). Received: "
                f"{name}={now}. Choose another workdir, or give the same value to "
                "continue."
            )


def _commit() -> str | None:
    """Returns the commit of this checkout, or that pip installed, if it is known."""
    root = pathlib.Path(__file__).resolve().parents[2]
    # Not of a repository that merely contains the environment of a wheel.
    if (root / ".git").exists():
        command = ["git", "-C", str(root), "rev-parse", "HEAD"]
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            return subprocess.check_output(
                command, text=True, stderr=subprocess.DEVNULL
            ).strip()
        return None
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        installed = importlib.metadata.distribution("vicreg-keras")
        source = json.loads(installed.read_text("direct_url.json") or "{}")
        return source.get("vcs_info", {}).get("commit_id")
    return None
