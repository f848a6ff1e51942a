"""The program for small machines, with files of floats and of 8-bit integers."""

import pathlib
import runpy
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.examples.run_folder import NAMES, SHAPE, save_with_damaged_exif, small
from vicreg_keras.export.tflite import VARIANTS, convert

PROGRAM = pathlib.Path(__file__).resolve().parents[2] / "examples/tflite/neighbors.py"
KINDS = (*VARIANTS, "int8 pixels")

# TensorFlow warns of missing statistics, which the representative images give.
pytestmark = pytest.mark.filterwarnings("ignore:Statistics for quantized inputs")


@pytest.fixture(scope="module")
def files(photo_run, tmp_path_factory):
    """What the mode export writes, and a file of int8 from end to end."""
    images = np.stack([small(image) for image in photo_run.photos.values()])
    folder, paths = tmp_path_factory.mktemp("tflite"), {}
    for kind in KINDS:
        if kind in VARIANTS:
            content = convert(photo_run.encoder, SHAPE, VARIANTS[kind], images)
        else:
            content = convert_int8(photo_run.encoder, images)
        paths[kind] = folder / f"{kind}.tflite"
        paths[kind].write_bytes(content)
    return paths


def convert_int8(encoder, images):
    """A file whose input's numbers are not its pixels."""

    @tf.function(input_signature=[tf.TensorSpec((1, *SHAPE), tf.float32)])
    def encode(image):
        return encoder(image, training=False)

    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [encode.get_concrete_function()]
    )
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: (
        [image[np.newaxis].astype(np.float32)] for image in images
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


@pytest.fixture
def refuse(monkeypatch, capsys):
    """Runs the program, which must fail, and returns its only line."""

    def refuse(*arguments):
        monkeypatch.setattr(sys, "argv", [str(PROGRAM), *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            runpy.run_path(str(PROGRAM), run_name="__main__")
        output, errors = capsys.readouterr()
        assert (stopped.value.code, output) == (1, "")
        (line,) = errors.splitlines()
        assert line.startswith("neighbors.py: ")
        return line

    return refuse


@pytest.mark.parametrize("kind", KINDS)
def test_finds_each_image_itself_first(photo_run, files, tmp_path, kind):
    photos = []
    for number, name in enumerate(NAMES):
        path = tmp_path / f"{number}.png"
        photos.append(photo_run.save_photo(name, path, turned=bool(number % 2)))
    done = subprocess.run(
        [sys.executable, PROGRAM, *photos, f"--model={files[kind]}"]
        + [f"--index={photo_run.index}", "--neighbors=2"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[::3] == photos
    for name, line in zip(NAMES, lines[1::3], strict=True):
        assert line[8:].startswith(name + "  ")
        assert float(line.split()[-1]) < (0.002 if "float" in kind else 0.1)


@pytest.mark.parametrize("kind", KINDS)
def test_values_are_the_encoders_but_for_their_steps(photo_run, files, kind):
    names = runpy.run_path(str(PROGRAM))
    encoder = names["Encoder"](str(files[kind]))
    for image in photo_run.photos.values():
        pixels = small(image)
        received = encoder.encode(pixels)
        expected = photo_run.encoder(pixels[np.newaxis]).numpy()[0]
        expected /= np.linalg.norm(expected)
        tolerance = {"float32": 1e-4, "float16": 1e-3}.get(kind, 0.02)
        np.testing.assert_allclose(received, expected, atol=tolerance)


def test_numbers_stand_for_values():
    names = runpy.run_path(str(PROGRAM))
    quantize, dequantize = names["quantize"], names["dequantize"]
    int8 = {"dtype": np.int8, "quantization": (2.0, -128)}
    np.testing.assert_array_equal(
        quantize(np.array([0, 3, 4, 255], np.uint8), int8), [-128, -126, -126, 0]
    )
    np.testing.assert_array_equal(quantize(np.array([900.0, -9.0]), int8), [127, -128])
    values = dequantize(np.array([-128, -126, 127], np.int8), int8)
    np.testing.assert_array_equal(values, [0, 4, 510])
    plain = {"dtype": np.uint8, "quantization": (0.0, 0)}
    pixels = np.array([0, 7, 255], np.uint8)
    np.testing.assert_array_equal(quantize(pixels, plain), pixels)
    np.testing.assert_array_equal(dequantize(pixels, plain), pixels)


def test_says_what_is_wrong_in_one_line(photo_run, files, tmp_path, refuse):
    photo, text = tmp_path / "photo.png", tmp_path / "no.txt"
    Image.new("RGB", (9, 7)).save(photo)
    text.write_text("neither a photo nor a model")
    model, index = f"--model={files['float32']}", f"--index={photo_run.index}"
    assert "neither" in refuse(text, model, index)
    assert "No such file" in refuse(tmp_path / "none.png", model, index)
    damaged = tmp_path / "damaged.jpg"
    save_with_damaged_exif(damaged)
    assert f"Received: {damaged} (" in refuse(damaged, model, index)
    assert f"Received: {text} (" in refuse(photo, f"--model={text}", index)
    assert f"Received: {tmp_path}, " in refuse(photo, model, f"--index={tmp_path}")
    assert "1 or more" in refuse(photo, model, index, "--neighbors=0")
    assert "required: --model" in refuse(photo, index)
    double = tf.function(lambda row: 2 * row).get_concrete_function(tf.ones((1, 4)))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([double])
    text.write_bytes(converter.convert())
    assert "which takes (1, 4)" in refuse(photo, f"--model={text}", index)
