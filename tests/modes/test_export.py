"""The mode `export`: files appear when they are right, and say what they cost."""

import functools
import json

import numpy as np
import pytest
import tensorflow as tf

from vicreg_keras.evaluate.features import extract_features
from vicreg_keras.export import tflite
from vicreg_keras.models.saved_encoder import load_encoder
from vicreg_keras.modes import export_costs
from vicreg_keras.modes.context import Context


@pytest.fixture
def run_export(run_mode):
    return functools.partial(run_mode, "export")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_savedmodel_has_the_head(run_export, context, capsys):
    row = run_export(context, head="linear")
    version = context.run.path / "encoder" / "1"
    assert row["paths"] == {"savedmodel": str(version)} and row["files"] == []
    assert str(version) in capsys.readouterr().out
    test = context.dataset.test
    loaded = tf.saved_model.load(str(version))
    answers = loaded.signatures["classify"](image=tf.constant(test.read(range(90))))
    predicted = [row[0].decode() for row in answers["class_names"].numpy()]
    classes = np.array(context.dataset.class_names)
    accuracy = np.mean(classes[test.labels] == predicted)
    assert accuracy == pytest.approx(context.linear_probe.metrics.top1)


def test_what_lies_beside_a_savedmodel_comes_along(run_export, context):
    first = run_export(context, head="linear")["paths"]["savedmodel"]
    context.encoder = load_encoder(first)
    second = run_export(context)["paths"]["savedmodel"]
    assert (tf.saved_model.load(second).signatures.keys()) == {
        "serving_default",
        "serving_bytes",
    }
    classes = "\n".join(context.dataset.class_names) + "\n"
    path = context.run.path / "encoder" / "2" / "assets" / "class_names.txt"
    assert path.read_text() == classes


def test_tflite_files_say_what_they_cost(run_export, context, capsys):
    chosen = ("float32", "int8_only")
    row = run_export(context, format=["tflite"], quantization=chosen)
    text = capsys.readouterr().out
    folder = context.run.path / "tflite" / "1"
    assert names(folder) == ["files.json", "float32.tflite", "int8_only.tflite"]
    own, exact, integers = row["files"]
    assert own["linear_top1"] == pytest.approx(context.linear_probe.metrics.top1)
    assert exact["linear_top1"] == own["linear_top1"]
    assert exact["knn_top1"] == own["knn_top1"] and exact["num_test"] == 90
    assert 0 < exact["max_difference"] < 1e-5 * exact["max_number"]
    assert exact["max_difference"] < integers["max_difference"]
    assert exact["mean_difference"] < integers["mean_difference"]
    assert 0.95 < integers["min_cosine"] < exact["min_cosine"]
    assert (integers["input"], integers["output"]) == ("uint8", "int8")
    assert integers["bytes"] == (folder / "int8_only.tflite").stat().st_size
    assert all(one["milliseconds"] > 0 for one in row["files"])
    for one in row["files"]:
        (line,) = [ln for ln in text.splitlines() if ln.startswith(f"{one['file']}  ")]
        assert f"{100 * one['linear_top1']:.2f}" in line
    # What is kept in the run, and what lies beside the files.
    assert context.run.read_metrics("export") == [json.loads(json.dumps(row))]
    (first, _) = json.loads((folder / "files.json").read_text())
    assert first["max_difference"] == exact["max_difference"]
    assert (context.run.figures / "export.png").stat().st_size > 5000


def test_accuracy_is_that_of_the_file(run_export, context):
    """Measured again, from the file that was written."""
    row = run_export(context, format=["tflite"], quantization=["int8"])
    content = (context.run.path / "tflite" / "1" / "int8.tflite").read_bytes()
    rows = extract_features(tflite.TFLiteEncoder(content), context.dataset.test)
    scores = context.head.scores(rows.representations)
    accuracy = np.mean(scores.argmax(axis=1) == rows.labels)
    assert row["files"][1]["linear_top1"] == pytest.approx(accuracy)


def test_onnx_beside_tflite(run_export, context):
    pytest.importorskip("tf2onnx")
    row = run_export(context, format=["onnx", "tflite"], quantization=["float32"])
    assert [one["file"] for one in row["files"]] == [
        "the encoder",
        "float32.tflite",
        "encoder.onnx",
    ]
    assert row["files"][2]["min_cosine"] > 0.99999
    assert names(context.run.path / "onnx" / "1") == ["encoder.onnx", "files.json"]


def test_without_labels_there_are_differences_alone(run_export, unlabeled, capsys):
    row = run_export(unlabeled, format=["tflite"], quantization=["float16"])
    assert "linear_top1" not in row["files"][1]
    assert row["files"][1]["num_compared"] == 40
    assert "Top-1 accuracy" not in capsys.readouterr().out
    with pytest.raises(ValueError, match="Expected a labeled dataset for --head"):
        run_export(unlabeled, head="linear")


@pytest.mark.parametrize("limit", ["tolerance", "cosine"])
def test_a_file_that_differs_leaves_all_as_it_was(
    run_export, limit, context, monkeypatch
):
    run_export(context, format=["tflite"], quantization=["float32"])
    real = tflite.TFLiteEncoder.run

    def other(self, images):
        rows = real(self, images)
        return rows * 1.001 if limit == "tolerance" else rows[:, ::-1]

    monkeypatch.setattr(tflite.TFLiteEncoder, "run", other)
    name, expected = {
        "tolerance": ("float32", r"1e-05 of the largest.*Received: 0\.001"),
        "cosine": ("int8", "a cosine of 0.95 or more on every image"),
    }[limit]
    with pytest.raises(FloatingPointError, match=f"{name}.tflite.*{expected}"):
        run_export(context, format=["tflite"], quantization=[name])
    assert names(context.run.path / "tflite") == ["1"]
    assert names(context.run.path / "tflite" / "1") == ["files.json", "float32.tflite"]
    assert len(context.run.read_metrics("export")) == 1


def constant(value):
    def encode(images, training):
        return tf.fill((tf.shape(images)[0], 32), value)

    return encode


def test_numbers_that_are_none_are_refused(context):
    compared = export_costs.Comparison(context)
    with pytest.raises(ValueError, match="NaN"):
        compared.numbers("a", constant(np.nan))
    assert compared.numbers("a", constant(0.0))["min_cosine"] == 0
    with pytest.raises(FloatingPointError, match="Received: 0.000000"):
        compared.numbers("a", constant(0.0), min_cosine=0.5)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"format": ["tf"]}, "--format to be some of savedmodel, tflite, onnx, with"),
        ({"format": []}, "Received: --format=."),
        ({"quantization": ["int4"]}, "--quantization to be some of float32.*int4"),
        ({"format": ["tflite"], "head": "linear"}, "--format=savedmodel with --head"),
    ],
)
def test_wrong_choices_are_one_line(run_export, options, expected, context):
    with pytest.raises(ValueError, match=expected):
        run_export(context, **options)
    assert not context.run.path.exists()


def test_without_a_run_a_folder_is_asked_for(run_export, digits, encoders, tmp_path):
    context = Context(encoders[0], digits)
    with pytest.raises(ValueError, match="Expected output=PATH"):
        run_export(context)
    row = run_export(context, output=str(tmp_path / "out"))
    assert row["paths"]["savedmodel"] == str(tmp_path / "out" / "encoder" / "1")
