"""Shows that `--mode=verify` finds what is wrong, and nothing where nothing is.

    python -m benchmarks.verify [--corruptions N] [--runs N] [--log benchmarks/LOG.md]

Runs of several recipes on images of the bundled digits are trained, evaluated and
verified, half of them after their folder and their data have been moved. Then, in a
copy of one of them for each case, one thing is changed at random, and verified:

- text: a digit of `metrics.jsonl`, as an editor would;
- number: a number of a record, with a checksum that fits;
- flag: a flag of the recipe, with a checksum that fits, or a byte of the file;
- weights: a byte of the encoder or of the last checkpoint, or another run's encoder;
- data: a pixel, a label, or two examples exchanged.
"""

import argparse
import collections
import pathlib
import random
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

from benchmarks.faults import Outcome, call
from benchmarks.log import commit, machine, markdown_table, report
from vicreg_keras.workdir.recipe import Recipe
from vicreg_keras.workdir.run_folder import RunFolder

_RECIPES = (
    ("--encoder=tiny",),
    ("--encoder=tiny", "--num_views=3", "--optimizer=lars"),
    ("--encoder=small", "--views=grayscale", "--precision=float32"),
    ("--encoder=tiny", "--positives=neighbors", "--neighbors_from=input"),
    ("--encoder=resnet18", "--stem=cifar", "--optimizer=sgd", "--learning_rate=0.01"),
)
_COMMON = ("--projector=16-16", "--batch_size=64", "--epochs=2", "--warmup_epochs=0.5")
_MODES = ("knn_eval", "spectrum", "cluster", "retrieve")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--corruptions", type=int, default=100)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--log", metavar="LOG.md", help="the table becomes an entry")
    options = parser.parse_args()
    start, lines = time.monotonic(), [("", "verified", "found", "expected")]
    with tempfile.TemporaryDirectory() as name:
        folder, alarms = pathlib.Path(name), 0
        for number in range(options.runs):
            place = make(folder / f"run-{number}", number)
            if number % 2:
                place = place.rename(folder / f"moved-{number}")
            outcome = verify(place)
            alarms += outcome.status != 0
            print(f"run {number}: {outcome.status} {outcome.errors}", flush=True)
        lines.append(("whole runs", f"{options.runs}", f"{alarms}", "0"))
        draw = random.Random(0)
        tried, found = collections.Counter(), collections.Counter()
        for number in range(options.corruptions):
            kind = list(CORRUPTIONS)[number % len(CORRUPTIONS)]
            shutil.rmtree(folder / "copy", ignore_errors=True)
            copy = shutil.copytree(folder / "run-0", folder / "copy")
            what = CORRUPTIONS[kind](copy, draw)
            outcome = verify(copy)
            tried[kind] += 1
            found[kind] += outcome.status != 0
            print(f"{kind}, {what}: {'found' if outcome.status else 'NOT FOUND'}")
    for kind, n in tried.items():
        lines.append((f"changed: {kind}", f"{n}", f"{found[kind]}", f"{n}"))
    setting = f"{machine()}; commit {commit()}; {time.monotonic() - start:.0f} s"
    question = "does verify find what is wrong, and nothing else?"
    report(options.log, "verify", question, setting, markdown_table(lines))


def make(place: pathlib.Path, number: int) -> pathlib.Path:
    """Trains and evaluates a run beside its data.

    Args:
        place: Folder of both.
        number: Chooses recipe and seed.
    """
    place.mkdir()
    digits = load_digits()
    images = (digits.images[:400] * 15).astype(np.uint8)
    np.savez(place / "data.npz", images=images, labels=digits.target[:400])
    recipe = [*_COMMON, *_RECIPES[number % len(_RECIPES)], f"--seed={number}"]
    data = f"--dataset=npz:{place / 'data.npz'}"
    for flags in (
        ["--mode=pretrain", data, *recipe],
        *([f"--mode={m}"] for m in _MODES),
    ):
        done = call([*flags, f"--workdir={place / 'run'}"], place)
        assert done.status == 0, done.errors
    return place


def verify(place: pathlib.Path) -> Outcome:
    """Verifies the run in a folder with its data."""
    workdir, data = f"--workdir={place / 'run'}", f"npz:{place / 'data.npz'}"
    return call(["--mode=verify", workdir, f"--dataset={data}"], place)


def _change_text(place: pathlib.Path, draw: random.Random) -> str:
    path = place / "run" / "metrics.jsonl"
    text = path.read_text()
    match = draw.choice([*re.finditer(r"(?<=\.)\d", text)])
    digit = (int(match[0]) + draw.randint(1, 9)) % 10
    path.write_text(f"{text[: match.start()]}{digit}{text[match.end() :]}")
    return f"at {match.start()}"


def _change_number(place: pathlib.Path, draw: random.Random) -> str:
    run = RunFolder(place / "run")
    records = run.read_metrics()
    record = draw.choice([one for one in records if "results" in one])
    numbers = [*_numbers(record["results"])]
    where, key = draw.choice(numbers)
    where[key] += draw.choice([-1, 1]) * max(abs(where[key]) * 0.001, 0.001)
    run.metrics.unlink()
    for one in records:
        run.append_metrics(one)
    return f"{record['mode']} {key}"


def _numbers(values: Any) -> Iterator[tuple[Any, Any]]:
    """Yields the container and the key of each float."""
    items = values.items() if isinstance(values, dict) else enumerate(values)
    for key, value in items:
        if isinstance(value, float):
            yield values, key
        elif isinstance(value, dict | list):
            yield from _numbers(value)


def _change_flag(place: pathlib.Path, draw: random.Random) -> str:
    run = RunFolder(place / "run")
    if draw.random() < 0.5:
        return _flip(run.flags, draw)
    flags = dict(run.read_flags())
    # Of those, others would have given other numbers.
    names = ("seed", "batch_size", "learning_rate", "projector", "covariance_weight")
    name = draw.choice(names)
    flags[name] = {"projector": "16-32"}.get(name, f"{float(flags[name]) + 1:g}")
    run.flags.write_text(Recipe(flags, run.run_id).text)
    return f"{name}={flags[name]}"


def _change_weights(place: pathlib.Path, draw: random.Random) -> str:
    run = RunFolder(place / "run")
    chosen = draw.choice(("encoder", "checkpoint", "swapped"))
    if chosen == "swapped":
        shutil.rmtree(run.encoder)
        (other,) = [
            path for path in place.parent.glob("*-1") if (path / "run").is_dir()
        ]
        shutil.copytree(other / "run" / "encoder", run.encoder)
        return "another run's encoder"
    if chosen == "encoder":
        return _flip(
            run.encoder / "1" / "variables" / "variables.data-00000-of-00001", draw
        )
    (newest, *_) = sorted(
        run.checkpoints.glob("ckpt-*.data*"), key=lambda path: -path.stat().st_mtime
    )
    return _flip(newest, draw)


def _change_data(place: pathlib.Path, draw: random.Random) -> str:
    path = place / "data.npz"
    with np.load(path) as file:
        arrays = dict(file)
    i, j = draw.sample(range(len(arrays["labels"])), 2)
    kind = draw.choice(("pixel", "label", "exchanged"))
    if kind == "pixel":
        arrays["images"][i, draw.randrange(8), draw.randrange(8)] ^= 1
    elif kind == "label":
        arrays["labels"][i] = (arrays["labels"][i] + 1) % 10
    else:
        for array in arrays.values():
            array[[i, j]] = array[[j, i]]
    np.savez(path, **arrays)
    return f"{kind} of {i}"


def _flip(path: pathlib.Path, draw: random.Random) -> str:
    content = bytearray(path.read_bytes())
    position = draw.randrange(len(content))
    content[position] ^= 1 << draw.randrange(8)
    path.write_bytes(content)
    return f"byte {position} of {path.name}"


CORRUPTIONS: dict[str, Callable[[pathlib.Path, random.Random], str]] = {
    "text": _change_text,
    "number": _change_number,
    "flag": _change_flag,
    "weights": _change_weights,
    "data": _change_data,
}


if __name__ == "__main__":
    main()
