"""The modes: a table, a picture, a line in the run, and the encoder left alone."""

import csv
import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from vicreg_keras.evaluate.linear_probe import cached_probe
from vicreg_keras.judge.modes import MODES
from vicreg_keras.judge.neighbours import open_index
from vicreg_keras.judge.subject import Subject

ROWS = ("VICReg encoder", "untrained encoder", "raw input")


def last_row(subject, mode):
    row = subject.run.read_metrics(mode)[-1]
    assert (row["mode"], row["dataset"], row["seed"]) == (mode, "digits", 0)
    return row


def test_linear_eval_uses_what_is_known(subject, capsys):
    row = MODES["linear_eval"](subject, few_labels=2, few_label_seeds=2)
    text = capsys.readouterr().out
    assert all(name in text for name in ROWS)
    kept = last_row(subject, "linear_eval")
    assert kept == json.loads(json.dumps(row))
    splits = [subject.features[name] for name in ("train", "validation", "test")]
    alone = cached_probe(*splits, num_classes=10)
    assert kept["results"]["encoder"]["cached"]["top1"] == alone["top1"]
    assert subject.linear_top1() == alone["top1"]


def test_knn_eval(subject, capsys):
    MODES["knn_eval"](subject)
    text = capsys.readouterr().out
    results = last_row(subject, "knn_eval")["results"]
    for name, shown in zip(("encoder", "untrained", "raw_input"), ROWS, strict=True):
        assert shown in text
        assert f"{100 * results[name]['top1']:.2f}" in text
    assert results["raw_input"]["top1"] > 0.8


def test_retrieve_keeps_an_index_and_draws(subject, capsys):
    MODES["retrieve"](subject)
    text = capsys.readouterr().out
    assert "mean average precision" in text
    row = last_row(subject, "retrieve")
    assert row["results"]["encoder"]["index"] == "exact"
    assert row["results"]["encoder"]["num_database"] == 360
    assert (subject.run.figures / "retrieval.png").stat().st_size > 5000
    index = open_index(subject)
    assert index.build_seconds == open_index(subject).build_seconds  # Read, not built.
    assert index.names[:1] == [subject.dataset.train.names[0]]
    assert index.names[-1] == subject.dataset.validation.names[-1]


def test_retrieve_compares_another_index_with_exact_search(subject, capsys):
    MODES["retrieve"](subject, index="IVF4,Flat", search_parameters="nprobe=4")
    assert "IVF4,Flat (nprobe=4): recall@5 1.0000" in capsys.readouterr().out
    row = last_row(subject, "retrieve")
    assert row["index"]["recall"] == 1.0
    assert open_index(subject, "IVF4,Flat").spec == "IVF4,Flat"
    assert open_index(subject).spec == "Flat"


def test_an_index_of_another_encoder_is_not_used(subject, encoders):
    first = open_index(subject)
    other = Subject(encoders[1], subject.dataset, subject.run)
    assert open_index(other).key != first.key


def test_an_index_of_other_examples_is_not_used(subject):
    first = open_index(subject)
    dataset = dataclasses.replace(
        subject.dataset, train=subject.dataset.train.take(range(299, -1, -1))
    )
    other = open_index(Subject(subject.encoder, dataset, subject.run))
    assert other.names[:300] == first.names[299::-1]


@pytest.fixture
def photos(subject, tmp_path):
    """Five training images as files."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, image in enumerate(subject.dataset.train.read(range(5))):
        Image.fromarray(image).save(folder / f"{number}.png")
    return folder


@pytest.mark.parametrize("what", ["", "/*.png", "/3.png"])
def test_query_finds_the_image_itself(subject, photos, what, capsys):
    result = MODES["retrieve"](subject, query=f"{photos}{what}", num_neighbours=3)
    assert result is None
    with open(subject.run.path / "neighbours.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    num_images = 1 if what == "/3.png" else 5
    assert len(rows) == 3 * num_images
    assert f"{num_images} examples" in capsys.readouterr().out
    for row in rows[::3]:
        number = int(row["query"][-5])
        assert row["neighbour"] == subject.dataset.train.names[number]
        label = subject.dataset.train.labels[number]
        assert row["class"] == subject.dataset.class_names[label]
        assert float(row["distance"]) < 0.01
    assert (subject.run.path / "neighbours.png").stat().st_size > 5000


def test_query_works_without_labels_and_without_a_run(unlabelled, photos, tmp_path):
    subject = Subject(unlabelled.encoder, unlabelled.dataset)
    with pytest.raises(ValueError, match="--output=PATH"):
        MODES["retrieve"](subject, query=str(photos))
    output = tmp_path / "new" / "found.csv"
    MODES["retrieve"](subject, query=str(photos), output=str(output))
    with open(output, newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["class"] for row in rows} == {""}
    assert output.with_suffix(".png").exists()
    with pytest.raises(ValueError, match="labelled data set for retrieval.*--query"):
        MODES["retrieve"](subject)
    with pytest.raises(ValueError, match="Received: .*nothing.*none"):
        MODES["retrieve"](subject, query=str(tmp_path / "nothing"), output="x.csv")


def test_cluster(subject, capsys):
    MODES["cluster"](subject, projection="pca", figure_inches=("8", "5"))
    text = capsys.readouterr().out
    assert "matched accuracy" in text and "10 clusters (chosen by: classes)" in text
    row = last_row(subject, "cluster")
    assert row["split"] == "test"
    assert row["results"]["raw_input"]["matched_accuracy"] > 0.5
    assert row["projection"]["method"] == "pca"
    with Image.open(subject.run.figures / "clusters.png") as image:
        assert image.size == (960, 600)
    with pytest.raises(ValueError, match="--figure_inches=WIDTH,HEIGHT.*=8,x"):
        MODES["cluster"](subject, figure_inches=("8", "x"))


def test_cluster_without_labels_chooses_by_silhouette(unlabelled, capsys):
    MODES["cluster"](unlabelled, projection="pca")
    assert "chosen by: silhouette" in capsys.readouterr().out
    (row,) = unlabelled.run.read_metrics("cluster")
    assert row["split"] == "train"
    assert "matched_accuracy" not in row["results"]["encoder"]
    assert (unlabelled.run.figures / "silhouettes.png").exists()


def test_spectrum_needs_no_labels(unlabelled, capsys):
    MODES["spectrum"](unlabelled)
    assert "effective rank" in capsys.readouterr().out
    (row,) = unlabelled.run.read_metrics("spectrum")
    assert row["results"]["encoder"]["num_rows"] == 100
    assert row["verdicts"][0]["state"] in ("healthy", "dimensional collapse")
    assert (unlabelled.run.figures / "spectrum.png").exists()


def test_spectrum_calls_a_collapse_by_its_name(subject, encoders, capsys):
    class Constant:
        """The same for every image, but for rounding."""

        variables = encoders[0].variables
        example_shape = (8, 8, 3)

        def __call__(self, images, training=False):
            return 5.0 + 1e-6 * encoders[0](images, training=False)

    collapsed = Subject(Constant(), subject.dataset, subject.run)
    MODES["spectrum"](collapsed)
    text = capsys.readouterr().out
    assert "Full collapse." in text and "--variance_weight" in text


@pytest.mark.parametrize("suffix", ["npz", "csv"])
def test_embed_writes_every_split(subject, suffix, tmp_path):
    path = tmp_path / f"rows.{suffix}"
    MODES["embed"](subject, output=str(path), head="linear")
    expected = np.concatenate(
        [subject.features[name].representations for name in subject.features]
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
    assert columns["name"][0] == subject.dataset.train.names[0]
    assert list(columns["split"][[0, 300, 360]]) == ["train", "validation", "test"]
    tested = columns["split"] == "test"
    right = columns["label"][tested] == columns["class"][tested]
    assert right.mean() == pytest.approx(subject.linear_top1())
    probabilities = columns["probability"].astype(float)
    assert 0.1 < probabilities.min() and probabilities.max() <= 1


def test_embed_of_own_images(subject, photos):
    MODES["embed"](subject, input=str(photos))
    path = subject.run.path / "representations.npz"
    with np.load(path, allow_pickle=False) as kept:
        assert sorted(kept.files) == ["name", "representation", "split"]
        assert list(kept["name"]) == [str(photos / f"{i}.png") for i in range(5)]
        np.testing.assert_allclose(
            kept["representation"],
            subject.features["train"].representations[:5],
            atol=1e-4,
        )


def test_embed_refuses_what_it_cannot_write(subject, unlabelled):
    with pytest.raises(ValueError, match=r"suffix of \.npz, \.csv.*x\.txt"):
        MODES["embed"](subject, output="x.txt")
    with pytest.raises(ValueError, match="labelled data set for --head=linear"):
        MODES["embed"](unlabelled, head="linear")
