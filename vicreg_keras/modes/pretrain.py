"""The mode `pretrain`: trains an encoder, and draws its figures."""

import math

from vicreg_keras.data.dataset import open_dataset
from vicreg_keras.errors import InputError
from vicreg_keras.hardware.interrupts import STATUS
from vicreg_keras.modes.options import PretrainOptions
from vicreg_keras.settings import DataOptions, Settings
from vicreg_keras.settings.recipe import INPUT
from vicreg_keras.training.checkpoints import read_epochs
from vicreg_keras.training.identity import check_recipe, first_card
from vicreg_keras.training.pretrain import pretrain
from vicreg_keras.workdir.run_folder import RunFolder


def run(
    settings: Settings, data: DataOptions, folder: RunFolder, options: PretrainOptions
) -> int:
    """Pretrains, or continues a run.

    Args:
        settings: Recipe of the run.
        data: Which dataset is trained on.
        folder: Folder of the run.
        options: How neighbors are found, and what becomes of changed data.

    Returns:
        The exit status: 0, or 130 if a signal ended the run early.

    Raises:
        InputError: See `training.pretrain.pretrain`.
        NonFiniteError: If loss, gradient or weights are no longer finite.
    """
    folder.create()
    with folder.lock():
        flags = check_recipe(folder, settings, data)
        _check_epochs(folder, settings)
        card = first_card(folder, settings)
        result = pretrain(
            settings,
            open_dataset(data, settings.seed, card.schema.known if card else None),
            folder,
            index=options.index,
            search_parameters=options.search_parameters,
            on_changed_data=options.on_changed_data,
            on_nan=options.on_nan,
            flags=flags,
        )
    if result.stopped_by:
        return STATUS
    print(f"The encoder is in {result.encoder}, figures in {folder.figures}.")
    earlier = settings.neighbors_from
    if earlier not in (None, INPUT):
        print(
            f"To compare it with {earlier}: evaluate both, then mode=report with "
            f"runs={earlier},{folder.path}."
        )
    return 0


def _check_epochs(folder: RunFolder, settings: Settings) -> None:
    """Checks that a run has no more epochs."""
    epochs = math.ceil(read_epochs(folder, settings.batch_size))
    if epochs > settings.epochs:
        raise InputError(
            f"Expected epochs of at least {epochs}, which {folder.path} has begun "
            f"already. Received: epochs={settings.epochs}. Choose another workdir."
        )
