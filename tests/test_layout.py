"""The layout: imports that point down, sizes, and the words of identifiers."""

import ast
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGE = "vicreg_keras"

# A module imports modules of lower levels and of its own folder only. The longest
# entry that a module's path starts with counts.
LEVELS = {
    "cli": 9,
    "modes": 8,
    "search": 7,
    "report": 6,
    "training": 6,
    "export": 5,
    "figures": 5,
    "evaluate": 4,
    "model": 3,
    "models": 2,
    "views": 2,
    "training.finite": 2,
    "training.optim": 1,
    "data": 1,
    "hardware": 1,
    "losses": 1,
    "workdir": 1,
    "workdir.files": 0,
    "settings": 0,
    "errors": -1,
}
MAX_ENTRIES = 18

# What only these files of the package import; a folder ends in a slash.
EXCLUSIVE = {
    "absl.flags": "cli.py",
    "faiss": "evaluate/",
    "keras_cv": "views/",
    "matplotlib": "figures/",
    "optuna": "search/",
}
# What these import none of, so that they stay portable or quick to import.
_HEAVY = ("keras", "numpy", "tensorflow")
FORBIDDEN = {
    "cli.py": _HEAVY,
    "errors.py": _HEAVY,
    "losses.py": ("numpy", "tensorflow"),
    "modes/__init__.py": _HEAVY,
    "modes/options.py": _HEAVY,
    "settings/": _HEAVY,
}

MAX_FILE_LINES = 350
MAX_BODY_LINES = 60

# Parts of identifiers that a Keras engineer would have to translate, or of another
# spelling.
BANNED = re.compile(
    r"(?:^|_)(?:judge[ds]?|verdict|dials?|glances?|beaten|worth|somebody|unit_rows|claim"
    r"|colours?|grey|neighbours?|normalise|optimise|centre)(?:_|$)"
    r"|^_?(?:least|fewest|most|largest|greatest)(?:_|$)",
    re.IGNORECASE,
)


def python_files(*folders):
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return sorted([*files, ROOT / "main.py"])


def name_of(path):
    return path.relative_to(ROOT).as_posix()


LIBRARY = [p for p in python_files(PACKAGE) if p.name != "main.py"]
EVERYTHING = python_files(PACKAGE, "tests", "benchmarks", "notebooks", "examples")


def parse(path):
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imports(path, tree=None, *, deferred=True):
    """Yields every name a file imports, absolute: `from a import b` gives a and a.b.

    Args:
        path: The file, for relative imports.
        tree: Its content, or `None` to read it.
        deferred: Whether imports inside of functions count.
    """
    package = path.relative_to(ROOT).parent.parts
    tree = tree or parse(path)
    for node in ast.walk(tree) if deferred else tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def is_in(name, package):
    return name == package or name.startswith(package + ".")


def module_of(name):
    """Returns the module of the package that `name` is or is in, else `None`."""
    parts = name.split(".")
    if parts[0] != PACKAGE:
        return None
    while len(parts) > 1:
        path = ROOT.joinpath(*parts)
        if path.with_suffix(".py").exists() or (path / "__init__.py").exists():
            return ".".join(parts)
        parts.pop()
    return PACKAGE


def dotted(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def package_imports(path):
    """Returns the modules of the package that a file imports, without their folders."""
    found = {module_of(name) for name in imports(path)} - {None, dotted(path)}
    return {
        module
        for module in found
        if not any(other.startswith(module + ".") for other in found)
    }


def level(module):
    name = module.removeprefix(f"{PACKAGE}.")
    entries = [entry for entry in LEVELS if is_in(name, entry)]
    assert entries, f"Enter {name} in LEVELS of {__name__}."
    return LEVELS[max(entries, key=len)]


def by_name(paths):
    return pytest.mark.parametrize("path", paths, ids=map(name_of, paths))


@by_name([p for p in LIBRARY if dotted(p) != PACKAGE])
def test_imports_point_down(path):
    importer = dotted(path)
    for module in package_imports(path):
        assert module != PACKAGE, f"{name_of(path)} imports the package it is part of"
        if module.split(".")[1] != importer.split(".")[1]:
            assert level(module) < level(importer), f"{importer} imports {module}"


@by_name(LIBRARY)
def test_exclusive_imports(path):
    name = path.relative_to(ROOT / PACKAGE).as_posix()
    for package, place in EXCLUSIVE.items():
        if any(is_in(found, package) for found in imports(path)):
            assert name.startswith(place), f"{package} is for {place} only"
    for place, packages in FORBIDDEN.items():
        if name.startswith(place):
            found = {found.split(".")[0] for found in imports(path, deferred=False)}
            assert not found & set(packages)


def test_every_module_is_imported_by_something():
    imported = {PACKAGE, f"{PACKAGE}.cli"}
    for path in EVERYTHING:
        for module in package_imports(path):
            parts = module.split(".")
            imported |= {".".join(parts[:i]) for i in range(1, len(parts) + 1)}
    # Modes are imported by their names.
    unused = {dotted(path) for path in LIBRARY} - imported
    unused = {name for name in unused if not is_in(name, f"{PACKAGE}.modes")}
    assert not unused, f"imported by nothing: {sorted(unused)}"


def test_the_package_has_few_entries():
    entries = [p.name for p in (ROOT / PACKAGE).iterdir() if p.name != "__pycache__"]
    assert len(entries) <= MAX_ENTRIES, sorted(entries)


@by_name(EVERYTHING)
def test_files_are_short(path):
    num_lines = len(path.read_text(encoding="utf-8").splitlines())
    assert num_lines <= MAX_FILE_LINES, f"{num_lines} lines: split it"


def functions(tree):
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return [node for node in ast.walk(tree) if isinstance(node, kinds)]


@by_name(EVERYTHING)
def test_function_bodies_are_short(path):
    too_long = {}
    for node in functions(parse(path)):
        body = node.body[1:] if ast.get_docstring(node) is not None else node.body
        num_lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
        if num_lines > MAX_BODY_LINES:
            too_long[node.name] = num_lines
    assert not too_long


@by_name(LIBRARY)
def test_public_names_have_docstrings(path):
    tree = parse(path)
    bare = [
        node.name
        for node in tree.body
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and not node.name.startswith("_")
        and ast.get_docstring(node) is None
    ]
    assert not bare, f"without a docstring: {bare}"
    if tree.body:
        assert ast.get_docstring(tree), "the module has no docstring"


@by_name(EVERYTHING)
def test_module_docstrings_are_statements(path):
    first_line, *_ = (ast.get_docstring(parse(path)) or "").splitlines() or [""]
    assert not first_line.endswith("?"), first_line


def defined_names(tree):
    """Yields the identifiers that a file defines: functions, arguments, variables."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


@by_name(EVERYTHING)
def test_identifiers_are_standard_words(path):
    names = {*defined_names(parse(path)), path.stem}
    assert not sorted(name for name in names if BANNED.search(name))


def messages(tree):
    """Yields the string constants of a file that are not docstrings."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and ast.get_docstring(node, clean=False) is not None
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if id(node) not in docstrings:
                yield node.value


@by_name([path for path in LIBRARY if path.name not in ("cli.py", "help.py")])
def test_messages_name_arguments_instead_of_flags(path):
    flag = re.compile(r"(?<![\w(!-])--[a-z]\w+")
    assert not [text for text in messages(parse(path)) if flag.search(text)]


def test_imports_are_found_wherever_they_are():
    tree = ast.parse(
        "from absl import flags\nimport keras_cv.layers\nfrom ..features import F\n"
        "def f():\n    from . import knn\n"
    )
    path = ROOT / PACKAGE / "evaluate" / "probe.py"
    expected = {
        "absl",
        "absl.flags",
        "keras_cv.layers",
        f"{PACKAGE}.features",
        f"{PACKAGE}.features.F",
    }
    assert set(imports(path, tree, deferred=False)) == expected
    deferred = {f"{PACKAGE}.evaluate", f"{PACKAGE}.evaluate.knn"}
    assert set(imports(path, tree)) == expected | deferred


def test_words_of_identifiers_are_found():
    tree = ast.parse("def judge_run(least_cosine, *, num=1):\n    colours = num\n")
    names = set(defined_names(tree))
    assert names == {"judge_run", "least_cosine", "num", "colours"}
    assert [n for n in sorted(names) if BANNED.search(n)] == sorted(names - {"num"})
    assert not BANNED.search("grayscale")
