"""How do convolution, batch norm and GELU run at full speed on every device?

The layers here compute what `keras.layers.Conv2D`, `keras.layers.BatchNormalization`
and `keras.activations.gelu` compute, and load the same weights. They differ in which
TensorFlow kernels do it.
"""

import math
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from vicreg_keras import cpu

_PACKAGE = "vicreg_keras"


class _Largest(NamedTuple):
    """Places of the output's map up to which a matrix product is faster (LOG.md)."""

    forward: int = 0
    by_kernel: int = 0
    by_kernel_strided: int = 0


# By bytes a number. Strided ones on a CPU with AMX are not measured, but taken to be
# as the others.
_LARGEST_WITH_AMX = {2: _Largest(16, 64, 64), 4: _Largest(16, 9, 9)}
_LARGEST_WITHOUT_AMX = {2: _Largest(0, 81, 256), 4: _Largest(0, 4, 256)}
# Windows of fewer channels, such as a picture's three, are slow to gather.
_FEWEST_CHANNELS = 16


@keras.saving.register_keras_serializable(package=_PACKAGE)
class Conv2D(keras.layers.Conv2D):
    """A `keras.layers.Conv2D` by the kernels that are fastest on a CPU.

    TensorFlow's CPU kernel for the gradient of a convolution by its input is many
    times slower than its forward kernel where maps are small (5 x 5 and 2 x 2). For
    an odd kernel, stride 1 and "same" padding the two are one operation: the gradient
    is the convolution of the output's gradient with the kernel turned by 180 degrees.

    On small maps the gradient by the kernel is faster as one matrix product, of what
    each place sees and the output's gradient, also with strides and no padding; and
    on the smallest, on a CPU with AMX, so is the convolution itself. Where maps have
    no static size, neither is done.

    All of this is for training: in inference mode the layer is Keras's, so that files
    made of it hold convolutions that other programs know.
    """

    def call(self, inputs, training=None):
        if not (training and self._has_faster_kernels()):
            return super().call(inputs)
        outputs = _convolve(
            tf.convert_to_tensor(inputs),
            tf.convert_to_tensor(self.kernel),
            self.strides[0],
        )
        if self.use_bias:
            outputs += tf.convert_to_tensor(self.bias)
        return outputs if self.activation is None else self.activation(outputs)

    def _has_faster_kernels(self):
        same = (
            self.padding == "same"
            and self.strides == (1, 1)
            and all(size % 2 for size in self.kernel_size)
        )
        strided = self.padding == "valid" and self.strides[0] == self.strides[1] > 1
        return (
            (same or strided)
            and self.dilation_rate == (1, 1)
            and self.groups == 1
            and self.data_format == "channels_last"
            and not tf.config.list_logical_devices("GPU")
        )


@keras.saving.register_keras_serializable(package=_PACKAGE)
class BatchNormalization(keras.layers.BatchNormalization):
    """A `keras.layers.BatchNormalization` over the last axis, by the fused kernel.

    As in PyTorch, and unlike Keras's own layer, the running variance is the unbiased
    one. With `synchronized=True` (several replicas) Keras's own kernels are used.
    """

    def call(self, inputs, training=None, mask=None):
        if self.synchronized or mask is not None or inputs.shape.rank not in (2, 4):
            return super().call(inputs, training=training, mask=mask)
        maps = inputs if inputs.shape.rank == 4 else inputs[:, None, None, :]
        outputs = self._fused(tf.convert_to_tensor(maps), bool(training))
        # A slice's gradient is slow.
        return outputs if inputs.shape.rank == 4 else tf.squeeze(outputs, (1, 2))

    def _fused(self, maps, training):
        training = training and self.trainable
        statistics = {}
        if not training:
            statistics = {
                "mean": tf.cast(self.moving_mean, tf.float32),
                "variance": tf.cast(self.moving_variance, tf.float32),
            }
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            maps,
            tf.cast(self.gamma, tf.float32),
            tf.cast(self.beta, tf.float32),
            epsilon=self.epsilon,
            is_training=training,
            **statistics,
        )
        if training:
            for moving, batch in (
                (self.moving_mean, mean),
                (self.moving_variance, variance),
            ):
                moving.assign(moving * self.momentum + batch * (1.0 - self.momentum))
        return outputs


@keras.saving.register_keras_serializable(package=_PACKAGE)
class Gelu(keras.layers.Layer):
    """The exact GELU, by one kernel forward and one backward where it is trained.

    TensorFlow makes a dozen passes over the map, most of them in half precision: four
    times as long on a CPU. Here XLA compiles each way into one, that computes in
    float32 and rounds once. In inference mode it is Keras's own.

    Reference:
        Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016
        (https://arxiv.org/abs/1606.08415)
    """

    def call(self, inputs, training=None):
        if not training:
            return keras.activations.gelu(inputs, approximate=False)
        return _gelu(tf.convert_to_tensor(inputs))

    def compute_output_shape(self, input_shape):
        return input_shape


@tf.custom_gradient
def _gelu(x):
    return _gelu_forward(x), lambda upstream: _gelu_gradient(x, upstream)


@tf.function(jit_compile=True)
def _gelu_forward(x):
    return tf.cast(_float32(x) * _normal_cdf(_float32(x)), x.dtype)


@tf.function(jit_compile=True)
def _gelu_gradient(x, upstream):
    y = _float32(x)
    density = tf.exp(-tf.square(y) / 2) / math.sqrt(2 * math.pi)
    slope = _normal_cdf(y) + y * density
    return tf.cast(_float32(upstream) * slope, x.dtype)


def _normal_cdf(x):
    return (1 + tf.math.erf(x / math.sqrt(2))) / 2


def _float32(x):
    return tf.cast(x, tf.float32)


def _convolve(inputs, kernel, stride):
    """A convolution whose parts are done by the fastest CPU kernels.

    Of stride 1 it is padded to the "same" size, of larger strides not at all.
    """

    @tf.custom_gradient
    def convolve(inputs, kernel):
        def gradient(upstream):
            return (
                _by_input(inputs, kernel, upstream, stride),
                _by_kernel(inputs, kernel, upstream, stride),
            )

        return _forward(inputs, kernel, stride), gradient

    return convolve(inputs, kernel)


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
    if not _is_small(upstream, places) or inputs.shape[-1] < _FEWEST_CHANNELS:
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
    table = _LARGEST_WITH_AMX if cpu.has_amx() else _LARGEST_WITHOUT_AMX
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
