"""Size of the package's code: lines without blanks, comments and docstrings.

python -m benchmarks.code_size
"""

import argparse
import ast
import io
import pathlib
import tokenize
from collections import defaultdict

from benchmarks.contender import ROOT
from benchmarks.log import markdown_table

PACKAGE = ROOT / "vicreg_keras"
_NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", nargs="?", type=pathlib.Path, default=PACKAGE)
    print(markdown_table(table_lines(parser.parse_args().folder)))


def table_lines(folder: pathlib.Path) -> list[tuple[str, ...]]:
    """Returns a header, a line per entry of a folder, and the totals."""
    code, files, longest = defaultdict(int), defaultdict(int), defaultdict(tuple)
    for path in sorted(folder.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        entry = path.relative_to(folder).parts[0]
        code[entry] += len(code_lines(path, tree))
        files[entry] += 1
        longest[entry] = max([longest[entry], *function_bodies(path, tree)])
    lines = [("", "files", "code lines", "longest function body")]
    for entry in sorted(code, key=code.get, reverse=True):
        lines.append(
            (entry, f"{files[entry]}", f"{code[entry]:,}", _text(longest[entry]))
        )
    totals = f"{sum(files.values())}", f"{sum(code.values()):,}"
    lines.append((f"{len(code)} entries", *totals, _text(max(longest.values()))))
    return lines


def code_lines(path: pathlib.Path, tree: ast.Module) -> set[int]:
    """Returns the numbers of the lines that hold code."""
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
        if token.type not in _NO_CODE:
            lines |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(tree):
        lines -= _docstring_lines(node)
    return lines


def function_bodies(path: pathlib.Path, tree: ast.Module) -> list[tuple[int, str]]:
    """Returns the length of each function's body, without docstring, and its name."""
    code = code_lines(path, tree)
    return [
        (len(code & set(range(node.body[0].lineno, node.end_lineno + 1))), node.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
    ]


def _docstring_lines(node):
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    if not isinstance(node, documented) or ast.get_docstring(node) is None:
        return set()
    return set(range(node.body[0].lineno, node.body[0].end_lineno + 1))


def _text(function):
    return f"{function[0]} ({function[1]})" if function else "-"


if __name__ == "__main__":
    main()
