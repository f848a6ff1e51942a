"""Fine-tuning: an encoder and a new linear layer trained together on some labels.

The authors' semi-supervised protocol. From an untrained encoder the same is supervised
training from scratch.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf
from scipy.special import log_softmax
from tqdm import tqdm

from vicreg_keras.data.dataset import Dataset, Split
from vicreg_keras.errors import InputError
from vicreg_keras.evaluate.accuracy import (
    ClassificationMetrics,
    check_labels,
    top1_and_top5,
    top_k_accuracy,
)
from vicreg_keras.evaluate.augmented_probe import (
    RandomView,
    crop_and_flip,
    view_config,
)
from vicreg_keras.evaluate.classifier import Classifier
from vicreg_keras.evaluate.features import SPLITS, check_example_shape
from vicreg_keras.evaluate.few_labels import counts_per_class, draw_labeled
from vicreg_keras.evaluate.linear_heads import MOMENTUM
from vicreg_keras.evaluate.linear_probe import LinearProbeResult
from vicreg_keras.evaluate.records import Record

# Of the encoder and of the new layer. The first is the authors' for 1 % of ImageNet;
# the second is for weights that have more to learn, such as untrained ones.
LEARNING_RATES = ((0.03, 0.08), (0.1, 0.3))

# Twenty epochs of a few images end before the new layer has learned: with 13 digits,
# 20 steps gave 42 % on the validation split, 100 gave 55, 300 gave 58, 1,000 gave 58.
MIN_STEPS = 300


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinetuneTrial:
    """A pair of learning rates that was tried.

    Attributes:
        encoder_learning_rate: Peak learning rate of the encoder.
        head_learning_rate: Peak learning rate of the linear layer.
        loss: Mean training loss of the last epoch, or `None` if it diverged.
        validation_log_loss: Log loss on the validation split in nats, likewise.
        validation_top1: Accuracy on the validation split in [0, 1], likewise.
    """

    encoder_learning_rate: float
    head_learning_rate: float
    loss: float | None
    validation_log_loss: float | None
    validation_top1: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinetuneMetrics(ClassificationMetrics):
    """Accuracies of a network trained on a part of the labels.

    Attributes:
        validation_top1: Accuracy on the validation split in [0, 1].
        validation_log_loss: Log loss on the validation split, in nats.
    """

    validation_top1: float
    validation_log_loss: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinetuneSettings:
    """How a network was trained on a part of the labels, by SGD.

    Attributes:
        encoder_learning_rate: The chosen peak learning rate of the encoder.
        head_learning_rate: The chosen peak learning rate of the linear layer.
        sweep: All pairs of learning rates.
        label_fraction: Part of the training examples whose labels are used.
        labels_per_class: How many those are, of each class.
        epochs: Epochs over the labeled examples.
        min_steps: Smallest number of steps.
        num_steps: Number of steps.
        batch_size: Images per step.
        momentum: Momentum of SGD.
        precision: Name of the encoder's dtype policy.
        view: Configuration of the random view, with its class's `name`.
        num_train: Labeled training examples.
        num_validation: Validation examples.
        num_test: Test examples.
        num_classes: Number of classes.
        representation_size: Width of the representations.
        seed: Seed of the labeled examples, their order, views and the layer's weights.
    """

    encoder_learning_rate: float
    head_learning_rate: float
    sweep: tuple[FinetuneTrial, ...]
    label_fraction: float
    labels_per_class: tuple[int, ...]
    epochs: int
    min_steps: int
    num_steps: int
    batch_size: int
    momentum: float
    precision: str
    view: dict[str, Any]
    num_train: int
    num_validation: int
    num_test: int
    num_classes: int
    representation_size: int
    seed: int


@dataclasses.dataclass(frozen=True)
class FinetuneResult:
    """Result of `finetune`."""

    metrics: FinetuneMetrics
    settings: FinetuneSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinetuneRecord(Record):
    """Accuracy over the number of labels, one result for each fraction of them.

    Attributes:
        split: Split of the accuracies.
        finetuned: From the pretrained weights.
        scratch: From untrained weights.
        frozen: Logistic regression on frozen representations.
    """

    mode: ClassVar[str] = "finetune"
    split: str
    finetuned: tuple[FinetuneResult, ...]
    scratch: tuple[FinetuneResult, ...]
    frozen: tuple[LinearProbeResult, ...]


def finetune(
    encoder: keras.Model,
    dataset: Dataset,
    *,
    label_fraction: float,
    epochs: int = 20,
    min_steps: int = MIN_STEPS,
    batch_size: int = 256,
    learning_rates: Sequence[tuple[float, float]] = LEARNING_RATES,
    seed: int = 0,
    view: RandomView | None = None,
    verbose: int | bool = 1,
) -> FinetuneResult:
    """Measures the test accuracy of an encoder fine-tuned with a linear layer.

    Encoder and layer learn together by SGD with momentum 0.9 from random crops and
    flips, each at its own learning rate; both follow half a cosine. Batch normalization
    is in training mode. There is no weight decay; the layer's weights start at
    N(0, 0.01^2), its biases at 0; the loss is the softmax cross-entropy, in float32
    whatever the precision. Every pair of learning rates starts from the encoder as it
    was given. The pair with the smallest log loss on the validation split after the
    last step is tested once, on the plain examples and in inference mode.

    Args:
        encoder: `(N, H, W, 3)` pixels in [0, 255] to `(N, D)`. It is trained in place:
            afterwards its weights are those of the chosen pair. Make a new one each
            time.
        dataset: A labeled dataset of images with a test split.
        label_fraction: Fraction of the training images whose labels are used, in
            (0, 1]; see `draw_labeled`.
        epochs: Epochs over the labeled images, at least 1.
        min_steps: Smallest number of steps, where the epochs have fewer.
        batch_size: Images per step; all that are labeled where there are fewer. What
            does not fill a batch at an epoch's end, a different part in each, is left
            out.
        learning_rates: Pairs to choose from: the encoder's and the layer's peak.
        seed: Seed of the labeled images, their order and views, and the layer's
            initial weights.
        view: Called as `view(images, seed=int32[2])`, from uint8 to float32 in
            [0, 255]. By default `crop_and_flip()`, as the authors have it.
        verbose: 0 is silent; otherwise a progress bar appears after a few seconds.

    Returns:
        Metrics and settings.

    Raises:
        InputError: If the encoder can't be trained, the dataset lacks labels or a
            test split, a setting is out of range, or every pair diverges.

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
    _check_settings(epochs, min_steps, batch_size, learning_rates)
    _check_inputs(encoder, dataset)
    picks = draw_labeled(dataset.train.labels, label_fraction, seed)
    labeled = dataset.train.take(picks)
    batch_size = min(batch_size, labeled.num_examples)
    steps_per_epoch = labeled.num_examples // batch_size
    num_steps = max(epochs * steps_per_epoch, min_steps)
    view = view or crop_and_flip()

    classifier = Classifier(encoder, dataset, num_steps, seed)
    train_step = classifier.make_train_step(view, batch_size)
    initial_state = classifier.state()
    total = len(learning_rates) * num_steps * batch_size
    sweep, states = [], []
    with tqdm(total=total, unit=" examples", delay=3, disable=not verbose) as bar:
        for pair in learning_rates:
            classifier.set_state(initial_state)
            # Begun anew: every pair sees the same images in the same order.
            batches = labeled.labeled_training_batches(batch_size, seed=seed)
            losses = []
            for step, batch in enumerate(batches.take(num_steps)):
                losses.append(train_step(*batch, tf.constant(step), tf.constant(pair)))
                bar.update(batch_size)
            loss = np.mean(losses[-steps_per_epoch:])
            sweep.append(_trial(pair, loss, classifier, dataset.validation))
            states.append(classifier.state())
    best = _best(sweep)
    classifier.set_state(states[best])
    chosen = sweep[best]
    return FinetuneResult(
        FinetuneMetrics(
            **top1_and_top5(classifier.scores(dataset.test), dataset.test.labels),
            validation_top1=chosen.validation_top1,
            validation_log_loss=chosen.validation_log_loss,
        ),
        FinetuneSettings(
            encoder_learning_rate=chosen.encoder_learning_rate,
            head_learning_rate=chosen.head_learning_rate,
            sweep=tuple(sweep),
            label_fraction=float(label_fraction),
            labels_per_class=counts_per_class(labeled.labels, dataset.num_classes),
            epochs=epochs,
            min_steps=min_steps,
            num_steps=num_steps,
            batch_size=batch_size,
            momentum=MOMENTUM,
            precision=encoder.dtype_policy.name,
            view=view_config(view),
            num_train=labeled.num_examples,
            num_validation=dataset.validation.num_examples,
            num_test=dataset.test.num_examples,
            num_classes=dataset.num_classes,
            representation_size=int(encoder.output_shape[-1]),
            seed=seed,
        ),
    )


def _check_settings(
    epochs: int,
    min_steps: int,
    batch_size: int,
    learning_rates: Sequence[tuple[float, float]],
) -> None:
    if epochs < 1 or min_steps < 1 or batch_size < 2:
        raise InputError(
            "Expected at least one epoch, one step, and two images per batch for batch "
            f"normalization. Received: epochs={epochs}, min_steps={min_steps}, "
            f"batch_size={batch_size}."
        )
    if not learning_rates or not all(
        len(pair) == 2 and all(0 < rate < math.inf for rate in pair)
        for pair in learning_rates
    ):
        raise InputError(
            "Expected pairs of positive finite learning rates, the encoder's and the "
            f"new layer's. Received: learning_rates={learning_rates}."
        )


def _check_inputs(encoder: keras.Model, dataset: Dataset) -> None:
    if not isinstance(encoder, keras.Model) or not encoder.trainable_variables:
        raise InputError(
            "Expected a keras.Model with trainable weights. Received: encoder of type "
            f"{type(encoder).__name__}. A SavedModel can't be trained: build the "
            "encoder and load a checkpoint's weights into it."
        )
    check_example_shape(encoder, dataset.example_shape)
    if dataset.test is None:
        raise InputError(
            "Expected a dataset with a test split. Received: "
            f"dataset={dataset.name}, which has none."
        )
    for name in SPLITS:
        labels = getattr(dataset, name).labels
        check_labels(name, labels, num_classes=dataset.num_classes)


def _trial(
    pair: tuple[float, float], loss: float, classifier: Classifier, validation: Split
) -> FinetuneTrial:
    """What a pair has reached; `None` for what is not finite."""
    scores = classifier.scores(validation)
    log_loss = top1 = None
    if np.isfinite(scores).all():
        log_probabilities = log_softmax(scores.astype(np.float64), axis=1)
        of_label = np.arange(len(scores)), validation.labels
        log_loss = -float(log_probabilities[of_label].mean())
        top1 = top_k_accuracy(scores, validation.labels, 1)
    return FinetuneTrial(
        encoder_learning_rate=float(pair[0]),
        head_learning_rate=float(pair[1]),
        loss=float(loss) if math.isfinite(loss) else None,
        validation_log_loss=log_loss,
        validation_top1=top1,
    )


def _best(sweep: list[FinetuneTrial]) -> int:
    """Index of the smallest log loss, the first of equals."""
    losses = [trial.validation_log_loss for trial in sweep]
    finite = [loss for loss in losses if loss is not None]
    if not finite:
        pairs = [
            (trial.encoder_learning_rate, trial.head_learning_rate) for trial in sweep
        ]
        raise InputError(
            "Expected learning rates with which the network stays finite. Received: "
            f"learning_rates={pairs}, all of which diverged. Use smaller ones."
        )
    return losses.index(min(finite))
