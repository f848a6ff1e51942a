"""`evaluate`: everything that applies, on one page, and for TensorBoard's projector."""

import dataclasses
import re

import numpy as np
import pytest
from google.protobuf import text_format
from PIL import Image
from tensorboard.plugins.projector import ProjectorConfig

from vicreg_keras.modes.context import Context


def test_evaluate_writes_numbers_and_a_page(run_mode, context, linear_top1, capsys):
    run_mode("evaluate", context)
    modes = [row["mode"] for row in context.run.read_metrics()]
    assert modes == ["linear_eval", "knn_eval", "retrieve", "cluster", "spectrum"]
    page = (context.run.path / "report.html").read_text()
    assert f"{100 * linear_top1:.2f}" in page
    figures = {path.stem for path in context.run.figures.glob("*.png")}
    assert figures == {"clusters", "confusion", "mistakes", "retrieval", "spectrum"}
    assert page.count("data:image/png") == len(figures)
    summary = capsys.readouterr().out.partition("What pretraining added")[2]
    assert str(context.run.path / "report.html") in summary
    header, *lines = summary.splitlines()[1:7]
    assert header.split("  ")[-1].strip() == "raw input"
    assert [line.split("  ")[0] for line in lines] == [
        "linear top-1, cached",
        "linear top-1, 10 labels per class",
        "kNN top-1",
        "mean average precision",
        "clusters matched with classes",
    ]
    assert lines[0].split()[3] == f"{100 * linear_top1:.2f}"
    for line in lines:
        cells = re.findall(r"\d+\.\d+(?: ± \d+\.\d+)?", line)
        assert len(cells) == 3 and all(
            0 < float(cell.split()[0]) <= 100 for cell in cells
        )

    # The projector's files agree with each other.
    folder = context.run.tensorboard
    config = ProjectorConfig()
    text_format.Parse((folder / "projector_config.pbtxt").read_text(), config)
    (embedding,) = config.embeddings
    rows = (folder / embedding.tensor_path).read_text().splitlines()
    labels = (folder / embedding.metadata_path).read_text().splitlines()
    assert labels[0] == "name\tcluster\tclass"
    assert len(rows) == len(labels) - 1 == 90
    with Image.open(folder / embedding.sprite.image_path) as sprite:
        assert sprite.size == (160, 144)  # 9 lines of 10 images, 16 by 16 pixels each.


def test_evaluate_without_labels_does_what_it_can(run_mode, unlabeled, capsys):
    run_mode("evaluate", unlabeled)
    modes = [row["mode"] for row in unlabeled.run.read_metrics()]
    assert modes == ["cluster", "spectrum"]
    out = capsys.readouterr().out
    assert "silhouette of clusters" in out
    assert "labeled dataset with a test split: linear_eval, knn_eval, retrieve" in out
    page = (unlabeled.run.path / "report.html").read_text()
    assert page.count("left out, for it needs a labeled dataset") == 4
    assert "--mode=linear_eval" not in page


def test_evaluate_of_few_examples_says_what_it_leaves_out(run_mode, context, capsys):
    labels = context.dataset.train.labels
    splits = {
        "train": context.dataset.train.take(np.flatnonzero(labels == labels[0])[:9]),
        "test": context.dataset.test.take(range(2)),
    }
    dataset = dataclasses.replace(context.dataset, **splits)
    run_mode("evaluate", Context(context.encoder, dataset, context.run))
    out = capsys.readouterr().out
    assert "all training examples are of one class, " in out
    assert "Left out: cluster. Expected" in out
    assert (context.run.path / "report.html").exists()


def test_evaluate_needs_a_run(run_mode, context):
    with pytest.raises(ValueError, match="Expected workdir=RUN"):
        run_mode("evaluate", Context(context.encoder, context.dataset))
