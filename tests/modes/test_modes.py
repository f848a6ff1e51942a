"""The modes: a table, a picture, a line in the run, and the encoder left alone."""

import csv
import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from vicreg_keras.evaluate.linear_probe import cached_probe
from vicreg_keras.modes.context import Context
from vicreg_keras.modes.registry import MODES
from vicreg_keras.modes.retrieve import open_index

ROWS = ("VICReg encoder", "untrained encoder", "raw input")


def last_row(context, mode):
    row = context.run.read_metrics(mode)[-1]
    assert (row["mode"], row["dataset"], row["seed"]) == (mode, "digits", 0)
    return row


def test_linear_eval_uses_what_is_known(context, capsys):
    row = MODES["linear_eval"](context, few_labels=2, few_label_seeds=2)
    text = capsys.readouterr().out
    assert all(name in text for name in ROWS)
    kept = last_row(context, "linear_eval")
    assert kept == json.loads(json.dumps(row))
    splits = [context.features[name] for name in ("train", "validation", "test")]
    alone = cached_probe(*splits, num_classes=10)
    assert kept["results"]["encoder"]["cached"]["top1"] == alone["top1"]
    assert context.linear_top1() == alone["top1"]


def test_knn_eval(context, capsys):
    MODES["knn_eval"](context)
    text = capsys.readouterr().out
    results = last_row(context, "knn_eval")["results"]
    for name, shown in zip(("encoder", "untrained", "raw_input"), ROWS, strict=True):
        assert shown in text
        assert f"{100 * results[name]['top1']:.2f}" in text
    assert results["raw_input"]["top1"] > 0.8


def test_retrieve_keeps_an_index_and_draws(context, capsys):
    MODES["retrieve"](context)
    text = capsys.readouterr().out
    assert "mean average precision" in text
    row = last_row(context, "retrieve")
    assert row["results"]["encoder"]["index"] == "exact"
    assert row["results"]["encoder"]["num_database"] == 360
    assert (context.run.figures / "retrieval.png").stat().st_size > 5000
    index = open_index(context)
    assert index.build_seconds == open_index(context).build_seconds  # Read, not built.
    assert index.names[:1] == [context.dataset.train.names[0]]
    assert index.names[-1] == context.dataset.validation.names[-1]


def test_retrieve_compares_another_index_with_exact_search(context, capsys):
    MODES["retrieve"](context, index="IVF4,Flat", search_parameters="nprobe=4")
    assert "IVF4,Flat (nprobe=4): recall@5 1.0000" in capsys.readouterr().out
    row = last_row(context, "retrieve")
    assert row["index"]["recall"] == 1.0
    assert open_index(context, "IVF4,Flat").spec == "IVF4,Flat"
    assert open_index(context).spec == "Flat"


def test_an_index_of_another_encoder_is_not_used(context, encoders):
    first = open_index(context)
    other = Context(encoders[1], context.dataset, context.run)
    assert open_index(other).key != first.key


def test_an_index_of_other_examples_is_not_used(context):
    first = open_index(context)
    dataset = dataclasses.replace(
        context.dataset, train=context.dataset.train.take(range(299, -1, -1))
    )
    other = open_index(Context(context.encoder, dataset, context.run))
    assert other.names[:300] == first.names[299::-1]


@pytest.fixture
def photos(context, tmp_path):
    """Five training images as files."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, image in enumerate(context.dataset.train.read(range(5))):
        Image.fromarray(image).save(folder / f"{number}.png")
    return folder


@pytest.mark.parametrize("what", ["", "/*.png", "/3.png"])
def test_query_finds_the_image_itself(context, photos, what, capsys):
    result = MODES["retrieve"](context, query=f"{photos}{what}", num_neighbors=3)
    assert result is None
    with open(context.run.path / "neighbors.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    num_images = 1 if what == "/3.png" else 5
    assert len(rows) == 3 * num_images
    assert f"{num_images} examples" in capsys.readouterr().out
    for row in rows[::3]:
        number = int(row["query"][-5])
        assert row["neighbor"] == context.dataset.train.names[number]
        label = context.dataset.train.labels[number]
        assert row["class"] == context.dataset.class_names[label]
        assert float(row["distance"]) < 0.01
    assert (context.run.path / "neighbors.png").stat().st_size > 5000


def test_query_works_without_labels_and_without_a_run(unlabeled, photos, tmp_path):
    context = Context(unlabeled.encoder, unlabeled.dataset)
    with pytest.raises(ValueError, match="--output=PATH"):
        MODES["retrieve"](context, query=str(photos))
    output = tmp_path / "new" / "found.csv"
    MODES["retrieve"](context, query=str(photos), output=str(output))
    with open(output, newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["class"] for row in rows} == {""}
    assert output.with_suffix(".png").exists()
    with pytest.raises(ValueError, match="labeled dataset for retrieval.*--query"):
        MODES["retrieve"](context)
    with pytest.raises(ValueError, match="Received: .*nothing.*none"):
        MODES["retrieve"](context, query=str(tmp_path / "nothing"), output="x.csv")


def test_cluster(context, capsys):
    MODES["cluster"](context, projection="pca", figure_inches=("8", "5"))
    text = capsys.readouterr().out
    assert "matched accuracy" in text and "10 clusters (chosen by: classes)" in text
    row = last_row(context, "cluster")
    assert row["split"] == "test"
    assert row["results"]["raw_input"]["matched_accuracy"] > 0.5
    assert row["projection"]["method"] == "pca"
    with Image.open(context.run.figures / "clusters.png") as image:
        assert image.size == (960, 600)
    with pytest.raises(ValueError, match="--figure_inches=WIDTH,HEIGHT.*=8,x"):
        MODES["cluster"](context, figure_inches=("8", "x"))


def test_cluster_without_labels_chooses_by_silhouette(unlabeled, capsys):
    MODES["cluster"](unlabeled, projection="pca")
    assert "chosen by: silhouette" in capsys.readouterr().out
    (row,) = unlabeled.run.read_metrics("cluster")
    assert row["split"] == "train"
    assert "matched_accuracy" not in row["results"]["encoder"]
    assert (unlabeled.run.figures / "silhouettes.png").exists()


def test_spectrum_needs_no_labels(unlabeled, capsys):
    MODES["spectrum"](unlabeled)
    assert "effective rank" in capsys.readouterr().out
    (row,) = unlabeled.run.read_metrics("spectrum")
    assert row["results"]["encoder"]["num_rows"] == 100
    assert row["diagnoses"][0]["state"] in ("healthy", "dimensional collapse")
    assert (unlabeled.run.figures / "spectrum.png").exists()


def test_spectrum_calls_a_collapse_by_its_name(context, encoders, capsys):
    class Constant:
        """The same for every image, but for rounding."""

        variables = encoders[0].variables
        example_shape = (8, 8, 3)

        def __call__(self, images, training=False):
            return 5.0 + 1e-6 * encoders[0](images, training=False)

    collapsed = Context(Constant(), context.dataset, context.run)
    MODES["spectrum"](collapsed)
    text = capsys.readouterr().out
    assert "Full collapse." in text and "--variance_weight" in text


@pytest.mark.parametrize("suffix", ["npz", "csv"])
def test_embed_writes_every_split(context, suffix, tmp_path):
    path = tmp_path / f"rows.{suffix}"
    MODES["embed"](context, output=str(path), head="linear")
    expected = np.concatenate(
        [context.features[name].representations for name in context.features]
    )
    if suffix == "npz":
        with np.load(path, allow_pickle=False) as kept:
            columns = {name: kept[name] for name in kept.files}
        rows = columns.pop("representation")
    else:
        with open(path, newline="") as file:
            header, *lines = list(csv.reader(file))
        width = expected.shape[1]
        table = np.array(lines)
        columns = dict(zip(header[:-width], table[:, :-width].T, strict=True))
        rows = table[:, -width:].astype(np.float32)
        assert header[-width:] == [f"representation_{i}" for i in range(width)]
    np.testing.assert_array_equal(rows, expected)
    assert list(columns) == ["name", "split", "label", "class", "probability"]
    assert columns["name"][0] == context.dataset.train.names[0]
    assert list(columns["split"][[0, 300, 360]]) == ["train", "validation", "test"]
    tested = columns["split"] == "test"
    right = columns["label"][tested] == columns["class"][tested]
    assert right.mean() == pytest.approx(context.linear_top1())
    probabilities = columns["probability"].astype(float)
    assert 0.1 < probabilities.min() and probabilities.max() <= 1


def test_embed_of_own_images(context, photos):
    MODES["embed"](context, input=str(photos))
    path = context.run.path / "representations.npz"
    with np.load(path, allow_pickle=False) as kept:
        assert sorted(kept.files) == ["name", "representation", "split"]
        assert list(kept["name"]) == [str(photos / f"{i}.png") for i in range(5)]
        np.testing.assert_allclose(
            kept["representation"],
            context.features["train"].representations[:5],
            atol=1e-4,
        )


def test_embed_refuses_what_it_cannot_write(context, unlabeled):
    with pytest.raises(ValueError, match=r"suffix of \.npz, \.csv.*x\.txt"):
        MODES["embed"](context, output="x.txt")
    with pytest.raises(ValueError, match="labeled dataset for --head=linear"):
        MODES["embed"](unlabeled, head="linear")
