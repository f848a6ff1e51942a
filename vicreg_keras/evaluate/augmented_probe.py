"""Linear evaluation on random crops: linear heads trained by SGD, as the authors do."""

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from vicreg_keras.data.dataset import Split
from vicreg_keras.errors import InputError
from vicreg_keras.evaluate.accuracy import (
    ClassificationMetrics,
    check_features,
    check_labels,
    top1_and_top5,
    top_k_accuracy,
)
from vicreg_keras.evaluate.features import Encoder, Features
from vicreg_keras.evaluate.linear_heads import MOMENTUM, LinearHeads
from vicreg_keras.views.image_layers import RandomHorizontalFlip, RandomResizedCrop
from vicreg_keras.views.view import View

# 0.3 is the authors' for ImageNet; widths and scales of representations differ.
LEARNING_RATES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)

# Called as `view(images, seed=int32[2])`: uint8 to float32 in [0, 255].
RandomView = Callable[..., tf.Tensor]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LearningRateTrial:
    """A linear head that was trained.

    Attributes:
        learning_rate: Its peak learning rate.
        validation_top1: Accuracy on the validation split in [0, 1], or `None` for a
            head that diverged.
        loss: Mean training loss of the last epoch, likewise.
    """

    learning_rate: float
    validation_top1: float | None
    loss: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class AugmentedProbeMetrics(ClassificationMetrics):
    """Accuracies of a linear head trained on random crops.

    Attributes:
        validation_top1: Accuracy on the validation split in [0, 1].
    """

    validation_top1: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class AugmentedProbeSettings:
    """How a linear head was chosen and trained.

    Attributes:
        learning_rate: The chosen peak learning rate.
        sweep: Every head.
        epochs: Epochs of training.
        batch_size: Images per step.
        momentum: Momentum of SGD.
        weight_decay: Weight decay, added to the gradient.
        view: Configuration of the random view, with its class's `name`.
        num_train: Training examples.
        num_validation: Validation examples.
        num_test: Test examples.
        num_classes: Number of classes.
        representation_size: Width of the representations.
        seed: Seed of initial weights, order and views.
    """

    learning_rate: float
    sweep: tuple[LearningRateTrial, ...]
    epochs: int
    batch_size: int
    momentum: float
    weight_decay: float
    view: dict[str, Any]
    num_train: int
    num_validation: int
    num_test: int
    num_classes: int
    representation_size: int
    seed: int


@dataclasses.dataclass(frozen=True)
class AugmentedProbeResult:
    """Result of `augmented_probe`."""

    metrics: AugmentedProbeMetrics
    settings: AugmentedProbeSettings


def augmented_probe(
    encoder: Encoder,
    train: Split,
    validation: Features,
    test: Features,
    *,
    num_classes: int,
    epochs: int = 100,
    batch_size: int = 256,
    learning_rates: Sequence[float] = LEARNING_RATES,
    weight_decay: float = 1e-6,
    seed: int = 0,
    view: RandomView | None = None,
    verbose: int | bool = 1,
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
    Evaluation is on the plain examples.

    Args:
        encoder: Called as `encoder(images, training=False)`. Its variables are left
            bit for bit as they were.
        train: Labeled images.
        validation: The encoder's labeled features of plain examples held out of
            training; the head is chosen on them.
        test: The encoder's labeled features of plain examples.
        num_classes: Labels are in `[0, num_classes)`.
        epochs: At least 1. What does not fill a batch at an epoch's end, a different
            part in each, is left out.
        batch_size: Images per step; all of them where there are fewer.
        learning_rates: Peak learning rate of each head.
        weight_decay: 0 or more.
        seed: Seed of initial weights, the order of images and their views.
        view: Called as `view(images, seed=int32[2])`, from uint8 to float32 in
            [0, 255]. By default `crop_and_flip()`, as the authors have it.
        verbose: 0 is silent; otherwise a progress bar appears after a few seconds.

    Returns:
        Metrics and settings.

    Raises:
        InputError: If labels are missing or out of range, a setting is out of range,
            or every head diverges.

    Reference:
        `evaluate.py` of facebookresearch/vicreg at commit 4e12602 with
        `--weights freeze`. Differs from it: several learning rates instead of 0.3,
        chosen on a validation split; the last epoch counts, where the authors report
        the best epoch on the images that they report; images are read at one size,
        so there is no resizing by 256 / 224 before a center crop.
    """
    _check_settings(epochs, batch_size, learning_rates, weight_decay)
    check_labels("train", train.labels, num_classes=num_classes)
    check_features("validation", validation, num_classes=num_classes)
    width = validation.representations.shape[1]
    check_features("test", test, num_classes=num_classes, width=width)
    batch_size = min(batch_size, train.num_examples)
    view = view or crop_and_flip()

    heads = LinearHeads(width, num_classes, learning_rates, weight_decay, seed)
    losses = _train_heads(
        heads, encoder, train, view, epochs, batch_size, seed, disable=not verbose
    )
    sweep = _sweep(heads, losses, learning_rates, validation)
    best = max(
        (trial for trial in sweep if trial.validation_top1 is not None),
        key=lambda trial: trial.validation_top1,
        default=None,
    )
    if best is None:
        raise InputError(
            "Expected a learning rate with which the linear head stays finite. "
            f"Received: learning_rates={tuple(learning_rates)}, all of which diverged. "
            "Use smaller ones."
        )
    scores = heads.scores(test.representations)[:, sweep.index(best)]
    return AugmentedProbeResult(
        AugmentedProbeMetrics(
            **top1_and_top5(scores, test.labels), validation_top1=best.validation_top1
        ),
        AugmentedProbeSettings(
            learning_rate=best.learning_rate,
            sweep=sweep,
            epochs=epochs,
            batch_size=batch_size,
            momentum=MOMENTUM,
            weight_decay=weight_decay,
            view=view_config(view),
            num_train=train.num_examples,
            num_validation=len(validation.labels),
            num_test=len(test.labels),
            num_classes=num_classes,
            representation_size=width,
            seed=seed,
        ),
    )


def crop_and_flip() -> View:
    """Returns the view of the authors' linear evaluation: no colors, no blur."""
    return View([RandomResizedCrop(), RandomHorizontalFlip()])


def view_config(view: RandomView) -> dict[str, Any]:
    """Returns the configuration of a view as JSON can hold it, and its name."""
    config = view.get_config() if hasattr(view, "get_config") else {}
    config = {k: v for k, v in config.items() if k not in ("trainable", "dtype")}
    # Keras's name counts the layers made before.
    config["name"] = getattr(view, "__name__", type(view).__name__)
    # Tuples become lists, and what JSON does not know becomes text.
    return json.loads(json.dumps(config, default=str))


def _check_settings(
    epochs: int, batch_size: int, learning_rates: Sequence[float], weight_decay: float
) -> None:
    if epochs < 1 or batch_size < 1 or weight_decay < 0:
        raise InputError(
            "Expected at least one epoch, one image per batch and no negative weight "
            f"decay. Received: epochs={epochs}, batch_size={batch_size}, "
            f"weight_decay={weight_decay}."
        )
    if not learning_rates or not all(0 < rate < math.inf for rate in learning_rates):
        raise InputError(
            "Expected positive finite learning rates. Received: "
            f"learning_rates={tuple(learning_rates)}."
        )


def _train_heads(
    heads: LinearHeads,
    encoder: Encoder,
    train: Split,
    view: RandomView,
    epochs: int,
    batch_size: int,
    seed: int,
    *,
    disable: bool,
) -> np.ndarray:
    """Trains all heads; the mean loss of each over the last epoch, `(heads,)`."""
    steps_per_epoch = train.num_examples // batch_size
    batches = iter(train.labeled_training_batches(batch_size, seed=seed))

    # A batch of known size lets a view be compiled for it.
    signature = [
        *batches.element_spec,
        tf.TensorSpec((), tf.int32),
        tf.TensorSpec((), tf.float32),
    ]

    @tf.function(input_signature=signature, jit_compile=False)
    def train_step(images, labels, step, decay):
        crops = view(images, seed=tf.stack([seed, step]))
        representations = tf.cast(encoder(crops, training=False), tf.float32)
        return heads.update(tf.stop_gradient(representations), labels, decay)

    total = epochs * steps_per_epoch * batch_size
    with tqdm(total=total, unit=" examples", delay=3, disable=disable) as bar:
        for epoch in range(epochs):
            # The authors' scheduler steps once per epoch.
            decay = tf.constant(0.5 * (1.0 + math.cos(math.pi * epoch / epochs)))
            losses = tf.zeros(heads.num_heads)
            for step in range(epoch * steps_per_epoch, (epoch + 1) * steps_per_epoch):
                losses += train_step(*next(batches), tf.constant(step), decay)
                bar.update(batch_size)
    return losses.numpy() / steps_per_epoch


def _sweep(
    heads: LinearHeads,
    losses: np.ndarray,
    learning_rates: Sequence[float],
    validation: Features,
) -> tuple[LearningRateTrial, ...]:
    scores = heads.scores(validation.representations)
    return tuple(
        LearningRateTrial(
            learning_rate=float(rate),
            validation_top1=top_k_accuracy(scores[:, head], validation.labels, 1)
            if np.isfinite(scores[:, head]).all()
            else None,
            loss=float(losses[head]) if math.isfinite(losses[head]) else None,
        )
        for head, rate in enumerate(learning_rates)
    )
