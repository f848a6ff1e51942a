"""Every recipe in flags/ says what it is, and parses."""

import pathlib
import re
import shlex

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
RECIPES = sorted((ROOT / "flags").glob("*.flags"))

by_name = pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)

# What a header names, and how it is recognized.
HEADER = {
    "the time it takes": r"\d[\d.,]* *(?:s|min|h|seconds?|minutes?|hours?|days?)\b",
    "the hardware": r"\b(?:CPUs?|GPUs?|TPUs?|cores?|[HAVTL]\d{1,3})\b",
    "the number it reaches": r"\d[\d.,]* *(?:%|percent)|\b0?\.\d+|\d+\.\d+",
}


def header_of(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    comments = []
    for line in lines:
        if not line.startswith("#"):
            break
        comments.append(line.removeprefix("#").strip())
    return "\n".join(comments)


def commands_of(path):
    """The arguments of the header's commands that start with main.py and this file."""
    text = re.sub(r"\\\n\s*", " ", header_of(path))
    commands = [
        shlex.split(line.split("main.py", 1)[1], comments=True)
        for line in text.splitlines()
        if re.search(r"\bpython\S* main\.py\b", line)
    ]
    flagfile = f"--flagfile=flags/{path.name}"
    return [command for command in commands if flagfile in command]


@by_name
def test_header_names_command_time_hardware_and_number(path):
    header = header_of(path)
    assert header, f"flags/{path.name} starts with no comment"
    assert commands_of(path), (
        f"the header holds no `python main.py ... --flagfile=flags/{path.name} ...`"
    )
    for what, pattern in HEADER.items():
        assert re.search(pattern, header), f"the header does not name {what}"


@by_name
def test_every_flag_is_defined_and_in_range(path, parse_flags):
    for command in commands_of(path):
        parse_flags(command)


@by_name
def test_comments_stand_in_column_one(path):
    # absl reads a # further on as part of the flag's value.
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.startswith("#"):
            assert "#" not in line, f"flags/{path.name}:{number}: {line}"


def test_an_unknown_flag_is_noticed(parse_flags, tmp_path):
    from absl import flags

    recipe = tmp_path / "typo.flags"
    recipe.write_text("--no_such_flag=1\n")
    with pytest.raises(flags.Error, match="no_such_flag"):
        parse_flags([f"--flagfile={recipe}"])
