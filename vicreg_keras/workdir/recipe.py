"""The recipe that a run was started with, as a flag file in its folder."""

from vicreg_keras.settings import DataOptions, Settings
from vicreg_keras.settings.options import free_names, to_flags
from vicreg_keras.workdir.run_folder import RunFolder


def check_recipe(
    run: RunFolder, settings: Settings, data: DataOptions
) -> dict[str, str]:
    """Checks that a recipe is the one that a run was started with.

    Args:
        run: The run's folder. One without a checkpoint may be given any recipe.
        settings: The recipe.
        data: Which dataset is trained on; where it is may change.

    Returns:
        The flags of the recipe, as texts by name.

    Raises:
        InputError: If the folder belongs to another recipe.
    """
    texts = to_flags(data, settings)
    texts |= {"mode": "pretrain", "workdir": str(run.path)}
    run.check_flags(texts, may_change=free_names(data, settings) | {"mode", "workdir"})
    return texts
