"""Fine-tuning: an encoder and a new linear layer trained together on some labels.

The authors' semi-supervised protocol. From an untrained encoder the same is supervised
training from scratch.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import ClassVar

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from vicreg_keras.data.dataset import Dataset, Split
from vicreg_keras.errors import InputError
from vicreg_keras.evaluate import accuracy, features
from vicreg_keras.evaluate.augmented_probe import MOMENTUM, crop_and_flip
from vicreg_keras.evaluate.few_labels import draw_labeled
from vicreg_keras.evaluate.linear_probe import LinearProbeResult
from vicreg_keras.evaluate.records import Result
from vicreg_keras.training.optim import make_optimizer, warmup_cosine
from vicreg_keras.views.view import View

# Of the encoder and of the new layer. The first is the authors' for 1 % of ImageNet;
# the second is for weights that have more to learn, such as untrained ones.
LEARNING_RATES = ((0.03, 0.08), (0.1, 0.3))

# Twenty epochs of a few images end before the new layer has learned: with 13 digits,
# 20 steps gave 42 % on the validation split, 100 gave 55, 300 gave 58, 1,000 gave 58.
MIN_STEPS = 300
BATCH_SIZE = 256


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinetuneMetrics(accuracy.ClassificationMetrics):
    """Accuracies of a network trained on a part of the labels.

    Attributes:
        validation_log_loss: Log loss on the validation split, in nats.
        train_loss: Mean training loss of the last epoch.
    """

    validation_log_loss: float
    train_loss: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinetuneSettings:
    """How a network was trained on a part of the labels, by SGD.

    Attributes:
        encoder_learning_rate: The chosen peak learning rate of the encoder.
        head_learning_rate: The chosen peak learning rate of the linear layer.
        label_fraction: Part of the training examples whose labels are used.
        num_train: Labeled training examples.
        epochs: Epochs over them.
        num_steps: Number of steps.
        seed: Seed of the labeled examples, their order, views and the layer's weights.
    """

    encoder_learning_rate: float
    head_learning_rate: float
    label_fraction: float
    num_train: int
    epochs: int
    num_steps: int
    seed: int


FinetuneResult = Result[FinetuneMetrics, FinetuneSettings]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinetuneRecord(accuracy.ClassificationRecord):
    """Accuracy over the number of labels, one result for each fraction of them.

    Attributes:
        finetuned: From the pretrained weights.
        scratch: From untrained weights.
        frozen: Logistic regression on frozen representations.
    """

    mode: ClassVar[str] = "finetune"
    finetuned: tuple[FinetuneResult, ...]
    scratch: tuple[FinetuneResult, ...]
    frozen: tuple[LinearProbeResult, ...]


def finetune(
    encoder: keras.Model,
    dataset: Dataset,
    *,
    label_fraction: float,
    epochs: int = 20,
    seed: int = 0,
) -> FinetuneResult:
    """Measures the test accuracy of an encoder fine-tuned with a linear layer.

    Encoder and layer learn together by SGD with momentum 0.9 from random crops and
    flips, each at its own learning rate; both follow half a cosine. Batch normalization
    is in training mode. There is no weight decay; the layer's weights start at
    N(0, 0.01^2), its biases at 0; the loss is the softmax cross-entropy, in float32
    whatever the precision. What does not fill a batch at an epoch's end, a different
    part in each, is left out; epochs of fewer than `MIN_STEPS` steps in all are
    repeated. Every pair of learning rates starts from the encoder as it was given. The
    pair with the smallest log loss on the validation split after the last step is
    tested once, on the plain examples and in inference mode.

    Args:
        encoder: `(N, H, W, 3)` pixels in [0, 255] to `(N, D)`. It is trained in place:
            afterwards its weights are those of the chosen pair. Make a new one each
            time.
        dataset: A labeled dataset of images with a test split.
        label_fraction: Fraction of the training images whose labels are used, in
            (0, 1]; see `draw_labeled`.
        epochs: Epochs over the labeled images, at least 1.
        seed: Seed of the labeled images, their order and views, and the layer's
            initial weights.

    Returns:
        Metrics and settings.

    Raises:
        InputError: If the dataset lacks labels or a test split, or every pair diverges.

    Reference:
        `evaluate.py` and `README.md` of facebookresearch/vicreg at commit 4e12602,
        `--weights finetune`: 20 epochs in batches of 256 without weight decay, the
        encoder's learning rate 0.03 and the layer's 0.08 with 1 % of the labels, 0.01
        and 0.1 with 10 %. Differs from it: two pairs, chosen on a validation split; a
        minimum number of steps; the cosine falls at each step, not at each epoch; the
        last step counts, where the authors report the best epoch on the images that
        they report; images are read at one size, so there is no resizing by 256 / 224
        before a center crop.
    """
    num_classes = len(features.require_class_names(dataset))
    test = features.require_test_split(dataset)
    train_labels, validation_labels, test_labels = (
        accuracy.check_labels(
            name, getattr(dataset, name).labels, num_classes=num_classes
        )
        for name in features.SPLITS
    )
    labeled = dataset.train.take(draw_labeled(train_labels, label_fraction, seed))
    batch_size = min(BATCH_SIZE, labeled.num_examples)
    steps_per_epoch = labeled.num_examples // batch_size
    num_steps = max(epochs * steps_per_epoch, MIN_STEPS)

    # Each iteration begins anew: all pairs see the same images in the same order.
    batches = labeled.labeled_training_batches(batch_size, seed=seed).take(num_steps)
    classifier = _Classifier(encoder, dataset, num_steps, seed)
    train_step = classifier.make_train_step(crop_and_flip(), batches.element_spec)
    initial_state = classifier.state()
    trials = []
    with tqdm(
        total=len(LEARNING_RATES) * num_steps, unit=" steps", delay=3, disable=None
    ) as bar:
        for rates in LEARNING_RATES:
            classifier.set_state(initial_state)
            losses = []
            for step, batch in enumerate(batches):
                losses.append(train_step(*batch, tf.constant(step), tf.constant(rates)))
                bar.update()
            scores = classifier.scores(dataset.validation)
            if np.isfinite(scores).all():
                metrics = {
                    "validation_top1": accuracy.top_k_accuracy(
                        scores, validation_labels, 1
                    ),
                    "validation_log_loss": accuracy.log_loss(scores, validation_labels),
                    "train_loss": float(np.mean(losses[-steps_per_epoch:])),
                }
                trials.append((metrics, rates, classifier.state()))
    if not trials:
        raise InputError(
            "Expected an encoder that stays finite in training. Received: one for "
            f"learning_rates={LEARNING_RATES}, all of which diverged."
        )
    metrics, rates, state = min(trials, key=lambda one: one[0]["validation_log_loss"])
    classifier.set_state(state)
    test_metrics = accuracy.top1_and_top5(classifier.scores(test), test_labels)
    return FinetuneResult(
        FinetuneMetrics(**test_metrics, **metrics),
        FinetuneSettings(
            encoder_learning_rate=rates[0],
            head_learning_rate=rates[1],
            label_fraction=label_fraction,
            num_train=labeled.num_examples,
            epochs=epochs,
            num_steps=num_steps,
            seed=seed,
        ),
    )


class _Classifier:
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
        head = keras.layers.Dense(
            dataset.num_classes, kernel_initializer=initializer, dtype="float32"
        )
        # SGD's step is proportional to the gradient: with a peak of 1, a gradient
        # times a learning rate is a learning rate of one variable.
        optimizer = make_optimizer(
            "sgd", warmup_cosine(1.0, num_steps), momentum=MOMENTUM
        )
        if encoder.compute_dtype == "float16":
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        self._model = keras.Model(encoder.input, head(encoder.output))
        self._trained = encoder.trainable_variables, head.trainable_variables
        optimizer.build([*self._trained[0], *self._trained[1]])
        self._optimizer, self._seed = optimizer, seed
        self._variables = [*self._model.variables, *optimizer.variables]
        # Traced here, since TensorFlow warns of functions that are traced at a call
        # again and again, as happens where many encoders are trained.
        classify = features.compile_encoder(self._model, dataset.example_shape)
        self._classify = classify.get_concrete_function()

    def make_train_step(
        self, view: View, batch_spec: Sequence[tf.TensorSpec]
    ) -> Callable[..., tf.Tensor]:
        """Returns a `tf.function` that trains on a batch and returns its mean loss.

        It is called with images and labels, the number of the step and the two peak
        learning rates.
        """
        rate_spec = tf.TensorSpec((2,), tf.float32)

        # Not compiled by XLA: on a CPU that makes convolutions several times slower.
        @tf.function(
            # A batch of known size lets a view be compiled for it.
            input_signature=[*batch_spec, tf.TensorSpec((), tf.int32), rate_spec],
            jit_compile=False,
        )
        def train_step(images, labels, step, rates):
            crops = view(images, seed=tf.stack([self._seed, step]))
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(
                    tf.nn.sparse_softmax_cross_entropy_with_logits(
                        labels=labels, logits=self._model(crops, training=True)
                    )
                )
                scaled = self._optimizer.scale_loss(loss)
            of_encoder, of_head = tape.gradient(scaled, self._trained)
            gradients = [rates[0] * gradient for gradient in of_encoder]
            gradients += [rates[1] * gradient for gradient in of_head]
            variables = [*self._trained[0], *self._trained[1]]
            self._optimizer.apply_gradients(zip(gradients, variables, strict=True))
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
