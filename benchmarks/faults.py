"""Damages files of a finished run, and shows which of them are recognized.

    python -m benchmarks.faults [--cases N] [--only REGEX] [--log benchmarks/LOG.md]

A run on the bundled digits is trained, evaluated, indexed and exported. Then, in a
copy of it for each case, one of its files is damaged in one of six ways and a command
that reads the file runs again, in this process. What it prints and writes is compared
with what it gives for the undamaged run:

- refused: one line on stderr, and an exit status other than 0;
- named: a line on stderr that names the file, which is made again or left out;
- harmless: the same numbers without a word;
- SILENT: other numbers without a word;
- TRACEBACK: an exception, or more than one line of refusal.
"""

import argparse
import collections
import contextlib
import dataclasses
import io
import json
import os
import pathlib
import random
import re
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from unittest import mock

import keras
import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from benchmarks.log import commit, machine, markdown_table, report
from vicreg_keras import cli
from vicreg_keras.errors import InputError
from vicreg_keras.models.saved_encoder import load_encoder, variables_of
from vicreg_keras.modes.baselines import CACHE_VARIABLE
from vicreg_keras.workdir.versions import check_version

RECIPE = (
    *("--dataset=digits", "--encoder=tiny", "--projector=32-32", "--batch_size=128"),
    *("--positives=neighbors", "--neighbors_from=input"),
)
EVALUATIONS = ("knn_eval", "linear_eval", "retrieve")
DAMAGES: dict[str, Callable[[bytes], bytes] | None] = {
    "cut": lambda content: content[: len(content) // 2],
    "flipped": lambda content: _flip(content),
    "zeroed": lambda content: bytes(len(content)),
    "emptied": lambda content: b"",
    "deleted": None,
    "swapped": None,
}
# Which commands read a file, by the start of its path; the longest one counts.
READERS = {
    "cache/": ("knn_eval",),
    "checkpoints/": ("pretrain",),
    "data.json": ("pretrain", "report"),
    "encoder/": ("knn_eval", "pretrain"),
    "environment.json": ("report",),
    "examples.npz": ("pretrain",),
    "features/": ("knn_eval",),
    "figures/": ("report",),
    "flags.flags": ("knn_eval", "pretrain", "report"),
    "index/": ("query",),
    "metrics.jsonl": ("pretrain", "report"),
    "positives.npz": ("pretrain",),
    "tflite/": ("check",),
}
OUTCOMES = ("refused", "named", "harmless", "SILENT", "TRACEBACK")


@dataclasses.dataclass(frozen=True)
class Case:
    """A file of the run, what is done to it, and the command that reads it."""

    file: str
    damage: str
    command: str


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a command printed, and all of its results that can be compared."""

    status: int | None
    errors: str
    results: object


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", type=int, help="so many, drawn at random")
    parser.add_argument("--only", default="", metavar="REGEX", help="of the files")
    parser.add_argument("--log", metavar="LOG.md", help="the table becomes an entry")
    options = parser.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(pathlib.Path(folder))
        cases = [one for one in bench.cases() if re.match(options.only, one.file)]
        if options.cases:
            cases = random.Random(0).sample(cases, min(options.cases, len(cases)))
        counts: dict[str, collections.Counter] = collections.defaultdict(
            collections.Counter
        )
        for case in cases:
            outcome, text = bench.outcome(case)
            print(f"{outcome:9}  {case.command:8} {case.damage:7} {case.file}: {text}")
            counts[_kind(case.file)][outcome] += 1
    lines = [("file", *OUTCOMES)]
    lines += [(kind, *(f"{n[one]}" for one in OUTCOMES)) for kind, n in counts.items()]
    total = sum(counts.values(), collections.Counter())
    lines.append(("all", *(f"{total[one]}" for one in OUTCOMES)))
    table = markdown_table(lines)
    setting = f"{machine()}; commit {commit()}; {len(cases)} cases, one file each, "
    setting += f"{time.monotonic() - start:.0f} s"
    question = "is a damaged file of a run recognized?"
    report(options.log, "faults", question, setting, table)


class Bench:
    """Finished runs, and what the commands give for them.

    Args:
        folder: An empty folder.
    """

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.run, self.other = folder / "whole", folder / "other"
        query = Image.fromarray((load_digits().images[7] * 15.9).astype(np.uint8))
        query.save(folder / "query.png")
        for seed, run in enumerate((self.run, self.other)):
            self._make(run, seed)
        self._expected: dict[str, Outcome] = {}

    def cases(self) -> Iterator[Case]:
        """Yields every file with every damage and each command that reads it."""
        for path in sorted(self.run.rglob("*")):
            file = path.relative_to(self.run).as_posix()
            commands = [READERS[start] for start in READERS if file.startswith(start)]
            for command in commands[-1] if path.is_file() and commands else ():
                for damage in DAMAGES:
                    swapped = damage == "swapped"
                    if not swapped or (self.other / file).is_file():
                        yield Case(file, damage, command)

    def outcome(self, case: Case) -> tuple[str, str]:
        """Returns one of `OUTCOMES`, and what was said."""
        if case.command not in self._expected:
            self._expected[case.command] = self._try(case.command, self._copy())
            assert self._expected[case.command].status == 0, self._expected
        run = self._copy()
        path, damage = run / case.file, DAMAGES[case.damage]
        content = path.read_bytes()
        path.unlink()
        if damage is not None:
            path.write_bytes(damage(content))
        elif case.damage == "swapped":
            shutil.copyfile(self.other / case.file, path)
        found, expected = self._try(case.command, run), self._expected[case.command]
        lines = found.errors.splitlines()
        said = [line for line in lines if line.startswith("main.py: ")]
        text = "; ".join(said)
        if found.status is None or "Traceback" in found.errors:
            return "TRACEBACK", found.errors
        if found.status:
            # The line of refusal comes last, warnings before it.
            refusals = [line for line in said if "warning: " not in line]
            return "refused" if len(refusals) == 1 else "TRACEBACK", text
        same = found.results == expected.results
        if case.command == "report" and not same:
            # A figure that is not there is no other number.
            (page, images), (whole, all_images) = found.results, expected.results
            same = page == whole and images < all_images
        # What is damaged, or the folder or checkpoint that it belongs to.
        parts = (case.file, case.file.rpartition("/")[0], case.file.partition(".")[0])
        if any(part and f"{run}/{part}" in text for part in parts):
            return "named", text
        return ("harmless" if same else "SILENT"), text

    def _copy(self) -> pathlib.Path:
        """Returns a copy of the run, in the place of the copy before."""
        run = self.folder / "run"
        shutil.rmtree(run, ignore_errors=True)
        return shutil.copytree(self.run, run)

    def _make(self, run: pathlib.Path, seed: int) -> None:
        commands = [["pretrain", *RECIPE, "--epochs=3", f"--seed={seed}"]]
        commands += [[mode] for mode in EVALUATIONS]
        export = ["export", "--format=tflite", "--quantization=float32"]
        for mode, *more in [*commands, export]:
            done = call([f"--mode={mode}", f"--workdir={run}", *more], run)
            assert done.status == 0, done.errors

    def _try(self, command: str, run: pathlib.Path) -> Outcome:
        """Runs a command; its results are without times and paths."""
        workdir, output = f"--workdir={run}", run / "output"
        if command == "check":
            try:
                check_version(run / "tflite" / "1")
            except InputError as error:
                return Outcome(1, f"main.py: {error}", None)
            return Outcome(0, "", None)
        arguments = {
            "pretrain": [*RECIPE, "--epochs=3", workdir],
            "knn_eval": [workdir],
            "query": [
                *("--mode=retrieve", f"--query={self.folder / 'query.png'}", workdir),
                f"--output={output}.csv",
            ],
            "report": [f"--runs={run}", f"--output={output}.html"],
        }[command]
        done = call([f"--mode={command}", *arguments], run)
        results: object = None
        if done.status == 0 and command == "pretrain":
            encoder = load_encoder(run)
            weights = [variable.numpy().tobytes() for variable in variables_of(encoder)]
            results = weights, _records(run, "pretrain")
        elif done.status == 0 and command == "knn_eval":
            results = _records(run, "knn_eval")[-1]
        elif done.status == 0 and command == "report":
            page = (run / "output.html").read_text()
            images = frozenset(re.findall(r"data:image[^\"]*", page))
            results = re.sub(r"<figure.*?</figure>\s*", "", page, flags=re.S), images
        elif done.status == 0:
            results = (run / "output.csv").read_bytes()
        return dataclasses.replace(done, results=results)


def call(arguments: list[str], run: pathlib.Path) -> Outcome:
    """Calls the command line in this process."""
    keras.backend.clear_session()
    errors = io.StringIO()
    status: int | None = None
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(errors),
        mock.patch.dict(os.environ, {CACHE_VARIABLE: str(run / "cache")}),
    ):
        try:
            cli.main(["main.py", *arguments])
        except SystemExit as stopped:
            status = int(stopped.code or 0)
        except Exception:
            traceback.print_exc()
    return Outcome(status, errors.getvalue(), None)


def _records(run: pathlib.Path, mode: str) -> list[dict]:
    """Returns what a mode recorded, without times and paths."""
    lines = (run / "metrics.jsonl").read_bytes().splitlines()
    records = []
    for line in lines:
        with contextlib.suppress(ValueError):
            record = json.loads(line)
            for name in ("checksum", "minutes", "encoder"):
                record.pop(name, None)
            record.get("metrics", {}).pop("images_per_second", None)
            records.append(record)
    return [record for record in records if record["mode"] == mode]


def _flip(content: bytes) -> bytes:
    """Flips a bit in the middle of a file, whose kind it depends on what that is."""
    middle = len(content) * 5 // 8
    flipped = bytes([content[middle] ^ 4]) if content else b"\1"
    return content[:middle] + flipped + content[middle + 1 :]


def _kind(file: str) -> str:
    """Returns a file's name for the table, with files of one kind together."""
    file = re.sub(r"ckpt-\d+", "ckpt-N", file)
    if file.startswith(("figures/", "features/", "cache/")):
        return re.sub(r"/.*\.", "/*.", file)
    return file


if __name__ == "__main__":
    main()
