"""The command line: modes one after the other, and one line for every mistake."""

import numpy as np
import PIL.Image
import pytest

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
        (["--dataset=npz:{tmp}/floats.npz"], "[0, 255]"),
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
        (["--workdir="], "workdir="),
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
    np.savez(tmp_path / "floats.npz", images=np.full((4, 8, 8, 3), -1.0))
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
