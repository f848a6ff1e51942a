"""The text of `--help`, from the options themselves."""

import dataclasses
import re
import textwrap
from collections.abc import Sequence

from vicreg_keras.modes import MODES, all_options, unused
from vicreg_keras.settings.options import fields


def help_text(argv: Sequence[str]) -> str:
    """Returns the help of the mode that the command line names, or of all modes."""
    match = re.search(r"--?mode[= ](\w+)", " ".join(argv))
    modes = [match[1]] if match and match[1] in MODES else list(MODES)
    lines = [
        "Learn an encoder without labels by VICReg, evaluate it and export it.",
        "",
        "  python main.py --mode=pretrain --flagfile=flags/quickstart.flags "
        "--workdir=runs/digits",
        "  python main.py --mode=evaluate --workdir=runs/digits",
        "",
        "A run's flags are the defaults of later modes. --mode=NAME --help lists the "
        "flags of one mode.",
        "",
        "Modes:",
        *(f"  {name:12} {MODES[name].help}" for name in modes),
    ]
    groups: dict[str, list[str]] = {}
    for options in all_options():
        for name, field in fields(options).items():
            heading = f"Flags, {field.metadata['group']}"
            owners = [mode for mode, one in MODES.items() if options is one.options]
            if owners:
                heading = f"Flags of --mode={owners[0]}"
            users = set(owners or MODES) & set(modes)
            if all(unused(mode, [name]) for mode in users):
                continue
            groups.setdefault(heading, []).extend(_help_lines(name, field))
    for heading, texts in groups.items():
        lines += ["", f"{heading}:", *texts]
    return "\n".join(lines)


def _help_lines(name: str, field: "dataclasses.Field[object]") -> list[str]:
    default, choices = field.default, field.metadata["choices"]
    text = field.metadata["help"]
    if choices and len(choices) < 12:
        text += f" One of {', '.join(choices)}."
    if default not in (None, ()):
        shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
        text += f" Default: {shown}."
    indent = " " * 6
    return [
        f"  --{name}",
        textwrap.fill(text, 84, initial_indent=indent, subsequent_indent=indent),
    ]
