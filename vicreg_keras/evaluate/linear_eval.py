"""What did pretraining add? The encoder's linear accuracy beside what it must beat.

Chance, the raw input and an untrained encoder are judged by the same protocols on the
same splits, so that every number in the table answers to another.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from vicreg_keras.evaluate.augmented_probe import (
    AugmentedProbeResult,
    augmented_probe,
)
from vicreg_keras.evaluate.features import (
    Features,
    check_example_shape,
    compile_encoder,
    extract_features,
)
from vicreg_keras.evaluate.few_labels import FewLabelResult
from vicreg_keras.evaluate.linear_probe import (
    LinearHead,
    LinearProbeResult,
    cached_probe,
    few_label_probe,
)
from vicreg_keras.evaluate.records import Record
from vicreg_keras.modes import text_table

PROTOCOLS = ("cached", "augmented", "both")

_SPLITS = ("train", "validation", "test")
_NAMES = {
    "chance": "chance",
    "raw_input": "raw input",
    "untrained": "untrained encoder",
    "encoder": "VICReg encoder",
}
_RAW_PIXELS_LIMIT_BYTES = 2 * 2**30


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChanceMetrics:
    """Accuracies without looking at the examples.

    Attributes:
        top1: Of guessing evenly, in [0, 1].
        top5: Likewise, or `None` for fewer than six classes.
        majority_top1: Of always choosing the most frequent class of the training split.
    """

    top1: float
    top5: float | None
    majority_top1: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class LinearEvalResult:
    """Linear accuracy of one kind of representation, by each protocol that was run.

    Attributes:
        cached: Logistic regression on representations of plain examples.
        augmented: A linear head trained by SGD on random crops.
        few_labels: Logistic regression from a few labels per class.
    """

    cached: LinearProbeResult | None = None
    augmented: AugmentedProbeResult | None = None
    few_labels: FewLabelResult | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class LinearEvalRecord(Record):
    """Linear accuracies of the encoder and its baselines.

    Attributes:
        split: Split of the accuracies.
        protocol: Protocol that was asked for.
        num_train: Training examples.
        num_validation: Validation examples.
        num_test: Test examples.
        num_classes: Number of classes.
        chance: Accuracies without looking.
        results: By `"encoder"`, `"untrained"` and `"raw_input"`.
        raw_input_omitted: Why `"raw_input"` is missing, if it was too large.
    """

    mode: ClassVar[str] = "linear_eval"
    split: str
    protocol: str
    num_train: int
    num_validation: int
    num_test: int
    num_classes: int
    chance: ChanceMetrics
    results: dict[str, LinearEvalResult]
    raw_input_omitted: str | None = None


def linear_eval(
    encoder: Callable[..., Any],
    dataset: Any,
    *,
    protocol: str = "cached",
    untrained_encoder: Callable[..., Any] | None = None,
    features: Mapping[str, Features] | None = None,
    untrained_features: Mapping[str, Features] | None = None,
    fitted: tuple[LinearHead, dict] | None = None,
    raw_input: bool = True,
    few_labels: int = 10,
    few_label_seeds: int = 5,
    seed: int = 0,
    batch_size: int = 256,
    epochs: int = 100,
    view: Callable[..., tf.Tensor] | None = None,
    verbose: int | bool = 1,
) -> dict:
    """Linear accuracy of an encoder on a dataset's test split, with its baselines.

    Representations of the plain examples are computed once an encoder and serve all
    protocols. Raw pixels are always judged by `cached`, as SGD at the learning rates
    of representations says nothing about them.

    Args:
        encoder: Called as `encoder(images, training=False)`; left as it was.
        dataset: A labeled `vicreg_keras.data.dataset.Dataset` with a test split.
        protocol: `"cached"` (`linear_probe.cached_probe`), `"augmented"`
            (`augmented_probe.augmented_probe`) or `"both"`.
        untrained_encoder: The same encoder as it was before training.
        features: The encoder's `"train"`, `"validation"` and `"test"` features, where
            they are known already.
        untrained_features: The untrained encoder's, likewise.
        fitted: What `linear_probe.fit_head` gave for the encoder, likewise.
        raw_input: Whether to judge the raw input. Sets of more than 2 GiB as float32
            are left out, and the result says so.
        few_labels: Labels a class of the few-label protocol; 0 leaves it out.
        few_label_seeds: How many draws of them.
        seed: Of every draw, order and view.
        batch_size: Images a batch.
        epochs: Of the augmented protocol.
        view: Of the augmented protocol; its own by default.
        verbose: 0 is silent.

    Returns:
        A dict that JSON can hold: `dataset`, `split`, `protocol`, `seed`, counts, and
        `results`, which maps `chance`, `raw_input`, `untrained` and `encoder` each
        to protocols (`cached`, `augmented`, `few_labels`), and these to the dicts that
        the probes return. Accuracies are in [0, 1].

    Raises:
        ValueError: If the protocol is unknown, the dataset lacks labels or a test
            split, or its images are not of the encoder's size.
    """
    check(encoder, untrained_encoder, dataset, protocol)
    few = {"labels_per_class": few_labels, "num_draws": few_label_seeds}
    augmented = {
        "epochs": epochs,
        "batch_size": batch_size,
        "view": view,
        "verbose": verbose,
    }

    def judge(encoder, features, protocol, fitted=None):
        return _judge(
            encoder,
            features,
            dataset,
            protocol,
            fitted,
            seed=seed,
            few_labels=few if few_labels else None,
            augmented=augmented,
        )

    def extract(encoder):
        encode = compile_encoder(encoder, dataset.example_shape)
        return {
            name: extract_features(
                encode, getattr(dataset, name), batch_size=batch_size, verbose=verbose
            )
            for name in _SPLITS
        }

    results = {"chance": {"chance": chance(dataset)}}
    if raw_input:
        results["raw_input"] = _judge_inputs(judge, dataset)
    if untrained_encoder is not None:
        results["untrained"] = judge(
            untrained_encoder,
            untrained_features or extract(untrained_encoder),
            protocol,
        )
    results["encoder"] = judge(encoder, features or extract(encoder), protocol, fitted)
    return {
        "mode": "linear_eval",
        "dataset": dataset.name,
        "split": "test",
        "protocol": protocol,
        "seed": int(seed),
        "example_shape": [int(size) for size in dataset.example_shape],
        "num_train": dataset.train.num_examples,
        "num_validation": dataset.validation.num_examples,
        "num_test": dataset.test.num_examples,
        "num_classes": dataset.num_classes,
        "results": results,
    }


def check(
    encoder: Callable[..., Any],
    untrained_encoder: Callable[..., Any] | None,
    dataset: Any,
    protocol: str,
) -> None:
    """Refuses, before any work, what cannot be evaluated.

    Args:
        encoder: As of `linear_eval`.
        untrained_encoder: As of `linear_eval`.
        dataset: As of `linear_eval`.
        protocol: As of `linear_eval`.

    Raises:
        ValueError: As `linear_eval`.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(
            f"Expected one of {', '.join(PROTOCOLS)}. Received: protocol={protocol!r}"
        )
    if dataset.test is None:
        raise ValueError(
            "Expected a dataset with a test split. Received: "
            f"dataset={dataset.name}, which has none. Add a test part to it, so that "
            "what is reported was never chosen on."
        )
    splits = {name: getattr(dataset, name) for name in _SPLITS}
    unlabeled = [name for name, split in splits.items() if split.labels is None]
    if unlabeled:
        raise ValueError(
            f"Expected a labeled dataset. Received: dataset={dataset.name}, whose "
            f"{', '.join(unlabeled)} examples have no labels. Give the encoder "
            "another, labeled dataset to be judged on."
        )
    if len(dataset.example_shape) == 1 and protocol != "cached":
        raise ValueError(
            "Expected protocol=cached for rows of numbers: the others crop and flip "
            f"images. Received: protocol={protocol}."
        )
    for candidate in (encoder, untrained_encoder):
        if candidate is not None:
            check_example_shape(candidate, dataset.example_shape)


def chance(dataset: Any) -> dict:
    """Accuracy without looking: guessing evenly, and always the commonest class.

    Args:
        dataset: A labeled dataset with a test split.

    Returns:
        `top1` and `top5` (`None` for fewer than six classes) of guessing evenly, and
        `majority_top1`, the test share of the commonest training class.
    """
    num_classes = dataset.num_classes
    commonest = np.bincount(dataset.train.labels, minlength=num_classes).argmax()
    return {
        "protocol": "chance",
        "top1": 1 / num_classes,
        "top5": 5 / num_classes if num_classes > 5 else None,
        "majority_top1": float(np.mean(dataset.test.labels == commonest)),
    }


def input_features(dataset: Any, name: str) -> Features:
    """The examples themselves as representations: pixels, or rows scaled.

    Args:
        dataset: A `vicreg_keras.data.dataset.Dataset`.
        name: Of a split.
    """
    split = getattr(dataset, name)
    starts = range(0, split.num_examples, 1024)
    indices = (np.arange(i, min(i + 1024, split.num_examples)) for i in starts)
    rows = np.concatenate([dataset.raw_inputs(split, some) for some in indices])
    return Features(rows, split.labels)


def why_no_inputs(dataset: Any) -> str | None:
    """Why the raw input is left out as a baseline, or `None` if it is not.

    Args:
        dataset: A `vicreg_keras.data.dataset.Dataset`.
    """
    splits = (getattr(dataset, name) for name in _SPLITS)
    num_examples = sum(split.num_examples for split in splits if split is not None)
    num_bytes = 4 * num_examples * int(np.prod(dataset.example_shape))
    if num_bytes <= _RAW_PIXELS_LIMIT_BYTES:
        return None
    return f"{num_bytes / 2**30:.1f} GiB as float32 is over the limit of 2 GiB"


def format_table(result: dict) -> str:
    """A plain-text table of what `linear_eval` returned, accuracies in percent.

    Args:
        result: The dict, fresh or read back from JSON.

    Returns:
        Lines: a header with dataset, split, counts and seed, then one row a baseline
        and protocol, with what was chosen on held-out labels in the last column.
    """
    rows = [("", "protocol", "top-1", "top-5", "chosen on held-out labels")]
    for name, protocols in result["results"].items():
        for numbers in protocols.values():
            rows.append(_table_row(_NAMES[name], numbers))
    heading = (
        f"Linear evaluation of {result['dataset']}, {result['split']} split: "
        f"{result['num_test']} examples of {result['num_classes']} classes, "
        f"{result['num_train']} to train on, {result['num_validation']} held out; "
        f"protocol {result['protocol']}, seed {result['seed']}; accuracy in percent."
    )
    return f"{heading}\n{text_table.format_table(rows, num_left=2)}"


def _judge(
    encoder: Callable[..., Any] | None,
    features: Mapping[str, Features],
    dataset: Any,
    protocol: str,
    fitted: tuple[LinearHead, dict] | None,
    *,
    seed: int,
    few_labels: dict | None,
    augmented: dict,
) -> dict:
    """One encoder by every protocol asked for."""
    train, validation, test = (features[name] for name in _SPLITS)
    num_classes = dataset.num_classes
    seeded = {"seed": seed, "num_classes": num_classes}
    results = {}
    if protocol in ("cached", "both"):
        results["cached"] = cached_probe(
            train, validation, test, num_classes=num_classes, fitted=fitted
        )
    if protocol in ("augmented", "both"):
        results["augmented"] = augmented_probe(
            encoder, dataset.train, validation, test, **seeded, **augmented
        )
    if few_labels is not None:
        results["few_labels"] = few_label_probe(train, test, **seeded, **few_labels)
    return results


def _judge_inputs(judge: Callable[..., dict], dataset: Any) -> dict:
    """The raw input by the cached protocols, or why not."""
    reason = why_no_inputs(dataset)
    if reason is not None:
        return {"cached": {"protocol": "cached", "left_out": reason}}
    inputs = {name: input_features(dataset, name) for name in _SPLITS}
    return judge(None, inputs, "cached")


def _table_row(name: str, numbers: dict) -> tuple[str, str, str, str, str]:
    """Name, protocol, top-1, top-5 and what was chosen, as text."""
    protocol = numbers["protocol"]
    if "left_out" in numbers:
        return name, protocol, "-", "-", f"left out: {numbers['left_out']}"
    top1, top5 = (
        text_table.percent(numbers[key], numbers.get(f"{key}_std"))
        for key in ("top1", "top5")
    )
    chosen = ""
    if protocol == "few_labels":
        count = numbers["labels_per_class"]
        protocol = f"{count} label{'s' if count > 1 else ''} a class"
        values = sorted({draw["C"] for draw in numbers["draws"]})
        how = numbers["C_chosen_by"]
        chosen = f"C {', '.join(f'{value:g}' for value in values)} ({how})"
        chosen += f", {numbers['num_draws']} draws"
    elif protocol == "cached":
        chosen = f"C {numbers['C']:g}"
    elif protocol == "augmented":
        chosen = f"learning rate {numbers['learning_rate']:g}"
        chosen += f", {numbers['epochs']} epochs"
    elif protocol == "chance":
        protocol = "-"
    if not numbers.get("converged", True):
        chosen += ", not converged"
    return name, protocol, top1, top5, chosen
