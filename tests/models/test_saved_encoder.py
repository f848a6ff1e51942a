"""Encoders that are read: from SavedModels of ours and of others, from .keras files."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import vicreg_keras
from vicreg_keras import load_encoder, make_encoder, make_projector
from vicreg_keras.data.split import Split
from vicreg_keras.evaluate.features import extract_features
from vicreg_keras.export.savedmodel import export_savedmodel
from vicreg_keras.models.saved_encoder import variables_of

SHAPE = (4, 4, 3)
IMAGES = np.random.default_rng(0).integers(0, 256, (7, *SHAPE), dtype=np.uint8)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return make_encoder("tiny", SHAPE)


@pytest.fixture(scope="module")
def run_folder(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    export_savedmodel(model, folder / "encoder", SHAPE)
    return folder


def save_elsewhere(model, folder, name="image", output="representation"):
    """A SavedModel as another program writes one: a signature and nothing else."""
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint(
        "serving_default",
        lambda image: {output: model(image, training=False)},
        [tf.TensorSpec((None, *SHAPE), tf.uint8, name=name)],
    )
    archive.write_out(str(folder), verbose=False)


@pytest.mark.parametrize("below", ["", "encoder", "encoder/1"])
def test_a_run_gives_its_encoder(model, run_folder, below):
    encoder = load_encoder(run_folder / below)
    assert encoder.folder == str(run_folder / "encoder" / "1")
    assert encoder.example_shape == SHAPE
    assert encoder.representation_size == 32
    expected = model(IMAGES, training=False)
    np.testing.assert_allclose(encoder(IMAGES), expected, rtol=1e-5, atol=1e-5)
    for saved, own in zip(variables_of(encoder), variables_of(model), strict=True):
        np.testing.assert_array_equal(saved, own)


def test_views_are_taken_as_they_are(model, run_folder):
    views = np.clip(IMAGES + 0.4, 0, 255).astype(np.float32)
    expected = model(views, training=False)
    received = load_encoder(run_folder)(views)
    np.testing.assert_allclose(received, expected, rtol=1e-5, atol=1e-5)
    assert np.abs(received - load_encoder(run_folder)(IMAGES)).max() > 1e-3


def test_another_programs_saved_model_takes_views_rounded(model, tmp_path):
    save_elsewhere(model, tmp_path)
    encoder = load_encoder(tmp_path)
    views = IMAGES.astype(np.float32) - 0.4
    np.testing.assert_array_equal(encoder(views), encoder(IMAGES))


def test_saved_encoder_is_frozen_in_a_trained_model(run_folder, tmp_path):
    encoder = load_encoder(run_folder)
    before = [variable.numpy() for variable in encoder.saved_variables]
    model = keras.Sequential([encoder, keras.layers.Dense(3)])
    alone = encoder(IMAGES).numpy()
    model.compile("sgd", "mse")
    model.fit(IMAGES, np.ones((7, 3)), epochs=2, verbose=0)
    assert len(model.trainable_weights) == 2
    for variable, value in zip(encoder.saved_variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)
    np.testing.assert_array_equal(encoder(IMAGES, training=True), alone)
    # Saved by Keras, the model reads the SavedModel again.
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(IMAGES), model(IMAGES))


def test_saved_encoder_in_a_functional_model(run_folder):
    inputs = keras.Input(SHAPE, dtype="uint8")
    outputs = load_encoder(run_folder)(inputs)
    assert outputs.shape == (None, 32) and outputs.dtype == "float32"
    model = keras.Model(inputs, outputs)
    expected = load_encoder(run_folder)(IMAGES)
    np.testing.assert_allclose(model.predict(IMAGES, verbose=0), expected, rtol=1e-5)


@pytest.mark.parametrize("whole", [False, True])
def test_a_keras_file_gives_a_frozen_encoder(whole, model, tmp_path):
    saved = model
    if whole:
        saved = vicreg_keras.VICReg(
            model, make_projector(32, (8, 8)), keras.layers.Identity()
        )
        saved.compile("sgd")
        saved.build((None, *SHAPE))
    saved.save(tmp_path / "model.keras")
    encoder = load_encoder(tmp_path / "model.keras")
    assert encoder.trainable_weights == []
    expected = model(IMAGES, training=False)
    np.testing.assert_array_equal(encoder(IMAGES), expected)
    np.testing.assert_allclose(
        encoder(IMAGES, training=True), expected, rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("content", [None, b"no zip"])
def test_invalid_keras_file(content, tmp_path):
    path = tmp_path / "model.keras"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match="Expected a .keras file.*Save it") as error:
        load_encoder(path)
    assert "\n" not in str(error.value)


def test_newest_version_is_chosen_by_number(run_folder, tmp_path):
    source = run_folder / "encoder" / "1"
    for name in ("9", "10"):
        (tmp_path / "encoder").mkdir(exist_ok=True)
        (tmp_path / "encoder" / name).symlink_to(source)
    (tmp_path / "encoder" / "11").mkdir()  # Nothing was written there yet.
    assert load_encoder(tmp_path).folder.endswith("10")


def test_other_sizes_are_refused(run_folder):
    split = Split(np.zeros((2, 8, 8, 3), np.uint8), None, ["a", "b"])
    with pytest.raises(ValueError, match="image_size=4"):
        extract_features(load_encoder(run_folder), split)


def test_invalid_saved_models(model, tmp_path):
    with pytest.raises(ValueError, match="which has none"):
        load_encoder(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="with encoder/1"):
        load_encoder(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"not a model")
    with pytest.raises(ValueError, match="that TensorFlow can read"):
        load_encoder(tmp_path)
    save_elsewhere(model, tmp_path / "a", output="output_0")
    with pytest.raises(ValueError, match="to `representation`.*output_0"):
        load_encoder(tmp_path / "a")
    tf.saved_model.save(tf.Module(), str(tmp_path / "b"))
    with pytest.raises(ValueError, match="serving_default"):
        load_encoder(tmp_path / "b")
