"""The layout: who may import whom, and how large a file may grow."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGE = "vicreg_keras"

# Imports point down: a module imports modules of lower levels only. A new module is
# entered here. A folder's name stands for all that is in it.
LEVELS = {
    "main": 6,
    "search": 5,
    "judge": 5,
    "pretrain": 4,
    "report": 4,
    "export": 3,
    "evaluate": 2,
    "feature_store": 2,
    "settings": 1,
    "trainer": 1,
    "callbacks": 1,
    "features": 1,
    "saved_encoder": 1,
    "data": 0,
    "augment": 0,
    "row_views": 0,
    "losses": 0,
    "models": 0,
    "row_encoder": 0,
    "optim": 0,
    "distribute": 0,
    "workdir": 0,
    "versions": 0,
    "figures": 0,
    "precision": 0,
    "tables": 0,
    # Parts of one module that fill a file of their own.
    "columns": -3,
    "pixels": -1,
    "splits": -1,
    "sources": -2,
    "random_layers": -1,
    "image_ops": -2,
    "row_ops": -1,
    "row_settings": -1,
    "layers": -1,
    "convolution": -2,
    "winograd": -3,
    "cpu": -3,
}
# Whose a part is: nobody else imports it.
PARTS = {
    "splits": ("data",),
    "pixels": ("data",),
    "sources": ("data", "splits"),
    "random_layers": ("augment",),
    "image_ops": ("random_layers",),
    "row_ops": ("row_views",),
    "row_settings": ("row_views",),
    "layers": ("models",),
    "convolution": ("layers",),
    "winograd": ("convolution",),
    "cpu": ("convolution", "precision"),
}

# What only these files import; a folder ends in a slash.
EXCLUSIVE = {
    "absl.flags": ("main.py",),
    "keras_cv": (f"{PACKAGE}/random_layers.py", "benchmarks/views.py"),
    "faiss": (f"{PACKAGE}/evaluate/",),
    "matplotlib": (f"{PACKAGE}/figures/",),
}
# What a file does not import.
FORBIDDEN = {f"{PACKAGE}/losses.py": ("tensorflow", "numpy")}

MAX_LINES = 420
MAX_LINES_MAIN = 660  # It holds every flag, and a few lines a mode.


def python_files(*folders):
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return sorted(files + [path for path in [ROOT / "main.py"] if path.exists()])


def name_of(path):
    return path.relative_to(ROOT).as_posix()


LIBRARY = python_files(PACKAGE)
EVERYTHING = python_files(PACKAGE, "tests", "benchmarks", "notebooks", "examples")


def parse(path):
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imports(path, tree=None):
    """Every name a file imports, absolute: `from a import b` gives a and a.b."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(tree or parse(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def module_of(name):
    """The dotted path of the module of ours that `name` is or is in, else None."""
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


def our_imports(path):
    """The modules of ours that a file imports, without the folders they are in."""
    found = {module_of(name) for name in imports(path)} - {None, dotted(path)}
    return {
        module
        for module in found
        if not any(other.startswith(module + ".") for other in found)
    }


def room(module):
    """The entry of LEVELS that a module belongs to."""
    return module.removeprefix(f"{PACKAGE}.").split(".")[0]


def by_name(paths):
    return pytest.mark.parametrize("path", paths, ids=map(name_of, paths))


@by_name([p for p in LIBRARY if dotted(p) != PACKAGE])
def test_imports_point_down(path):
    importer = room(dotted(path))
    assert importer in LEVELS, f"Enter {importer} in LEVELS of {__name__}."
    for module in our_imports(path):
        imported = room(module)
        assert module != PACKAGE, f"{name_of(path)} imports the package it is part of"
        if imported == importer:  # inside one folder
            continue
        assert imported in LEVELS, f"Enter {imported} in LEVELS of {__name__}."
        assert LEVELS[imported] < LEVELS[importer], (
            f"{name_of(path)} imports {module}, which does not lie below it"
        )
        if imported in PARTS:
            assert importer in PARTS[imported], (
                f"{name_of(path)} imports {module}, a part of {PARTS[imported]}"
            )


@by_name(LIBRARY)
def test_third_parties_stay_in_their_rooms(path):
    names = set(imports(path))
    for package, places in EXCLUSIVE.items():
        used = any(name == package or name.startswith(package + ".") for name in names)
        if used:
            assert name_of(path).startswith(places), f"{package} is for {places} only"
    for package in FORBIDDEN.get(name_of(path), ()):
        assert not any(name.split(".")[0] == package for name in names)


def test_every_module_is_imported_by_something():
    imported = {PACKAGE, "main"}
    for path in EVERYTHING:
        for module in our_imports(path):
            parts = module.split(".")
            imported |= {".".join(parts[:i]) for i in range(1, len(parts) + 1)}
    unused = {dotted(path) for path in LIBRARY} - imported
    assert not unused, f"imported by nothing: {sorted(unused)}"


@by_name(EVERYTHING)
def test_no_file_is_too_long(path):
    num_lines = len(path.read_text(encoding="utf-8").splitlines())
    limit = MAX_LINES_MAIN if name_of(path) == "main.py" else MAX_LINES
    assert num_lines <= limit, f"{num_lines} lines: split it, one idea a file"


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
        assert ast.get_docstring(tree), "the module does not say what it answers"


def test_imports_are_found_wherever_they_stand():
    tree = ast.parse(
        "from absl import flags\nimport keras_cv.layers\nfrom ..features import F\n"
        "def f():\n    from . import knn\n"
    )
    assert set(imports(ROOT / PACKAGE / "evaluate" / "probe.py", tree)) == {
        "absl",
        "absl.flags",
        "keras_cv.layers",
        f"{PACKAGE}.features",
        f"{PACKAGE}.features.F",
        f"{PACKAGE}.evaluate",
        f"{PACKAGE}.evaluate.knn",
    }
