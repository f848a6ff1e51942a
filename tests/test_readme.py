"""README.md, CONTRIBUTING.md, docs/ and the notebooks: commands, code and links."""

import json
import pathlib
import re
import shlex

import pytest

from vicreg_keras.data.dataset import DATASETS
from vicreg_keras.modes import MODES

ROOT = pathlib.Path(__file__).resolve().parent.parent
README = ROOT / "README.md"


def markdown_of(notebook):
    """Returns the text between a notebook's code."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    texts = ("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    return "\n\n".join(texts)


NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = (README, ROOT / "CONTRIBUTING.md", *DOCS)
TEXTS = {path: path.read_text(encoding="utf-8") for path in PAGES}
TEXTS |= {path: markdown_of(path) for path in NOTEBOOKS}


def commands(text):
    """Yields every command in the fenced blocks, as a list of words."""
    for block in re.findall(r"^ *```[^\n]*\n(.*?)^ *```", text, re.M | re.S):
        for line in re.sub(r"\\\n\s*", " ", block).splitlines():
            line = line.strip().removeprefix("$ ")
            if not re.match(
                r"(?:\w+=\S* +)*(?:\S*python\S* main\.py|make|vicreg-keras)\b", line
            ):
                continue
            words = []
            lexer = shlex.shlex(line, posix=True, punctuation_chars="();<>|&")
            lexer.whitespace_split = True
            for word in [*lexer, ";"]:
                if set(word) <= set(";|&"):
                    yield words
                    words = []
                else:
                    words.append(word)


def main_commands(text):
    """Yields the arguments of each run of main.py, under either of its names."""
    for words in commands(text):
        for name in ("main.py", "vicreg-keras"):
            if name in words:
                yield words[words.index(name) + 1 :]


def make_targets(text):
    """Yields the targets of each run of make."""
    for words in commands(text):
        if words[:1] == ["make"]:
            yield from (w for w in words[1:] if "=" not in w and w[0] != "-")


def links(text):
    """Yields the files that the text links to or shows, relative to it."""
    found = re.findall(r"\]\(\s*<?([^)\s>]+)", text)
    found += re.findall(r"<(?:img|a)\b[^>]*?(?:src|href)=[\"']([^\"']+)", text)
    for target in found:
        if not re.match(r"[a-z][a-z+.-]*:|#|//", target, re.I):
            yield target.split("#")[0]


@pytest.mark.parametrize(
    "arguments",
    [a for text in TEXTS.values() for a in main_commands(text)],
    ids=" ".join,
)
def test_commands_parse(arguments, parse_flags, tmp_path, monkeypatch):
    # What the commands refer to exists: recipes, and runs that were trained before.
    (tmp_path / "flags").symlink_to(ROOT / "flags")
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name in ("--workdir", "--saved_model"):
            (tmp_path / value).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    # A recipe that a run wrote says which mode it is of.
    rest = [a for a in arguments if not a.startswith("--flagfile=runs/")]
    parse_flags(rest if len(rest) == len(arguments) else ["--mode=pretrain", *rest])


def test_every_mode_and_dataset_is_documented():
    for path in (README, ROOT / "docs" / "modes.md"):
        missing = [mode for mode in MODES if f"`{mode}`" not in TEXTS[path]]
        assert not missing, path.name
    text = TEXTS[ROOT / "docs" / "datasets.md"]
    assert not [name for name in DATASETS if not re.search(rf"\b{name}\b", text)]


TARGETS = {target for text in TEXTS.values() for target in make_targets(text)}


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_make_targets_exist(target):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{re.escape(target)}:", makefile, re.M)


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_linked_files_exist(path):
    targets = set(links(TEXTS[path]))
    missing = [target for target in targets if not (path.parent / target).exists()]
    assert not missing


def test_commands_targets_and_links_are_found():
    text = """
    See [the log](LOG.md#top), [this](https://example.com/a), <img src="a/b.png">.
    ```bash
    make quickstart && make -j2 lint V=1  # twice
    $ A=1 .venv/bin/python main.py --mode=pretrain \\
        --query="a b.png" --epochs 3 | tee log
    python -c 'print("main.py")'
    vicreg-keras --mode=export
    ```
    `make nothing` in a sentence is not a command to run.
    """
    text = "\n".join(line.strip() for line in text.splitlines())
    assert list(main_commands(text)) == [
        ["--mode=pretrain", "--query=a b.png", "--epochs", "3"],
        ["--mode=export"],
    ]
    assert list(make_targets(text)) == ["quickstart", "lint"]
    assert list(links(text)) == ["LOG.md", "a/b.png"]


def python_blocks(path):
    return re.findall(r"^```python\n(.*?)^```", TEXTS[path], re.M | re.S)


def run(block, path):
    names = {}
    exec(compile(block, path.name, "exec"), names)
    return names


@pytest.mark.slow
def test_readme_code_runs(tmp_path, monkeypatch):
    (block,) = python_blocks(README)
    assert len([line for line in block.splitlines() if line.strip()]) <= 12
    monkeypatch.chdir(tmp_path)
    names = run(block, README)
    assert names["representations"].shape == (512, 32)
    assert int(names["restored"].step.numpy()) == int(names["model"].step.numpy()) == 8


LIBRARY = ROOT / "docs" / "library.md"


@pytest.mark.slow
@pytest.mark.parametrize(
    "block", [b for b in python_blocks(LIBRARY) if "runs/" not in b]
)
def test_library_page_code_runs(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(block, LIBRARY)
