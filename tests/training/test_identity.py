"""Changes of data between two commands: each is noticed, or computed anew."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from vicreg_keras import cli
from vicreg_keras.data.dataset import load_dataset
from vicreg_keras.modes.context import Context
from vicreg_keras.modes.open_context import open_context
from vicreg_keras.modes.retrieve import open_index
from vicreg_keras.settings import DataOptions, Settings
from vicreg_keras.workdir.files import parse_json
from vicreg_keras.workdir.run_folder import RunFolder

RECIPE = (
    "--mode=pretrain --projector=16-16 --batch_size=8 --epochs=2 --score_every=0 "
    "--precision=float32"
).split()


def write_image(path, seed, side=8, scale=1.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    Image.fromarray(np.uint8(scale * pixels)).save(path)


def make_folder(root):
    for i in range(40):
        write_image(root / ("ant", "bee")[i % 2] / f"{i}.png", i)


def make_npz(root):
    root.mkdir(exist_ok=True)
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (40, 8, 8, 3), np.uint8)
    np.savez(root / "a.npz", images=images, labels=np.arange(40) % 3)


def make_csv(root):
    root.mkdir(exist_ok=True)
    random = np.random.default_rng(0)
    lines = [
        f"{random.normal():.6f},{random.choice(['red', 'blue'])},{'ab'[i % 2]}"
        for i in range(40)
    ]
    (root / "a.csv").write_text("\n".join(["age,color,y", *lines]) + "\n")


def change_folder(root, random):
    paths = sorted(path for path in root.rglob("*.png"))
    path = paths[random.integers(len(paths))]
    other = root / ("bee" if path.parent.name == "ant" else "ant")
    match random.integers(6):
        case 0:  # one pixel
            pixels = np.array(Image.open(path))
            pixels[tuple(random.integers(8, size=2))] ^= np.uint8(random.integers(1, 9))
            Image.fromarray(pixels).save(path)
        case 1:  # one file less
            path.unlink()
        case 2:  # one file more
            write_image(path.with_name(f"{random.integers(99, 9999)}.png"), 99)
        case 3:  # one name
            path.rename(path.with_name(f"renamed{random.integers(9999)}.png"))
        case 4:  # one label
            path.rename(other / f"moved-{path.name}")
        case 5:  # one class
            other.rename(root / f"class{random.integers(9999)}")


def change_npz(root, random):
    path = root / "a.npz"
    with np.load(path) as file:
        images, labels = file["images"], file["labels"]
    i = random.integers(len(images))
    match random.integers(4):
        case 0:  # one value of one pixel
            place = (i, *random.integers(8, size=2), random.integers(3))
            images[place] ^= np.uint8(1 << random.integers(8))
        case 1:
            labels[i] = (labels[i] + 1) % 3
        case 2:
            images, labels = np.delete(images, i, 0), np.delete(labels, i)
        case 3:
            order = random.permutation(len(images))
            images, labels = images[order], labels[order]
    np.savez(path, images=images, labels=labels)


def change_csv(root, random):
    path = root / "a.csv"
    header, *lines = path.read_text().splitlines()
    i = random.integers(len(lines))
    age, color, y = lines[i].split(",")
    match random.integers(6):
        case 0:
            lines[i] = f"{float(age) + 1e-4 * random.integers(1, 9):.6f},{color},{y}"
        case 1:
            lines[i] = f"{age},{'red' if color == 'blue' else 'blue'},{y}"
        case 2:
            lines[i] = f"{age},{color},{'a' if y == 'b' else 'b'}"
        case 3:
            lines[i] = f",{color},{y}"
        case 4:
            del lines[i]
        case 5:
            lines.append(f"{random.normal():.6f},amber,a")
    path.write_text("\n".join([header, *lines]) + "\n")


class Encoder:
    """An encoder of images that counts how many it has seen."""

    def __init__(self):
        self.variables = [tf.Variable([1.0])]
        self.num_seen = tf.Variable(0)

    def __call__(self, examples, training=False):
        self.num_seen.assign_add(tf.shape(examples)[0])
        flat = tf.reshape(tf.cast(examples, tf.float32), (tf.shape(examples)[0], -1))
        return tf.where(tf.math.is_nan(flat), 9.0, flat)[:, :4] * self.variables[0]


# How each kind is written and changed, its path below the root, and its flags.
KINDS = {
    "folder": (make_folder, change_folder, "", ["--encoder=tiny"]),
    "npz": (make_npz, change_npz, "a.npz", ["--encoder=tiny"]),
    "csv": (make_csv, change_csv, "a.csv", ["--mlp=8-4", "--label_column=y"]),
}


@pytest.mark.parametrize(
    ("kind", "number", "options"),
    [
        ("folder", 60, {}),
        ("folder", 40, {"memory_limit_gib": 0.0}),
        ("npz", 50, {}),
        ("csv", 50, {"label_column": "y"}),
    ],
)
def test_random_changes_are_all_noticed(kind, number, options, tmp_path):
    make, change, path, _ = KINDS[kind]
    random, run, root = np.random.default_rng(0), RunFolder(tmp_path), tmp_path / "data"
    encoder = Encoder()

    def load():
        return load_dataset(f"{kind}:{root / path}", **options)

    for i in range(number):
        shutil.rmtree(root, ignore_errors=True)
        make(root)
        before = load()
        fingerprint = before.fingerprint
        if i % 10 == 0:
            open_index(Context(encoder, before, run))
            num_seen = int(encoder.num_seen)
            open_index(Context(encoder, load(), run))
            assert int(encoder.num_seen) == num_seen  # Nothing is computed twice.

        change(root, random)
        after = load()
        assert after.fingerprint != fingerprint, i
        context = Context(encoder, after, run)
        for name, split in after.splits.items():  # From disk, or computed anew.
            features = context.features[name]
            np.testing.assert_array_equal(
                features.representations, encoder(split.read())
            )
            np.testing.assert_array_equal(features.labels, split.labels)
        index, splits = open_index(context), (after.train, after.validation)
        assert index.names == [name for split in splits for name in split.names]
        labels = np.concatenate([split.labels for split in splits])
        np.testing.assert_array_equal(index.labels, labels)
        assert tuple(index.class_names) == after.class_names


# An npz file is read into memory as a folder is.
@pytest.fixture(scope="module", params=["folder", "csv"])
def trained(request, tmp_path_factory):
    """A run of each kind of data, and the command that trains it."""
    make, _, path, flags = KINDS[request.param]
    root = tmp_path_factory.mktemp(request.param)
    make(root / "data")
    data = f"--dataset={request.param}:{root / 'data' / path}"
    command = [*RECIPE, data, *flags, f"--workdir={root / 'run'}"]
    with pytest.raises(SystemExit) as stopped:
        cli.main(["main.py", *command])
    assert not stopped.value.code
    return root, request.param, command


def contents(folder):
    return {
        path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def test_changed_data_is_refused(trained, run_main):
    root, kind, command = trained
    make, change, _, _ = KINDS[kind]
    before = contents(root / "run")
    for seed in range(6):
        change(root / "data", np.random.default_rng(seed))
        status, out, err = run_main(*command, "--epochs=3")
        assert status == 1
        assert not out
        (line,) = err.splitlines()
        assert "where " in line
        assert line.endswith(
            "use --on_changed_data=continue to go on with what is there now."
        )
        shutil.rmtree(root / "data")
        make(root / "data")
    assert contents(root / "run") == before
    status, out, _ = run_main(*command)
    assert status == 0
    assert out.startswith("Read 40 ")


def test_fewer_epochs_than_it_has_are_refused_by_its_checkpoint(trained, run_main):
    root, _, command = trained
    shutil.copytree(root / "run", root / "shorter")
    (root / "shorter" / "metrics.jsonl").unlink()
    before = contents(root / "shorter")
    command = [*command, f"--workdir={root / 'shorter'}", "--epochs=1"]
    status, out, err = run_main(*command)
    assert status == 1 and not out
    assert "--epochs=1" in err and "at least 2" in err and len(err.splitlines()) == 1
    assert contents(root / "shorter") == before
    shutil.rmtree(root / "shorter")


def test_the_same_data_may_be_elsewhere(trained, run_main):
    root, kind, command = trained
    shutil.copytree(root / "data", root / "moved", dirs_exist_ok=True)
    moved = f"--dataset={kind}:{root / 'moved' / KINDS[kind][2]}"
    status, _, err = run_main(*command, moved)
    assert status == 0, err
    write_other = KINDS[kind][1]
    write_other(root / "moved", np.random.default_rng(0))
    status, _, err = run_main(*command, moved)
    shutil.rmtree(root / "moved")
    assert status == 1
    assert "where " in err
    assert RunFolder(root / "run").read_flags()["dataset"] == moved.split("=", 1)[1]
    assert run_main(*command)[0] == 0


def test_a_run_goes_on_with_changed_data_where_asked(trained, run_main, tmp_path):
    root, kind, command = trained
    make, change, _, _ = KINDS[kind]
    shutil.copytree(root / "run", tmp_path / "run")
    run = RunFolder(tmp_path / "run")
    before = json.loads(run.data_card.read_text())
    for seed in range(4):
        change(root / "data", np.random.default_rng(seed))
    status, out, _ = run_main(
        *command,
        f"--workdir={run.path}",
        "--epochs=3",
        "--on_changed_data=continue",
    )
    shutil.rmtree(root / "data")
    make(root / "data")
    assert status == 0
    assert "Going on with changed data, where " in out
    (change_record,) = run.read_metrics("data_change")
    records = run.read_metrics("pretrain")
    assert [record["epoch"] for record in records] == [1, 2, 3]
    after = json.loads(run.data_card.read_text())
    assert change_record["fingerprint"] == after["fingerprint"]
    assert records[-1]["data_fingerprint"] == after["fingerprint"]
    assert records[-2]["data_fingerprint"] == before["fingerprint"]
    # The encoder keeps what it was trained with.
    assert after["schema"] == before["schema"]
    assert after["fingerprint"] != before["fingerprint"]
    asset = run.encoder / "2" / "assets" / "data.json"
    assert after.pop("run") == run.run_id
    del after["checksum"]
    assert parse_json(asset.read_bytes(), asset) == after


def test_an_encoder_keeps_its_statistics_on_other_data(trained, tmp_path):
    root, kind, _ = trained
    if kind != "folder":
        pytest.skip("of images")
    for i in range(40):
        write_image(tmp_path / ("ant", "bee")[i % 2] / f"{i}.png", i, scale=0.2)
    run = RunFolder(root / "run")
    settings = Settings(encoder="tiny", projector="16-16", batch_size=8)
    data = DataOptions(dataset=f"folder:{tmp_path}")
    context = open_context(settings, data, run)
    images = context.dataset.train.read().astype(np.float32)
    expected = context.encoder(images, training=False)
    received = context.make_encoder(True)(images, training=False)
    np.testing.assert_allclose(received, expected, rtol=1e-4, atol=1e-4)


def test_a_run_of_the_weights_of_another_keeps_its_statistics(trained, run_main):
    root, kind, command = trained
    run, make = root / "next", KINDS[kind][0]
    shutil.rmtree(root / "data")
    make(root / "data")
    KINDS[kind][1](root / "data", np.random.default_rng(2))
    status, _, _ = run_main(
        *command, f"--workdir={run}", f"--init_from={root / 'run'}", "--epochs=1"
    )
    shutil.rmtree(root / "data")
    make(root / "data")
    assert status == 0
    cards = [json.loads((one / "data.json").read_text()) for one in (root / "run", run)]
    assert cards[0]["schema"] == cards[1]["schema"]
    assert cards[0]["fingerprint"] != cards[1]["fingerprint"]


def test_evaluation_says_that_the_data_has_changed(trained, run_main):
    root, kind, _ = trained
    status, out, _ = run_main("--mode=knn_eval", f"--workdir={root / 'run'}")
    assert status == 0
    assert "Read " not in out
    KINDS[kind][1](root / "data", np.random.default_rng(0))
    status, out, _ = run_main("--mode=knn_eval", f"--workdir={root / 'run'}")
    assert status == 0
    assert "It is not what the encoder was trained on: " in out
