"""What is installed: the console script, data files and bounds of dependencies."""

import importlib
import pathlib
import re
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def requirements(name):
    """Returns the lines of a requirements file as names and version specifiers."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    texts = [line.split("#")[0].strip() for line in lines]
    pairs = [re.match(r"([\w.-]+)(.*)", text).groups() for text in texts if text]
    return {key.lower().replace("_", "-"): value for key, value in pairs}


def test_console_script_is_in_the_package():
    module, name = PROJECT["project"]["scripts"]["vicreg-keras"].split(":")
    assert module.startswith("vicreg_keras.")
    assert callable(getattr(importlib.import_module(module), name))


def test_data_files_of_the_package_are_installed():
    package = ROOT / "vicreg_keras"
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["vicreg_keras"]
    installed = {path for pattern in patterns for path in package.glob(pattern)}
    data = {p for p in package.rglob("*.*") if p.is_file() and p.suffix != ".py"}
    assert installed and {p for p in data if p.suffix != ".pyc"} == installed


def test_oldest_dependencies_are_the_lower_bounds():
    oldest = requirements("requirements-oldest.txt")
    for name, specifier in requirements("requirements.txt").items():
        lower = re.match(r">=([\d.]+)", specifier)[1]
        assert oldest[name] == f"=={lower}", name
