"""A SavedModel in other hands: without Keras, at TensorFlow's own tool, in OpenVINO."""

import os
import pathlib
import subprocess
import sys
import sysconfig

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from vicreg_keras import load_encoder
from vicreg_keras.evaluate.features import compile_encoder
from vicreg_keras.export.savedmodel import WARMUP_FILE, export_savedmodel

SHAPE = (8, 8, 3)
BATCHES = (1, 3, 257)
IMAGES = np.random.default_rng(1).integers(0, 256, (257, *SHAPE)).astype("uint8")

# Reads images and writes representations; arguments: libraries, SavedModel, in, out.
SCRIPT = """
import importlib.util, sys
sys.path.append(sys.argv[1])
assert importlib.util.find_spec("keras") is None
assert importlib.util.find_spec("vicreg_keras") is None
import numpy as np
import tensorflow as tf
images = np.load(sys.argv[3])
loaded = tf.saved_model.load(sys.argv[2])
serve = loaded.signatures["serving_default"]
names = {"1", "3", "257"}
rows = {n: serve(image=tf.constant(images[: int(n)]))["representation"] for n in names}
files = tf.stack([tf.io.encode_png(image) for image in images[:3]])
rows["bytes"] = loaded.signatures["serving_bytes"](image_bytes=files)["representation"]
np.savez(sys.argv[4], **rows)
assert not [name for name in sys.modules if name.split(".")[0] == "keras"]
"""


@pytest.fixture(scope="module")
def version(encoder, tmp_path_factory):
    return export_savedmodel(encoder, tmp_path_factory.mktemp("encoder"), SHAPE)


@pytest.fixture(scope="module")
def without_keras(tmp_path_factory):
    """A folder with every installed package but Keras, its relatives and this one."""
    folder = tmp_path_factory.mktemp("packages")
    for path in pathlib.Path(sysconfig.get_path("purelib")).iterdir():
        if not path.name.lower().startswith(("keras", "tf_keras", "vicreg", "__edit")):
            if path.suffix != ".pth":
                (folder / path.name).symlink_to(path)
    return folder


def test_the_same_bits_without_keras(version, without_keras, tmp_path):
    np.save(tmp_path / "images.npy", IMAGES)
    arguments = [without_keras, version, tmp_path / "images.npy", tmp_path / "rows.npz"]
    # Without site-packages (-S), and without what the environment adds (-I).
    command = [sys.executable, "-I", "-S", "-c", SCRIPT, *map(str, arguments)]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr[-2000:]
    here = load_encoder(version)
    with np.load(tmp_path / "rows.npz") as rows:
        for count in BATCHES:
            np.testing.assert_array_equal(rows[str(count)], here(IMAGES[:count]))
        serve = tf.saved_model.load(str(version)).signatures["serving_bytes"]
        files = tf.stack([tf.io.encode_png(image) for image in IMAGES[:3]])
        from_bytes = serve(image_bytes=files)["representation"].numpy()
        np.testing.assert_array_equal(rows["bytes"], from_bytes)
        # Another graph, whose kernels may round otherwise: two units in the last place.
        np.testing.assert_allclose(from_bytes, here(IMAGES[:3]), rtol=1e-6)


def test_the_same_bits_as_the_encoder_in_a_graph(version, encoder):
    encode, here = compile_encoder(encoder, SHAPE), load_encoder(version)
    for count in BATCHES:
        np.testing.assert_array_equal(here(IMAGES[:count]), encode(IMAGES[:count]))


def test_saved_model_cli_shows_the_signatures(version):
    tool = pathlib.Path(sys.executable).with_name("saved_model_cli")
    process = subprocess.run(
        [tool, "show", "--dir", version, "--all"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert "signature_def['serving_default']" in process.stdout
    assert "signature_def['serving_bytes']" in process.stdout
    assert "inputs['image'] tensor_info:\n        dtype: DT_UINT8" in process.stdout
    assert "outputs['unit_representation'] tensor_info" in process.stdout
    assert "Method name is: tensorflow/serving/predict" in process.stdout


def test_openvino_gives_the_same(version):
    openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed")
    core = openvino.Core()
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    model = core.compile_model(core.read_model(str(version)), "CPU", options)
    for count in BATCHES:
        expected = load_encoder(version)(IMAGES[:count]).numpy()
        received = model({"image": IMAGES[:count]})["representation"]
        assert np.abs(received - expected).max() < 1e-4 * np.abs(expected).max()


def test_warm_up_asks_every_signature_once(version):
    """As TensorFlow Serving does, which does not load a model whose warm-up fails."""
    records = tf.data.TFRecordDataset(str(version / WARMUP_FILE)).as_numpy_iterator()
    logs = map(prediction_log_pb2.PredictionLog.FromString, records)
    requests = [log.predict_log.request for log in logs]
    names = [request.model_spec.signature_name for request in requests]
    assert names == ["serving_default", "serving_bytes"]
    inputs = [list(request.inputs) for request in requests]
    assert inputs == [["image"], ["image_bytes"]]
    loaded = tf.saved_model.load(str(version))
    for request in requests:
        ((name, tensor),) = request.inputs.items()
        signature = loaded.signatures[request.model_spec.signature_name]
        outputs = signature(**{name: tf.constant(tf.make_ndarray(tensor))})
        assert outputs["representation"].shape == (1, 32)
