"""How fast are TensorFlow's convolutions and matrix products by themselves?

    python -m benchmarks.step_ceiling_keras FOLDER

Reads `operations.json` in the folder, as `benchmarks/step_keras.py` lists them, and
times each as many times as `benchmarks.step` asks for. The ways of the package's
convolution are tried besides TensorFlow's three kernels.
"""

import json
import pathlib
import sys
import time
from collections.abc import Callable

import tensorflow as tf

from benchmarks.contender import serve
from vicreg_keras.models.layers import Conv2D


def main():
    operations = json.loads((pathlib.Path(sys.argv[1]) / "operations.json").read_text())
    serve(
        {},
        {
            precision: lambda n, dtype=precision: seconds_of_all(operations, dtype, n)
            for precision in ("float32", "bfloat16")
        },
    )


def seconds_of_all(operations: list[dict], dtype: str, num_calls: int) -> dict:
    """Returns the seconds of every call: an operation's part's, by who does it."""
    seconds = []
    for operation in operations:
        make = OPERATIONS[operation["kind"]]
        parts = make(dtype, *operation["sizes"])
        seconds.append(
            {
                part: {
                    library: seconds_of(function, arguments, num_calls)
                    for library, (function, *arguments) in parts[part].items()
                }
                for part in operation["parts"]
            }
        )
    return {"seconds": seconds}


def seconds_of(function: Callable, arguments: list, num_calls: int) -> list[float]:
    """Returns what each call takes, without the first, which compiles."""
    function = tf.function(function)
    function(*arguments)
    seconds = []
    for _ in range(num_calls):
        start = time.perf_counter()
        function(*arguments)
        seconds.append(time.perf_counter() - start)
    return seconds


def convolution(
    dtype: str,
    batch: int,
    side: int,
    num_in: int,
    num_out: int,
    kernel: int,
    stride: int,
    padding: int,
) -> dict[str, dict[str, tuple]]:
    """Returns functions and arguments of a convolution's three parts."""
    if stride == 1:
        padded, options = side, {"strides": 1, "padding": "SAME"}
    else:
        padded, options = side + 2 * padding, {"strides": stride, "padding": "VALID"}
    inputs = random((batch, padded, padded, num_in), dtype)
    weights = random((kernel, kernel, num_in, num_out), dtype)
    outputs = tf.nn.conv2d(inputs, weights, **options)
    listed = {**options, "strides": (1, options["strides"], options["strides"], 1)}

    def forward(inputs, weights):
        return tf.nn.conv2d(inputs, weights, **options)

    def by_input(weights, upstream):
        return tf.compat.v1.nn.conv2d_backprop_input(
            inputs.shape, weights, upstream, **listed
        )

    def by_kernel(inputs, upstream):
        return tf.compat.v1.nn.conv2d_backprop_filter(
            inputs, weights.shape, upstream, **listed
        )

    parts = {
        "forward": {"TensorFlow": (forward, inputs, weights)},
        "by input": {"TensorFlow": (by_input, weights, outputs)},
        "by kernel": {"TensorFlow": (by_kernel, inputs, outputs)},
    }
    layer = Conv2D(num_out, kernel, use_bias=False, dtype=dtype, **options)
    layer.build(inputs.shape)
    for part, function in of_layer(layer).items():
        parts[part]["vicreg_keras"] = (function, inputs, outputs)
    return parts


def of_layer(layer: Conv2D) -> dict[str, Callable]:
    """Returns a layer's three parts, each a function of its input and the upstream."""

    def forward(inputs, upstream):
        del upstream
        return layer(inputs, training=True)

    # What a gradient does not need of the forward pass, TensorFlow leaves out.
    def by_input(inputs, upstream):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(inputs)
            outputs = layer(inputs, training=True)
        return tape.gradient(outputs, inputs, upstream)

    def by_kernel(inputs, upstream):
        with tf.GradientTape() as tape:
            outputs = layer(inputs, training=True)
        return tape.gradient(outputs, layer.kernel.value, upstream)

    return {"forward": forward, "by input": by_input, "by kernel": by_kernel}


def dense(
    dtype: str, batch: int, num_in: int, num_out: int
) -> dict[str, dict[str, tuple]]:
    """Returns functions and arguments of a dense layer's three parts."""
    inputs = random((batch, num_in), dtype)
    weights = random((num_in, num_out), dtype)
    outputs = random((batch, num_out), dtype)
    return {
        "forward": product(inputs, weights),
        "by input": product(outputs, weights, transpose_b=True),
        "by kernel": product(inputs, outputs, transpose_a=True),
    }


def gram_matrix(dtype: str, batch: int, width: int) -> dict[str, dict[str, tuple]]:
    """Returns the two products of the covariance term, in float32 as the loss is."""
    del dtype
    rows, gram = random((batch, width)), random((batch, batch))
    return {
        "forward": product(rows, rows, transpose_b=True),
        "by input": product(gram, rows),
    }


def covariance(dtype: str, batch: int, width: int) -> dict[str, dict[str, tuple]]:
    """Returns the same where there are more rows than columns."""
    del dtype
    rows, matrix = random((batch, width)), random((width, width))
    return {
        "forward": product(rows, rows, transpose_a=True),
        "by input": product(rows, matrix),
    }


def product(a: tf.Tensor, b: tf.Tensor, **options) -> dict[str, tuple]:
    return {"TensorFlow": (lambda a, b: tf.matmul(a, b, **options), a, b)}


def random(shape: tuple[int, ...], dtype: str = "float32") -> tf.Tensor:
    return tf.cast(tf.random.normal(shape), dtype)


OPERATIONS = {
    "convolution": convolution,
    "dense": dense,
    "Gram matrix": gram_matrix,
    "covariance": covariance,
}


if __name__ == "__main__":
    main()
