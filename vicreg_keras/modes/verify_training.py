"""What `verify` computes again of a training: its epochs and its encoder."""

import json
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from vicreg_keras import losses
from vicreg_keras.data.card import DataCard
from vicreg_keras.data.dataset import Dataset
from vicreg_keras.errors import DamagedError, escape
from vicreg_keras.evaluate.records import (
    DataChangeRecord,
    PretrainRecord,
    RollbackRecord,
    read_records,
)
from vicreg_keras.export.savedmodel import CLASS_NAMES_FILE
from vicreg_keras.hardware.precision import float32_layers
from vicreg_keras.models.saved_encoder import load_encoder
from vicreg_keras.modes.findings import TOLERANCE, Finding, compare
from vicreg_keras.settings import Settings
from vicreg_keras.training.build import build_model, make_schedule
from vicreg_keras.training.checkpoints import load_weights, saved_encoder
from vicreg_keras.training.pretrain import validation_batches
from vicreg_keras.training.scores import make_scorer
from vicreg_keras.workdir.run_folder import RunFolder
from vicreg_keras.workdir.versions import version_numbers

_NUM_ENCODED = 64  # Examples.
# Losses of an epoch, and what the names of their terms begin with.
_LOSSES = {"loss": "", "val_loss": "val_"}


def check_pretraining(
    settings: Settings,
    dataset: Dataset,
    folder: RunFolder,
    card: DataCard,
    num_epochs: int,
    num_more_steps: int,
) -> Iterator[Finding]:
    """Compares each epoch with itself, and the last one with the checkpoint's weights.

    Args:
        settings: Recipe of the run.
        dataset: The data that it was trained on.
        folder: Folder of the run.
        card: Card of the data, from the last checkpoint.
        num_epochs: Whole epochs that the checkpoint has.
        num_more_steps: Its steps after them.
    """
    epochs = read_records(folder, PretrainRecord)
    numbers, done = [record.epoch for record in epochs], range(1, num_epochs + 1)
    if gone := sorted({*done} - {*numbers}):
        detail = f"no record of epochs {gone} of the checkpoint's {num_epochs}"
        yield Finding("pretraining, epochs", "differs", detail)
    elif sorted({*numbers}) != numbers:
        yield Finding("pretraining, epochs", "differs", f"epochs are {numbers}")
    steps_per_epoch = card.steps_per_epoch(settings.batch_size)
    expected: dict[str, Any] = {"seed": settings.seed}
    if not folder.read_metrics(DataChangeRecord.mode):
        expected["data_fingerprint"] = dataset.fingerprint
        expected["step"] = steps_per_epoch
    yield compare(
        "pretraining, each epoch by itself",
        {f"epoch {one.epoch}": _of_epoch(one, expected) for one in epochs},
        {f"epoch {one.epoch}": _of_itself(one, expected, settings) for one in epochs},
    )
    if not epochs:
        return
    name, last = "pretraining, last epoch", epochs[-1]
    if num_more_steps or last.epoch != num_epochs:
        yield Finding(name, "cannot", f"the checkpoint is not of epoch {last.epoch}")
        return
    model = build_model(settings, dataset, steps_per_epoch, card.schema)
    step = load_weights(folder, encoder=model.encoder, projector=model.projector)
    batches = validation_batches(settings, dataset)
    now = (
        {} if batches is None else model.evaluate(batches, return_dict=True, verbose=0)
    )
    now = {f"val_{key}": value for key, value in now.items()}
    if "rankme" in last.metrics:
        now |= make_scorer(model, dataset, settings.seed)()
    rollbacks = read_records(folder, RollbackRecord)
    factor = rollbacks[-1].learning_rate_factor if rollbacks else 1.0
    schedule = make_schedule(settings, steps_per_epoch, factor)
    now |= {"step": step, "learning_rate": float(schedule(step))}
    before = {"step": last.step, **last.metrics}
    yield compare(name, {key: before.get(key) for key in now}, now)
    detail = "the weights of earlier steps, over which they are means, are not kept"
    yield Finding("pretraining, training losses", "cannot", detail)
    if others := len(epochs) - 1:
        detail = f"the weights after {others} earlier epochs are not kept"
        yield Finding("pretraining, earlier epochs", "cannot", detail)


def _of_epoch(record: PretrainRecord, expected: Mapping[str, Any]) -> dict[str, Any]:
    """What a record says of what `_of_itself` computes."""
    losses_ = {key: one for key, one in record.metrics.items() if key in _LOSSES}
    return losses_ | {key: getattr(record, key) for key in expected}


def _of_itself(
    record: PretrainRecord, expected: Mapping[str, Any], settings: Settings
) -> dict[str, Any]:
    """What a record has to say by its own terms, and by the recipe."""
    values: dict[str, Any] = dict(expected)
    weights = settings.group("loss")
    if "step" in values:
        values["step"] *= record.epoch
    for key, prefix in _LOSSES.items():
        if key in record.metrics:
            values[key] = sum(
                weights[f"{term}_weight"] * record.metrics[f"{prefix}{term}_loss"]
                for term in losses.TERMS
            )
    return values


def check_encoder(
    settings: Settings,
    dataset: Dataset,
    folder: RunFolder,
    card: DataCard,
    *,
    has_ended: bool,
) -> Iterator[Finding]:
    """Compares the newest SavedModel with the checkpoint.

    Args:
        settings: Recipe of the run.
        dataset: The data that it was trained on.
        folder: Folder of the run.
        card: Card of the data, from the last checkpoint.
        has_ended: Whether the checkpoint is of the run's last step.
    """
    numbers = version_numbers(folder.encoder)
    if not numbers:
        yield Finding("encoder", "cannot", "none is exported yet")
        return
    name = f"encoder/{numbers[-1]} and checkpoint"
    if not has_ended:
        yield Finding(name, "cannot", "the run has not ended")
        return
    try:
        saved = load_encoder(folder.encoder)
    except DamagedError as error:
        yield Finding(name, "differs", error.fault)
        return
    num_examples = min(dataset.train.num_examples, _NUM_ENCODED)
    images = tf.constant(dataset.train.read(np.arange(num_examples)))
    with float32_layers():
        encoder = saved_encoder(settings, folder)
    ours, theirs = (np.asarray(one(images, training=False)) for one in (saved, encoder))
    scale = np.abs(theirs).max()
    max_difference = float(np.abs(ours - theirs).max() / max(scale, 1e-12))
    state = "same" if max_difference <= TOLERANCE else "differs"
    detail = (
        f"representations differ by up to {max_difference:.2g} of the largest value"
    )
    yield Finding(name, state, detail if state == "differs" else "", ours.size)
    yield compare(
        f"encoder/{numbers[-1]}, names and data",
        {"class names": _class_names(saved.folder), **_of_data(saved.card)},
        {"class names": [*map(escape, card.class_names or ())], **_of_data(card)},
    )


def _class_names(version: str) -> list[str]:
    path = pathlib.Path(version, "assets", CLASS_NAMES_FILE)
    return path.read_text("utf-8").splitlines() if path.exists() else []


def _of_data(card: DataCard | None) -> dict[str, Any]:
    """What a card says of the data, wherever it is."""
    if card is None:
        return {}
    values = json.loads(card.to_json())
    return {key: values[key] for key in ("fingerprint", "class_names", "schema")}
