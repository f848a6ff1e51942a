"""How do convolution, batch norm and GELU run at full speed on every device?

The layers here compute what `keras.layers.Conv2D`, `keras.layers.BatchNormalization`
and `keras.activations.gelu` compute, and load the same weights. They differ in which
TensorFlow kernels do it.
"""

import math

import keras
import numpy as np
import tensorflow as tf

_PACKAGE = "vicreg_keras"

# Places of a map up to which a matrix product is faster (LOG.md): 4 x 4; and for the
# gradient by the kernel 8 x 8 in half precision, 3 x 3 in float32, by bytes a number.
_LARGEST_AS_PRODUCT = 16
_LARGEST_KERNEL_GRADIENT = {2: 64, 4: 9, 8: 0}


@keras.saving.register_keras_serializable(package=_PACKAGE)
class Conv2D(keras.layers.Conv2D):
    """A `keras.layers.Conv2D` by the kernels that are fastest on a CPU.

    TensorFlow's CPU kernel for the gradient of a convolution by its input is many
    times slower than its forward kernel where maps are small (5 x 5 and 2 x 2). For
    an odd kernel, stride 1 and "same" padding the two are one operation: the gradient
    is the convolution of the output's gradient with the kernel turned by 180 degrees.

    On the smallest maps a convolution is faster as one matrix product, of what each
    place sees and the kernel; and its gradient by the kernel is so on somewhat larger
    ones, in half precision. Where maps have no static size, neither is done.

    All of this is for training: in inference mode the layer is Keras's, so that files
    made of it hold convolutions that other programs know.
    """

    def call(self, inputs, training=None):
        if not (training and self._gradient_is_a_convolution()):
            return super().call(inputs)
        outputs = _convolve_same(
            tf.convert_to_tensor(inputs), tf.convert_to_tensor(self.kernel)
        )
        if self.use_bias:
            outputs += tf.convert_to_tensor(self.bias)
        return outputs if self.activation is None else self.activation(outputs)

    def _gradient_is_a_convolution(self):
        return (
            self.padding == "same"
            and self.strides == (1, 1)
            and self.dilation_rate == (1, 1)
            and self.groups == 1
            and self.data_format == "channels_last"
            and all(size % 2 for size in self.kernel_size)
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


@tf.custom_gradient
def _convolve_same(inputs, kernel):
    """Stride-1 "same" convolution; both gradients by the fastest CPU kernels."""

    def gradient(upstream):
        # tf.reverse: a slice of step -1 takes longer than the convolution itself.
        turned = tf.transpose(tf.reverse(kernel, (0, 1)), (0, 1, 3, 2))
        return _forward(upstream, turned), _by_kernel(inputs, kernel, upstream)

    return _forward(inputs, kernel), gradient


def _forward(inputs, kernel):
    if not _is_small(inputs, _LARGEST_AS_PRODUCT):
        return tf.nn.conv2d(inputs, kernel, strides=1, padding="SAME")
    num_outputs = kernel.shape[-1]
    outputs = tf.matmul(
        _seen(inputs, kernel.shape), tf.reshape(kernel, (-1, num_outputs))
    )
    return tf.reshape(outputs, (-1, *inputs.shape[1:3], num_outputs))


def _by_kernel(inputs, kernel, upstream):
    if not _is_small(inputs, _LARGEST_KERNEL_GRADIENT[inputs.dtype.size]):
        return tf.compat.v1.nn.conv2d_backprop_filter(
            inputs,
            tf.shape(kernel),
            upstream,
            strides=(1, 1, 1, 1),
            padding="SAME",
        )
    upstream = tf.reshape(upstream, (-1, kernel.shape[-1]))
    product = tf.matmul(_seen(inputs, kernel.shape), upstream, transpose_a=True)
    return tf.reshape(product, kernel.shape)


def _is_small(maps, largest):
    height, width = maps.shape[1:3]
    return None not in (height, width) and height * width <= largest


def _seen(maps, kernel_shape):
    """What the kernel sees at each place: a row of `maps` by place, zeros outside.

    Args:
        maps: `(batch, height, width, channels)`, all but the batch known.
        kernel_shape: `(rows, columns, channels, ...)`, rows and columns odd.

    Returns:
        `(batch * height * width, rows * columns * channels)`.
    """
    _, height, width, channels = maps.shape
    places = np.pad(
        np.arange(height * width, dtype=np.int32).reshape(height, width),
        [(size // 2, size // 2) for size in kernel_shape[:2]],
        constant_values=height * width,  # That of the zeros.
    )
    windows = np.lib.stride_tricks.sliding_window_view(places, kernel_shape[:2])
    maps = tf.pad(
        tf.reshape(maps, (-1, height * width, channels)), ((0, 0), (0, 1), (0, 0))
    )
    seen = tf.gather(maps, windows.reshape(height * width, -1), axis=1)
    return tf.reshape(seen, (-1, windows[0, 0].size * channels))
