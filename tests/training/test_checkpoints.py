"""The newest whole checkpoint of a run is found, whatever became of the others."""

import dataclasses

import pytest
import tensorflow as tf

from tests.workdir.test_versions import DAMAGES
from vicreg_keras.errors import DamagedError, InputError
from vicreg_keras.settings import DataOptions, Settings
from vicreg_keras.training import checkpoints
from vicreg_keras.training.checkpoints import newest_checkpoint
from vicreg_keras.training.identity import check_recipe
from vicreg_keras.workdir.files import write_text
from vicreg_keras.workdir.run_folder import RunFolder

SETTINGS, DATA = Settings(encoder="tiny"), DataOptions(dataset="digits")
DATA_FILE = "ckpt-30.data-00000-of-00001"


def save(run, number, recipe=None):
    """Leaves a checkpoint with all that tells what it is."""
    state = tf.train.Checkpoint(
        weights=tf.Variable(tf.range(1000.0) + number),
        data_card=checkpoints._Text("{}"),
        recipe=checkpoints._Text(recipe or run.recipe.text),
    )
    state.write(str(run.checkpoints / f"ckpt-{number}"))


def begin(path):
    run = RunFolder(path)
    run.create()
    run.write_flags(check_recipe(run, SETTINGS, DATA))
    for number in (20, 30):
        save(run, number)
    write_text(run.checkpoints / "checkpoint", 'model_checkpoint_path: "ckpt-30"\n')
    return run


@pytest.fixture
def run(tmp_path):
    return begin(tmp_path / "run")


def damage_file(path, damage):
    content = path.read_bytes()
    path.unlink()
    if DAMAGES[damage]:
        path.write_bytes(DAMAGES[damage](content))


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_tensorflow_notes_of_the_last_is_not_trusted(run, damage):
    damage_file(run.checkpoints / "checkpoint", damage)
    assert newest_checkpoint(run).path.name == "ckpt-30"


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["ckpt-30.index", DATA_FILE])
def test_the_one_before_a_damaged_checkpoint_is_used(run, name, damage):
    damage_file(run.checkpoints / name, damage)
    match = f"{run.checkpoints}/ckpt-30 is damaged .*: going on from ckpt-20."
    with pytest.warns(match=match) as said:
        assert newest_checkpoint(run).path.name == "ckpt-20"
    assert "\n" not in str(said[0].message)
    checkpoints._clean(run)
    assert not [*run.checkpoints.glob("ckpt-30*")]
    text = (run.checkpoints / "checkpoint").read_text()
    assert text.count("ckpt-20") == 2 and "ckpt-30" not in text


def test_without_a_whole_checkpoint_all_are_named_and_left(run):
    for number in (20, 30):
        damage_file(run.checkpoints / f"ckpt-{number}.index", "lost")
    with pytest.raises(DamagedError, match=r"ckpt-30 is damaged.*ckpt-20 is damaged"):
        newest_checkpoint(run)
    assert len([*run.checkpoints.glob("ckpt-*.data*")]) == 2


def test_a_checkpoint_of_another_run_is_named_and_not_used(run, tmp_path):
    other = begin(tmp_path / "other")
    save(run, 30, recipe=other.recipe.text)
    with pytest.warns(match="ckpt-30 .*another run than .*going on from ckpt-20"):
        assert newest_checkpoint(run).path.name == "ckpt-20"
    save(run, 20, recipe=other.recipe.text)
    with pytest.raises(DamagedError, match="another run"):
        check_recipe(run, SETTINGS, DATA)


def test_leftovers_of_killed_processes_are_removed(run):
    for name in ("ckpt-40_temp/part-00000-of-00001.index", "checkpoint.tmp0123"):
        write_text(run.checkpoints / name, "half")
    checkpoints._clean(run)
    names = {path.name for path in run.checkpoints.iterdir()}
    assert names == {
        "checkpoint",
        *(f"ckpt-{n}{end}" for n in (20, 30) for end in (".index", DATA_FILE[7:])),
    }


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_recipe_in_the_checkpoint_stands_for_a_damaged_flag_file(run, damage):
    text = run.flags.read_text()
    damage_file(run.flags, damage)
    other = dataclasses.replace(SETTINGS, seed=7)
    with (
        pytest.warns(match="flags.flags is .*: the recipe is that in .*ckpt-30"),
        pytest.raises(InputError, match=r"\(seed=0\). Received: seed=7"),
    ):
        check_recipe(run, other, DATA)
    assert run.flags.read_text() == text
    assert check_recipe(run, SETTINGS, DATA)["seed"] == "0"


def test_a_recipe_that_no_file_holds_is_not_guessed(run):
    for number in (20, 30):
        state = tf.train.Checkpoint(data_card=checkpoints._Text("{}"))
        state.write(str(run.checkpoints / f"ckpt-{number}"))
    assert check_recipe(run, SETTINGS, DATA)
    run.flags.write_bytes(b"")
    with pytest.raises(DamagedError, match=f"Expected {run.flags} as it was"):
        check_recipe(run, SETTINGS, DATA)


@pytest.mark.parametrize("evidence", ["encoder", "records"])
def test_a_run_that_lost_its_checkpoints_does_not_begin_anew(run, evidence):
    for path in run.checkpoints.iterdir():
        path.unlink()
    check_recipe(run, SETTINGS, DATA)
    if evidence == "encoder":
        (run.encoder / "1").mkdir(parents=True)
    else:
        record = {"mode": "pretrain", "dataset": "digits", "seed": 0, "metrics": {}}
        for epoch in (1, 2):
            assert check_recipe(run, SETTINGS, DATA)  # Killed in the first save.
            place = {"epoch": epoch, "step": 10 * epoch, "minutes": 0.1}
            run.append_metrics(record | place)
    with pytest.raises(InputError, match=f"a checkpoint in {run.checkpoints}, as"):
        check_recipe(run, SETTINGS, DATA)
