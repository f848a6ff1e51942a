"""Tables in Markdown, and entries of LOG.md with what it takes to repeat them."""

import datetime
import os
import pathlib
import platform
import re
import subprocess
import sys
import textwrap
from collections.abc import Sequence

_WIDTH = 90


def report(
    log: str | os.PathLike | None,
    module: str,
    question: str,
    setting: str,
    table: str,
):
    """Prints a table and, where `log` is not `None`, makes it an entry.

    Args:
        log: The log's path, or `None`.
        module: Module of this package that was run; its arguments are the process's.
        question: See `append_entry`.
        setting: See `append_entry`.
        table: See `append_entry`.
    """
    print(f"{setting}\n{table}")
    if log is not None:
        # Paths of one machine mean nothing elsewhere.
        words = [re.sub(r"(^|=)/.*", r"\1PATH", word) for word in sys.argv[1:]]
        command = " ".join([f"python -m benchmarks.{module}", *words])
        append_entry(log, question, command, setting, table)


def append_entry(
    path: str | os.PathLike, question: str, command: str, setting: str, table: str
):
    """Adds an entry above the others, in the form that LOG.md's header describes.

    Args:
        path: Path of an existing log.
        question: What was measured, in one line.
        command: The command that repeats it.
        setting: Hardware, versions, commit, seeds, n.
        table: The result, in Markdown.
    """
    path = pathlib.Path(path)
    log = path.read_text(encoding="utf-8")
    points = [
        _point(f"Command: `{command}`"),
        _point(f"Setting: {setting}"),
        f"- Result:\n\n{textwrap.indent(table, '  ')}\n",
        _point("Conclusion: none drawn yet"),
    ]
    title = f"## {datetime.date.today():%Y-%m-%d}: {question}"
    entry = "\n".join([title, "", *points, "", ""])
    newest = re.search(r"^## ", log, re.MULTILINE)
    place = newest.start() if newest else len(log)
    path.write_text(log[:place] + entry + log[place:], encoding="utf-8")


def markdown_table(lines: Sequence[Sequence[str]]) -> str:
    """Returns lines of cells, the header first, as an aligned Markdown table."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    table = []
    for line in lines:
        first, *numbers = zip(line, widths, strict=True)
        cells = [first[0].ljust(first[1]), *(text.rjust(n) for text, n in numbers)]
        table.append(f"| {' | '.join(cells)} |")
    rule = [":" + "-" * (widths[0] + 1), *("-" * (n + 1) + ":" for n in widths[1:])]
    table.insert(1, f"|{'|'.join(rule)}|")
    return "\n".join(table)


def machine() -> str:
    """Returns the processor, its number of cores, its instructions and the load."""
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text()
    except OSError:  # Not Linux.
        return f"{os.cpu_count()} cores of {platform.processor() or 'a processor'}"
    name = re.search(r"model name\s*: (.+)", text)
    known = re.findall(r"\b(?:avx2|avx512f|avx512_bf16|amx_bf16)\b", text)
    return (
        f"{os.cpu_count()} cores of {name[1] if name else platform.machine()} "
        f"({', '.join(dict.fromkeys(known))}; load {os.getloadavg()[0]:.1f} at first)"
    )


def commit() -> str:
    """Returns the commit of this checkout, and whether files differ from it."""
    here = pathlib.Path(__file__).resolve().parent

    def git(*arguments):
        return subprocess.run(
            ["git", *arguments], cwd=here, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "--short", "HEAD") + (", changed" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _point(text: str) -> str:
    return textwrap.fill(
        f"- {text}",
        _WIDTH,
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
