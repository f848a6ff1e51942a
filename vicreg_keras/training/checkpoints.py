"""The state of a run in its checkpoints: restored whole, or its weights alone."""

import contextlib

import keras
import tensorflow as tf

from vicreg_keras.data.dataset import Dataset
from vicreg_keras.errors import InputError
from vicreg_keras.model import VICReg
from vicreg_keras.settings import Settings
from vicreg_keras.training.build import build_encoder
from vicreg_keras.training.callbacks import Stopwatch
from vicreg_keras.workdir.run_folder import RunFolder


def restore(
    model: VICReg, run: RunFolder, init_from: str | None = None
) -> tf.train.CheckpointManager:
    """Loads a run's last state or, for a new run, the weights of another one.

    Args:
        model: Compiled model of the run, whose optimizer is built.
        run: Folder of the run.
        init_from: Path of the run whose weights a new run starts from.

    Returns:
        The manager of the run's checkpoints, each of model, optimizer and stopwatch.

    Raises:
        InputError: If a checkpoint can't be read or is of another model.
    """
    checkpoint = tf.train.Checkpoint(
        model=model, optimizer=model.optimizer, stopwatch=Stopwatch()
    )
    manager = tf.train.CheckpointManager(checkpoint, run.checkpoints, max_to_keep=2)
    if manager.latest_checkpoint:
        hint = "Delete it to continue from the one before, or choose another workdir."
        expected = "a whole checkpoint of this recipe"
        with _unreadable_is_an_input_error(expected, manager.latest_checkpoint, hint):
            checkpoint.restore(manager.latest_checkpoint).assert_consumed()
    elif init_from is not None:
        # Neither the step nor the optimizer's state.
        parts = {"encoder": model.encoder, "projector": model.projector}
        _load_weights(RunFolder(init_from), **parts)
    return manager


def trained_encoder(
    settings: Settings, dataset: Dataset, run: RunFolder
) -> keras.Model:
    """Returns a run's encoder as it was last saved, which can be trained further.

    Args:
        settings: Recipe of the run.
        dataset: Dataset of the run, or another one of its image size.
        run: Folder of a run with a checkpoint.

    Raises:
        InputError: If there is no checkpoint, or it is of another encoder.
    """
    encoder = build_encoder(settings, dataset)
    _load_weights(run, encoder=encoder)
    return encoder


def _load_weights(run, **parts):
    path = tf.train.latest_checkpoint(run.checkpoints)
    if path is None:
        raise InputError(
            "Expected an earlier run with a checkpoint. Received: "
            f"{run.path}. Give the workdir of a run."
        )
    checkpoint = tf.train.Checkpoint(model=tf.train.Checkpoint(**parts))
    expected = f"an earlier run with the same {' and '.join(parts)}"
    with _unreadable_is_an_input_error(expected, run.path, "Choose another run."):
        status = checkpoint.restore(path).expect_partial()
        status.assert_existing_objects_matched()


@contextlib.contextmanager
def _unreadable_is_an_input_error(expected, path, hint):
    try:
        yield
    except (ValueError, AssertionError, tf.errors.OpError) as error:
        cause = str(error).strip().splitlines()[0]
        raise InputError(
            f"Expected {expected}. Received: {path} ({cause}). {hint}"
        ) from error
