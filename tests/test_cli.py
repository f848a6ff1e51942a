"""The command line: modes one after the other, and one line for every mistake."""

import dataclasses
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest

from vicreg_keras import cli
from vicreg_keras.errors import InputError
from vicreg_keras.modes import MODES, all_options, unused
from vicreg_keras.settings import DataOptions, options, recipe
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
    assert f"python main.py --mode=evaluate --workdir={run}" in out
    assert "images/s" in err or "epoch 1/1" in err
    code, out, err = run_main(
        "--mode=linear_eval", f"--workdir={run}", "--few_label_seeds=2"
    )
    assert code == 0, err
    for row in ("chance", "raw input", "untrained encoder", "10 labels per class"):
        assert row in out
    (result,) = RunFolder(run).read_metrics("linear_eval")
    assert result["dataset"] == "digits" and result["num_test"] == 359
    # The SavedModel alone gives the same numbers.
    code, alone, err = run_main(
        *("--mode=linear_eval", f"--saved_model={run / 'encoder' / '1'}"),
        *("--dataset=digits", "--few_label_seeds=2"),
    )
    assert code == 0, err

    def encoder_lines(text):
        rows = [line.split() for line in text.splitlines()]
        return [row for row in rows if row[:2] == ["VICReg", "encoder"]]

    assert len(encoder_lines(out)) == 2 and encoder_lines(alone) == encoder_lines(out)
    out_of_the_first = out
    # The next version answers with class names, and its accuracy is the same.
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
    assert code == 0 and encoder_lines(again) == encoder_lines(out_of_the_first), err
    # Another recipe may not have the same folder.
    before = RunFolder(run).flags.read_text()
    code, out, err = run_main(
        "--mode=pretrain", *SHORT, "--batch_size=64", f"--workdir={run}"
    )
    assert_one_line(code, err, "--batch_size=256", "--batch_size=64")
    assert RunFolder(run).flags.read_text() == before
    # Images of another size are refused.
    code, out, err = run_main(
        *("--mode=linear_eval", f"--saved_model={run}", "--image_size=16"),
    )
    assert_one_line(code, err, "--image_size")


def test_four_views_an_image_train_and_are_part_of_the_recipe(run_main, tmp_path):
    start = ("--mode=pretrain", *SHORT, f"--workdir={tmp_path}")
    code, _, err = run_main(*start, "--num_views=4", "--score_every=0")
    assert code == 0, err
    (row,) = RunFolder(tmp_path).read_metrics("pretrain")
    assert row["step"] == 5 and np.isfinite(row["metrics"]["loss"])
    assert row["metrics"]["val_loss"] > 0
    recipe = tmp_path / "encoder" / "1" / "assets" / "recipe.flags"
    assert "--num_views=4\n" in recipe.read_text()
    code, _, err = run_main(*start)
    assert_one_line(code, err, "--num_views=4", "--num_views=2")


def test_unlabeled_images_train_and_are_not_evaluated_by_labels(
    run_main, photos, tmp_path
):
    data = [f"--dataset=folder:{photos}", "--batch_size=8"]
    code, out, err = run_main(
        "--mode=pretrain", *SHORT, *data, f"--workdir={tmp_path / 'run'}"
    )
    assert code == 0, err
    code, out, err = run_main("--mode=linear_eval", f"--workdir={tmp_path / 'run'}")
    assert_one_line(code, err, "labeled dataset")


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
        (["--learning_rate=-1"], "learning_rate"),
        (["--variance_weight=-1"], "variance_weight"),
        (["--encoder=vgg"], "resnet18"),
        (["--views=blue"], "cifar"),
        (["--flip_probability=1.5"], "flip_probability=1.5"),
        (["--crop_scale=0.5"], "--crop_scale to be LOW,HIGH"),
        (["--crop_scale=1,0.2"], "--crop_scale=1.0,0.2"),
        (["--validation_fraction=2"], "validation_fraction"),
        (["--init_from={tmp}/empty"], "earlier run with a checkpoint"),
        (["--workdir={tmp}/text/notes.png/run"], "--workdir"),
        (["--workdir=/proc/run"], "workdir=/proc/run"),
        (["--workdir="], "workdir=RUN"),
        (["--no_such_flag=1"], "no_such_flag"),
        (["--flagfile={tmp}/none.flags"], "none.flags"),
        (["pretrain"], "Expected flags only"),
        (["--mode=dance"], "linear_eval"),
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


def test_an_encoder_is_required(run_main, tmp_path):
    code, _, err = run_main("--mode=export", f"--workdir={tmp_path}")
    assert_one_line(code, err, str(tmp_path), "--mode=pretrain")
    code, _, err = run_main("--mode=linear_eval", f"--saved_model={tmp_path}")
    assert_one_line(code, err, "SavedModel")


def test_a_mode_is_required(run_main):
    code, _, err = run_main("--workdir=somewhere")
    assert_one_line(code, err, "mode", "pretrain")


def test_a_mistake_does_not_take_the_folder(run_main, tmp_path):
    run = f"--workdir={tmp_path}"
    code, _, err = run_main("--mode=pretrain", *SHORT, "--batch_size=5000", run)
    assert_one_line(code, err, "batch_size=5000")
    code, _, err = run_main("--mode=pretrain", *SHORT, "--batch_size=512", run)
    assert code == 0, err


def test_choices_are_those_of_the_library():
    from vicreg_keras.export import tflite
    from vicreg_keras.hardware.precision import POLICIES
    from vicreg_keras.models import encoders
    from vicreg_keras.modes.options import TFLITE_VARIANTS
    from vicreg_keras.training import optim
    from vicreg_keras.views import named_views

    def choices(of, name):
        return set(options.fields(of)[name].metadata["choices"]) - {"auto"}

    assert set(recipe.ENCODERS) == set(encoders.ENCODERS)
    assert set(recipe.IMAGE_VIEWS) == set(named_views.VIEWS)
    assert set(recipe.TABLE_VIEWS) == set(named_views.TABLE_VIEWS)
    assert choices(recipe.Settings, "optimizer") == set(optim.OPTIMIZERS)
    assert choices(recipe.Settings, "precision") == set(POLICIES)
    assert set(TFLITE_VARIANTS) == set(tflite.VARIANTS)


def _every_option():
    """Every option of every mode, with the values of `only_with` that refuse it."""
    for mode, entry in MODES.items():
        for name in options.fields(entry.options):
            yield mode, name
    for name in options.fields(recipe.Settings):
        yield "pretrain", name


EXAMPLES = {bool: "true", int: "3", float: "0.3", str: "x", tuple: "1,2"}


def _example(name):
    owner = next(one for one in all_options() if name in options.fields(one))
    metadata = options.fields(owner)[name].metadata
    if metadata["choices"]:
        return f"--{name}={metadata['choices'][-1]}"
    return f"--{name}={EXAMPLES[options.kind_of(owner, name)[0]]}"


@pytest.mark.parametrize("mode", MODES)
def test_flags_of_other_modes_are_refused(mode):
    refused = 0
    for _, name in _every_option():
        if not unused(mode, [name]):
            continue
        with pytest.raises(InputError, match=f"--{name}, which is for"):
            cli.parse(["main.py", f"--mode={mode}", "--workdir=run", _example(name)])
        refused += 1
    assert refused > 10


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ("--eta=0.1", "optimizer=lars"),
        ("--optimizer=sgd --clip", "optimizer=lars"),
        ("--momentum=0.5", "optimizer=lars or optimizer=sgd"),
        ("--encoder=tiny --stem=cifar", "encoder=resnet18"),
        ("--encoder=tiny --mlp=32", "encoder=mlp"),
        ("--views=table --hue=0.1", "views=cifar"),
        ("--views=cifar --noise_std=0.1", "views=series or views=table"),
        ("--views=table --num_channels=2", "views=series"),
        ("--num_positives=3", "positives=neighbors"),
        ("--index=HNSW32", "positives=neighbors"),
    ],
)
def test_a_flag_without_effect_is_refused(arguments, part):
    with pytest.raises(InputError, match=part):
        cli.parse(["main.py", "--mode=pretrain", "--workdir=run", *arguments.split()])


def test_flags_of_a_run_are_defaults_of_later_modes(tmp_path):
    run = RunFolder(tmp_path)
    given = recipe.Settings(encoder="tiny", batch_size=64, crop_scale=(0.5, 1.0))
    data = DataOptions(drop_columns=("Income, USD", "id"), dataset="csv:t.csv")
    texts = options.to_flags(data, given)
    run.check_flags({**texts, "mode": "pretrain", "workdir": str(tmp_path)})
    command = ["main.py", "--mode=spectrum", f"--workdir={tmp_path}"]
    request = cli.parse([*command, "--dataset=csv:other.csv"])
    assert request.mode == "spectrum"
    assert request.settings == given
    assert request.data == dataclasses.replace(data, dataset="csv:other.csv")
    # The recipe's own flag file may be given again, but no other value of the recipe.
    cli.parse([*command, f"--flagfile={run.flags}", "--mode=spectrum"])
    other = tmp_path / "other.flags"
    other.write_text("--batch_size=32\n")
    for arguments in ([f"--flagfile={other}"], ["--batch_size=64"]):
        with pytest.raises(InputError, match="--batch_size, which is for"):
            cli.parse([*command, *arguments])
    # A run repeats itself from its own file.
    again = cli.parse(["main.py", f"--flagfile={run.flags}"])
    assert (again.settings, again.data) == (given, data)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--mode=linear_eval", "--workdir=none"],
        ["--mode=pretrain", "--workdir=run", "--epochs=-1"],
        ["--mode=pretrain", "--workdir=run", "--epochs=1.5"],
        ["--mode=pretrain", "--workdir=run", "--dataset=folder:/nowhere"],
        ["--mode=cluster", "--probe_epochs=5"],
        ["--mode=cluster", "--saved_model=/nowhere"],
        ["--mode=retrieve", "--saved_model=/nowhere", "--query=/nowhere"],
        ["--mode=retrieve", "--saved_model=/nowhere", "--output=a.png"],
        ["--mode=ablate", "--workdir=run", "--weights_grid=25-25"],
        ["--mode=search", "--workdir=run", "--space=/nowhere.yaml"],
        ["--mode=report", "--runs=/nowhere"],
    ],
    ids=" ".join,
)
def test_what_needs_no_data_is_answered_without_tensorflow(arguments):
    code = (
        "import sys\nfrom vicreg_keras.cli import main\n"
        "try: main(['main.py', *sys.argv[1:]])\n"
        "except SystemExit as stopped: pass\n"
        "assert not {'tensorflow', 'keras', 'numpy'} & set(sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout or len(result.stderr.splitlines()) == 1


def test_a_value_of_another_type_is_refused_in_words(run_main):
    for flag, kind in (
        ("--epochs=1.5", "a whole number"),
        ("--momentum=fast", "a number"),
        ("--clip=maybe", "true or false"),
    ):
        code, _, err = run_main("--mode=pretrain", flag)
        assert_one_line(code, err, f"Expected {kind}. Received: {flag}.")


def test_help_lists_the_flags_of_one_mode(run_main):
    code, out, _ = run_main("--help")
    assert code == 0 and all(f"  {mode} " in out for mode in MODES)
    assert all(f"--{name}\n" in out for _, name in _every_option())
    code, out, _ = run_main("--mode=cluster", "--help")
    assert "--num_clusters" in out and "--learning_rate" not in out


def test_a_defect_keeps_its_traceback(monkeypatch):
    def fail(*arguments):
        raise ValueError("not the user's fault")

    monkeypatch.setattr(cli, "_run", fail)
    with pytest.raises(ValueError, match="not the user"):
        cli.main(["main.py", "--mode=pretrain", "--workdir=run"])
