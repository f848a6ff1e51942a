"""How do Keras's convolution and batch norm run at full speed on every device?

Both layers here compute what `keras.layers.Conv2D` and
`keras.layers.BatchNormalization` compute, and load the same weights. They differ in
which TensorFlow kernels do it.
"""

import keras
import tensorflow as tf

_PACKAGE = "vicreg_keras"


@keras.saving.register_keras_serializable(package=_PACKAGE)
class Conv2D(keras.layers.Conv2D):
    """A `keras.layers.Conv2D` whose input gradient is a forward convolution on a CPU.

    TensorFlow's CPU kernel for the gradient of a convolution by its input is many
    times slower than its forward kernel where maps are small (5 x 5 and 2 x 2). For
    an odd kernel, stride 1 and "same" padding the two are one operation: the gradient
    is the convolution of the output's gradient with the kernel turned by 180 degrees.
    """

    def convolution_op(self, inputs, kernel):
        if not self._gradient_is_a_convolution():
            return super().convolution_op(inputs, kernel)
        return _convolve_same(
            tf.convert_to_tensor(inputs), tf.convert_to_tensor(kernel)
        )

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
        return outputs if inputs.shape.rank == 4 else outputs[:, 0, 0, :]

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


@tf.custom_gradient
def _convolve_same(inputs, kernel):
    """Stride-1 "same" convolution; both gradients by the fastest CPU kernels."""

    def gradient(upstream):
        turned = tf.transpose(kernel[::-1, ::-1], (0, 1, 3, 2))
        by_inputs = tf.nn.conv2d(upstream, turned, strides=1, padding="SAME")
        by_kernel = tf.compat.v1.nn.conv2d_backprop_filter(
            inputs,
            tf.shape(kernel),
            upstream,
            strides=(1, 1, 1, 1),
            padding="SAME",
        )
        return by_inputs, by_kernel

    return tf.nn.conv2d(inputs, kernel, strides=1, padding="SAME"), gradient
