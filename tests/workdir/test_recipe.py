"""The recipe of a run, which survives the loss of any one file."""

import pytest

from tests.workdir.test_versions import DAMAGES
from vicreg_keras.errors import DamagedError
from vicreg_keras.workdir.files import write_text
from vicreg_keras.workdir.recipe import Recipe
from vicreg_keras.workdir.run_folder import RunFolder

SETTINGS = {"epochs": "10", "learning_rate": "0.3", "mlp": "", "data": "ü \udc80"}


@pytest.fixture
def run(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.create()
    return folder


def save_recipe(run, recipe):
    """Leaves the recipe as an exported encoder has it."""
    path = run.encoder / "1" / "assets" / "recipe.flags"
    write_text(path, recipe.text)


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_recipe_survives_a_damaged_flag_file(run, damage):
    run.write_flags(SETTINGS)
    recipe, content = run.recipe, run.flags.read_bytes()
    save_recipe(run, recipe)
    run.flags.unlink()
    if DAMAGES[damage]:
        run.flags.write_bytes(DAMAGES[damage](content))
    with pytest.warns(match=f"{run.flags} is .*: the recipe is that in {run.encoder}"):
        assert run.recipe == recipe
    (run.encoder / "1" / "assets" / "recipe.flags").unlink()
    if damage == "lost":
        assert run.recipe is None
    else:
        with pytest.raises(DamagedError, match=f"Expected {run.flags} as it was"):
            run.read_flags()


def test_every_flipped_byte_of_a_recipe_is_noticed(run):
    run.write_flags(SETTINGS)
    recipe, content = run.recipe, run.flags.read_bytes()
    save_recipe(run, recipe)
    for position in range(len(content)):
        flipped = bytearray(content)
        flipped[position] ^= 1 << position % 8
        run.flags.write_bytes(flipped)
        with pytest.warns(match=str(run.flags)):
            assert run.recipe == recipe


def test_the_end_of_a_recipe_does_not_pass_for_one(run):
    run.write_flags(SETTINGS)
    recipe = run.recipe
    save_recipe(run, recipe)
    run.flags.write_text("--learning_rate=0.3\n")
    with pytest.warns(match="without the run's id"):
        assert run.recipe == recipe


def test_flags_of_an_earlier_version_are_read(run):
    run.flags.write_text("--epochs=10\n--mlp=\n")
    assert run.recipe == Recipe({"epochs": "10", "mlp": ""})
    save_recipe(run, run.recipe)
    run.write_flags(SETTINGS)
    assert run.read_flags() == SETTINGS and run.run_id
