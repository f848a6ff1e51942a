"""Pretraining: one run from its settings and dataset to a trained encoder."""

import contextlib
import dataclasses
import pathlib
import sys
import warnings
from collections.abc import Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from vicreg_keras.data.card import DataCard, describe
from vicreg_keras.data.dataset import Dataset
from vicreg_keras.errors import DamagedError, InputError, NonFiniteError
from vicreg_keras.evaluate.records import PretrainRecord, read_records
from vicreg_keras.export.savedmodel import export_savedmodel
from vicreg_keras.figures.run_figures import draw_run
from vicreg_keras.hardware import distribute
from vicreg_keras.hardware.precision import float32_layers
from vicreg_keras.model import VICReg
from vicreg_keras.settings import Settings
from vicreg_keras.training import callbacks, identity
from vicreg_keras.training.build import build_encoder, build_model, make_schedule
from vicreg_keras.training.checkpoints import restore
from vicreg_keras.training.memory_estimate import check_memory
from vicreg_keras.training.positives import prepare_positives
from vicreg_keras.training.rollback import Rollbacks
from vicreg_keras.training.status import Status
from vicreg_keras.workdir.run_folder import RunFolder, check_owner, outdated
from vicreg_keras.workdir.versions import check_version, newest_version


@dataclasses.dataclass(frozen=True)
class PretrainResult:
    """What a pretraining gave.

    Attributes:
        metrics: Logs of the last epoch by name; none if no epoch ended.
        encoder: Path of the SavedModel, or `None` without one.
        stopped_by: Name of the signal that ended the run early, or `None`.
    """

    metrics: dict[str, float]
    encoder: pathlib.Path | None
    stopped_by: str | None


def pretrain(
    settings: Settings,
    dataset: Dataset,
    run: RunFolder,
    *,
    index: str = "Flat",
    search_parameters: str | None = None,
    on_changed_data: str = "refuse",
    on_nan: str = "stop",
    flags: Mapping[str, str] | None = None,
    extra_callbacks: Sequence[keras.callbacks.Callback] = (),
    export: bool = True,
) -> PretrainResult:
    """Trains a run, or continues it, draws it, and exports its encoder.

    Args:
        settings: Recipe of the run.
        dataset: Its training split is trained on, its validation split is watched.
        run: Folder of the run. If it holds a checkpoint, training continues from there
            to `settings.epochs`.
        index: See `prepare_positives`.
        search_parameters: See `prepare_positives`.
        on_changed_data: Whether a run whose data has changed since its last checkpoint
            is refused, or goes on (`"continue"`) after as many epochs of the new data,
            with the statistics of the data that it began with.
        on_nan: See `Rollbacks`.
        flags: Written to the run's `flags.flags` once the data is known to fit.
        extra_callbacks: Called before the usual callbacks, so that what they add to an
            epoch's logs is recorded with it.
        export: Whether the encoder is written as a SavedModel, which takes seconds.

    Raises:
        InputError: If settings and data don't fit, or a checkpoint can't be read; see
            also `prepare_positives`.
        NonFiniteError: If loss, gradient or weights are no longer finite; none such
            are saved.
    """
    settings = settings.for_examples(dataset.example_shape)
    num_steps = steps_per_epoch(settings, dataset)
    records = read_records(run, PretrainRecord)
    if not records or records[-1].epoch < settings.epochs:
        check_memory(settings, dataset)
    data = identity.identify(settings, dataset, run, on_changed_data)
    _print_schedule(settings, run, has_begun=bool(records))
    if flags:
        run.write_flags(flags)
    print(describe(dataset), flush=True)
    positives = prepare_positives(
        settings, dataset, run, index=index, search_parameters=search_parameters
    )
    rollbacks = Rollbacks(run, settings, dataset, on_nan)
    with Status(run, settings, num_steps) as status:
        while True:
            model, manager = begin(settings, dataset, run, data, rollbacks.factor)
            step = int(model.step.numpy())
            called = extra_callbacks, status
            try:
                stopped_by = _train(
                    model, manager, settings, dataset, run, positives, *called
                )
                break
            except NonFiniteError as error:
                at = int(model.step.numpy())
                batches = _batches(settings, dataset, positives, at)
                rollbacks.go_back(error, model, manager, next(iter(batches)))
                data = identity.identify(settings, dataset, run, on_changed_data)
        draw_run(run)
        encoder = None
        if export and stopped_by is None:
            encoder = newest_version(run.encoder)
            trained = step < int(model.step.numpy())
            if encoder is None or trained or not _is_of_run(encoder, run):
                encoder = export_encoder(model, settings, data.card, run)
    records = read_records(run, PretrainRecord)
    metrics = records[-1].metrics if records else {}
    return PretrainResult(metrics, encoder, stopped_by)


def begin(
    settings: Settings,
    dataset: Dataset,
    run: RunFolder,
    data: identity.Identity,
    learning_rate_factor: float = 1.0,
) -> tuple[VICReg, tf.train.CheckpointManager]:
    """Builds the model of a run, in the state of the run's last checkpoint.

    Args:
        settings: Recipe of the run.
        dataset: The dataset.
        run: Folder of the run.
        data: What the dataset is to the run, see `identity.identify`.
        learning_rate_factor: Times that of the checkpoint and the recipe's learning
            rate, from here on.

    Returns:
        The compiled model and the manager of its checkpoints.

    Raises:
        InputError: If a checkpoint can't be read or is of another model.
    """
    num_steps = steps_per_epoch(settings, dataset)
    with distribute.make_strategy(settings.strategy).scope():
        model = build_model(settings, dataset, num_steps, data.card.schema)
    manager = restore(model, run, data.card, settings.init_from)
    factor = manager.checkpoint.learning_rate_factor
    factor.assign(factor * learning_rate_factor)
    model.optimizer.learning_rate = make_schedule(
        settings, num_steps, float(factor.numpy())
    )
    run.write_environment(precision=model.compute_dtype, seed=settings.seed)
    identity.go_on(model, run, settings, dataset, data)
    return model, manager


def steps_per_epoch(settings: Settings, dataset: Dataset) -> int:
    """Returns the number of whole batches of the training split.

    Args:
        settings: Recipe of the run.
        dataset: The dataset.

    Raises:
        InputError: If there is none.
    """
    num_examples = dataset.pretraining.num_examples
    if num_examples < 2:
        raise InputError(
            "Expected two training examples or more, whose variance the loss takes. "
            f"Received: dataset={dataset.name!r} with 1 beside those that are held "
            "out. Add examples."
        )
    if num_examples < settings.batch_size:
        fitting = 2 ** int(np.log2(num_examples))
        raise InputError(
            "Expected batch_size of at most the size of the training split "
            f"({num_examples} examples). Received: batch_size={settings.batch_size}. "
            f"Use batch_size={fitting} or less."
        )
    return num_examples // settings.batch_size


def _print_schedule(settings, run, *, has_begun):
    """Says where epochs or warm-up are others than planned."""
    if settings.fitting_warmup_epochs < settings.warmup_epochs:
        print(
            f"The warm-up is shortened to {settings.fitting_warmup_epochs:g} epochs: "
            f"warmup_epochs={settings.warmup_epochs:g} is not shorter than "
            f"epochs={settings.epochs}."
        )
    planned = run.read_flags().get("epochs", f"{settings.epochs}")
    if has_begun and planned != str(settings.epochs):
        print(
            f"The run was to have {planned} epochs and now has {settings.epochs}: from "
            "here on, the learning rate follows the new schedule."
        )


def _train(model, manager, settings, dataset, run, positives, extra_callbacks, status):
    """Trains to the last step; returns the name of the signal that ended it before."""
    step, stopwatch = int(model.step.numpy()), manager.checkpoint.stopwatch
    size = settings.batch_size
    total_steps = settings.epochs * (dataset.pretraining.num_examples // size)
    status.start(step)
    if step >= total_steps:
        return None
    if step:
        place = f"step {step:,} of {total_steps:,}"
        print(f"Continuing {run.path} at {place}.", file=sys.stderr, flush=True)
    saver = callbacks.SaveState(manager, stopwatch, settings.checkpoint_minutes)
    bar = callbacks.make_bar(total_steps, step)
    monitor = callbacks.Monitor(run, settings, dataset, stopwatch, bar)
    tensorboard = keras.callbacks.TensorBoard(run.tensorboard, write_graph=False)
    # The saver comes last: when it ends the run, all else is written.
    every = [*extra_callbacks, monitor, status, tensorboard, saver]
    try:
        with bar, saver, contextlib.suppress(callbacks.Stopped):
            _fit(model, settings, dataset, positives, every)
    except NonFiniteError as error:
        if saver.stopped_by:
            raise KeyboardInterrupt from error
        raise
    return saver.stopped_by and saver.stopped_by.name


def _fit(model, settings, dataset, positives, callbacks_):
    """Fits from the model's step to the last; may raise `callbacks.Stopped`."""
    num_steps = steps_per_epoch(settings, dataset)
    validation = validation_batches(settings, dataset)
    while (step := int(model.step.numpy())) < settings.epochs * num_steps:
        batches = _batches(settings, dataset, positives, step)
        epoch, done = divmod(step, num_steps)
        continued = [callbacks.ContinueEpoch(model)] if done else []
        with warnings.catch_warnings():
            # Keras warns that it can't see whether a tf.data.Dataset is shuffled.
            warnings.filterwarnings("ignore", message=".*shuffle=True.*")
            model.fit(
                batches,
                initial_epoch=epoch,
                # The rest of an epoch that had begun is fitted by itself.
                epochs=epoch + 1 if done else settings.epochs,
                steps_per_epoch=num_steps - done,
                validation_data=validation,
                callbacks=[*continued, *callbacks_],
                verbose=0,
            )


def _batches(settings, dataset, positives, step):
    """Training batches from a step on."""
    train, size = dataset.pretraining, settings.batch_size
    start = {"seed": settings.seed, "start_step": step}
    if positives is None:
        return train.training_batches(size, **start)
    return train.training_pairs(size, positives, **start)


def validation_batches(settings: Settings, dataset: Dataset) -> tf.data.Dataset | None:
    """Returns whole batches of the validation split, in the same order every time.

    Args:
        settings: Recipe of the run.
        dataset: The dataset.

    Returns:
        Batches of images, or `None` where there is no batch of two.
    """
    validation = dataset.validation
    size = min(settings.batch_size, validation.num_examples)
    if size < 2:
        return None
    order = np.random.default_rng(settings.seed).permutation(validation.num_examples)
    whole = validation.num_examples // size * size
    return (
        validation.take(order[:whole])
        .batches(size)
        .map(lambda images: tf.ensure_shape(images, (size, *dataset.example_shape)))
    )


def _is_of_run(encoder: pathlib.Path, run: RunFolder) -> bool:
    """Whether an encoder is whole and of the run's end; what is not is said."""
    try:
        check_version(encoder)
        check_owner(encoder, run)
    except DamagedError as error:
        warnings.warn(f"{error.fault}: it is written anew.", stacklevel=2)
        return False
    return outdated(encoder, run) is None


def export_encoder(
    model: VICReg, settings: Settings, card: DataCard, run: RunFolder
) -> pathlib.Path:
    """Writes the encoder of a run as the next version of its SavedModel.

    Args:
        model: The trained model.
        settings: Recipe of the run.
        card: Card of its data.
        run: Folder of the run.

    Returns:
        The path of the SavedModel.
    """
    with float32_layers():
        encoder = build_encoder(settings, card.schema)
    encoder.set_weights(model.encoder.get_weights())
    return export_savedmodel(
        encoder,
        run.encoder,
        card.schema.example_shape,
        class_names=card.class_names,
        card=card,
        recipe=run.recipe.text if run.recipe else None,
    )
