"""Layers that run on faster kernels compute what Keras's own compute."""

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from vicreg_keras.hardware import cpu
from vicreg_keras.models.layers import BatchNormalization, Conv2D, Gelu


def value_and_gradients(layer, x):
    x = tf.Variable(x)
    with tf.GradientTape() as tape:
        y = layer(x, training=True)
        objective = tf.reduce_sum(tf.sin(y))
    return y, tape.gradient(objective, [x, *layer.trainable_variables])


@pytest.fixture(params=[False, True], ids=["without_amx", "with_amx"])
def amx(request, monkeypatch):
    """Either CPU's choice of kernels, whichever this one is."""
    monkeypatch.setattr(cpu, "has_amx", lambda: request.param)
    return request.param


def check_matches_keras(size, kernel_size, dtype, channels=4, filters=6, **options):
    random = np.random.default_rng(0)
    x = random.normal(size=(3, *size, channels)).astype("float32")
    fast = Conv2D(filters, kernel_size, **options)
    stock = keras.layers.Conv2D(filters, kernel_size, **options)
    if dtype == "bfloat16":
        # Each rounds on its own way; in float32 the two are equal to the last digits.
        fast = Conv2D(filters, kernel_size, dtype="mixed_bfloat16", **options)
    for layer in (fast, stock):
        layer.build(x.shape)
    stock.set_weights(fast.get_weights())
    y_fast, gradients_fast = value_and_gradients(fast, x)
    y_stock, gradients_stock = value_and_gradients(stock, x)
    assert y_fast.dtype == dtype
    received = [y_fast, *gradients_fast]
    for a, b in zip(received, [y_stock, *gradients_stock], strict=True):
        a, b = np.asarray(a, np.float32), np.asarray(b)
        tolerance = 2e-5 if dtype == "float32" else 0.02 * np.abs(b).max()
        np.testing.assert_allclose(a, b, atol=tolerance)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (2, 5), (3, 3), (4, 4), (8, 8)])
@pytest.mark.parametrize("kernel_size", [1, 3, (3, 5)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("bias", [False, True])
def test_convolution_and_gradients_match_keras(amx, size, kernel_size, dtype, bias):
    options = {"padding": "same", "use_bias": bias, "bias_initializer": "normal"}
    options |= {"activation": "tanh" if bias else None}
    check_matches_keras(size, kernel_size, dtype, **options)


@pytest.mark.parametrize("size", [(3, 3), (4, 4), (5, 8), (10, 10), (18, 18)])
@pytest.mark.parametrize("kernel_size", [1, 3, (2, 3)])
@pytest.mark.parametrize("stride", [2, 3])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_strided_convolution_and_gradients_match_keras(
    amx, size, kernel_size, stride, dtype
):
    options = {"strides": stride, "use_bias": False}
    check_matches_keras(size, kernel_size, dtype, channels=16, **options)


def operations_of_a_step(layer, size, channels):
    """Of value and gradients, by the names of TensorFlow's kernels."""

    @tf.function(input_signature=[tf.TensorSpec((None, size, size, channels))])
    def step(x):
        return value_and_gradients_of(layer, x)

    graph = step.get_concrete_function().graph
    return {operation.type for operation in graph.get_operations()}


def value_and_gradients_of(layer, x):
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=True)
    return tape.gradient(y, [x, *layer.trainable_variables])


@pytest.mark.parametrize(
    ("dtype", "stride", "size", "with_amx", "without_amx"),
    [
        # The output's places, and those up to which the CPU has a product for them.
        ("mixed_bfloat16", 1, 8, True, True),
        ("mixed_bfloat16", 1, 9, False, True),
        ("mixed_bfloat16", 1, 10, False, False),
        ("float32", 1, 2, True, True),
        ("float32", 1, 3, True, False),
        ("float32", 1, 4, False, False),
        ("mixed_bfloat16", 2, 17, True, True),
        ("mixed_bfloat16", 2, 33, False, True),
        ("mixed_bfloat16", 2, 35, False, False),
        ("float32", 2, 7, True, True),
        ("float32", 2, 33, False, True),
    ],
)
def test_kernel_gradient_of_small_maps_is_a_matrix_product(
    amx, dtype, stride, size, with_amx, without_amx
):
    padding = "same" if stride == 1 else "valid"
    layer = Conv2D(6, 3, strides=stride, padding=padding, dtype=dtype)
    layer.build((None, None, None, 16))
    expected = with_amx if amx else without_amx
    kernels = operations_of_a_step(layer, size, 16)
    assert ("Conv2DBackpropFilter" in kernels) != expected


@pytest.mark.parametrize("size", [(4, 4), (5, 8)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_gradients_match_keras(monkeypatch, size, dtype):
    monkeypatch.setattr(cpu, "has_amx", lambda: False)
    options = {"padding": "same", "kernel_initializer": "he_normal"}
    check_matches_keras(size, 3, dtype, channels=128, filters=128, **options)


def test_kernel_gradient_of_an_image_is_not_a_matrix_product(amx):
    layer = Conv2D(6, 3, strides=2)
    layer.build((None, None, None, 3))
    assert "Conv2DBackpropFilter" in operations_of_a_step(layer, 7, 3)


@pytest.mark.parametrize("training", [True, False])
def test_inference_and_maps_of_unknown_size_are_plain_convolutions(amx, training):
    layer = Conv2D(6, 3, padding="same")
    layer.build((None, None, None, 4))

    def operations(size):
        spec = tf.TensorSpec((None, size, size, 4))
        function = tf.function(lambda x: layer(x, training=training))
        graph = function.get_concrete_function(spec).graph
        return {operation.type for operation in graph.get_operations()}

    assert "Conv2D" in operations(None) and "Conv2D" in operations(8)
    assert ("Conv2D" in operations(2)) == (not training or not amx)
    x = np.random.default_rng(0).normal(size=(2, 3, 3, 4)).astype("float32")
    unknown = tf.function(
        lambda x: layer(x, training=training),
        input_signature=[tf.TensorSpec((None, None, None, 4))],
    )
    np.testing.assert_allclose(unknown(x), layer(x, training=training), atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("compiled", [False, True])
def test_gelu_and_gradient_match_the_formula(dtype, compiled):
    x = tf.cast(np.linspace(-9, 9, 1001).reshape(7, 11, 13), dtype)
    upstream = tf.cast(np.random.default_rng(0).normal(size=x.shape), dtype)
    layer = Gelu(dtype=dtype)

    @tf.function(jit_compile=compiled)
    def both(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
        return y, tape.gradient(y, x, upstream)

    exact, given = (np.asarray(tf.cast(a, tf.float64)) for a in (x, upstream))
    cdf = scipy.stats.norm.cdf(exact)
    slope = cdf + exact * scipy.stats.norm.pdf(exact)
    digits = {"float32": 1e-6, "bfloat16": 2**-8, "float16": 2**-10}[dtype]
    y, gradient = both(x)
    assert y.dtype == gradient.dtype == dtype
    for received, expected in ((y, exact * cdf), (gradient, given * slope)):
        received = np.asarray(tf.cast(received, tf.float64))
        np.testing.assert_allclose(received, expected, rtol=digits, atol=digits)
    inference = np.asarray(tf.cast(layer(x), tf.float64))
    np.testing.assert_allclose(inference, exact * cdf, rtol=5 * digits, atol=5 * digits)


@pytest.mark.parametrize("shape", [(6, 4), (5, 3, 3, 4)])
def test_batch_norm_matches_keras_except_unbiased_running_variance(shape):
    x = np.random.default_rng(0).normal(2, 3, shape).astype("float32")
    fast = BatchNormalization(momentum=0.9, epsilon=1e-5)
    stock = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5)
    y_fast, gradients_fast = value_and_gradients(fast, x)
    y_stock, gradients_stock = value_and_gradients(stock, x)
    np.testing.assert_allclose(y_fast, y_stock, atol=1e-5)
    for a, b in zip(gradients_fast, gradients_stock, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)
    np.testing.assert_allclose(fast.moving_mean, stock.moving_mean, rtol=1e-5)
    rows = x.reshape(-1, 4)
    expected = 0.9 + 0.1 * rows.var(axis=0, ddof=1)
    np.testing.assert_allclose(fast.moving_variance, expected, rtol=1e-5)


def test_batch_norm_in_inference_mode_changes_nothing_and_uses_running_values():
    x = np.random.default_rng(0).normal(2, 3, (5, 3, 3, 4)).astype("float32")
    layer = BatchNormalization(epsilon=1e-5)
    layer(x, training=True)
    before = [w.copy() for w in layer.get_weights()]
    y = layer(x, training=False)
    for a, b in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    mean, variance = before[2], before[3]
    np.testing.assert_allclose(y, (x - mean) / np.sqrt(variance + 1e-5), atol=1e-4)


def test_frozen_batch_norm_stays_as_it_is_in_training():
    x = np.ones((4, 2, 2, 3), "float32")
    layer = BatchNormalization()
    layer.build(x.shape)
    layer.trainable = False
    before = layer.get_weights()
    layer(x, training=True)
    for a, b in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_half_precision_keeps_float32_statistics():
    layer = BatchNormalization(dtype="mixed_bfloat16")
    y = layer(np.ones((4, 2, 2, 3), "float32"), training=True)
    assert y.dtype == "bfloat16"
    assert layer.moving_mean.dtype == "float32"
