"""TFLite files: of the encoder's numbers, as near as each says, and in its types."""

import keras
import numpy as np
import pytest

from vicreg_keras import load_encoder
from vicreg_keras.export.savedmodel import export_savedmodel
from vicreg_keras.export.tflite import VARIANTS, TFLiteEncoder, convert
from vicreg_keras.models import encoders

SHAPE = (8, 8, 3)
IMAGES = np.random.default_rng(1).integers(0, 256, (40, *SHAPE)).astype("uint8")


@pytest.fixture(scope="module")
def files(encoder):
    """The content of every variant's file."""
    return {
        name: convert(encoder, SHAPE, variant, IMAGES[8:])
        for name, variant in VARIANTS.items()
    }


def cosines(first, second):
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return (first * second).sum(axis=1) / lengths


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("batch_size", [1, 3])
def test_gives_the_encoders_numbers(name, batch_size, encoder, files):
    images = IMAGES[:batch_size]
    expected = encoder(images, training=False).numpy()
    received = TFLiteEncoder(files[name])(images)
    assert received.shape == (batch_size, 32) and received.dtype == np.float32
    difference = np.abs(received - expected).max() / expected.max()
    assert cosines(received, expected).min() > VARIANTS[name].min_cosine
    if name == "float32":
        assert difference < 1e-5
    else:
        assert 1e-5 < difference < 0.1  # It is another file.


def test_gelu_is_tflites_own():
    encoder = encoders.make_encoder("small", (8, 8, 3))
    content = convert(encoder, (8, 8, 3), VARIANTS["float32"], IMAGES)
    operations = TFLiteEncoder(content)._interpreter._get_ops_details()
    kinds = [operation["op_name"] for operation in operations]
    assert kinds.count("GELU") == 5 and "ERF" not in kinds
    expected = encoder(IMAGES[:3], training=False).numpy()
    received = TFLiteEncoder(content)(IMAGES[:3])
    assert np.abs(received - expected).max() < 1e-5 * np.abs(expected).max()


def test_one_by_one_is_as_many_at_once(files):
    for name, content in files.items():
        encoder = TFLiteEncoder(content)
        alone = np.concatenate([encoder(IMAGES[i : i + 1]) for i in range(5)])
        np.testing.assert_allclose(encoder(IMAGES[:5]), alone, 1e-5, 1e-5, name)


def test_types_are_those_that_are_said(files):
    encoders = {name: TFLiteEncoder(files[name]) for name in files}
    types = {n: (one.input_dtype, one.output_dtype) for n, one in encoders.items()}
    assert types.pop("int8_only") == ("uint8", "int8")
    assert set(types.values()) == {("uint8", "float32")}
    sizes = [len(files[name]) for name in ("float32", "float16", "dynamic_range")]
    assert sizes[0] > sizes[1] > sizes[2]


def tensor_types(content):
    interpreter = TFLiteEncoder(content)._interpreter
    return {np.dtype(one["dtype"]).name for one in interpreter.get_tensor_details()}


def test_integers_only_means_integers_only(files):
    assert tensor_types(files["int8_only"]) <= {"uint8", "int8", "int32", "int64"}
    # Its pixels are what they are: 0 to 255, without a scale to mind.
    details = TFLiteEncoder(files["int8_only"])._input
    scale, zero_point = details["quantization"]
    assert scale == pytest.approx(1, abs=1e-3) and zero_point == 0
    assert "float32" in tensor_types(files["int8"])


def test_holds_no_augmentation(files):
    first, second = (TFLiteEncoder(files["float32"])(IMAGES) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_a_saved_model_is_converted_too(encoder, files, tmp_path):
    saved = load_encoder(export_savedmodel(encoder, tmp_path, SHAPE))
    for name in ("float32", "int8_only"):
        content = convert(saved, SHAPE, VARIANTS[name], IMAGES[8:])
        received = TFLiteEncoder(content)(IMAGES[:3])
        expected = TFLiteEncoder(files[name])(IMAGES[:3])
        np.testing.assert_allclose(received, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["small", "resnet18"])
def test_other_encoders_are_converted(name):
    """One with GELU, and one with padding and shortcuts."""
    encoder = encoders.make_encoder(name, (16, 16, 3))
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3)).astype("uint8")
    content = convert(encoder, (16, 16, 3), VARIANTS["float32"])
    expected = encoder(images, training=False).numpy()
    received = TFLiteEncoder(content)(images)
    assert np.abs(received - expected).max() < 1e-5 * np.abs(expected).max()


def test_rows_of_numbers():
    encoder = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)])
    rows = np.random.default_rng(0).normal(size=(4, 5)).astype("float32")
    received = TFLiteEncoder(convert(encoder, (5,), VARIANTS["float32"]))(rows)
    np.testing.assert_allclose(received, encoder(rows), rtol=1e-5, atol=1e-6)


def test_what_cannot_be_converted_is_one_line(capfd):
    layers = [keras.Input(SHAPE), keras.layers.Lambda(sorted_by_a_hash)]
    with pytest.raises(ValueError, match="can write as a TFLite file.*Leave") as error:
        convert(keras.Sequential(layers), SHAPE, VARIANTS["float32"])
    assert "\n" not in str(error.value)
    assert capfd.readouterr().err == ""


def sorted_by_a_hash(images):
    import tensorflow as tf

    texts = tf.strings.as_string(tf.reduce_mean(images, (1, 2)))
    return tf.cast(tf.strings.to_hash_bucket_fast(texts, 7), tf.float32)
