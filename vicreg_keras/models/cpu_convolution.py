"""Which of its kernels convolves fastest on this CPU, forward and for each gradient?"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from vicreg_keras.hardware import cpu


class _Largest(NamedTuple):
    """Positions of the output's map up to which a matrix product is faster (LOG.md)."""

    forward: int = 0
    by_kernel: int = 0
    by_kernel_strided: int = 0


# By bytes a number. Strided ones on a CPU with AMX are not measured, but taken to be
# as the others.
_MAX_WITH_AMX = {2: _Largest(16, 64, 64), 4: _Largest(16, 9, 9)}
_MAX_WITHOUT_AMX = {2: _Largest(0, 81, 256), 4: _Largest(0, 4, 256)}
# Windows of fewer channels, such as a picture's three, are slow to gather.
_MIN_CHANNELS = 16


def convolve(inputs: tf.Tensor, kernel: tf.Tensor, stride: int) -> tf.Tensor:
    """A convolution whose parts are done by the fastest CPU kernels.

    Of stride 1 it is padded to the "same" size, of larger strides not at all.
    """

    @tf.custom_gradient
    def differentiable(inputs, kernel):
        def gradient(upstream):
            return (
                _by_input(inputs, kernel, upstream, stride),
                _by_kernel(inputs, kernel, upstream, stride),
            )

        return _forward(inputs, kernel, stride), gradient

    return differentiable(inputs, kernel)


def _forward(inputs, kernel, stride):
    if not _is_small(inputs, _largest(inputs.dtype).forward) or stride > 1:
        return tf.nn.conv2d(inputs, kernel, stride, _padding(stride))
    num_outputs = kernel.shape[-1]
    outputs = tf.matmul(
        _seen(inputs, kernel.shape, stride), tf.reshape(kernel, (-1, num_outputs))
    )
    return tf.reshape(outputs, (-1, *inputs.shape[1:3], num_outputs))


def _by_input(inputs, kernel, upstream, stride):
    if stride == 1:
        # tf.reverse: a slice of step -1 takes longer than the convolution itself.
        turned = tf.transpose(tf.reverse(kernel, (0, 1)), (0, 1, 3, 2))
        return _forward(upstream, turned, stride)
    return tf.compat.v1.nn.conv2d_backprop_input(
        tf.shape(inputs),
        kernel,
        upstream,
        strides=(1, stride, stride, 1),
        padding=_padding(stride),
    )


def _by_kernel(inputs, kernel, upstream, stride):
    largest = _largest(inputs.dtype)
    places = largest.by_kernel if stride == 1 else largest.by_kernel_strided
    if not _is_small(upstream, places) or inputs.shape[-1] < _MIN_CHANNELS:
        return tf.compat.v1.nn.conv2d_backprop_filter(
            inputs,
            tf.shape(kernel),
            upstream,
            strides=(1, stride, stride, 1),
            padding=_padding(stride),
        )
    seen = _seen(inputs, kernel.shape, stride)
    upstream = tf.reshape(upstream, (-1, kernel.shape[-1]))
    return tf.reshape(tf.matmul(seen, upstream, transpose_a=True), kernel.shape)


def _padding(stride):
    return "SAME" if stride == 1 else "VALID"


def _largest(dtype):
    table = _MAX_WITH_AMX if cpu.has_amx() else _MAX_WITHOUT_AMX
    return table.get(dtype.size, _Largest())


def _is_small(maps, largest):
    height, width = maps.shape[1:3]
    return None not in (height, width) and height * width <= largest


def _seen(maps, kernel_shape, stride):
    """What the kernel sees at each place of the output: a row by place.

    Args:
        maps: `(batch, height, width, channels)`, all but the batch known.
        kernel_shape: `(rows, columns, channels, ...)`.
        stride: of 1, rows and columns are odd, and zeros lie around the map; of more,
            the kernel stays inside it.

    Returns:
        `(batch * places, rows * columns * channels)`.
    """
    _, height, width, channels = maps.shape
    places = np.arange(height * width, dtype=np.int32).reshape(height, width)
    maps = tf.reshape(maps, (-1, height * width, channels))
    if stride == 1:
        around = [(size // 2, size // 2) for size in kernel_shape[:2]]
        # The place of the zeros is the one behind the last.
        places = np.pad(places, around, constant_values=height * width)
        maps = tf.pad(maps, ((0, 0), (0, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(places, kernel_shape[:2])
    windows = windows[::stride, ::stride]
    seen = tf.gather(maps, windows.reshape(-1), axis=1)
    return tf.reshape(seen, (-1, windows[0, 0].size * channels))
