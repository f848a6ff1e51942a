"""How does a measurement get into LOG.md, with all that it takes to repeat it?"""

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
        log: As `append_entry`'s path.
        module: of this package, that was run; its arguments are those of this process.
        question: As of `append_entry`.
        setting: As of `append_entry`.
        table: As of `append_entry`.
    """
    print(f"{setting}\n{table}")
    if log is not None:
        # Where something lies on this machine helps nobody elsewhere.
        words = [re.sub(r"(^|=)/.*", r"\1PATH", word) for word in sys.argv[1:]]
        command = " ".join([f"python -m benchmarks.{module}", *words])
        append_entry(log, question, command, setting, table)


def append_entry(
    path: str | os.PathLike, question: str, command: str, setting: str, table: str
):
    """Adds an entry above those that a log has, in the form that LOG.md's header gives.

    Args:
        path: of the log, which is there already.
        question: in one line.
        command: to be pasted.
        setting: hardware, versions, commit, seeds, n.
        table: in Markdown; it stands under Result.
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


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Returns rows of text, the header first, as Markdown that is aligned to read."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        first, *numbers = zip(row, widths, strict=True)
        cells = [first[0].ljust(first[1]), *(text.rjust(n) for text, n in numbers)]
        lines.append(f"| {' | '.join(cells)} |")
    rule = [":" + "-" * (widths[0] + 1), *("-" * (n + 1) + ":" for n in widths[1:])]
    lines.insert(1, f"|{'|'.join(rule)}|")
    return "\n".join(lines)


def machine() -> str:
    """Returns the processor, how many cores of it there are, and what else they do."""
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
    """Returns the commit of this checkout, and whether it is changed."""
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
