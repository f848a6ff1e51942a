"""A loss or gradient that is not finite trains nothing, ends `fit`, and is located."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from vicreg_keras import VICReg, find_nonfinite, load_dataset
from vicreg_keras.errors import NonFiniteError
from vicreg_keras.settings import Settings
from vicreg_keras.training.build import build_model

IMAGES = np.random.default_rng(0).integers(0, 200, (16, 4, 4, 3)).astype("uint8")
# One pixel that `Above` reacts to.
MARKED = IMAGES.copy()
MARKED[3, 1, 2, 0] = 255
GRADIENT = "the gradient by the output of encoder/"


class Above(layers.Layer):
    """NaN where an input is above a threshold; else what it is."""

    def __init__(self, threshold=math.inf, **kwargs):
        super().__init__(**kwargs)
        self.threshold = threshold

    def call(self, inputs):
        return ops.where(inputs > self.threshold, math.nan, inputs)


class Root(layers.Layer):
    """Finite, with an infinite derivative at 0."""

    def call(self, inputs):
        return ops.sqrt(ops.relu(inputs))


class Huge(layers.Layer):
    """Overflows in float16."""

    def call(self, inputs):
        return inputs * 1e3 * 1e3


class Noise(layers.Layer):
    """A view with a seed, of a batch whose pixels may become NaN."""

    def __init__(self, threshold=math.inf, **kwargs):
        super().__init__(**kwargs)
        self.threshold = threshold

    def call(self, images, seed):
        images = tf.cast(images, tf.float32)
        noise = tf.random.stateless_uniform(tf.shape(images), seed)
        return tf.where(images > self.threshold, math.nan, images + noise)


def make_model(*, inside=(), first=(), views=None, optimizer=None, **options):
    keras.utils.set_random_seed(0)
    inputs = layers.Input((4, 4, 3))
    x = layers.Rescaling(1 / 255, name="rescale")(inputs)
    for layer in first:
        x = layer(x)
    x = layers.Dense(8, name="dense_1")(layers.Flatten()(x))
    for layer in inside:
        x = layer(x)
    x = layers.BatchNormalization(name="norm")(x)
    encoder = keras.Model(inputs, layers.Dense(6, name="dense_2")(x))
    model = VICReg(encoder, None, views or Noise())
    model.compile(optimizer or keras.optimizers.Adam(0.01), **options)
    return model


def state_of(model):
    moving = [v for v in model.variables if "moving" in v.path]
    state = [*model.variables, *model.optimizer.variables]
    return [v.numpy() for v in state if not any(v is other for other in moving)]


def fit(model, *batches):
    data = tf.data.Dataset.from_tensor_slices(np.stack(batches))
    return model.fit(data, shuffle=False, verbose=0)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_the_step_changes_nothing_and_ends_fit(jit_compile):
    model, twin = (
        make_model(first=[Above(0.9)], jit_compile=jit_compile) for _ in range(2)
    )
    fit(twin, IMAGES, IMAGES)
    with pytest.raises(NonFiniteError, match=r"finite loss and gradient\. Received"):
        fit(model, IMAGES, IMAGES, MARKED, IMAGES)
    for value, expected in zip(state_of(model), state_of(twin), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)
    assert int(model.step.numpy()) == 2
    with pytest.raises(NonFiniteError) as error:
        fit(model, MARKED)
    assert "It is the first of this training." in str(error.value)
    fit(model, IMAGES)
    assert int(model.step.numpy()) == 3


def test_the_message_has_step_terms_and_what_was_before():
    with pytest.raises(NonFiniteError) as error:
        fit(make_model(first=[Above(0.9)]), IMAGES, MARKED)
    text = str(error.value)
    for part in ("variance_loss=nan", "loss=nan", "gradient_norm=nan", "in step 2 at"):
        assert part in text
    assert "learning_rate=0.01" in text and "mean gradient_norm was" in text


@pytest.mark.parametrize(
    ("options", "images", "expected"),
    [
        ({}, IMAGES, None),
        ({"first": [Above(0.9, name="above")]}, IMAGES, None),
        ({"first": [Above(0.9, name="above")]}, MARKED, "the output of encoder/above"),
        ({"inside": [Root()]}, IMAGES, GRADIENT + "dense_1"),
        ({"views": [Noise(), Noise(250, name="own")]}, IMAGES, None),
        ({"views": [Noise(), Noise(250, name="own")]}, MARKED, "view 2, of own"),
        ({}, np.where(MARKED == 255, np.inf, MARKED).astype("float32"), "the batch"),
    ],
)
def test_what_is_first_is_found(options, images, expected):
    model = make_model(**options)
    before = [v.numpy() for v in model.variables]
    found = find_nonfinite(model, images)
    assert found == expected
    for value, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(value, variable)


def test_weights_before_the_step_are_named():
    model = make_model()
    model.encoder.get_layer("dense_2").bias.assign([0, 0, math.inf, 0, 0, 0])
    assert find_nonfinite(model, IMAGES) == "the weights dense_2/bias, before the step"


def test_a_gradient_that_is_not_finite_counts_where_the_loss_is():
    model = make_model(inside=[Root()])
    with pytest.raises(NonFiniteError, match="Received: gradient_norm=(nan|inf) in"):
        fit(model, IMAGES)
    assert int(model.step.numpy()) == 0


@pytest.fixture
def float16():
    keras.mixed_precision.set_dtype_policy("mixed_float16")
    yield
    keras.mixed_precision.set_dtype_policy("float32")


def test_an_activation_beyond_float16_is_located(float16):
    model = make_model(inside=[Huge(name="huge")])
    with pytest.raises(NonFiniteError, match="loss=nan"):
        fit(model, IMAGES)
    assert find_nonfinite(model, IMAGES) == "the output of encoder/huge"


def scaled_sgd(initial_scale):
    inner = keras.optimizers.SGD(1e-6)
    return keras.mixed_precision.LossScaleOptimizer(inner, initial_scale)


def test_a_scale_that_overflows_is_lowered_until_it_does_not_help(float16):
    model = make_model(optimizer=scaled_sgd(2.0**60))
    history = fit(model, *[IMAGES] * 3).history
    assert math.isfinite(history["gradient_norm"][0])
    assert float(model.optimizer.dynamic_scale) == 2.0**57
    assert int(model.step.numpy()) == 3
    model = make_model(inside=[Root()], optimizer=scaled_sgd(4.0))
    with pytest.raises(NonFiniteError, match="gradient_norm=(nan|inf) in step 3"):
        fit(model, *[IMAGES] * 8)


def test_a_missing_value_of_a_table_is_not_what_is_found():
    dataset = load_dataset("wine")
    settings = Settings(projector="8-8", batch_size=16, masking_probability=0.5)
    model = build_model(settings, dataset, steps_per_epoch=5)
    rows = dataset.train.read(np.arange(16))
    rows[2, 3] = math.nan
    assert find_nonfinite(model, rows) is None
    rows[5, 0] = math.inf
    assert find_nonfinite(model, rows) == "the batch"
