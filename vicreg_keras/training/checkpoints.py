"""The state of a run in its checkpoints: restored whole, or its weights alone."""

import contextlib

import keras
import tensorflow as tf

from vicreg_keras.data.card import DataCard
from vicreg_keras.errors import InputError
from vicreg_keras.model import VICReg
from vicreg_keras.settings import Settings
from vicreg_keras.training.build import build_encoder
from vicreg_keras.training.callbacks import Stopwatch
from vicreg_keras.workdir.run_folder import RunFolder

# In a checkpoint.
_CARD_KEY = "data_card/.ATTRIBUTES/py_state"
_STEP_KEY = "model/step/.ATTRIBUTES/VARIABLE_VALUE"
# What is expected of a checkpoint, and what to do about another.
_WHOLE = "a whole checkpoint of this recipe"
_HINT = "Delete it to continue from the one before, or choose another workdir."


def restore(
    model: VICReg, run: RunFolder, card: DataCard, init_from: str | None = None
) -> tf.train.CheckpointManager:
    """Loads a run's last state or, for a new run, the weights of another one.

    Args:
        model: Compiled model of the run, whose optimizer is built.
        run: Folder of the run.
        card: Card of the data, which each checkpoint keeps from here on.
        init_from: Path of the run whose weights a new run starts from.

    Returns:
        The manager of the run's checkpoints, each of model, optimizer, stopwatch,
        card, the factor that rollbacks left of the learning rate, and metrics.

    Raises:
        InputError: If a checkpoint can't be read or is of another model.
    """
    checkpoint = tf.train.Checkpoint(
        model=model,
        optimizer=model.optimizer,
        stopwatch=Stopwatch(),
        data_card=_CardState(card),
        learning_rate_factor=tf.Variable(1.0, trainable=False),
        # Of the epoch so far: what it has at its end covers all of it.
        metrics={
            metric.name: [variable.value for variable in metric.variables]
            for metric in model.metrics
        },
    )
    manager = tf.train.CheckpointManager(checkpoint, run.checkpoints, max_to_keep=2)
    if manager.latest_checkpoint:
        with _unreadable_is_an_input_error(_WHOLE, manager.latest_checkpoint, _HINT):
            checkpoint.restore(manager.latest_checkpoint).assert_consumed()
    elif init_from is not None:
        # Neither the step nor the optimizer's state.
        parts = {"encoder": model.encoder, "projector": model.projector}
        _load_weights(RunFolder(init_from), **parts)
    return manager


def read_card(run: RunFolder) -> DataCard | None:
    """Returns the card in the last checkpoint of a run; `None` without one.

    Raises:
        InputError: If there is a checkpoint whose card can't be read.
    """
    path = tf.train.latest_checkpoint(run.checkpoints)
    if path is None:
        return None
    with _unreadable_is_an_input_error(_WHOLE, path, _HINT):
        text = tf.train.load_checkpoint(path).get_tensor(_CARD_KEY)
    return DataCard.from_json(text.decode(), path)


def read_epochs(run: RunFolder, batch_size: int) -> float:
    """Returns the epochs that the last checkpoint of a run has; 0 without one.

    Args:
        run: Folder of the run.
        batch_size: That of its recipe.

    Raises:
        InputError: See `read_card`.
    """
    card, path = read_card(run), tf.train.latest_checkpoint(run.checkpoints)
    if card is None:
        return 0.0
    step = tf.train.load_checkpoint(path).get_tensor(_STEP_KEY)
    return int(step) / card.steps_per_epoch(batch_size)


class _CardState(tf.train.experimental.PythonState):
    """A card as a part of a checkpoint."""

    def __init__(self, card: DataCard):
        self._text = card.json

    def serialize(self) -> str:
        return self._text

    def deserialize(self, string_value: bytes | str) -> None:
        """Keeps the card of the data as it is now."""


def saved_encoder(
    settings: Settings, run: RunFolder, *, trained: bool = True
) -> keras.Model:
    """Returns a run's encoder as it was last saved, which can be trained further.

    Args:
        settings: Recipe of the run.
        run: Folder of a run with a checkpoint.
        trained: Whether it has the saved weights, or those before training.

    Raises:
        InputError: If there is no checkpoint, or it is of another encoder.
    """
    card = read_card(run)
    if card is None:
        raise _no_checkpoint(run)
    encoder = build_encoder(settings, card.schema)
    if trained:
        _load_weights(run, encoder=encoder)
    return encoder


def _no_checkpoint(run):
    return InputError(
        "Expected an earlier run with a checkpoint. Received: "
        f"{run.path}. Give the workdir of a run."
    )


def _load_weights(run, **parts):
    path = tf.train.latest_checkpoint(run.checkpoints)
    if path is None:
        raise _no_checkpoint(run)
    checkpoint = tf.train.Checkpoint(model=tf.train.Checkpoint(**parts))
    expected = f"an earlier run with the same {' and '.join(parts)}"
    with _unreadable_is_an_input_error(expected, run.path, "Choose another run."):
        status = checkpoint.restore(path).expect_partial()
        status.assert_existing_objects_matched()


@contextlib.contextmanager
def _unreadable_is_an_input_error(expected, path, hint):
    try:
        yield
    except (ValueError, AssertionError, RuntimeError, tf.errors.OpError) as error:
        cause = str(error).strip().splitlines()[0]
        raise InputError(
            f"Expected {expected}. Received: {path} ({cause}). {hint}"
        ) from error
