"""The notebooks run from top to bottom, and what is committed of them is whole."""

import pathlib
import re

import nbformat
import pytest

from notebooks.execute import NOTEBOOKS, execute
from vicreg_keras.workdir.run_folder import RunFolder

ROOT = pathlib.Path(__file__).resolve().parent.parent

# A smaller net learns the same in a few seconds.
SHORT = {
    "pretrain.ipynb": 'recipe |= {"encoder": "tiny", "projector": (256,) * 3, '
    '"batch_size": 64, "learning_rate": 3e-3, "epochs": 24}',
    "linear_evaluation.ipynb": "LABELS_PER_CLASS, NUM_DRAWS = (1, 2), 3",
}
MAX_BYTES = 400_000

by_name = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def text_of(cell):
    """What a cell printed."""
    return "".join(o.text for o in cell.outputs if o.output_type == "stream")


def pictures_of(notebook):
    """The numbers of the cells that show a picture."""
    return [
        number
        for number, cell in enumerate(code_cells(notebook))
        if any("image/png" in output.get("data", {}) for output in cell.outputs)
    ]


def warnings_of(notebook):
    return [
        output
        for cell in code_cells(notebook)
        for output in cell.outputs
        if output.output_type == "error" or output.get("name") == "stderr"
    ]


def parameters_of(path):
    """What the cell tagged `parameters` sets."""
    (cell,) = (
        cell
        for cell in nbformat.read(path, as_version=4).cells
        if "parameters" in cell.metadata.get("tags", ())
    )
    names = {}
    exec(cell.source, names)
    return names


def test_both_run_one_after_the_other(tmp_path):
    folder = tmp_path / "notebooks"
    folder.mkdir()
    pretrained, evaluated = (
        execute(path, folder, SHORT[path.name]) for path in NOTEBOOKS
    )
    for path, notebook in zip(NOTEBOOKS, (pretrained, evaluated), strict=True):
        assert not warnings_of(notebook)
        assert len(pictures_of(notebook)) >= 5
        assert pictures_of(notebook) == pictures_of(nbformat.read(path, as_version=4))

    run = RunFolder(tmp_path / "runs" / "notebook_digits")
    assert (run.encoder / "1" / "saved_model.pb").exists()
    # Without the variance term the embeddings shrink, with it they do not.
    stds = [re.findall(r"std +([\d.]+)", text_of(c)) for c in code_cells(pretrained)]
    healthy, collapsed = ([float(std) for std in found] for found in stds if found)
    assert collapsed[-1] < 0.1 * healthy[-1]

    (table,) = (text_of(c) for c in code_cells(evaluated) if "chance" in text_of(c))
    top1 = {
        (name, protocol): float(number)
        for name, protocol, number in re.findall(
            r"^(\w+ \w+) +(cached|10 labels per class) +([\d.]+)", table, re.M
        )
    }
    assert top1["VICReg encoder", "cached"] > 90
    for baseline in ("raw input", "untrained encoder"):
        few = top1["VICReg encoder", "10 labels per class"]
        assert few > top1[baseline, "10 labels per class"]


def test_evaluation_says_that_pretraining_comes_first(tmp_path, monkeypatch):
    notebook = nbformat.read(NOTEBOOKS[1], as_version=4)
    (cell,) = (c for c in code_cells(notebook) if "raise " in c.source)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="Run pretrain.ipynb first"):
        exec(cell.source, {"DATASET": "digits", "RunFolder": RunFolder})


def test_recipe_is_that_of_the_flag_file():
    text = (ROOT / "flags" / "quickstart.flags").read_text(encoding="utf-8")
    flags = dict(re.findall(r"^--(\w+)=(\S+)$", text, re.M))
    assert flags.pop("mode") == "pretrain" and flags.pop("dataset") == "digits"
    flags.pop("score_every")  # The notebook looks once, at the end.
    recipe = parameters_of(NOTEBOOKS[0])["RECIPES"]["digits"]
    recipe["projector"] = "-".join(map(str, recipe["projector"]))
    recipe = {name: value for name, value in recipe.items() if value is not None}
    assert set(recipe) == set(flags)
    for name, value in recipe.items():
        assert type(value)(flags[name]) == value, name


@by_name
def test_committed_outputs_are_whole(path):
    assert path.stat().st_size < MAX_BYTES
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1)), "run `make notebooks`"
    assert not warnings_of(notebook)
    assert all(set(cell.metadata) <= {"tags"} for cell in notebook.cells)
    assert set(notebook.metadata.language_info) == {"name"}


@by_name
def test_nothing_committed_is_of_one_machine(path):
    notebook = nbformat.read(path, as_version=4)
    texts = [cell.source for cell in notebook.cells]
    for output in (o for cell in code_cells(notebook) for o in cell.outputs):
        texts += [output.get("text", ""), output.get("data", {}).get("text/plain", "")]
    for text in texts:
        assert not re.search(r"(?<![\w.])/(tmp|home|root|work|Users)\b|[A-Z]:\\", text)
        assert not re.search(r"\x1b|[\r\x08]|images/s|WARNING", text)


def test_committed_outputs_are_of_the_whole_recipe():
    epochs = parameters_of(NOTEBOOKS[0])["recipe"]["epochs"]
    notebook = nbformat.read(NOTEBOOKS[0], as_version=4)
    text = "".join(map(text_of, code_cells(notebook)))
    assert re.search(rf"^epoch +{epochs} ", text, re.M)
