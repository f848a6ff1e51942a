"""What is read of data as people have it: the page in the documentation.

    python -m tests.data.test_kinds > docs/what_is_read.md

writes the page anew, to be read before it is committed.
"""

import pathlib
import tempfile

import pytest

from tests.data.kinds import KINDS
from vicreg_keras.data.card import describe
from vicreg_keras.data.dataset import load_dataset
from vicreg_keras.errors import InputError

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "what_is_read.md"
HEAD = """# What is read

Each line of the table is a small data set that a test makes, and what the program says
of it: what was read, what was left out, how cells and arrays were taken where they can
be taken in several ways; or, after *Refused*, the line that stands on stderr. The same
is kept in the run's `data.json`.

| what is there | what is said |
|---|---|
"""


def line_of(kind, root):
    name = kind.make(root)
    try:
        text = describe(load_dataset(name, **kind.options))
    except InputError as error:
        text = f"*Refused.* {error}"
    text = text.replace(str(root), "DATA").replace("|", "\\|").replace("*N*", "N")
    return f"| {kind.text} | {'<br>'.join(text.split(chr(10) + '  '))} |"


@pytest.fixture(scope="module")
def page():
    return PAGE.read_text("utf-8")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.text)
def test_each_kind_is_read_as_the_page_says(kind, page, tmp_path):
    line = line_of(kind, tmp_path / "data")
    assert line in page.splitlines()


def test_the_page_has_no_other_kinds(page):
    assert page.startswith(HEAD)
    assert len(page.removeprefix(HEAD).splitlines()) == len(KINDS)


def main():
    lines = []
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as folder:
            lines.append(line_of(kind, pathlib.Path(folder) / "data"))
    print(HEAD + "\n".join(lines))


if __name__ == "__main__":
    main()
