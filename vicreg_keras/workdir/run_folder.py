"""The folder of a run: its flags, environment, records and paths.

Every file is written aside and renamed; `metrics.jsonl` is only ever appended to, a
whole line at a time. Each line has a checksum, which begins with the run's id: a line
that was changed or is of another run is named and left out.
"""

import contextlib
import errno
import fcntl
import hashlib
import importlib.metadata
import json
import os
import pathlib
import platform
import re
import subprocess
import tempfile
import uuid
import warnings
from collections.abc import Iterable, Iterator, Mapping

import keras
import tensorflow as tf

from vicreg_keras.errors import DamagedError, InputError
from vicreg_keras.workdir.files import write_file, write_json, write_text
from vicreg_keras.workdir.recipe import FLAG_FILE, Recipe, encoder_recipe, read_recipe

_MAX_NAMED_LINES = 5


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
        self.flags = self.path / FLAG_FILE
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

    @property
    def recipe(self) -> Recipe | None:
        """The run's recipe, see `read_recipe`."""
        return read_recipe(self.path)

    @property
    def run_id(self) -> str:
        """The run's id; empty where there is no run, or none that can be read."""
        try:
            recipe = self.recipe
        except DamagedError:
            return ""
        return recipe.run_id if recipe else ""

    def write_flags(self, flags: Mapping[str, str]) -> None:
        """Writes the run's flags, and draws its id if it has none.

        Args:
            flags: Value, as text, of every flag of the recipe by name.
        """
        run_id = self.run_id or uuid.uuid4().hex[:16]
        write_text(self.flags, Recipe(flags, run_id).text)

    def read_flags(self) -> Mapping[str, str]:
        """Returns the flags of the run by name; none if there is no run."""
        recipe = self.recipe
        return recipe.flags if recipe else {}

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
            "run": self.run_id,
        }
        write_json(self.environment, environment)

    def append_metrics(self, record: Mapping) -> None:
        """Appends one record to `metrics.jsonl`, whole and at once."""
        text, run_id = json.dumps(record), self.run_id
        checksum = f"{run_id}-{_line_digest(text[:-1], run_id)}"
        line = f'{text[:-1]}, "checksum": "{checksum}"}}\n'
        with open(self.metrics, "ab+", buffering=0) as file:
            if size := file.tell():
                file.seek(-1, os.SEEK_END)
                # A line that a kill cut off is ended first: else both would be lost.
                line = line if file.read(1) == b"\n" else "\n" + line
            content = line.encode()
            try:
                if file.write(content) < len(content):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(file.fileno())
            except OSError as error:
                file.truncate(size)
                error.filename = str(self.metrics)
                raise

    def read_metrics(self, mode: str | None = None) -> list[dict]:
        """Returns the records of one mode or of all, the oldest first.

        Lines that are cut off, damaged or of another run are named and left out.
        """
        records = [record for _, record in self._read_lines() if record is not None]
        return [record for record in records if mode in (None, record.get("mode"))]

    def truncate_metrics(self, epoch: int) -> None:
        """Removes the records of later epochs, and a last line that is cut off.

        Epochs without a record are named.

        Args:
            epoch: Whole epochs of pretraining that are done.
        """
        kept = []
        for line, record in self._read_lines():
            values = record or {}
            later = values.get("mode") == "pretrain" and values["epoch"] > epoch
            if line.endswith(b"\n") and not later:
                kept.append(line)
        self.check_epochs(epoch)
        if self.metrics.exists():
            with write_file(self.metrics) as file:
                file.write(b"".join(kept))

    def check_epochs(self, epoch: int) -> None:
        """Names epochs that are done and have no record.

        Args:
            epoch: Whole epochs of pretraining that are done.
        """
        found = {record["epoch"] for record in self.read_metrics("pretrain")}
        if missing := set(range(1, epoch + 1)) - found:
            warnings.warn(
                f"{self.metrics} has no records of {len(missing)} of the {epoch} "
                f"epochs that are done ({_first(missing)}).",
                stacklevel=2,
            )

    def _read_lines(self) -> list[tuple[bytes, dict | None]]:
        """Returns each line of `metrics.jsonl` and its record, `None` for a bad one."""
        if not self.metrics.exists():
            return []
        lines = self.metrics.read_bytes().splitlines(keepends=True)
        records, run_id = [], self.run_id
        damaged, foreign = [], []
        for number, line in enumerate(lines, start=1):
            records.append(_parse_line(line))
            if records[-1] is None:
                damaged.append(number)
                continue
            owner = records[-1].pop("checksum", "").partition("-")[0]
            if owner and run_id and owner != run_id:
                records[-1] = None
                foreign.append(number)
        for reason, numbers in {"damaged": damaged, "of another run": foreign}.items():
            if numbers:
                warnings.warn(
                    f"{self.metrics}: {len(numbers)} of {len(lines)} lines left out, "
                    f"which are {reason} (line {_first(numbers)}).",
                    stacklevel=3,
                )
        return [*zip(lines, records, strict=True)]


def check_owner(version: pathlib.Path, run: RunFolder) -> None:
    """Checks that a saved encoder is that of a run.

    Args:
        version: Folder of the SavedModel.
        run: Folder of the run.

    Raises:
        DamagedError: If it is another run's.
    """
    recipe, run_id = encoder_recipe(version), run.run_id
    if recipe and run_id and recipe.run_id not in ("", run_id):
        raise DamagedError(
            version,
            f"it is of another run than {run.flags}",
            "Restore the one or the other, or name the encoder by saved_model.",
        )


def outdated(version: pathlib.Path, run: RunFolder) -> str | None:
    """Returns why a saved encoder is not of the last epoch of its run, or `None`.

    Args:
        version: Folder of the SavedModel.
        run: Folder of the run, which has been given more epochs since, or not.
    """
    recipe, now = encoder_recipe(version), run.recipe
    if recipe is None or now is None:
        return None
    epochs, planned = (one.flags.get("epochs") for one in (recipe, now))
    if epochs == planned:
        return None
    return f"{version} is of {epochs} epochs, and the run has {planned}"


def _parse_line(line: bytes) -> dict | None:
    """Returns the record of a line, with its checksum, or `None` if it is not whole.

    Earlier versions of the program wrote no checksums.
    """
    found = re.fullmatch(
        rb'(\{.*), "checksum": "([0-9a-f]*)-([0-9a-f]{16})"\}\n?', line
    )
    try:
        if found and found[3].decode() != _line_digest(
            found[1].decode(), found[2].decode()
        ):
            return None
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _line_digest(text: str, run_id: str) -> str:
    return hashlib.sha256(f"{run_id}{text}".encode()).hexdigest()[:16]


def _first(numbers: Iterable[int]) -> str:
    first = sorted(numbers)
    more = ", ..." if len(first) > _MAX_NAMED_LINES else ""
    return ", ".join(map(str, first[:_MAX_NAMED_LINES])) + more


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
