"""ONNX files: the encoder's numbers by another runtime."""

import importlib.util

import keras
import numpy as np
import pytest

from vicreg_keras import load_encoder
from vicreg_keras.data.columns import Column, table_statistics
from vicreg_keras.export import onnx
from vicreg_keras.export.savedmodel import export_savedmodel
from vicreg_keras.models import encoders
from vicreg_keras.models.table_encoder import make_table_encoder

pytest.importorskip("tf2onnx", reason="tf2onnx is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

SHAPE = (8, 8, 3)
IMAGES = np.random.default_rng(1).integers(0, 256, (7, *SHAPE)).astype("uint8")


@pytest.mark.parametrize("saved", [False, True])
def test_gives_the_encoders_numbers(saved, encoder, tmp_path):
    source = encoder
    if saved:
        source = load_encoder(export_savedmodel(encoder, tmp_path, SHAPE))
    read = onnx.OnnxEncoder(onnx.convert(source, SHAPE))
    for batch_size in (1, 3, 7):
        expected = encoder(IMAGES[:batch_size], training=False).numpy()
        received = read(IMAGES[:batch_size])
        assert np.abs(received - expected).max() < 1e-5 * np.abs(expected).max()


def kerass_gelu():
    images = keras.Input((16, 16, 3))
    maps = keras.layers.Rescaling(1 / 64, offset=-2)(images)
    maps = keras.layers.Activation("gelu")(maps)
    return keras.Model(images, keras.layers.GlobalAveragePooling2D()(maps))


@pytest.mark.parametrize(
    "make",
    [lambda: encoders.make_encoder("small", (16, 16, 3)), kerass_gelu],
    ids=["ours", "of_keras"],
)
def test_an_encoder_with_gelu(make):
    """TensorFlow makes Keras's of erfc, which ONNX lacks."""
    encoder = make()
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3)).astype("uint8")
    read = onnx.OnnxEncoder(onnx.convert(encoder, (16, 16, 3)))
    expected = encoder(images, training=False).numpy()
    assert np.abs(read(images) - expected).max() < 1e-5 * np.abs(expected).max()


def test_rows_of_numbers():
    encoder = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)])
    rows = np.random.default_rng(0).normal(size=(4, 5)).astype("float32")
    received = onnx.OnnxEncoder(onnx.convert(encoder, (5,)))(rows)
    np.testing.assert_allclose(received, encoder(rows), rtol=1e-5, atol=1e-6)


def test_missing_values_of_a_table():
    examples = np.random.default_rng(0).normal(size=(20, 3)).astype("float32")
    examples[:, 2] = np.arange(20) % 3
    examples[::4, 0] = examples[::3, 1] = examples[::5, 2] = np.nan
    columns = (Column("a"), Column("b"), Column("c", ("x", "y", "z")))
    statistics = table_statistics(examples, columns)
    encoder = make_table_encoder(columns, statistics, (8, 4))
    received = onnx.OnnxEncoder(onnx.convert(encoder, (3,)))(examples)
    np.testing.assert_allclose(received, encoder(examples), rtol=1e-5, atol=1e-6)


def test_a_missing_package_is_named(encoder, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "tf2onnx" else find(name, *rest),
    )
    with pytest.raises(ValueError, match="Received: no tf2onnx. Run: pip"):
        onnx.convert(encoder, SHAPE)
