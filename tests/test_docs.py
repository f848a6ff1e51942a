"""The API page and the docstrings it is made from."""

import importlib
import inspect
import pathlib
import re

import pytest

import vicreg_keras

API = pathlib.Path(__file__).resolve().parent.parent / "docs" / "api.md"
TEXT = API.read_text(encoding="utf-8")
ENTRIES = dict(
    reversed(path.rsplit(".", 1)) for path in re.findall(r"^::: (\S+)$", TEXT, re.M)
)


@pytest.mark.parametrize("name", vicreg_keras.__all__)
def test_public_names_are_documented(name):
    value = getattr(vicreg_keras, name)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert name in ENTRIES, f"{name} is missing from docs/api.md"
        assert getattr(importlib.import_module(ENTRIES[name]), name) is value
        assert value.__doc__ and value.__doc__.strip()
    else:
        assert f"`{name}`" in TEXT, f"{name} is missing from docs/api.md"


def test_api_page_documents_public_names_only():
    assert set(ENTRIES) <= set(vicreg_keras.__all__)
