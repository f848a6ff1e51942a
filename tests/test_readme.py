"""README.md, docs/ and the notebooks keep their word: commands parse, links lead on."""

import json
import pathlib
import re
import shlex

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
TEXT = README.read_text(encoding="utf-8") if README.exists() else ""


def markdown_of(notebook):
    """The text between a notebook's code."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    texts = ("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    return "\n\n".join(texts)


NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
DOCS = sorted((ROOT / "docs").glob("*.md"))
TEXTS = {path: path.read_text(encoding="utf-8") for path in (README, *DOCS)}
TEXTS |= {path: markdown_of(path) for path in NOTEBOOKS}


def commands(text):
    """Every command in the fenced blocks, as a list of words."""
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
    """The arguments of each run of main.py, under either of its names."""
    for words in commands(text):
        for name in ("main.py", "vicreg-keras"):
            if name in words:
                yield words[words.index(name) + 1 :]


def make_targets(text):
    """The targets that each run of make asks for."""
    for words in commands(text):
        if words[:1] == ["make"]:
            yield from (w for w in words[1:] if "=" not in w and w[0] != "-")


def links(text):
    """The files that the text links to or shows, relative to it."""
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
def test_commands_parse(arguments, parse_flags):
    # A run's own flags exist only once it has run; they say which mode it was.
    rest = [a for a in arguments if not a.startswith("--flagfile=runs/")]
    parse_flags(rest if len(rest) == len(arguments) else ["--mode=pretrain", *rest])


@pytest.mark.parametrize("target", sorted(set(make_targets(TEXT))))
def test_make_targets_exist(target):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{re.escape(target)}:", makefile, re.M)


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    targets = set(links(TEXTS[path]))
    missing = [target for target in targets if not (path.parent / target).exists()]
    assert targets and not missing


def test_what_is_found_in_a_readme():
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


def python_blocks(text):
    return re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)


def test_library_lines_run(tmp_path, monkeypatch):
    (block,) = [b for b in python_blocks(TEXT) if "model.fit" in b]
    assert len([line for line in block.splitlines() if line.strip()]) <= 12
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(block, "README.md", "exec"), names)
    assert names["representations"].shape == (512, 32)
    assert int(names["again"].step.numpy()) == int(names["model"].step.numpy()) == 8
