"""`evaluate`: everything that applies, on one page, and for TensorBoard's projector."""

import keras
import pytest
from google.protobuf import text_format
from PIL import Image
from tensorboard.plugins.projector import ProjectorConfig

from vicreg_keras.judge.modes import MODES
from vicreg_keras.judge.subject import Subject


def test_evaluate_writes_numbers_and_a_page(subject, capsys):
    MODES["evaluate"](subject)
    modes = [row["mode"] for row in subject.run.read_metrics()]
    assert modes == ["linear_eval", "knn_eval", "retrieve", "cluster", "spectrum"]
    page = (subject.run.path / "report.html").read_text()
    result = subject.run.read_metrics("linear_eval")[0]["results"]["encoder"]
    assert f"{100 * result['cached']['top1']:.2f}" in page
    assert page.count("data:image/png") >= 10 * 6  # Queries and their neighbours.
    assert str(subject.run.path / "report.html") in capsys.readouterr().out

    # The projector's files agree with each other.
    folder = subject.run.tensorboard
    config = ProjectorConfig()
    text_format.Parse((folder / "projector_config.pbtxt").read_text(), config)
    (embedding,) = config.embeddings
    rows = (folder / embedding.tensor_path).read_text().splitlines()
    labels = (folder / embedding.metadata_path).read_text().splitlines()
    assert labels[0] == "name\tcluster\tclass"
    assert len(rows) == len(labels) - 1 == 90
    with Image.open(folder / embedding.sprite.image_path) as sprite:
        assert sprite.size == (80, 80)  # 10 by 10 places of 8 by 8 pixels.


def test_evaluate_without_labels_does_what_it_can(unlabelled):
    MODES["evaluate"](unlabelled)
    modes = [row["mode"] for row in unlabelled.run.read_metrics()]
    assert modes == ["cluster", "spectrum"]
    assert (unlabelled.run.path / "report.html").exists()


def test_evaluate_needs_a_run(subject):
    with pytest.raises(ValueError, match="--workdir=RUN for --mode=evaluate"):
        MODES["evaluate"](Subject(subject.encoder, subject.dataset))


def test_finetune_takes_what_a_person_types(subject, encoders, capsys):
    subject.make_encoder = lambda trained: keras.models.clone_model(encoders[0])
    MODES["finetune"](subject, label_fractions=["0.1"], finetune_epochs=1)
    assert "fine-tuned" in capsys.readouterr().out
    (row,) = subject.run.read_metrics("finetune")
    assert row["results"]["finetuned"][0]["num_labelled"] == 30
    with pytest.raises(ValueError, match="--label_fractions=0.01,0.1,1.*=x"):
        MODES["finetune"](subject, label_fractions=["x"])
    subject.make_encoder = None
    with pytest.raises(ValueError, match="--workdir=RUN for --mode=finetune"):
        MODES["finetune"](subject)
