"""The mode `export`: files appear when they are right, with what they cost."""

import dataclasses
import functools
import json

import numpy as np
import pytest
import tensorflow as tf

from vicreg_keras.errors import InputError
from vicreg_keras.evaluate.records import (
    ExportedFile,
    ExportRecord,
    from_json,
    read_records,
)
from vicreg_keras.export import compare, tflite
from vicreg_keras.models.saved_encoder import load_encoder
from vicreg_keras.modes.context import Context
from vicreg_keras.modes.options import ExportOptions


@pytest.fixture
def run_export(run_mode):
    return functools.partial(run_mode, "export")


def names(folder):
    return sorted({path.name for path in folder.iterdir()} - {"SHA256SUMS"})


def test_savedmodel_has_the_head(run_export, context, linear_top1, capsys):
    record = run_export(context, head="linear")
    version = context.run.path / "encoder" / "1"
    assert record.paths == {"savedmodel": str(version)} and record.files == ()
    assert str(version) in capsys.readouterr().out
    test = context.dataset.test
    loaded = tf.saved_model.load(str(version))
    answers = loaded.signatures["classify"](image=tf.constant(test.read(range(90))))
    predicted = [row[0].decode() for row in answers["class_names"].numpy()]
    classes = np.array(context.dataset.class_names)
    accuracy = np.mean(classes[test.labels] == predicted)
    assert accuracy == pytest.approx(linear_top1)


def test_assets_of_a_savedmodel_are_exported_again(run_export, context):
    first = run_export(context, head="linear").paths["savedmodel"]
    context.encoder = load_encoder(first)
    second = run_export(context).paths["savedmodel"]
    assert (tf.saved_model.load(second).signatures.keys()) == {
        "serving_default",
        "serving_bytes",
    }
    classes = "\n".join(context.dataset.class_names) + "\n"
    path = context.run.path / "encoder" / "2" / "assets" / "class_names.txt"
    assert path.read_text() == classes


def test_tflite_files_have_differences_size_time_and_accuracy(
    run_export, context, linear_top1, capsys
):
    chosen = ("float32", "int8_only")
    record = run_export(context, format=("tflite",), quantization=chosen)
    text = capsys.readouterr().out
    folder = context.run.path / "tflite" / "1"
    assert names(folder) == ["files.json", "float32.tflite", "int8_only.tflite"]
    own, exact, integers = record.files
    assert own.linear_top1 == pytest.approx(linear_top1)
    assert exact.linear_top1 == own.linear_top1
    assert exact.knn_top1 == own.knn_top1 and exact.num_test == 90
    assert 0 < exact.differences.max_difference < 1e-5 * exact.differences.max_value
    assert exact.differences.max_difference < integers.differences.max_difference
    assert exact.differences.mean_difference < integers.differences.mean_difference
    assert 0.95 < integers.differences.min_cosine < exact.differences.min_cosine
    assert (integers.input_dtype, integers.output_dtype) == ("uint8", "int8")
    assert integers.num_bytes == (folder / "int8_only.tflite").stat().st_size
    assert all(one.milliseconds > 0 for one in record.files)
    for one in record.files:
        (line,) = [ln for ln in text.splitlines() if ln.startswith(f"{one.file}  ")]
        assert f"{100 * one.linear_top1:.2f}" in line
    # What is kept in the run, and what lies beside the files.
    assert read_records(context.run, ExportRecord) == [record]
    (first, _) = json.loads((folder / "files.json").read_text())
    without = {"linear_top1": None, "knn_top1": None, "num_test": None}
    assert from_json(ExportedFile, first) == dataclasses.replace(exact, **without)
    assert (context.run.figures / "export.png").stat().st_size > 5000


def test_accuracy_is_that_of_the_written_file(run_export, context):
    """Measured again, from the file that was written."""
    record = run_export(context, format=("tflite",), quantization=("int8",))
    content = (context.run.path / "tflite" / "1" / "int8.tflite").read_bytes()
    test = context.dataset.test
    representations = compare.represent(tflite.TFLiteEncoder(content), test)
    scores = context.head.scores(representations)
    accuracy = np.mean(scores.argmax(axis=1) == test.labels)
    assert record.files[1].linear_top1 == pytest.approx(accuracy)


def test_onnx_beside_tflite(run_export, context):
    pytest.importorskip("tf2onnx")
    record = run_export(
        context,
        format=(
            "onnx",
            "tflite",
        ),
        quantization=("float32",),
    )
    assert [one.file for one in record.files] == [
        "the encoder",
        "float32.tflite",
        "encoder.onnx",
    ]
    assert record.files[2].differences.min_cosine > 0.99999
    assert names(context.run.path / "onnx" / "1") == ["encoder.onnx", "files.json"]


def test_unlabeled_datasets_give_differences_only(run_export, unlabeled, capsys):
    record = run_export(unlabeled, format=("tflite",), quantization=("float16",))
    assert record.files[1].linear_top1 is None
    assert record.files[1].differences.num_examples == 40
    assert "op-1 accurac" not in capsys.readouterr().out
    with pytest.raises(ValueError, match="Expected a labeled dataset"):
        run_export(unlabeled, head="linear")


@pytest.mark.parametrize("limit", ["tolerance", "cosine"])
def test_a_file_that_differs_leaves_earlier_versions(
    run_export, limit, context, monkeypatch
):
    run_export(context, format=("tflite",), quantization=("float32",))
    real = tflite.TFLiteEncoder.__call__

    def other(self, examples):
        outputs = real(self, examples)
        return outputs * 1.001 if limit == "tolerance" else outputs[:, ::-1]

    monkeypatch.setattr(tflite.TFLiteEncoder, "__call__", other)
    name, expected = {
        "tolerance": ("float32", r"1e-05 of the largest.*Received: .*, 0\.00"),
        "cosine": ("int8", "cosines of 0.95 or more.*Received: 0.[0-8]|-0"),
    }[limit]
    with pytest.raises(InputError, match=f"{name}.tflite.*{expected}"):
        run_export(context, format=("tflite",), quantization=(name,))
    assert names(context.run.path / "tflite") == ["1"]
    assert names(context.run.path / "tflite" / "1") == ["files.json", "float32.tflite"]
    assert len(context.run.read_metrics("export")) == 1


class Constant(compare.FileEncoder):
    """A file whose representations have one value."""

    def __init__(self, value):
        self.value = value

    def __call__(self, examples):
        return np.full((len(examples), 32), self.value, np.float32)


def test_constant_and_not_finite_representations_are_refused(context):
    comparison = compare.Comparison(context.encoder, context.dataset)
    with pytest.raises(InputError, match="Expected a to give the encoder's.*nan"):
        comparison.measure("a", 1, Constant(np.nan), compare.Variant("none", 0.5))
    assert comparison.differences(Constant(0.0)).min_cosine == 0
    with pytest.raises(InputError, match="Received: 0.000000"):
        comparison.measure("a", 1, Constant(0.0), compare.Variant("zeros", 0.5))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"format": ("tf",)}, "format to be one of savedmodel, tflite, onnx"),
        ({"quantization": ("int4",), "format": ("tflite",)}, "quantization to be one"),
        ({"format": ("tflite",), "head": "linear"}, "format=savedmodel with a head"),
    ],
)
def test_wrong_options_are_refused(options, expected):
    with pytest.raises(InputError, match=expected):
        ExportOptions(**options)


def test_without_a_run_an_output_is_needed(run_export, digits, encoders, tmp_path):
    context = Context(encoders[0], digits)
    with pytest.raises(ValueError, match="Expected output=PATH"):
        run_export(context)
    record = run_export(context, output=str(tmp_path / "out"))
    assert record.paths["savedmodel"] == str(tmp_path / "out" / "encoder" / "1")
