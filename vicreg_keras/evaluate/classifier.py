"""An encoder with a linear layer on top, trained together by SGD."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from vicreg_keras.data.dataset import Dataset, Split
from vicreg_keras.evaluate.features import compile_encoder
from vicreg_keras.evaluate.linear_heads import MOMENTUM
from vicreg_keras.training.optim import make_optimizer, warmup_cosine
from vicreg_keras.views.view import View


class Classifier:
    """An encoder with a new linear layer, and the step that trains both.

    Args:
        encoder: Trained in place.
        dataset: Determines the number of classes and the images' shape.
        num_steps: Length of the learning rates' schedule.
        seed: Seed of the layer's initial weights, and of the views.
    """

    def __init__(
        self, encoder: keras.Model, dataset: Dataset, num_steps: int, seed: int
    ):
        initializer = keras.initializers.RandomNormal(stddev=0.01, seed=seed)
        self._encoder = encoder
        self._head = keras.layers.Dense(
            dataset.num_classes, kernel_initializer=initializer, dtype="float32"
        )
        self._head.build(encoder.output_shape)
        self._trained = encoder.trainable_variables + self._head.trainable_variables
        # SGD's step is proportional to the gradient: with a peak of 1, a gradient
        # times a learning rate is a learning rate of one variable.
        self._optimizer = make_optimizer(
            "sgd", warmup_cosine(1.0, num_steps), momentum=MOMENTUM
        )
        if encoder.compute_dtype == "float16":
            self._optimizer = keras.optimizers.LossScaleOptimizer(self._optimizer)
        self._optimizer.build(self._trained)
        self._variables = [
            *self._encoder.variables,
            *self._head.variables,
            *self._optimizer.variables,
        ]
        self._example_shape, self._seed = dataset.example_shape, seed
        # Traced here, since TensorFlow warns of functions that are traced at a call
        # again and again, as happens where many encoders are trained.
        self._classify = compile_encoder(
            self._logits, dataset.example_shape
        ).get_concrete_function()

    def make_train_step(self, view: View, batch_size: int) -> Callable[..., tf.Tensor]:
        """Returns a `tf.function` that trains on a batch and returns its mean loss.

        It is called with uint8 images, int64 labels, the number of the step and the
        two peak learning rates.
        """
        num_head = len(self._head.trainable_variables)
        num_encoder = len(self._trained) - num_head

        # Not compiled by XLA: on a CPU that makes convolutions several times slower.
        @tf.function(
            input_signature=[
                # A batch of known size lets a view be compiled for it.
                tf.TensorSpec((batch_size, *self._example_shape), tf.uint8),
                tf.TensorSpec((batch_size,), tf.int64),
                tf.TensorSpec((), tf.int32),
                tf.TensorSpec((2,), tf.float32),
            ],
            jit_compile=False,
        )
        def train_step(images, labels, step, rates):
            crops = view(images, seed=tf.stack([self._seed, step]))
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(
                    tf.nn.sparse_softmax_cross_entropy_with_logits(
                        labels=labels, logits=self._logits(crops, training=True)
                    )
                )
                scaled = self._optimizer.scale_loss(loss)
            gradients = tape.gradient(scaled, self._trained)
            peaks = [rates[0]] * num_encoder + [rates[1]] * num_head
            self._optimizer.apply_gradients(
                (peak * gradient, variable)
                for peak, gradient, variable in zip(
                    peaks, gradients, self._trained, strict=True
                )
            )
            return loss

        return train_step

    def scores(self, split: Split) -> np.ndarray:
        """Returns `(N, classes)` logits of plain examples, in inference mode."""
        return np.concatenate(
            [self._classify(images).numpy() for images in split.batches(256)]
        )

    def state(self) -> list[np.ndarray]:
        """Returns copies of all variables, the optimizer's included."""
        return [variable.numpy() for variable in self._variables]

    def set_state(self, state: list[np.ndarray]) -> None:
        """Assigns to all variables what `state` returned."""
        for variable, value in zip(self._variables, state, strict=True):
            variable.assign(value)

    def _logits(self, images, training):
        representations = self._encoder(images, training=training)
        return self._head(tf.cast(representations, tf.float32))
