"""Kills commands at random moments, and lets the same command go on.

    python -m benchmarks.kills [--kills N] [--log benchmarks/LOG.md]

Every mode that writes to a run's folder is killed (SIGKILL) in a copy of a finished
run on the bundled digits, pretraining in a new folder, at a moment drawn from the
seconds that it takes. The same command then has to end with status 0, with the weights,
bit for bit, and the numbers of one that was not killed, and nothing half-written may be
left in the folder.
"""

import argparse
import collections
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from benchmarks.log import commit, machine, markdown_table, report
from vicreg_keras.modes.baselines import CACHE_VARIABLE

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_RECIPE = (
    *("--dataset=digits", "--encoder=tiny", "--projector=32-32", "--batch_size=128"),
    *("--epochs=3", "--deterministic", "--checkpoint_minutes=0"),
)
# Commands, and how often each is killed beside the others.
_COMMANDS: dict[str, tuple[tuple[str, ...], int]] = {
    "pretrain": (_RECIPE, 5),
    "linear_eval": ((), 2),
    "knn_eval": ((), 2),
    "retrieve": ((), 2),
    "cluster": (("--projection=pca",), 2),
    "spectrum": ((), 1),
    "embed": ((), 2),
    "finetune": (("--label_fractions=0.1", "--finetune_epochs=5"), 2),
    "evaluate": ((), 1),
    "export": (("--format=tflite", "--quantization=float32"), 2),
    "ablate": ((*_RECIPE, "--weights_grid=25-25-1"), 1),
    "search": ((*_RECIPE, "--trials=2", "--search_seeds=1", "--objective=rankme"), 2),
}
_TEMPORARY = re.compile(r"\.(?!lock$).+|ckpt-\d+_temp|.*\.tmp.*|.*-journal")
_TIMES = r'"(minutes|images_per_second|milliseconds|build_seconds)": [-+.\de]+,? ?'


class End(NamedTuple):
    """What a command that went to its end left.

    Attributes:
        results: What it wrote, by a name.
        seconds: How long it took.
        left: Names of files that were only to be there for a moment.
    """

    results: Mapping[str, object]
    seconds: float
    left: tuple[str, ...]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--only", default="", metavar="MODE")
    parser.add_argument("--log", metavar="LOG.md", help="the table becomes an entry")
    options = parser.parse_args()
    moments, start = random.Random(0), time.monotonic()
    modes = [mode for mode in _COMMANDS if options.only in mode]
    weights = [_COMMANDS[mode][1] for mode in modes]
    chosen = [mode for mode, n in zip(modes, weights, strict=True) for _ in range(n)]
    chosen = [chosen[i % len(chosen)] for i in range(options.kills)]
    counts: dict[str, collections.Counter] = {m: collections.Counter() for m in modes}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        finished = folder / "finished"
        whole = {}
        _run("pretrain", finished)
        for mode in modes:
            whole[mode] = _end(mode, _prepare(folder / f"whole-{mode}", mode, finished))
        for number, mode in enumerate(chosen, start=1):
            alive = False
            while not alive:  # It may end sooner than before.
                run = _prepare(folder / "run", mode, finished)
                moment = moments.uniform(0.0, whole[mode].seconds)
                alive = _kill(mode, run, moment)
            end = _end(mode, run)
            same = _same(end.results, whole[mode].results)
            counts[mode] += collections.Counter(
                {"kills": 1, "same": same, "left": bool(end.left)}
            )
            print(
                f"{number}/{options.kills} {mode}: killed after {moment:.1f} s, "
                f"{'the same' if same else 'OTHER RESULTS'} {' '.join(end.left)}",
                flush=True,
            )
    table = markdown_table(
        [("mode", "killed", "the same in the end", "files left")]
        + [
            (m, *(f"{c[what]}" for what in ("kills", "same", "left")))
            for m, c in counts.items()
        ]
    )
    setting = f"{machine()}; commit {commit()}; {time.monotonic() - start:.0f} s"
    question = "does a killed command go on to the same end?"
    report(options.log, "kills", question, setting, table)


def _prepare(run: pathlib.Path, mode: str, finished: pathlib.Path) -> pathlib.Path:
    """Returns the folder in which a mode is to run."""
    shutil.rmtree(run, ignore_errors=True)
    if mode not in ("pretrain", "search"):
        shutil.copytree(finished, run)
    return run


def _start(mode: str, run: pathlib.Path) -> subprocess.Popen:
    flags, _ = _COMMANDS[mode]
    return subprocess.Popen(
        [sys.executable, "main.py", f"--mode={mode}", f"--workdir={run}", *flags],
        cwd=_ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=os.environ | {CACHE_VARIABLE: f"{run}/cache"},
    )


def _kill(mode: str, run: pathlib.Path, moment: float) -> bool:
    """Starts a command and kills it; returns whether it was still running."""
    process = _start(mode, run)
    try:
        process.communicate(timeout=moment)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return True
    return False


def _run(mode: str, run: pathlib.Path) -> float:
    """Runs a command to its end; returns the seconds that it took."""
    start = time.monotonic()
    process = _start(mode, run)
    output, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"{mode} ended with {process.returncode}: {output.decode()}")
    return time.monotonic() - start


def _end(mode: str, run: pathlib.Path) -> End:
    seconds = _run(mode, run)
    results: dict[str, object] = {}
    for line in (run / "metrics.jsonl").read_text().splitlines():
        record = json.loads(re.sub(_TIMES, "", line).replace(", }", "}"))
        # The last one of a kind: an evaluation may have ended before the kill.
        places = ("checksum", "encoder", "paths", "files", "options")
        values = {k: v for k, v in record.items() if k not in places}
        results[f"{record['mode']} {record.get('epoch', '')}"] = values
    if mode == "pretrain":
        reader = tf.train.load_checkpoint(str(run / "checkpoints"))
        for name in reader.get_variable_to_shape_map():
            if "VARIABLE_VALUE" in name and "stopwatch" not in name:
                results[name] = reader.get_tensor(name)
        results.pop("save_counter/.ATTRIBUTES/VARIABLE_VALUE", None)
    if mode == "embed":
        with np.load(run / "representations.npz", allow_pickle=False) as file:
            results |= dict(file)
    names = [path.name for path in run.rglob("*")]
    left = tuple(name for name in names if _TEMPORARY.fullmatch(name))
    return End(results, seconds, left)


def _same(found: Mapping[str, object], expected: Mapping[str, object]) -> bool:
    return found.keys() == expected.keys() and all(
        np.array_equal(value, expected[name])
        if isinstance(value, np.ndarray)
        else value == expected[name]
        for name, value in found.items()
    )


if __name__ == "__main__":
    main()
