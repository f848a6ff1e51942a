"""Convolution by the kernels that are fastest on this CPU, forward and backward."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from vicreg_keras.hardware import cpu


class _MaxPositions(NamedTuple):
    """Positions of the output map up to which a matrix product is faster.

    Reference: benchmarks/LOG.md, 2026-11-25, small maps.
    """

    forward: int = 0
    kernel_gradient: int = 0
    kernel_gradient_strided: int = 0


# By bytes per number. With AMX, strides are not measured, but taken to be alike.
_WITH_AMX = {2: _MaxPositions(16, 64, 64), 4: _MaxPositions(16, 9, 9)}
_WITHOUT_AMX = {2: _MaxPositions(0, 81, 256), 4: _MaxPositions(0, 4, 256)}
# Windows of fewer channels, such as the three of an image, are slow to gather.
_MIN_CHANNELS = 16


def convolve(inputs: tf.Tensor, kernel: tf.Tensor, stride: int) -> tf.Tensor:
    """Returns a convolution, each of whose parts is done by the fastest CPU kernel.

    Args:
        inputs: `(batch, height, width, channels)`.
        kernel: `(height, width, channels, filters)`.
        stride: 1 for "same" padding, larger for "valid".
    """

    @tf.custom_gradient
    def differentiable(inputs, kernel):
        def gradient(upstream):
            return (
                _input_gradient(inputs, kernel, upstream, stride),
                _kernel_gradient(inputs, kernel, upstream, stride),
            )

        return _forward(inputs, kernel, stride), gradient

    return differentiable(inputs, kernel)


def _forward(inputs, kernel, stride):
    if stride > 1 or not _is_small(inputs, _max_positions(inputs.dtype).forward):
        return tf.nn.conv2d(inputs, kernel, stride, _padding(stride))
    filters = kernel.shape[-1]
    columns = _im2col(inputs, kernel.shape, stride)
    outputs = tf.matmul(columns, tf.reshape(kernel, (-1, filters)))
    return tf.reshape(outputs, (-1, *inputs.shape[1:3], filters))


def _input_gradient(inputs, kernel, upstream, stride):
    if stride == 1:
        # tf.reverse: a slice of step -1 takes longer than the convolution itself.
        rotated = tf.transpose(tf.reverse(kernel, (0, 1)), (0, 1, 3, 2))
        return _forward(upstream, rotated, stride)
    return tf.nn.conv2d_transpose(
        upstream, kernel, tf.shape(inputs), stride, _padding(stride)
    )


def _kernel_gradient(inputs, kernel, upstream, stride):
    limits = _max_positions(inputs.dtype)
    limit = limits.kernel_gradient if stride == 1 else limits.kernel_gradient_strided
    if not _is_small(upstream, limit) or inputs.shape[-1] < _MIN_CHANNELS:
        strides = (1, stride, stride, 1)
        return tf.compat.v1.nn.conv2d_backprop_filter(
            inputs, tf.shape(kernel), upstream, strides, _padding(stride)
        )
    columns = _im2col(inputs, kernel.shape, stride)
    upstream = tf.reshape(upstream, (-1, kernel.shape[-1]))
    return tf.reshape(tf.matmul(columns, upstream, transpose_a=True), kernel.shape)


def _padding(stride):
    return "SAME" if stride == 1 else "VALID"


def _max_positions(dtype):
    table = _WITH_AMX if cpu.has_amx() else _WITHOUT_AMX
    return table.get(dtype.size, _MaxPositions())


def _is_small(maps, max_positions):
    height, width = maps.shape[1:3]
    return None not in (height, width) and height * width <= max_positions


def _im2col(maps, kernel_shape, stride):
    """Returns the window of the kernel at each position of the output, as a row.

    Args:
        maps: `(batch, height, width, channels)`, all but the batch known.
        kernel_shape: `(height, width, channels, ...)`.
        stride: 1 for an odd kernel and zeros around the map; if larger, the kernel
            stays inside the map.

    Returns:
        `(batch * positions, kernel height * kernel width * channels)`.
    """
    _, height, width, channels = maps.shape
    positions = np.arange(height * width, dtype=np.int32).reshape(height, width)
    maps = tf.reshape(maps, (-1, height * width, channels))
    if stride == 1:
        around = [(size // 2, size // 2) for size in kernel_shape[:2]]
        # The zeros are at one more position, behind the last.
        positions = np.pad(positions, around, constant_values=height * width)
        maps = tf.pad(maps, ((0, 0), (0, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(positions, kernel_shape[:2])
    windows = windows[::stride, ::stride]
    gathered = tf.gather(maps, windows.reshape(-1), axis=1)
    return tf.reshape(gathered, (-1, windows[0, 0].size * channels))
