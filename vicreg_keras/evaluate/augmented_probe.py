"""How well do linear classifiers do that learn from random crops, as the authors'?"""

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from vicreg_keras.evaluate.accuracy import (
    ClassificationMetrics,
    check_features,
    check_labels,
    top1_and_top5,
    top_k_accuracy,
)
from vicreg_keras.evaluate.features import Features, Progress
from vicreg_keras.evaluate.linear_heads import MOMENTUM, LinearHeads
from vicreg_keras.views.image_layers import RandomHorizontalFlip, RandomResizedCrop
from vicreg_keras.views.view import View

# 0.3 is the authors' for ImageNet; widths and scales of representations differ.
LEARNING_RATES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)


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
    encoder: Callable[..., Any],
    train: Any,
    validation: Features,
    test: Features,
    *,
    num_classes: int,
    epochs: int = 100,
    batch_size: int = 256,
    learning_rates: Sequence[float] = LEARNING_RATES,
    weight_decay: float = 1e-6,
    seed: int = 0,
    view: Callable[..., tf.Tensor] | None = None,
    verbose: int | bool = 1,
) -> dict:
    """Test accuracy of the authors' linear evaluation: SGD on random crops.

    The encoder is frozen and in inference mode. Every training image is cropped and
    flipped anew each epoch, encoded, and classified by one linear head a learning
    rate: all heads start alike and learn from the same representations, so that one
    pass of the encoder serves them all. The head that is best on the validation part
    after the last epoch is tested once.

    SGD with momentum 0.9 and PyTorch's weight decay (added to the gradient, biases
    included); the learning rate falls along a cosine, constant within an epoch;
    weights start at N(0, 0.01^2), biases at 0; the loss is the softmax cross-entropy
    of logits. Evaluation is on the plain examples.

    Args:
        encoder: Called as `encoder(images, training=False)`. Its variables are left
            bit for bit as they were.
        train: Labeled `vicreg_keras.data.dataset.Split`.
        validation: The encoder's labeled features of plain examples held out of
            training; the head is chosen on them.
        test: The encoder's labeled features of plain examples.
        num_classes: Labels are in `[0, num_classes)`.
        epochs: At least 1. What does not fill a batch at an epoch's end, a different
            part in each, is left out.
        batch_size: Images a batch; more than there are become all of them.
        learning_rates: One head for each.
        weight_decay: 0 or more.
        seed: Of the heads' start, the order of images and their views.
        view: Called as `view(images, seed=int32[2])`, uint8 in, float32 in [0, 255]
            out. By default `crop_and_flip()`, as the authors have it.
        verbose: 0 is silent; otherwise images a second and the time left.

    Returns:
        A dict that JSON can hold: `top1`, `top5` (`None` for fewer than six classes)
        and `validation_top1` in [0, 1], the chosen `learning_rate`, `path` (each
        head's `learning_rate`, `validation_top1` and last epoch's mean `loss`), and
        `protocol`, counts and settings.

    Raises:
        ValueError: If labels are missing or out of range, a setting is out of range,
            or no head ended with finite logits.

    Reference:
        `evaluate.py` of facebookresearch/vicreg at commit 4e12602 with
        `--weights freeze`. Differs from it: several learning rates instead of 0.3,
        chosen on a validation part; the last epoch counts, where the authors report
        the best epoch on the images that they report; images are read at one size,
        so there is no resizing by 256 / 224 before a center crop.
    """
    _check_settings(epochs, batch_size, learning_rates, weight_decay)
    check_labels("train", train.labels, num_classes=num_classes)
    check_features("validation", validation, num_classes=num_classes)
    width = validation.representations.shape[1]
    check_features("test", test, num_classes=num_classes, width=width)
    batch_size = min(batch_size, train.num_examples)
    if view is None:
        view = crop_and_flip()

    heads = LinearHeads(width, num_classes, learning_rates, weight_decay, seed)
    losses = _train_heads(
        heads,
        encoder,
        train,
        view,
        epochs=epochs,
        batch_size=batch_size,
        seed=seed,
        verbose=verbose,
    )

    scores = heads.scores(validation.representations)
    path = [
        {
            "learning_rate": float(rate),
            "validation_top1": _accuracy_or_none(scores[:, head], validation.labels),
            "loss": float(losses[head]) if math.isfinite(losses[head]) else None,
        }
        for head, rate in enumerate(learning_rates)
    ]
    best = _best_head(path)
    scores = heads.scores(test.representations)[:, best]
    return {
        "protocol": "augmented",
        **top1_and_top5(scores, test.labels),
        "validation_top1": path[best]["validation_top1"],
        "learning_rate": path[best]["learning_rate"],
        "path": path,
        "learning_rates": [float(rate) for rate in learning_rates],
        "epochs": epochs,
        "batch_size": batch_size,
        "momentum": MOMENTUM,
        "weight_decay": weight_decay,
        "view": _described(view),
        "num_train": train.num_examples,
        "num_validation": len(validation.labels),
        "num_test": len(test.labels),
        "num_classes": num_classes,
        "representation_size": width,
        "seed": seed,
    }


def crop_and_flip() -> View:
    """The view of the authors' linear evaluation: no colors, no blur."""
    return View([RandomResizedCrop(), RandomHorizontalFlip()])


def _check_settings(
    epochs: int, batch_size: int, learning_rates: Sequence[float], weight_decay: float
) -> None:
    if epochs < 1 or batch_size < 1 or weight_decay < 0:
        raise ValueError(
            "Expected at least one epoch, one image a batch and no negative weight "
            f"decay. Received: epochs={epochs}, batch_size={batch_size}, "
            f"weight_decay={weight_decay}"
        )
    if not learning_rates or not all(0 < rate < math.inf for rate in learning_rates):
        raise ValueError(
            "Expected positive finite learning rates. Received: "
            f"learning_rates={tuple(learning_rates)}"
        )


def _train_heads(
    heads: LinearHeads,
    encoder: Callable[..., Any],
    train: Any,
    view: Callable[..., tf.Tensor],
    *,
    epochs: int,
    batch_size: int,
    seed: int,
    verbose: int | bool,
) -> np.ndarray:
    """Trains all heads; the mean loss of each over the last epoch, `(heads,)`."""
    steps_per_epoch = train.num_examples // batch_size
    batches = iter(train.labeled_training_batches(batch_size, seed=seed))
    step = _training_step(heads, encoder, view, batches.element_spec, seed)

    progress = Progress(epochs * steps_per_epoch * batch_size, verbose=verbose)
    for epoch in range(epochs):
        # The authors' scheduler steps once an epoch.
        decay = 0.5 * (1.0 + math.cos(math.pi * epoch / epochs))
        losses = tf.zeros(heads.num_heads)
        for number in range(epoch * steps_per_epoch, (epoch + 1) * steps_per_epoch):
            images, labels = next(batches)
            losses += step(images, labels, tf.constant(number), tf.constant(decay))
            progress.add(len(images))
    progress.close()
    return losses.numpy() / steps_per_epoch


def _training_step(
    heads: LinearHeads,
    encoder: Callable[..., Any],
    view: Callable[..., tf.Tensor],
    element_spec: tuple[tf.TensorSpec, tf.TensorSpec],
    seed: int,
) -> Callable[..., tf.Tensor]:
    """A `tf.function` from a batch to the heads' losses, which updates the heads."""

    @tf.function(
        # A batch of known size lets a view be compiled for it.
        input_signature=[
            *element_spec,
            tf.TensorSpec((), tf.int32),
            tf.TensorSpec((), tf.float32),
        ],
        jit_compile=False,
    )
    def step(images, labels, number, decay):
        crops = view(images, seed=tf.stack([seed, number]))
        representations = tf.cast(encoder(crops, training=False), tf.float32)
        return heads.update(tf.stop_gradient(representations), labels, decay)

    return step


def _accuracy_or_none(scores: np.ndarray, labels: np.ndarray) -> float | None:
    """Top-1 accuracy, or `None` for a head that has diverged."""
    return top_k_accuracy(scores, labels, 1) if np.isfinite(scores).all() else None


def _best_head(path: list[dict]) -> int:
    """The head with the best validation accuracy; the first of equals."""
    finite = [
        head for head, tried in enumerate(path) if tried["validation_top1"] is not None
    ]
    if not finite:
        rates = [tried["learning_rate"] for tried in path]
        raise ValueError(
            "Expected a learning rate with which the linear classifier stays finite. "
            f"Received: learning_rates={rates}, all of which diverged. Try lower ones."
        )
    return max(finite, key=lambda head: path[head]["validation_top1"])


def _described(view: Callable[..., tf.Tensor]) -> Any:
    """What a view is, in a form that JSON can hold."""
    config = view.get_config() if hasattr(view, "get_config") else {}
    # Keras's own entries are left out: the name counts the layers made before.
    config = {
        key: value
        for key, value in config.items()
        if key not in ("name", "trainable", "dtype")
    }
    return {
        "name": getattr(view, "__name__", type(view).__name__),
        # Tuples become lists, and what JSON does not know becomes text.
        "config": json.loads(json.dumps(config, default=str)),
    }
