"""Commands on a user's own data, from pretraining to export: each result is of now."""

import json
import os
import re
import shlex
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from vicreg_keras import cli
from vicreg_keras.workdir.run_folder import RunFolder

TABLE = (
    "--label_column=outcome --mlp=32-16 --projector=32-32 --batch_size=32 --epochs=6 "
    "--score_every=0 --precision=float32"
).split()
IMAGES = (
    "--encoder=tiny --projector=16-16 --batch_size=8 --epochs=1 --score_every=0 "
    "--precision=float32"
).split()


def train(*arguments):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["main.py", "--mode=pretrain", *map(str, arguments)])
    assert not stopped.value.code


def write_table(path, names, extra=()):
    """The same rows, with the columns in any order."""
    random, lines = np.random.default_rng(0), []
    for _ in range(300):
        y = random.integers(2)
        row = {
            "age": f"{random.normal(40, 10) + 15 * y:.1f}",
            "color": "red" if random.random() < (0.8 if y else 0.2) else "blue",
            '"Income, USD"': f"{random.integers(20, 90)}000",
            "outcome": ("well", "ill")[y],
            "weight": f"{random.normal(70, 5):.1f} kg",
        }
        lines.append(",".join(row[name] for name in names))
    path.write_text("\n".join([",".join(names), *lines, *extra]) + "\n")


NAMES = ("age", "color", '"Income, USD"', "outcome", "weight")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A folder with a.csv and a run on it."""
    folder = tmp_path_factory.mktemp("table")
    write_table(folder / "a.csv", NAMES)
    data = [f"--dataset=csv:{folder}/a.csv", '--drop_columns="Income, USD"']
    train(*data, *TABLE, f"--workdir={folder}/run")
    return folder


def last(folder, mode):
    return RunFolder(folder / "run").read_metrics(mode)[-1]


def top1(folder, mode="linear_eval"):
    results = last(folder, mode)["results"]
    if mode == "linear_eval":
        return [one["cached"]["metrics"]["top1"] for one in results.values()]
    return [one["metrics"]["top1"] for one in results.values()]


def test_columns_are_matched_by_name_in_every_mode(table, run_main):
    write_table(table / "b.csv", ("weight", "outcome", "color", "age"))
    for mode in ("linear_eval --few_labels=0", "knn_eval", "retrieve", "embed"):
        # Whose dropped column is not in b.csv, so that its flag is given again.
        command = [*f"--mode={mode}".split(), f"--workdir={table}/run"]
        results = {}
        for name in ("a", "b"):
            drop = () if name == "a" else ("--drop_columns=",)
            data = f"--dataset=csv:{table}/{name}.csv"
            status, _, err = run_main(*command, data, *drop)
            assert status == 0, err
            if mode == "embed":
                with np.load(table / "run" / "representations.npz") as file:
                    results[name] = file["representation"]
            else:
                record = last(table, mode.split()[0])
                results[name] = json.dumps(record["results"])
        np.testing.assert_array_equal(results["a"], results["b"])


def test_export_keeps_the_categories_of_the_run(table, run_main):
    first = tf.saved_model.load(str(table / "run" / "encoder" / "1"))
    cells = tf.constant([["40", "blue", "70 kg"], ["50", "red", "71.5 kg"]])
    expected = first.signatures["serving_cells"](cells=cells)["representation"]
    write_table(table / "a.csv", NAMES, extra=["41.0,amber,10000,well,71.5 kg"])
    status, out, _ = run_main("--mode=export", f"--workdir={table}/run")
    write_table(table / "a.csv", NAMES)
    assert status == 0
    assert "1 is added ('row/300')" in out
    assert "'amber'" in out
    second = tf.saved_model.load(str(table / "run" / "encoder" / "2"))
    received = second.signatures["serving_cells"](cells=cells)["representation"]
    np.testing.assert_allclose(received, expected, rtol=1e-6)
    assert len(np.unique(received, axis=0)) == 2
    shutil.rmtree(table / "run" / "encoder" / "2")


def test_a_lacking_column_is_refused_by_name(table, run_main):
    write_table(table / "c.csv", ("age", "outcome", "weight"))
    data = (f"--dataset=csv:{table}/c.csv", "--drop_columns=")
    status, _, err = run_main("--mode=knn_eval", f"--workdir={table}/run", *data)
    assert status == 1
    assert "'color'" in err
    assert len(err.splitlines()) == 1


def test_a_corrected_cell_is_computed_anew(table, run_main):
    def embed():
        assert run_main("--mode=embed", f"--workdir={table}/run")[0] == 0
        with np.load(table / "run" / "representations.npz") as file:
            names = file["name"].tolist()
            return file["representation"][names.index("row/0")]

    before = embed()
    lines = (table / "a.csv").read_text().splitlines()
    lines[1] = re.sub(r"^[\d.]+", "99.0", lines[1])
    (table / "a.csv").write_text("\n".join(lines) + "\n")
    after = embed()
    write_table(table / "a.csv", NAMES)
    assert np.abs(after - before).max() > 1e-3
    np.testing.assert_array_equal(embed(), before)


def write_image(path, seed, side=16):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture(scope="module")
def tail(tmp_path_factory):
    """A folder with a rare class and a name that is no text, and a run on it."""
    folder = tmp_path_factory.mktemp("tail")
    for seed, (name, count) in enumerate({"ant": 40, "bee": 40, "rare": 12}.items()):
        for i in range(count):
            write_image(folder / "data" / name / f"{i}.png", 100 * seed + i)
    ant = os.fsencode(folder / "data" / "ant")
    shutil.copy(ant + b"/0.png", ant + b"/caf\xe9.png")
    data = f"--dataset=folder:{folder / 'data'}"
    train(data, *IMAGES, f"--workdir={folder}/run")
    return folder


def test_a_rare_class_is_evaluated(tail, run_main):
    status, out, err = run_main("--mode=evaluate", f"--workdir={tail}/run")
    assert status == 0, err
    assert (tail / "run" / "report.html").is_file()
    assert len(top1(tail)) == 3
    assert re.search(r"10 labels per class", out)


def test_a_name_that_is_no_text_is_written_with_escapes(tail, run_main):
    query = tail / "data" / "ant" / "1.png"
    status, _, err = run_main(
        "--mode=retrieve", f"--workdir={tail}/run", f"--query={query}"
    )
    assert status == 0, err
    for output in ("names.csv", "names.npz"):
        path = tail / output
        status, _, err = run_main(
            "--mode=embed", f"--workdir={tail}/run", f"--output={path}"
        )
        assert status == 0, err
    assert "caf\\xe9.png" in (tail / "names.csv").read_text("utf-8")


def test_a_replaced_file_is_computed_anew(tail, run_main):
    def embed():
        assert run_main("--mode=embed", f"--workdir={tail}/run")[0] == 0
        with np.load(tail / "run" / "representations.npz") as file:
            return dict(zip(file["name"].tolist(), file["representation"], strict=True))

    before = embed()
    write_image(tail / "data" / "bee" / "3.png", 999)
    after = embed()
    changed = [name for name in before if not np.array_equal(before[name], after[name])]
    assert changed == ["bee/3.png"]
    write_image(tail / "data" / "bee" / "3.png", 103)


def test_corrected_labels_are_in_the_next_results(tmp_path, run_main):
    images = np.random.default_rng(0).integers(0, 256, (60, 16, 16, 3), np.uint8)
    labels = np.arange(60) % 3
    arrays = {"x_train": images, "x_test": images[:9], "y_test": labels[:9]}
    np.savez(tmp_path / "a.npz", **arrays, y_train=labels)
    train(f"--dataset=npz:{tmp_path}/a.npz", *IMAGES, f"--workdir={tmp_path}/run")
    write_image(tmp_path / "x.png", 0)
    query = [
        "--mode=retrieve",
        f"--workdir={tmp_path}/run",
        f"--query={tmp_path}/x.png",
    ]
    classes = []
    for shift in (0, 1):
        np.savez(tmp_path / "a.npz", **arrays, y_train=(labels + shift) % 3)
        assert run_main(*query, "--num_neighbors=54")[0] == 0
        lines = (tmp_path / "run" / "neighbors.csv").read_text().splitlines()[1:]
        classes.append({line.split(",")[2]: line.split(",")[3] for line in lines})
    same = [name for name in classes[0] if name in classes[1]]
    assert len(same) > 40
    for name in same:
        assert int(classes[1][name]) == (int(classes[0][name]) + 1) % 3


def write_unlabeled(kind, folder):
    if kind == "folder":
        for i in range(20):
            write_image(folder / "photos" / f"{i}.png", i)
        return [f"--dataset=folder:{folder}/photos", *IMAGES]
    write_table(folder / "a.csv", NAMES)
    flags = [flag for flag in TABLE if not flag.startswith("--label_column")]
    return [f"--dataset=csv:{folder}/a.csv", *flags]


@pytest.mark.parametrize("kind", ["folder", "csv"])
def test_the_next_command_of_unlabeled_data_works(kind, tmp_path, run_main):
    data = write_unlabeled(kind, tmp_path)
    status, out, _ = run_main("--mode=pretrain", *data, f"--workdir={tmp_path}/run")
    assert status == 0
    _, command = out.split("Next:\n")
    program, script, *arguments = shlex.split(command)
    assert [program, script] == ["python", "main.py"]
    status, out, err = run_main(*arguments)
    assert status == 0, err
    assert (tmp_path / "run" / "report.html").is_file()


@pytest.mark.parametrize("flags", [["--epochs=1"], ["--epochs=2", "--warmup_epochs=2"]])
def test_short_runs_warm_up_for_less(flags, tmp_path, run_main):
    recipe = write_unlabeled("csv", tmp_path)
    status, out, _ = run_main(
        "--mode=pretrain", *recipe, *flags, f"--workdir={tmp_path}/run"
    )
    assert status == 0
    assert "The warm-up is shortened to" in out
