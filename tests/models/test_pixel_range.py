"""Warnings about images in [0, 1] or channels first; batches of one example."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from vicreg_keras import InputError, PixelWarning, VICReg, load_encoder, make_encoder
from vicreg_keras.export.savedmodel import export_savedmodel

SHAPE = (8, 8, 3)
IMAGES = np.random.default_rng(0).integers(0, 256, (9, *SHAPE), dtype=np.uint8)


def make_model(jit_compile=False):
    keras.utils.set_random_seed(0)
    model = VICReg(make_encoder("tiny", SHAPE), augmenter=keras.layers.Identity())
    model.compile("sgd", jit_compile=jit_compile)
    return model


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    export_savedmodel(make_encoder("tiny", SHAPE), folder / "encoder", SHAPE)
    return folder


def messages(function, *arguments, **options):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        function(*arguments, **options)
    return [str(one.message) for one in caught if one.category is PixelWarning]


KINDS = {
    "[0, 1]": ((IMAGES[:8] / 255).astype(np.float32), "Use images * 255"),
    "[-1, 1]": ((IMAGES[:8] / 127.5 - 1).astype(np.float32), "(images + 1) * 127.5"),
    "[0, 255]": (IMAGES[:8].astype(np.float32), ""),
    "black": (np.zeros((8, *SHAPE), np.float32), ""),
    "uint8": (IMAGES[:8], ""),
    "uint8 up to 1": (IMAGES[:8] // 255, "Use images * 255"),
    "standardized": ((IMAGES[:8] - np.float32(120)) / 60, "before their mean was"),
    "mean subtracted": (IMAGES[:8] - np.float32(120), "before their mean was"),
    "16 bits": (IMAGES[:8].astype(np.uint16) * 257, "(255 / white)"),
    "NaN": (np.where(IMAGES[:8] < 9, np.nan, IMAGES[:8]), "Use finite values"),
    "overshoot": (IMAGES[:8] * np.float32(1.2) - 20, ""),
}
# tf.data pipelines of integers are not read.
FLOATS = {kind: value for kind, value in KINDS.items() if value[0].dtype.kind == "f"}


@pytest.fixture(scope="module", params=[False, True])
def wrapped(request, folder):
    """Models around a saved encoder, which has seen nothing yet, by whether compiled.

    To reset what it has seen costs less than to build it anew.
    """
    encoder = load_encoder(folder)
    model = keras.Sequential([encoder, keras.layers.Dense(1)])
    model.compile("sgd", "mse", jit_compile=request.param)
    return encoder, model


def check(kind, function, *arguments, **options):
    images, text = KINDS[kind]
    found = messages(function, images, *arguments, **options)
    assert len(found) == bool(text)
    assert not text or text in found[0]


def batches_of(images):
    return tf.data.Dataset.from_tensor_slices(images).batch(4, True)


@pytest.mark.parametrize("kind", KINDS)
def test_fit_warns_of_the_range(model, monkeypatch, kind):
    monkeypatch.setattr(keras.Model, "fit", lambda *_, **options: None)
    check(kind, model.fit)
    check(kind, lambda images: model.fit(IMAGES, validation_data=images))
    if kind in ("[0, 1]", "[0, 255]"):
        fresh = make_model()
        check(kind, lambda images: [fresh(images), fresh(images)])
        check(kind, fresh.predict, verbose=0)
    if kind in FLOATS:
        check(kind, lambda images: model.fit(batches_of(images)))


def test_a_model_around_a_saved_encoder_warns_once_for_each_method(wrapped):
    encoder, model = wrapped
    check("[0, 255]", model.predict, verbose=0)
    check("[0, 1]", model.fit, np.ones((8, 1)), verbose=0, epochs=2)
    assert not messages(model.fit, KINDS["[0, 1]"][0], np.ones((8, 1)), verbose=0)
    check("[0, 1]", lambda images: model.predict_on_batch(images))
    check(
        "[0, 1]", lambda images: model.evaluate(batches_of((images, np.ones((8, 1)))))
    )
    rescaled = keras.Sequential(
        [keras.layers.Rescaling(255.0), load_encoder(encoder.folder)]
    )
    assert not messages(rescaled.predict, KINDS["[0, 1]"][0], verbose=0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_encoder_warns_of_the_range_once(folder, kind):
    images, text = KINDS[kind]
    encoder = load_encoder(folder)
    found = messages(lambda: [encoder(images), encoder(images)])
    assert len(found) == bool(text)
    assert not text or text in found[0]


def test_a_black_image_does_not_end_the_check(folder):
    encoder = load_encoder(folder)
    assert not messages(encoder, KINDS["black"][0])
    assert len(messages(encoder, KINDS["[0, 1]"][0])) == 1


def test_channels_first(model, folder):
    images = IMAGES.transpose(0, 3, 1, 2)

    def attempt(function, **options):
        with pytest.raises((ValueError, tf.errors.OpError, TypeError)):
            function(images, **options)

    for function, options in ((model.fit, {"verbose": 0}), (load_encoder(folder), {})):
        (message,) = messages(attempt, function, **options)
        assert "shape=(9, 3, 8, 8), channels first. Use numpy.moveaxis" in message


def test_tables_are_no_images():
    encoder = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model = VICReg(encoder, augmenter=keras.layers.Identity())
    model.compile("sgd")
    rows = np.random.default_rng(0).uniform(size=(8, 4)).astype(np.float32)
    assert not messages(model.fit, rows, batch_size=4, verbose=0)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_batch_of_one_is_an_error_where_its_size_is_not_known_before(jit_compile):
    model = make_model(jit_compile)
    expected = "Expected batches of two examples or more.*a batch of 1.*drop_remainder"
    dataset = tf.data.Dataset.from_tensor_slices(IMAGES).batch(4)
    options = {"batch_size": 4, "verbose": 0}
    with pytest.raises(InputError, match=expected):
        model.fit(IMAGES, **options)
    with pytest.raises(InputError, match=expected):
        model.fit(dataset, verbose=0)
    with pytest.raises(InputError, match=expected):
        model.evaluate(IMAGES, **options)
    with pytest.raises(InputError, match=expected):
        model.fit(IMAGES[:8], validation_data=dataset, **options)
    loss = model.fit(IMAGES[:8], **options).history["loss"]
    assert np.isfinite(loss).all()
