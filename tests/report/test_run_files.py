"""Files of a run that are damaged or another run's are named and not shown."""

import warnings

import pytest

from tests.workdir.test_versions import DAMAGES
from vicreg_keras.data.card import make_card
from vicreg_keras.data.dataset import load_dataset
from vicreg_keras.figures.style import new_figure, save
from vicreg_keras.report.run_files import read_card, read_environment, read_figure
from vicreg_keras.settings import Settings
from vicreg_keras.training.build import make_schema
from vicreg_keras.workdir.files import write_text
from vicreg_keras.workdir.run_folder import RunFolder

READERS = {
    "data.json": read_card,
    "environment.json": read_environment,
    "figures/loss.png": lambda run: read_figure(run, "loss"),
}


@pytest.fixture(scope="module")
def contents(tmp_path_factory):
    """Contents of the files of two runs."""
    dataset = load_dataset("digits")
    card = make_card(dataset, make_schema(Settings(encoder="tiny"), dataset))
    found = []
    for name in ("run", "other"):
        run = RunFolder(tmp_path_factory.mktemp(name))
        run.write_flags({"seed": "0"})
        run.write_environment()
        write_text(run.data_card, card.to_json(run=run.run_id))
        save(new_figure(2, 2)[0], run.figures / "loss.png", run.run_id)
        names = ("flags.flags", *READERS)
        found.append({name: (run.path / name).read_bytes() for name in names})
    return found


@pytest.fixture
def run(contents, tmp_path):
    for name, content in contents[0].items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return RunFolder(tmp_path)


@pytest.mark.parametrize("name", READERS)
def test_whole_files_are_read(run, name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert READERS[name](run)


@pytest.mark.parametrize("damage", [*DAMAGES, "swapped"])
@pytest.mark.parametrize("name", READERS)
def test_others_are_named_and_left_out(run, contents, name, damage):
    path = run.path / name
    path.unlink()
    if damage == "swapped":
        path.write_bytes(contents[1][name])
    elif DAMAGES[damage]:
        path.write_bytes(DAMAGES[damage](contents[0][name]))
    elif path.suffix == ".png":
        assert READERS[name](run) is None  # Not drawn yet.
        return
    with pytest.warns(match=f"{path} is .*: it is left out.") as said:
        assert not READERS[name](run)
    assert "\n" not in str(said[0].message)
