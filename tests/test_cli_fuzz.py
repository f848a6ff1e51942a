"""Command lines with one random mistake: one line that names it, and nothing changed.

`FUZZ_CASES=3000` tries so many others. `python -m tests.test_cli_fuzz 300` runs them as
commands, each in a process of its own, and prints how long they take.
"""

import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time

import pytest

from vicreg_keras.modes import MODES, all_options, unused
from vicreg_keras.settings.options import fields, kind_of

ROOT = pathlib.Path(__file__).resolve().parent.parent
_NUM_CASES = int(os.environ.get("FUZZ_CASES", "30"))
_SEED = 0 if "FUZZ_CASES" not in os.environ else random.randrange(2**32)

_HUGE = ["1" + 30 * "0", 400 * "9", 5000 * "9", "-" + 30 * "9"]
_NO_NUMBERS = [
    "",
    "abc",
    "1,2",
    "--3",
    "1 2",
    "½",
    "1\0",
    "NULL",
    "1e",
    "0b2",
    "\udcff",
]
_NO_INTEGERS = [*_NO_NUMBERS, *_HUGE, "1.5", "1e3", "nan", "inf", "1/2"]
_NO_FLOATS = [*_NO_NUMBERS, "nan", "inf", "-inf", "1e999", "-1e-3", "1e300"]
_NO_LINES = ["a\nb", "a\0b", "\r", "a\u2028--seed=3", "x\udcff", "\x1b[2J", "\x85"]
_NO_FLAGS = ["foo", "-", "--=3", "epochs=3", "pretrain", "größe", "\n", "\0", "a\udcff"]


def make_files(folder):
    """A run without an encoder that can be read, and files of the wrong kinds."""
    run = folder / "run"
    for name in ("encoder/1", "checkpoints", "empty"):
        (run / name).mkdir(parents=True)
    (run / "encoder/1/saved_model.pb").write_bytes(b"")
    (run / "flags.flags").write_text("--dataset=digits\n--encoder=tiny\n")
    (run / ".lock").touch()
    (run / "metrics.jsonl").write_text("{}\n")
    (folder / "binary").write_bytes(bytes(range(256)) * 4)
    (folder / "itself.flags").write_text(f"--flagfile={folder / 'itself.flags'}\n")
    (folder / "text.flags").write_text("no flag at all\n")
    (folder / "odd.flags").write_text("--no_such_flag=1\n")
    (folder / "twice.flags").write_text("--seed=1\n--seed=one\n")


def owners(mode):
    """The options of a mode by name, each with its dataclass."""
    found = {name: one for one in all_options() for name in fields(one)}
    found |= dict.fromkeys(fields(MODES[mode].options), MODES[mode].options)
    return {name: one for name, one in found.items() if not unused(mode, [name])}


def wrong_value(draw, owner, name):
    """A value that an option can't have, or `None` where all texts are values."""
    (kind, items), metadata = kind_of(owner, name), fields(owner)[name].metadata
    low, high = metadata["minimum"], metadata["maximum"]
    outside = [f"{low - 1}"] if low is not None else []
    if high is not None:
        outside += [f"{high + 1}", f"{1000 * high + 1}"]
    if metadata["choices"]:
        return draw.choice(["no such", "", "größe", "0", "a\0", *_NO_LINES])
    if kind is bool:
        return draw.choice([*_NO_NUMBERS[1:], "maybe", "2"])
    if kind is int:
        return draw.choice([*_NO_INTEGERS, *outside])
    if kind is float:
        return draw.choice([*_NO_FLOATS, *outside])
    if kind is tuple and float in items:
        return draw.choice(
            [*_NO_FLOATS[1:3], "nan,nan", "1,", "2,1", "1,2,3", *outside]
        )
    if metadata["exists"]:
        return draw.choice(["", "{tmp}/none", *_NO_LINES])
    if name in ("projector", "mlp"):
        return draw.choice(["0", "8-", "-8", "8,8", *_HUGE, "²", "8-" * 200 + "8"])
    if metadata["suffixes"]:
        return draw.choice(["", ".", "{tmp}/out", "{tmp}/out.txt", "/none/a\nb.csv"])
    if name.endswith(("column", "columns")):  # Line ends are blanks.
        return draw.choice(["a\0b", "\udcff", "\x1b[2J", "a\x85\0"])
    return draw.choice(["", *_NO_LINES])


def wrong_flags(draw, mode):
    """Arguments with one mistake, and the texts of which the message has one."""
    known = owners(mode)
    name = draw.choice(sorted(known))
    match draw.randrange(9):
        case 0:
            others = {key for one in all_options() for key in fields(one)} - {*known}
            other = draw.choice(sorted(others))
            return [f"--{other}=1"], [other]
        case 1:
            typo = name[:-1] + draw.choice("xqz")
            return [f"--{typo}=1"], [typo, "Unknown"]
        case 2:
            return [draw.choice(_NO_FLAGS)], ["flag", "Expected"]
        case 3:
            path = draw.choice(
                ["none", "run", "binary", "itself.flags", "text.flags", "odd.flags"]
                + ["twice.flags", "a\0b"]
            )
            return [f"--flagfile={{tmp}}/{path}"], ["flag", "seed", path]
        case 4:
            scheme = draw.choice(["csv", "parquet", "npz", "folder"])
            path = draw.choice(["none", "run/empty", "binary", "", "a\nb"])
            is_read = path == "binary" or (scheme, path) == ("folder", "run/empty")
            if is_read and (MODES[mode].needs == "encoder" or mode == "verify"):
                path = "none"  # The encoder, or the checkpoint, is read first.
            return [
                f"--dataset={scheme}:{{tmp}}/{path}" if path else f"--dataset={scheme}:"
            ], ["dataset", path]
        case 5:
            return [f"--mode={draw.choice(['', 'dance', 'Pretrain', *_NO_LINES])}"], [
                "mode"
            ]
        case _:
            value = wrong_value(draw, known[name], name)
            good = [f"--{name}=1"] if draw.random() < 0.1 else []
            return [*good, f"--{name}={value}"], [name]


def command_line(seed, folder):
    """The arguments of a case, and the texts of which the message has one."""
    draw = random.Random(seed)
    mode = draw.choice(list(MODES))
    wrong, parts = wrong_flags(draw, mode)
    place = "--runs={tmp}/run" if mode == "report" else "--workdir={tmp}/run"
    arguments = [f"--mode={mode}", place, *wrong]
    return [one.replace("{tmp}", str(folder)) for one in arguments], parts


def contents(folder):
    return {
        path: path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def check(arguments, parts, status, err):
    lines = [line for line in err.splitlines() if line.strip()]
    assert status == 1, (arguments, status)
    assert len(lines) == 1 and lines[0].startswith("main.py: "), (arguments, err)
    assert any(part in lines[0] for part in parts), (arguments, err)
    assert len(err) < 12_000, arguments


@pytest.mark.parametrize("number", range(_NUM_CASES))
def test_a_mistake_is_named_in_one_line(number, run_main, tmp_path, monkeypatch):
    make_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = contents(tmp_path)
    arguments, parts = command_line(_SEED + number, tmp_path)
    status, _, err = run_main(*arguments)
    check(arguments, parts, status, err)
    assert contents(tmp_path) == before


def _run_commands(num_cases):
    """Runs so many cases as commands; prints what fails or is slow, and the times."""
    seconds, num_failed, seed = [], 0, 0
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        make_files(folder)
        before = contents(folder)
        while len(seconds) < num_cases:
            arguments, parts = command_line(seed, folder)
            seed += 1
            if any("\0" in one for one in arguments):
                continue  # No command line has it.
            command = [sys.executable, ROOT / "main.py", *map(os.fsencode, arguments)]
            start = time.monotonic()
            result = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=300
            )
            seconds.append(time.monotonic() - start)
            if seconds[-1] > 2:
                print(f"{seconds[-1]:.1f} s: {arguments}", flush=True)
            try:
                check(arguments, parts, result.returncode, result.stderr)
                assert contents(folder) == before, arguments
            except AssertionError as error:
                num_failed += 1
                print(error, flush=True)
    seconds.sort()
    print(
        f"{num_cases} commands, {num_failed} failed; seconds: median "
        f"{seconds[num_cases // 2]:.2f}, most {seconds[-1]:.2f}"
    )


if __name__ == "__main__":
    _run_commands(int(sys.argv[1]))
