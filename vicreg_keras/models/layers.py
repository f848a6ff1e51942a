"""Convolution, batch norm and GELU that run at full speed on every device.

The layers here compute what `keras.layers.Conv2D`, `keras.layers.BatchNormalization`
and `keras.activations.gelu` compute, and load the same weights. They differ in which
TensorFlow kernels do it.
"""

import math

import keras
import tensorflow as tf

from vicreg_keras.models.cpu_convolution import convolve

_PACKAGE = "vicreg_keras"


@keras.saving.register_keras_serializable(package=_PACKAGE)
class Conv2D(keras.layers.Conv2D):
    """A `keras.layers.Conv2D` by the kernels that are fastest on a CPU.

    TensorFlow's CPU kernel for the gradient of a convolution by its input is many
    times slower than its forward kernel where maps are small (5 x 5 and 2 x 2). For
    an odd kernel, stride 1 and "same" padding the two are one operation: the gradient
    is the convolution of the output's gradient with the kernel rotated by 180 degrees.

    On small maps the gradient by the kernel is faster as one matrix product, of the
    windows of the input and the output's gradient, also with strides and no padding;
    and on the smallest, on a CPU with AMX, so is the convolution itself. Maps without
    a static size take TensorFlow's kernels.

    All of this is for training: in inference mode the layer is Keras's, so that
    exported files contain convolutions that other programs know.
    """

    def call(self, inputs, training=None):
        if not (training and self._has_faster_kernels()):
            return super().call(inputs)
        kernel = tf.convert_to_tensor(self.kernel)
        outputs = convolve(tf.convert_to_tensor(inputs), kernel, self.strides[0])
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
        running = (self.moving_mean, self.moving_variance)
        mean, variance = (None if training else tf.cast(v, tf.float32) for v in running)
        outputs, *batch = tf.compat.v1.nn.fused_batch_norm(
            maps,
            tf.cast(self.gamma, tf.float32),
            tf.cast(self.beta, tf.float32),
            mean=mean,
            variance=variance,
            epsilon=self.epsilon,
            is_training=training,
        )
        if training:
            for old, new in zip(running, batch, strict=True):
                old.assign(old * self.momentum + new * (1.0 - self.momentum))
        return outputs


@keras.saving.register_keras_serializable(package=_PACKAGE)
class Gelu(keras.layers.Layer):
    """The exact GELU, by one kernel forward and one backward where it is trained.

    TensorFlow makes a dozen passes over the map, most of them in half precision: four
    times as long on a CPU. Here XLA compiles each way into one, that computes in
    float32 and rounds once. In inference mode it is Keras's own; in float32 by `erf`,
    which is faster than Keras's `erfc` and errs by less than 1e-6, in the one form that
    TFLite takes for its own GELU.

    Reference:
        Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016
        (https://arxiv.org/abs/1606.08415)
    """

    def call(self, inputs, training=None):
        if not training:
            if inputs.dtype != "float32":
                return keras.activations.gelu(inputs, approximate=False)
            return (inputs * 0.5) * (1.0 + tf.math.erf(inputs * math.sqrt(0.5)))
        return _gelu(tf.convert_to_tensor(inputs))

    def compute_output_shape(self, input_shape):
        return input_shape


@tf.custom_gradient
def _gelu(x):
    return _gelu_forward(x), lambda upstream: _gelu_gradient(x, upstream)


@tf.function(jit_compile=True)
def _gelu_forward(x):
    y = tf.cast(x, tf.float32)
    return tf.cast(y * _normal_cdf(y), x.dtype)


@tf.function(jit_compile=True)
def _gelu_gradient(x, upstream):
    y = tf.cast(x, tf.float32)
    density = tf.exp(-tf.square(y) / 2) / math.sqrt(2 * math.pi)
    slope = _normal_cdf(y) + y * density
    return tf.cast(tf.cast(upstream, tf.float32) * slope, x.dtype)


def _normal_cdf(x):
    return (1 + tf.math.erf(x / math.sqrt(2))) / 2
