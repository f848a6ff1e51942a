"""Tests of a messy table from its file to another program: training to serving."""

import csv
import pathlib
import subprocess
import sys
import sysconfig

import numpy as np
import pytest

from vicreg_keras import cli, load_dataset, load_encoder
from vicreg_keras.workdir.run_folder import RunFolder

HEADER = (
    *("week day", "size (cm)", "color", "constant", "seen", "tame", "price, paid"),
    *("met", "animal"),
)

# Reads the file's cells, and calls the SavedModel; neither Keras nor this package is
# there. Arguments: libraries, SavedModel, table, and where the answers go.
SCRIPT = """
import csv, importlib.util, sys
sys.path.append(sys.argv[1])
assert importlib.util.find_spec("keras") is None
assert importlib.util.find_spec("vicreg_keras") is None
import numpy as np
import tensorflow as tf
with open(sys.argv[3], encoding="utf-8") as file:
    cells = [row[:-1] for row in csv.reader(file)][1:]
loaded = tf.saved_model.load(sys.argv[2])
answers = loaded.signatures["serving_cells"](cells=tf.constant(cells))
classes = loaded.signatures["classify_cells"](cells=tf.constant(cells))
names = classes["class_names"].numpy()[:, 0].astype(str)
np.savez(sys.argv[4], representations=answers["representation"], classes=names)
"""


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Gaps, categories, a constant column, dates, truth, and a tenth of copies."""
    random = np.random.default_rng(0)
    rows = []
    for i in range(200):
        kind = int(random.integers(3))
        size = f"{2 * kind + random.normal():.3f}"
        rows.append(
            (
                str(i % 7),
                str(random.choice(["", "NA", " ? "])) if i % 10 == 0 else f" {size}",
                str(random.choice(["red", "blau", "grün"])) if kind else "",
                "7",
                f"2024-{random.integers(1, 13):02}-{random.integers(1, 29):02}",
                str(random.choice(["true", "False"])),
                f"${1000 * kind + 100 * random.random():,.2f}" if i % 9 else " - ",
                f"{random.integers(1, 29)}/{random.integers(1, 13)}/2024 5:03 PM",
                ("cat", "dog", "owl")[kind],
            )
        )
    path = tmp_path_factory.mktemp("table") / "messy.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([HEADER, *rows, *rows[:20]])
    return path


@pytest.fixture(scope="module")
def run(table, tmp_path_factory):
    """Trained for two epochs, and exported with its head."""
    folder = tmp_path_factory.mktemp("runs") / "messy"
    recipe = ["--epochs=2", "--batch_size=32", "--projector=16-16", "--mlp=16-8"]
    data = [f"--dataset=csv:{table}", "--label_column=animal", "--precision=float32"]
    run_command(
        folder, "pretrain", *data, *recipe, "--warmup_epochs=0", "--score_every=0"
    )
    run_command(folder, "export", "--head=linear")
    return RunFolder(folder)


def run_command(folder, mode, *arguments):
    """Runs a command line as main.py does."""
    with pytest.raises(SystemExit) as stopped:
        cli.main(["main.py", f"--mode={mode}", f"--workdir={folder}", *arguments])
    assert not stopped.value.code


def dataset_of(table):
    return load_dataset(f"csv:{table}", label_column="animal")


def test_columns_are_inferred(table):
    columns = {column.name: column.categories for column in dataset_of(table).columns}
    assert tuple(columns) == HEADER[:-1]
    assert columns.pop("color") == ("blau", "grün", "red")
    assert set(columns.values()) == {None}


def test_savedmodel_without_keras_reads_the_files_cells(run, table, tmp_path):
    packages = tmp_path / "packages"
    packages.mkdir()
    for path in pathlib.Path(sysconfig.get_path("purelib")).iterdir():
        ours = path.name.lower().startswith(("keras", "tf_keras", "vicreg", "__edit"))
        if not ours and path.suffix != ".pth":
            (packages / path.name).symlink_to(path)
    target = tmp_path / "answers.npz"
    arguments = [packages, run.encoder / "2", table, target]
    command = [sys.executable, "-I", "-S", "-c", SCRIPT, *map(str, arguments)]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr[-2000:]

    dataset, encoder = dataset_of(table), load_encoder(run.path)
    with np.load(target) as answers:
        for split in (dataset.train, dataset.validation, dataset.test):
            indices = [int(name.rsplit("/", 1)[1]) for name in split.names]
            expected = encoder(split.read(range(split.num_examples))).numpy()
            received = answers["representations"][indices]
            np.testing.assert_allclose(received, expected, rtol=1e-6, atol=1e-6)
            assert np.isfinite(received).all()
        assert set(answers["classes"]) <= {"cat", "dog", "owl"}


@pytest.mark.parametrize("mode", ["linear_eval", "knn_eval", "retrieve", "cluster"])
def test_evaluations(mode, run, capfd):
    few = ["--few_labels=2", "--few_label_seeds=2"] if mode == "linear_eval" else []
    run_command(run.path, mode, *few)
    shown = capfd.readouterr().out
    assert "raw input" in shown and "VICReg encoder" in shown
    assert run.read_metrics(mode)[-1]["dataset"].endswith("messy.csv")


def test_embed_writes_names(run, tmp_path):
    run_command(run.path, "embed", f"--output={tmp_path / 'representations.csv'}")
    with open(tmp_path / "representations.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 220 and rows[0]["name"].startswith("row/")


def test_user_provided_examples_are_embedded_and_retrieved(run, table, tmp_path):
    with open(table) as file:
        first = list(csv.DictReader(file))[:3]
    provided = tmp_path / "provided.csv"
    with provided.open("w", newline="") as file:
        names = [*reversed(HEADER[:-1])]  # Without labels, and in another order.
        writer = csv.DictWriter(file, names, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(first)

    output = tmp_path / "provided.npz"
    run_command(
        run.path, "embed", f"--input={provided}", f"--output={output}", "--head=linear"
    )
    cells = np.load(output)
    assert list(cells["name"]) == ["row/0", "row/1", "row/2"]
    assert set(cells["class"]) <= {"cat", "dog", "owl"}
    dataset, encoder = dataset_of(table), load_encoder(run.path)
    by_name = {
        name: row
        for split in (dataset.train, dataset.validation, dataset.test)
        for name, row in zip(
            split.names, split.read(range(split.num_examples)), strict=True
        )
    }
    expected = encoder(np.stack([by_name[f"row/{i}"] for i in range(3)])).numpy()
    np.testing.assert_allclose(cells["representation"], expected, rtol=1e-6, atol=1e-6)

    run_command(
        run.path, "retrieve", f"--query={provided}", f"--output={tmp_path / 'near.csv'}"
    )
    with open(tmp_path / "near.csv") as file:
        near = list(csv.DictReader(file))
    assert [row["query"] for row in near[::5]] == ["row/0", "row/1", "row/2"]
    # An example that was trained on, or its copy further down, is its own neighbor.
    assert all(float(row["distance"]) < 1e-3 for row in near if row["rank"] == "1")
    assert (tmp_path / "near.png").stat().st_size > 10_000


def test_options_for_images_are_refused_in_one_line(run, capfd):
    for arguments, expected in (
        (["--mode=finetune"], "Expected images for fine-tuning"),
        (["--mode=linear_eval", "--protocol=augmented"], "protocol=cached for tables"),
    ):
        with pytest.raises(SystemExit) as stopped:
            cli.main(["main.py", f"--workdir={run.path}", *arguments])
        assert stopped.value.code == 1
        lines = capfd.readouterr().err.strip().splitlines()
        assert len(lines) == 1 and expected in lines[0]
