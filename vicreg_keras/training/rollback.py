"""Numbers of a run that are not finite: what they came from, and going back."""

import sys
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from vicreg_keras.data.dataset import Dataset
from vicreg_keras.errors import NonFiniteError
from vicreg_keras.evaluate.records import RollbackRecord, to_json
from vicreg_keras.model import VICReg
from vicreg_keras.settings import Settings
from vicreg_keras.training.finite import find_nonfinite
from vicreg_keras.workdir.files import write_file
from vicreg_keras.workdir.run_folder import RunFolder

_MAX_ROLLBACKS = 3
_REMEDY = (
    "Lower learning_rate, raise warmup_epochs, bound the gradient by global_clipnorm "
    "or use precision=float32, in another workdir"
)


class Rollbacks:
    """What follows on numbers that are not finite, as `on_nan` says.

    Args:
        run: Folder of the run.
        settings: Its recipe.
        dataset: Dataset that is trained on.
        on_nan: `"stop"`, or `"rollback"` to go back to the last checkpoint, or to the
            initial state, with half the learning rate; after three times without a
            new checkpoint training stops all the same.

    Attributes:
        factor: What the learning rate of the last checkpoint is multiplied by.
    """

    def __init__(
        self, run: RunFolder, settings: Settings, dataset: Dataset, on_nan: str
    ):
        self.factor = 1.0
        self._run = run
        self._settings = settings
        self._dataset = dataset
        self._on_nan = on_nan
        self._saved_step: int | None = None
        self._count = 0

    def go_back(
        self,
        error: NonFiniteError,
        model: VICReg,
        manager: tf.train.CheckpointManager,
        batch: tf.Tensor | Mapping[str, tf.Tensor],
    ) -> None:
        """Keeps what can be run again, and prepares going back.

        Args:
            error: What was not finite.
            model: The model as it was before the step, or as it is after it where the
                step itself was finite.
            manager: Manager of the run's checkpoints.
            batch: Batch of the model's next step.

        Raises:
            NonFiniteError: If training is to stop.
        """
        parts = batch if isinstance(batch, Mapping) else {"images": batch}
        reason = f"{error} {_first(model, parts)}"
        path = keep(model, parts, self._run)
        saved = manager.latest_checkpoint
        saved_step = int(saved.rpartition("-")[2]) if saved else 0
        self._count = self._count + 1 if saved_step == self._saved_step else 1
        self._saved_step = saved_step
        where = f"The last checkpoint is of step {saved_step:,}"
        if not saved:
            where = "There is no checkpoint yet"
        kept = f"Batch and model are kept in {path}. {where}."
        if self._on_nan == "stop":
            raise NonFiniteError(
                f"{reason} {kept} {_REMEDY}; or go on here "
                "by mode=pretrain and on_nan=rollback."
            ) from error
        if self._count > _MAX_ROLLBACKS:
            raise NonFiniteError(
                f"{reason} {kept} That was after {_MAX_ROLLBACKS} rollbacks without a "
                f"new checkpoint. {_REMEDY}."
            ) from error
        self.factor = 0.5**self._count
        factor = manager.checkpoint.learning_rate_factor
        record = RollbackRecord(
            dataset=self._dataset.name,
            seed=self._settings.seed,
            data_fingerprint=self._dataset.fingerprint,
            step=saved_step,
            learning_rate_factor=float(factor.numpy()) / 2,
            reason=reason,
        )
        self._run.append_metrics(to_json(record))
        print(
            f"{reason} {kept} Going back to step {saved_step:,}, with "
            f"{record.learning_rate_factor:g} of the recipe's learning rate.",
            file=sys.stderr,
            flush=True,
        )


def keep(model: VICReg, batch: Mapping[str, tf.Tensor], run: RunFolder) -> str:
    """Writes a batch and a model, in place of earlier ones, to run the step again.

    Returns:
        The path of both, without suffix.
    """
    step = int(model.step.numpy())
    run.nonfinite.mkdir(exist_ok=True)
    for earlier in run.nonfinite.glob("step-*"):
        earlier.unlink()
    path = run.nonfinite / f"step-{step + 1}"
    arrays = {name: part.numpy() for name, part in batch.items()}
    with write_file(path.with_suffix(".npz")) as file:
        np.savez(file, **arrays, step=step, seed=model.seed)
    model.save(path.with_suffix(".keras"))
    return str(path)


def _first(model, batch):
    try:
        first = find_nonfinite(model, **batch)
    except tf.errors.ResourceExhaustedError:
        return "There is no memory to run the step layer by layer."
    if first is None:
        return "Run layer by layer, the next step is finite."
    return f"Not finite first is {first}."
