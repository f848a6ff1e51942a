"""Fewer multiplications give the gradient that a convolution has by definition."""

import numpy as np
import pytest
import tensorflow as tf

from vicreg_keras.winograd import gradient_by_kernel


def maps(size, channels=5, filters=7, batch=3):
    random = np.random.default_rng(0)
    return (
        random.normal(size=(batch, *size, channels)),
        random.normal(size=(batch, *size, filters)),
    )


def by_definition(inputs, upstream):
    """In float64, place by place of the kernel."""
    height, width = inputs.shape[1:3]
    padded = np.pad(inputs, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return np.stack(
        [
            [
                np.einsum(
                    "bhwc,bhwf->cf", padded[:, i : i + height, j : j + width], upstream
                )
                for j in range(3)
            ]
            for i in range(3)
        ]
    )


def relative_error(received, expected):
    received = np.asarray(tf.cast(received, tf.float64))
    return np.linalg.norm(received - expected) / np.linalg.norm(expected)


SIZES = [(1, 1), (1, 4), (2, 2), (3, 3), (4, 6), (5, 4), (7, 9)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("dtype", "error"), [("float32", 1e-6), ("bfloat16", 0.01)])
def test_the_gradient_is_the_definitions(size, dtype, error):
    inputs, upstream = maps(size)
    gradient = gradient_by_kernel(tf.cast(inputs, dtype), tf.cast(upstream, dtype))
    assert gradient.dtype == dtype and gradient.shape == (3, 3, 5, 7)
    assert relative_error(gradient, by_definition(inputs, upstream)) < error


def test_its_rounding_in_bfloat16_does_not_lean_to_one_side():
    inputs, upstream = maps((8, 8), channels=16, filters=32, batch=32)
    inputs, upstream = (tf.cast(x, tf.bfloat16) for x in (inputs, upstream))
    exact = by_definition(
        *(np.asarray(tf.cast(x, tf.float64)) for x in (inputs, upstream))
    )
    gradient = np.asarray(tf.cast(gradient_by_kernel(inputs, upstream), tf.float64))
    # The scale that would fit best: 1, to far below the error of a number.
    assert np.vdot(gradient, exact) / np.vdot(exact, exact) == pytest.approx(
        1, abs=5e-4
    )
    assert 1e-3 < relative_error(gradient, exact) < 7e-3


@pytest.mark.parametrize("compiled", [False, True])
def test_batches_of_any_size_share_one_graph(compiled):
    @tf.function(
        jit_compile=compiled,
        input_signature=[
            tf.TensorSpec((None, 4, 5, 5)),
            tf.TensorSpec((None, 4, 5, 7)),
        ],
    )
    def gradient(inputs, upstream):
        return gradient_by_kernel(inputs, upstream)

    for batch in (2, 3):
        inputs, upstream = maps((4, 5), batch=batch)
        received = gradient(tf.cast(inputs, "float32"), tf.cast(upstream, "float32"))
        assert relative_error(received, by_definition(inputs, upstream)) < 1e-6
