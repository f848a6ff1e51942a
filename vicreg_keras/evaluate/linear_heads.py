"""Several linear classifiers trained at once by SGD, as PyTorch has it."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

MOMENTUM = 0.9


class LinearHeads:
    """Linear classifiers on the same representations, one per learning rate.

    All start with the same weights, from N(0, 0.01^2), and biases of 0. Their losses
    are summed, so the gradient of each one is as if it were alone.

    Args:
        width: Width of the representations.
        num_classes: Labels are in `[0, num_classes)`.
        learning_rates: Peak learning rate of each head.
        weight_decay: Fraction of each parameter, biases included, that is added to its
            gradient.
        seed: Seed of the initial weights.
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
        """Returns `(N, heads, classes)` logits of `(N, D)` representations."""
        num_columns = self.num_heads * self.num_classes
        flat = tf.reshape(self._weights, (-1, num_columns))  # (D, heads * classes)
        logits = tf.matmul(representations, flat)
        return tf.reshape(logits, (-1, self.num_heads, self.num_classes)) + self._biases

    def update(
        self, representations: tf.Tensor, labels: tf.Tensor, decay: tf.Tensor
    ) -> tf.Tensor:
        """Takes one step of SGD with momentum.

        Args:
            representations: `(N, D)` float32.
            labels: `(N,)` integers.
            decay: Factor of the learning rates.

        Returns:
            Mean softmax cross-entropy of each head before the step, `(heads,)`.
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
        """Returns `(N, heads, classes)` logits of an array of representations."""
        return self.logits(tf.constant(representations, tf.float32)).numpy()
