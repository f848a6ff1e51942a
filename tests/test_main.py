"""What people type, and mistype: one line each, and nothing lost."""

import inspect
import sys

import keras
import numpy as np
import PIL.Image
import pytest
from absl import flags
from absl.testing import flagsaver

import main
from vicreg_keras.evaluate.linear_eval import PROTOCOLS
from vicreg_keras.evaluate.projection import METHODS
from vicreg_keras.export import tflite
from vicreg_keras.hardware.precision import POLICIES
from vicreg_keras.models import encoders
from vicreg_keras.modes.registry import MODES
from vicreg_keras.training import optim
from vicreg_keras.views import image_ops, image_views, table_views
from vicreg_keras.workdir.run_folder import RunFolder

TINY = [
    "--encoder=tiny",
    "--projector=16-16",
    "--views=grayscale",
    "--jitter_probability=0",
]
SHORT = [
    *TINY,
    "--crop_scale=1,1",
    "--flip_probability=0.5",
    "--epochs=1",
    "--warmup_epochs=0",
]


@pytest.fixture
def run_main(monkeypatch, capfd):
    """Runs the command line in this process: exit status, stdout, stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["main.py", *map(str, arguments)])
        capfd.readouterr()
        with flagsaver.flagsaver(), pytest.raises(SystemExit) as stopped:
            flags.FLAGS.unparse_flags()
            main.cli()
        out, err = capfd.readouterr()
        return stopped.value.code or 0, out, err

    yield run
    # What a run puts in force for its process.
    keras.mixed_precision.set_dtype_policy("float32")
    flags.FLAGS.unparse_flags()
    flags.FLAGS(["main.py", "--mode=pretrain"])


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of 24 small pictures without labels."""
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for i in range(24):
        pixels = random.integers(0, 256, (8, 8, 3)).astype("uint8")
        PIL.Image.fromarray(pixels).save(folder / f"{i:02}.png")
    return folder


def test_digits_from_pretraining_to_the_table(run_main, tmp_path):
    run = tmp_path / "run"
    code, out, err = run_main("--mode=pretrain", *SHORT, f"--workdir={run}")
    assert code == 0, err
    assert f"python main.py --mode=linear_eval --workdir={run}" in out
    assert "images/s" in err or "epoch 1/1" in err
    code, out, err = run_main(
        "--mode=linear_eval", f"--workdir={run}", "--few_label_seeds=2"
    )
    assert code == 0, err
    for row in ("chance", "raw input", "untrained encoder", "10 labels a class"):
        assert row in out
    (result,) = RunFolder(run).read_metrics("linear_eval")
    assert result["dataset"] == "digits" and result["num_test"] == 359
    # The SavedModel alone gives the same numbers.
    code, alone, err = run_main(
        *("--mode=linear_eval", f"--saved_model={run / 'encoder' / '1'}"),
        *("--dataset=digits", "--few_label_seeds=2"),
    )
    assert code == 0, err

    def judged(text):
        rows = [line.split() for line in text.splitlines()]
        return [row for row in rows if row[:2] == ["VICReg", "encoder"]]

    assert len(judged(out)) == 2 and judged(alone) == judged(out)
    out_of_the_first = out
    # The next version answers with class names, and is judged as the first was.
    code, out, err = run_main(
        *("--mode=export", f"--workdir={run}", "--format=savedmodel,tflite"),
        *("--head=linear", "--quantization=float32"),
    )
    assert code == 0, err
    assert f"{run / 'encoder' / '2'}" in out and "float32.tflite" in out
    assert (run / "encoder" / "2" / "assets" / "recipe.flags").read_text() == (
        RunFolder(run).flags.read_text()
    )
    code, again, err = run_main(
        "--mode=linear_eval", f"--workdir={run}", "--few_label_seeds=2"
    )
    assert code == 0 and judged(again) == judged(out_of_the_first), err
    # Another recipe may not have the same folder.
    before = RunFolder(run).flags.read_text()
    code, out, err = run_main(
        "--mode=pretrain", *SHORT, "--batch_size=64", f"--workdir={run}"
    )
    assert_one_line(code, err, "--batch_size=256", "--batch_size=64")
    assert RunFolder(run).flags.read_text() == before
    # Nor may images of another size be judged by it.
    code, out, err = run_main(
        *("--mode=linear_eval", f"--saved_model={run}", "--image_size=16"),
    )
    assert_one_line(code, err, "--image_size")


def test_four_views_an_image_train_and_are_part_of_the_recipe(run_main, tmp_path):
    start = ("--mode=pretrain", *SHORT, f"--workdir={tmp_path}")
    code, _, err = run_main(*start, "--num_views=4", "--score_every=0")
    assert code == 0, err
    (row,) = RunFolder(tmp_path).read_metrics("pretrain")
    assert row["step"] == 5 and np.isfinite(row["loss"]) and row["val_loss"] > 0
    recipe = tmp_path / "encoder" / "1" / "assets" / "recipe.flags"
    assert "--num_views=4\n" in recipe.read_text()
    code, _, err = run_main(*start)
    assert_one_line(code, err, "--num_views=4", "--num_views=2")


def test_unlabeled_pictures_train_and_say_that_they_cannot_be_judged(
    run_main, photos, tmp_path
):
    data = [f"--dataset=folder:{photos}", "--batch_size=8"]
    code, out, err = run_main(
        "--mode=pretrain", *SHORT, *data, f"--workdir={tmp_path / 'run'}"
    )
    assert code == 0, err
    code, out, err = run_main("--mode=linear_eval", f"--workdir={tmp_path / 'run'}")
    assert_one_line(code, err, "test split")


def assert_one_line(code, err, *parts):
    assert code not in (0, None)
    assert "Traceback" not in err
    lines = [line for line in err.splitlines() if line.strip()]
    assert len(lines) == 1, err
    for part in parts:
        assert part in lines[0], err


def test_no_network_and_no_data_names_three_ways_on(run_main, tmp_path):
    code, out, err = run_main(
        *("--mode=pretrain", "--dataset=cifar10", f"--data_dir={tmp_path}"),
        f"--workdir={tmp_path / 'run'}",
    )
    assert_one_line(code, err, "--data_dir", "network", "--dataset=digits")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--dataset=cifar11"], "cifar10"),
        (["--dataset=folder:{tmp}/nowhere"], "nowhere"),
        (["--dataset=folder:{tmp}/empty"], "empty"),
        (["--dataset=folder:{tmp}/text"], "notes.png"),
        (["--dataset=folder:{tmp}/sizes"], "--image_size"),
        (["--dataset=npz:{tmp}/none.npz"], "none.npz"),
        (["--dataset=npz:{tmp}/text/notes.png"], "notes.png"),
        (["--dataset=npz:{tmp}/floats.npz"], "uint8"),
        (["--num_views=1"], "num_views"),
        (["--batch_size=5000"], "batch_size=5000"),
        (["--batch_size=1"], "batch_size=1"),
        (["--batch_size=many"], "batch_size"),
        (["--projector=2048,x"], "2048-2048-2048"),
        (["--epochs=-3"], "epochs"),
        (["--epochs=0"], "epochs"),
        (["--warmup_epochs=7", "--epochs=2"], "warmup_epochs=7"),
        (["--learning_rate=-1"], "learning_rate"),
        (["--variance_weight=-1"], "variance_weight"),
        (["--encoder=vgg"], "resnet18"),
        (["--views=blue"], "cifar"),
        (["--flip_probability=1.5"], "flip_probability=1.5"),
        (["--crop_scale=0.5"], "--crop_scale=LEAST,GREATEST"),
        (["--crop_scale=1,0.2"], "(1.0, 0.2)"),
        (["--validation_fraction=2"], "validation_fraction"),
        (["--init_from={tmp}/empty"], "earlier run with a checkpoint"),
        (["--workdir={tmp}/text/notes.png/run"], "--workdir"),
        (["--workdir=/proc/run"], "workdir=/proc/run"),
        (["--workdir="], "--workdir=RUN"),
        (["--no_such_flag=1"], "no_such_flag"),
        (["--flagfile={tmp}/none.flags"], "none.flags"),
        (["pretrain"], "Expected flags only"),
        (["--mode=linear_eval"], "pretrain"),
        (["--mode=linear_eval", "--saved_model={tmp}/empty"], "SavedModel"),
        (["--mode=dance"], "linear_eval"),
        (["--mode=export"], "pretrain"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_wrong_input_gives_one_line(arguments, part, run_main, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "notes.png").write_text("not a picture")
    (tmp_path / "sizes").mkdir()
    for size in (8, 9):
        picture = PIL.Image.new("RGB", (size, size))
        picture.save(tmp_path / "sizes" / f"{size}.png")
    np.savez(tmp_path / "floats.npz", images=np.zeros((4, 8, 8, 3)))
    code, _, err = run_main(
        *("--mode=pretrain", *SHORT, f"--workdir={tmp_path / 'run'}"),
        *(argument.format(tmp=tmp_path) for argument in arguments),
    )
    assert_one_line(code, err, part)


def test_a_mode_is_needed(run_main):
    code, _, err = run_main("--workdir=somewhere")
    assert_one_line(code, err, "--mode")


def test_a_mistake_does_not_take_the_folder(run_main, tmp_path):
    run = f"--workdir={tmp_path}"
    code, _, err = run_main("--mode=pretrain", *SHORT, "--batch_size=5000", run)
    assert_one_line(code, err, "batch_size=5000")
    code, _, err = run_main("--mode=pretrain", *SHORT, "--batch_size=512", run)
    assert code == 0, err


def test_choices_of_the_flags_are_those_of_the_library():
    def choices(name):
        return set(flags.FLAGS[name].parser.enum_values)

    assert choices("encoder") == {"auto", "mlp", *encoders.ENCODERS}
    assert choices("views") == {"auto", *image_views.VIEWS, *table_views.TABLE_VIEWS}
    assert choices("optimizer") == set(optim.OPTIMIZERS)
    assert choices("precision") == {"auto", *POLICIES}
    assert choices("protocol") == set(PROTOCOLS)
    assert choices("mode") == {*main.OTHER_MODES, *MODES}
    assert choices("projection") == set(METHODS)
    assert all(name in flags.FLAGS["quantization"].help for name in tflite.VARIANTS)
    assert choices("interpolation") == set(image_ops.INTERPOLATIONS)
    assert set(main.JUDGES) == set(MODES)
    for mode, options in main.JUDGES.items():
        context, *keywords = inspect.signature(MODES[mode]).parameters
        assert [flag.name for flag in options] == keywords, mode
    settings = set(inspect.signature(image_views.View).parameters) - {"kwargs"}
    assert settings <= set(flags.FLAGS), "a value of a view lacks its flag"
    settings = set(main._TABLE_VIEW_NUMBERS) | {"marginals", "std", "categorical"}
    assert settings == set(inspect.signature(table_views.TableView).parameters) - {
        "kwargs"
    }
