"""Tests of the mode `cluster`."""

import dataclasses

import pytest
from PIL import Image

from vicreg_keras import load_dataset
from vicreg_keras.errors import InputError
from vicreg_keras.evaluate.clustering import ClusterRecord, cluster_eval
from vicreg_keras.evaluate.records import read_records
from vicreg_keras.models.table_encoder import make_table_encoder
from vicreg_keras.modes import cluster
from vicreg_keras.modes.context import Context
from vicreg_keras.modes.options import ClusterOptions
from vicreg_keras.workdir.run_folder import RunFolder


def test_clusters_are_compared_with_the_classes(context, capsys):
    options = ClusterOptions(projection="pca", figure_inches=(8.0, 5.0))
    record = cluster.run(context, options)
    text = capsys.readouterr().out
    assert "matched accuracy" in text and "10 clusters (chosen by: classes)" in text
    assert record.split == "test"
    assert record.results["raw_input"].metrics.matched_accuracy > 0.5
    assert read_records(context.run, ClusterRecord) == [record]
    with Image.open(context.run.figures / "clusters.png") as image:
        assert image.size == (960, 600)
        assert "digits, test split PCA (" in image.info["Description"]


def test_silhouette_chooses_the_number_without_labels(unlabeled, capsys):
    record = cluster.run(unlabeled, ClusterOptions(projection="pca"))
    assert "chosen by: silhouette" in capsys.readouterr().out
    assert record.split == "train"
    assert record.results["encoder"].metrics.matched_accuracy is None
    assert read_records(unlabeled.run, ClusterRecord) == [record]
    assert (unlabeled.run.figures / "silhouettes.png").exists()


def test_sample_of_the_figure_is_balanced(context):
    options = ClusterOptions(projection="pca", sample_size=20)
    _, plane = cluster.cluster(context, options)
    labels = context.dataset.test.labels[plane.sample]
    assert sorted(labels) == sorted(2 * list(range(10)))
    assert plane.projection.points.shape == (20, 2)


def test_table_is_drawn_beside_its_input(tmp_path, capsys):
    dataset = load_dataset("iris")
    encoder = make_table_encoder(dataset.columns, dataset.table_statistics, (8, 4))
    context = Context(encoder, dataset, RunFolder(tmp_path / "run"))
    record = cluster.run(context, ClusterOptions(projection="pca"))
    assert "side by side" in capsys.readouterr().out
    expected = cluster_eval(
        context.features["test"], num_classes=3, l2_normalized=False
    )
    assert record.results["encoder"] == expected.result
    with Image.open(context.run.figures / "input_and_representation.png") as image:
        description = image.info["Description"]
    assert "30 examples, every dimension standardized" in description


def test_too_few_examples_are_refused_before_any_result(context, capsys):
    dataset = context.dataset
    few = dataclasses.replace(dataset, test=dataset.test.take(range(3)))
    with pytest.raises(InputError, match="at least 4 examples.*a test split of 3"):
        cluster.run(Context(context.encoder, few), ClusterOptions())
    assert capsys.readouterr().out == ""
