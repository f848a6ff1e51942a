"""The state of a run in its checkpoints: restored whole, or its weights alone.

The newest whole checkpoint is found by reading the files themselves: TensorFlow keeps a
checksum of every tensor. What the text file `checkpoint` says is not asked for.
"""

import contextlib
import functools
import pathlib
import re
import shutil
import warnings
from typing import NamedTuple

import keras
import tensorflow as tf

from vicreg_keras.data.card import DataCard
from vicreg_keras.errors import DamagedError, InputError, error_reason
from vicreg_keras.model import VICReg
from vicreg_keras.settings import Settings
from vicreg_keras.training.build import build_encoder
from vicreg_keras.training.callbacks import Stopwatch
from vicreg_keras.workdir.files import write_text
from vicreg_keras.workdir.recipe import Recipe
from vicreg_keras.workdir.run_folder import RunFolder

_MAX_TO_KEEP = 2
# In a checkpoint.
_STEP_KEY = "model/step/.ATTRIBUTES/VARIABLE_VALUE"


class SavedState(NamedTuple):
    """A whole checkpoint.

    Attributes:
        path: Its path as TensorFlow takes it, without a suffix.
        step: Steps of training.
        card: Text of the data's card, in UTF-8.
        recipe: Recipe of the run; without flags where it was begun without one.
    """

    path: pathlib.Path
    step: int
    card: bytes
    recipe: Recipe


def newest_checkpoint(run: RunFolder) -> SavedState | None:
    """Returns the newest whole checkpoint of a run; `None` if there is none at all.

    A newer one that is damaged or of another run is named on stderr.

    Args:
        run: Folder of the run.

    Raises:
        DamagedError: If there are checkpoints, but no whole one of this run.
    """
    faults: list[str] = []
    run_id = run.run_id
    for path in reversed(_paths(run)):
        found = _read(path)
        if isinstance(found, SavedState) and _is_of(found, run_id):
            for fault in faults:
                text = f"{fault}: going on from {path.name}."
                warnings.warn(text, stacklevel=2)
            return found
        if isinstance(found, SavedState):
            found = DamagedError(path, f"it is of another run than {run.flags}")
        faults.append(found.fault)
    if faults:
        raise DamagedError(
            run.checkpoints, "; ".join(faults), "Restore it, or choose another workdir."
        )
    return None


def restore(
    model: VICReg, run: RunFolder, card: DataCard, init_from: str | None = None
) -> tf.train.CheckpointManager:
    """Loads a run's last state or, for a new run, the weights of another one.

    What is left of damaged checkpoints, and of processes that were killed as they
    wrote, is removed.

    Args:
        model: Compiled model of the run, whose optimizer is built.
        run: Folder of the run.
        card: Card of the data, which each checkpoint keeps from here on.
        init_from: Path of the run whose weights a new run starts from.

    Returns:
        The manager of the run's checkpoints, each of model, optimizer, stopwatch,
        card, recipe, the factor that rollbacks left of the learning rate, and metrics.

    Raises:
        InputError: If a checkpoint can't be read or is of another model.
    """
    checkpoint = tf.train.Checkpoint(
        model=model,
        optimizer=model.optimizer,
        stopwatch=Stopwatch(),
        data_card=_Text(card.to_json()),
        recipe=_Text(run.recipe.text if run.recipe else ""),
        learning_rate_factor=tf.Variable(1.0, trainable=False),
        # Of the epoch so far: what it has at its end covers all of it.
        metrics={
            metric.name: [variable.value for variable in metric.variables]
            for metric in model.metrics
        },
    )
    newest = newest_checkpoint(run)
    if newest is not None:
        expected = "a checkpoint of this recipe and of this version of the program"
        with _other_model_is_an_input_error(expected, newest.path):
            checkpoint.restore(str(newest.path)).assert_consumed()
    elif init_from is not None:
        # Neither the step nor the optimizer's state.
        parts = {"encoder": model.encoder, "projector": model.projector}
        load_weights(RunFolder(init_from), **parts)
    _clean(run)
    return tf.train.CheckpointManager(
        checkpoint, run.checkpoints, max_to_keep=_MAX_TO_KEEP
    )


def read_card(run: RunFolder) -> DataCard | None:
    """Returns the card in the last checkpoint of a run; `None` without one.

    Raises:
        InputError: If there is a checkpoint whose card can't be read.
    """
    newest = newest_checkpoint(run)
    return newest and DataCard.from_json(newest.card, str(newest.path))


def read_epochs(run: RunFolder, batch_size: int) -> float:
    """Returns the epochs that the last checkpoint of a run has; 0 without one.

    Args:
        run: Folder of the run.
        batch_size: That of its recipe.

    Raises:
        InputError: See `read_card`.
    """
    newest, card = newest_checkpoint(run), read_card(run)
    if newest is None or card is None:
        return 0.0
    return newest.step / card.steps_per_epoch(batch_size)


def _paths(run):
    """Paths of all checkpoints, whole or not, by their number."""
    matches = (
        re.fullmatch(r"ckpt-(\d+)\.(index|data-.*)", path.name)
        for path in run.checkpoints.glob("ckpt-*")
    )
    numbers = sorted({int(match[1]) for match in matches if match})
    return [run.checkpoints / f"ckpt-{number}" for number in numbers]


def _read(path):
    """Returns the checkpoint at a path, or the error of one that is not whole."""
    files = sorted(path.parent.glob(f"{path.name}.*"))
    stats = [(file.name, file.stat()) for file in files]
    stamp = tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)
    return _read_whole(path, stamp)


@functools.lru_cache(maxsize=8)
def _read_whole(path, stamp):
    """See `_read`; the stamp tells whether the files are those that were read."""
    del stamp
    try:
        reader = tf.train.load_checkpoint(str(path))
        step, texts = 0, {}
        for name in reader.get_variable_to_shape_map():
            value = reader.get_tensor(name)  # Compared with its checksum.
            if match := re.fullmatch(r"(\w+)/\.ATTRIBUTES/py_state", name):
                texts[match[1]] = value
            elif name == _STEP_KEY:
                step = int(value)
    except (IndexError, ValueError, RuntimeError, tf.errors.OpError) as error:
        return DamagedError(path, error_reason(error))
    if "data_card" not in texts:
        raise InputError(
            "Expected a checkpoint of this version of the program. Received: "
            f"{path}, without a card of the data. Choose another workdir."
        )
    recipe = texts.get("recipe")
    return SavedState(
        path,
        step,
        texts["data_card"],
        Recipe.from_text(recipe, path) if recipe else Recipe({}),
    )


def _is_of(state, run_id):
    return not run_id or state.recipe.run_id in ("", run_id)


def _clean(run):
    """Removes damaged checkpoints, and tells the manager of those of the run."""
    kept, run_id = [], run.run_id
    for path in _paths(run):
        found = _read(path)
        if isinstance(found, SavedState):
            kept += [path.name] if _is_of(found, run_id) else []
            continue
        warnings.warn(f"{found.fault}: it is removed.", stacklevel=3)
        for file in run.checkpoints.glob(f"{path.name}.*"):
            file.unlink(missing_ok=True)
    for left in (*run.checkpoints.glob("*_temp"), *run.checkpoints.glob("*.tmp*")):
        # A folder of TensorFlow, or a file.
        shutil.rmtree(left, ignore_errors=True)
        left.unlink(missing_ok=True)
    (run.checkpoints / "checkpoint").unlink(missing_ok=True)
    if kept:
        lines = [f'model_checkpoint_path: "{kept[-1]}"']
        lines += [f'all_model_checkpoint_paths: "{name}"' for name in kept]
        write_text(run.checkpoints / "checkpoint", "\n".join(lines) + "\n")


class _Text(tf.train.experimental.PythonState):
    """A text as a part of a checkpoint, in which each one keeps the text as it is now.

    Args:
        text: The text.
    """

    def __init__(self, text: str):
        self._text = text

    def serialize(self) -> bytes:
        return self._text.encode("utf-8", "surrogateescape")

    def deserialize(self, string_value: bytes | str) -> None:
        """Changes nothing."""


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
        load_weights(run, encoder=encoder)
    return encoder


def _no_checkpoint(run):
    return InputError(
        "Expected an earlier run with a checkpoint. Received: "
        f"{run.path}. Give the workdir of a run."
    )


def load_weights(run: RunFolder, **parts: keras.Model) -> int:
    """Loads the weights of a run's last checkpoint, and leaves its folder as it is.

    Args:
        run: Folder of the run.
        **parts: Parts of the model, such as its `encoder` and `projector`.

    Returns:
        The step of the checkpoint.

    Raises:
        InputError: If there is no checkpoint, or it is of other parts.
    """
    newest = newest_checkpoint(run)
    if newest is None:
        raise _no_checkpoint(run)
    checkpoint = tf.train.Checkpoint(model=tf.train.Checkpoint(**parts))
    expected = f"an earlier run with the same {' and '.join(parts)}"
    with _other_model_is_an_input_error(expected, run.path):
        status = checkpoint.restore(str(newest.path)).expect_partial()
        status.assert_existing_objects_matched()
    return newest.step


@contextlib.contextmanager
def _other_model_is_an_input_error(expected, path):
    try:
        yield
    except (ValueError, AssertionError) as error:
        raise InputError(
            f"Expected {expected}. Received: {path} ({error_reason(error)}). Choose "
            "another run, or another workdir."
        ) from error
