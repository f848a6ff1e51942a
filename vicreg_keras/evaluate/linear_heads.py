"""How do several linear classifiers learn side by side? SGD as PyTorch's."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

MOMENTUM = 0.9


class LinearHeads:
    """Linear classifiers on the same representations, one a learning rate.

    Weights start alike, at N(0, 0.01^2), biases at 0. The loss is the sum of theirs,
    so each one's gradient is as if it were alone.

    Args:
        width: Of the representations.
        num_classes: Labels are in `[0, num_classes)`.
        learning_rates: One head for each.
        weight_decay: This share of each parameter, biases included, joins its gradient.
        seed: Of the start.
    """

    def __init__(
        self,
        width: int,
        num_classes: int,
        learning_rates: Sequence[float],
        weight_decay: float,
        seed: int,
    ):
        num_heads = len(learning_rates)
        start = tf.random.stateless_normal(
            (width, 1, num_classes), seed=(seed, 0), stddev=0.01
        )
        self.num_classes, self.num_heads = num_classes, num_heads
        self._rates = tf.constant(learning_rates, tf.float32)[:, tf.newaxis]
        self._weight_decay = weight_decay
        self._weights = tf.Variable(tf.tile(start, (1, num_heads, 1)))
        self._biases = tf.Variable(tf.zeros((num_heads, num_classes)))
        self._variables = (self._weights, self._biases)
        self._velocities = [tf.Variable(tf.zeros_like(v)) for v in self._variables]

    def logits(self, representations: tf.Tensor) -> tf.Tensor:
        """`(N, D)` to `(N, heads, classes)`."""
        num_columns = self.num_heads * self.num_classes
        flat = tf.reshape(self._weights, (-1, num_columns))  # (D, heads * classes)
        logits = tf.matmul(representations, flat)
        return tf.reshape(logits, (-1, self.num_heads, self.num_classes)) + self._biases

    def update(
        self, representations: tf.Tensor, labels: tf.Tensor, decay: tf.Tensor
    ) -> tf.Tensor:
        """One step of SGD with momentum.

        Args:
            representations: `(N, D)` float32.
            labels: `(N,)` integers.
            decay: What the learning rates are multiplied by.

        Returns:
            The mean softmax cross-entropy of each head before the step, `(heads,)`.
        """
        with tf.GradientTape() as tape:
            logits = self.logits(representations)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
                labels=tf.repeat(labels[:, tf.newaxis], self.num_heads, axis=1),
                logits=logits,
            )
            losses = tf.reduce_mean(losses, axis=0)
            total = tf.reduce_sum(losses)
        gradients = tape.gradient(total, self._variables)
        for variable, velocity, gradient in zip(
            self._variables, self._velocities, gradients, strict=True
        ):
            gradient += self._weight_decay * variable
            velocity.assign(MOMENTUM * velocity + gradient)
            variable.assign_sub(decay * self._rates * velocity)
        return losses

    def scores(self, representations: np.ndarray) -> np.ndarray:
        """`(N, heads, classes)` logits of representations in memory."""
        return self.logits(tf.constant(representations, tf.float32)).numpy()
