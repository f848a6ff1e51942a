"""Linear evaluation on random crops: linear heads trained by SGD, as the authors do."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from vicreg_keras.data.dataset import Split
from vicreg_keras.errors import InputError
from vicreg_keras.evaluate import accuracy
from vicreg_keras.evaluate.features import Encoder, Features
from vicreg_keras.evaluate.records import Result
from vicreg_keras.views.image_layers import RandomHorizontalFlip, RandomResizedCrop
from vicreg_keras.views.view import View

# 0.3 is the authors' for ImageNet; widths and scales of representations differ.
LEARNING_RATES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)

BATCH_SIZE = 256
MOMENTUM = 0.9
WEIGHT_DECAY = 1e-6  # Of each parameter, biases included.


@dataclasses.dataclass(frozen=True, kw_only=True)
class AugmentedProbeMetrics(accuracy.ClassificationMetrics):
    """Accuracies of a linear head trained on random crops.

    Attributes:
        train_loss: Mean training loss of the last epoch.
    """

    train_loss: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class AugmentedProbeSettings:
    """How a linear head was chosen and trained.

    Attributes:
        learning_rate: The chosen peak learning rate.
        epochs: Epochs of training.
        seed: Seed of initial weights, order and views.
    """

    learning_rate: float
    epochs: int
    seed: int


AugmentedProbeResult = Result[AugmentedProbeMetrics, AugmentedProbeSettings]


def augmented_probe(
    encoder: Encoder,
    train: Split,
    validation: Features,
    test: Features,
    *,
    num_classes: int,
    epochs: int = 100,
    seed: int = 0,
) -> AugmentedProbeResult:
    """Measures the test accuracy of a linear head trained by SGD on random crops.

    The encoder is frozen and in inference mode. Every training image is cropped and
    flipped anew each epoch, encoded, and classified by one linear head per learning
    rate: all heads start alike and learn from the same representations, so that one
    pass of the encoder serves them all. The head that is best on the validation split
    after the last epoch is tested once.

    SGD with momentum 0.9 and PyTorch's weight decay (added to the gradient, biases
    included); the learning rate follows a cosine, constant within an epoch; weights
    start at N(0, 0.01^2), biases at 0; the loss is the softmax cross-entropy of logits.
    What does not fill a batch at an epoch's end, a different part in each, is left
    out. Evaluation is on the plain examples.

    Args:
        encoder: Called as `encoder(images, training=False)`. Its variables are left
            bit for bit as they were.
        train: Labeled images.
        validation: The encoder's labeled features of plain examples held out of
            training; the head is chosen on them.
        test: The encoder's labeled features of plain examples.
        num_classes: Labels are in `[0, num_classes)`.
        epochs: At least 1.
        seed: Seed of initial weights, the order of images and their views.

    Returns:
        Metrics and settings.

    Raises:
        InputError: If labels are missing or out of range, or every head diverges.

    Reference:
        `evaluate.py` of facebookresearch/vicreg at commit 4e12602 with
        `--weights freeze`. Differs from it: several learning rates instead of 0.3,
        chosen on a validation split; the last epoch counts, where the authors report
        the best epoch on the images that they report; images are read at one size,
        so there is no resizing by 256 / 224 before a center crop.
    """
    accuracy.check_labels("train", train.labels, num_classes=num_classes)
    validation_labels, test_labels = accuracy.check_splits(
        num_classes, validation=validation, test=test
    )
    width = validation.representations.shape[1]
    heads = LinearHeads(width, num_classes, LEARNING_RATES, seed)
    losses = _train_heads(heads, encoder, train, epochs, seed)
    scores = heads.scores(validation.representations)
    accuracies = {
        head: accuracy.top_k_accuracy(scores[:, head], validation_labels, 1)
        for head in range(heads.num_heads)
        if np.isfinite(scores[:, head]).all()
    }
    if not accuracies:
        raise InputError(
            "Expected representations on which a linear head stays finite. Received: "
            f"some for learning_rates={LEARNING_RATES}, all of which diverged."
        )
    best = max(accuracies, key=accuracies.__getitem__)
    scores = heads.scores(test.representations)[:, best]
    return AugmentedProbeResult(
        AugmentedProbeMetrics(
            **accuracy.top1_and_top5(scores, test_labels),
            validation_top1=accuracies[best],
            train_loss=float(losses[best]),
        ),
        AugmentedProbeSettings(
            learning_rate=LEARNING_RATES[best], epochs=epochs, seed=seed
        ),
    )


def crop_and_flip() -> View:
    """Returns the view of the authors' linear evaluation: no colors, no blur."""
    return View([RandomResizedCrop(), RandomHorizontalFlip()])


def _train_heads(
    heads: "LinearHeads", encoder: Encoder, train: Split, epochs: int, seed: int
) -> np.ndarray:
    """Trains all heads; the mean loss of each over the last epoch, `(heads,)`."""
    batch_size = min(BATCH_SIZE, train.num_examples)
    steps_per_epoch = train.num_examples // batch_size
    batches = iter(train.labeled_training_batches(batch_size, seed=seed))
    view = crop_and_flip()

    scalars = tf.TensorSpec((), tf.int32), tf.TensorSpec((), tf.float32)

    # A batch of known size lets a view be compiled for it.
    @tf.function(input_signature=[*batches.element_spec, *scalars], jit_compile=False)
    def train_step(images, labels, step, decay):
        crops = view(images, seed=tf.stack([seed, step]))
        representations = tf.cast(encoder(crops, training=False), tf.float32)
        return heads.update(tf.stop_gradient(representations), labels, decay)

    for epoch in tqdm(range(epochs), unit=" epochs", delay=3, disable=None):
        # The authors' scheduler steps once per epoch.
        decay = tf.constant(0.5 * (1.0 + math.cos(math.pi * epoch / epochs)))
        losses = tf.zeros(heads.num_heads)
        for step in range(epoch * steps_per_epoch, (epoch + 1) * steps_per_epoch):
            losses += train_step(*next(batches), tf.constant(step), decay)
    return losses.numpy() / steps_per_epoch


class LinearHeads:
    """Linear classifiers on the same representations, one per learning rate.

    They are trained at once by SGD, as PyTorch has it. All start with the same weights,
    from N(0, 0.01^2), and biases of 0. Their losses are summed, so the gradient of each
    one is as if it were alone.

    Args:
        width: Width of the representations.
        num_classes: Labels are in `[0, num_classes)`.
        learning_rates: Peak learning rate of each head.
        seed: Seed of the initial weights.
    """

    def __init__(
        self,
        width: int,
        num_classes: int,
        learning_rates: Sequence[float],
        seed: int,
    ):
        num_heads = len(learning_rates)
        start = tf.random.stateless_normal(
            (width, 1, num_classes), seed=(seed, 0), stddev=0.01
        )
        self.num_classes, self.num_heads = num_classes, num_heads
        self._rates = tf.constant(learning_rates, tf.float32)[:, tf.newaxis]
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
            gradient += WEIGHT_DECAY * variable
            velocity.assign(MOMENTUM * velocity + gradient)
            variable.assign_sub(decay * self._rates * velocity)
        return losses

    def scores(self, representations: np.ndarray) -> np.ndarray:
        """Returns `(N, heads, classes)` logits of an array of representations."""
        return self.logits(tf.constant(representations, tf.float32)).numpy()
