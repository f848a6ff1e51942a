"""What a run is: its recipe and its data, which are checked before it continues."""

import dataclasses
import warnings

from vicreg_keras.data import card as data_card
from vicreg_keras.data.card import DataCard
from vicreg_keras.data.dataset import Dataset
from vicreg_keras.errors import DamagedError, InputError
from vicreg_keras.evaluate.records import (
    DataChangeRecord,
    PretrainRecord,
    read_records,
    to_json,
)
from vicreg_keras.model import VICReg
from vicreg_keras.settings import DataOptions, Settings
from vicreg_keras.settings.options import free_names, to_flags
from vicreg_keras.training.build import make_schema
from vicreg_keras.training.checkpoints import (
    SavedState,
    newest_checkpoint,
    read_card,
)
from vicreg_keras.workdir.files import write_file, write_text
from vicreg_keras.workdir.recipe import Recipe
from vicreg_keras.workdir.run_folder import RunFolder, check_unchanged
from vicreg_keras.workdir.versions import newest_version


@dataclasses.dataclass(frozen=True)
class Identity:
    """What a run is trained on.

    Attributes:
        card: The data as it is now, with the schema of the encoder that training
            begins with.
        earlier: The data as it was at the last checkpoint; of a new run, `card`.
        changes: What has changed since, in words.
    """

    card: DataCard
    earlier: DataCard
    changes: tuple[str, ...]


def check_recipe(
    run: RunFolder, settings: Settings, data: DataOptions
) -> dict[str, str]:
    """Checks that a recipe is the one that a run was started with.

    Where the run's `flags.flags` is lost or damaged, it is written again.

    Args:
        run: The run's folder. One without a checkpoint may be given any recipe.
        settings: The recipe.
        data: Which dataset is trained on; where it is may change.

    Returns:
        The flags of the recipe, as texts by name.

    Raises:
        InputError: If the folder belongs to another recipe, or what it has been
            trained to is lost.
    """
    texts = to_flags(data, settings)
    texts |= {"mode": "pretrain", "workdir": str(run.path)}
    newest = newest_checkpoint(run)
    if newest is None:
        _check_new(run)
        return texts
    earlier = _recipe(run, newest)
    may_change = free_names(data, settings) | {"mode", "workdir"}
    check_unchanged(run.path, earlier.flags, texts, may_change)
    return texts


def _check_new(run: RunFolder) -> None:
    """Checks that a run without a checkpoint has not lost it."""
    # The first epoch's record is written before the first checkpoint.
    epochs = [record.epoch for record in read_records(run, PretrainRecord)]
    encoder = newest_version(run.encoder)
    if encoder is not None or max(epochs, default=0) > 1:
        found = encoder or f"records of {max(epochs)} epochs"
        raise InputError(
            f"Expected a checkpoint in {run.checkpoints}, as the run has trained "
            f"already. Received: none, but {found}. Restore it, or choose another "
            "workdir."
        )


def _recipe(run: RunFolder, newest: SavedState) -> Recipe:
    """Returns the recipe of a run, which is written again where it was lost."""
    kept = newest.recipe
    try:
        earlier, fault = run.recipe, f"{run.flags} is missing"
    except DamagedError as error:
        if not kept.flags:
            raise
        earlier, fault = None, error.fault
    if kept.flags and (earlier is None or not earlier.run_id):
        warnings.warn(f"{fault}: the recipe is that in {newest.path}.", stacklevel=2)
        write_text(run.flags, kept.text)
        return kept
    return earlier or kept


def first_card(run: RunFolder, settings: Settings) -> DataCard | None:
    """Returns the card of the data that a run's encoder begins with.

    That is its own or, of a new run that starts from the weights of another one, the
    other one's; `None` where the encoder is new.

    Args:
        run: Folder of the run.
        settings: Its recipe.

    Raises:
        InputError: See `read_card`.
    """
    card = read_card(run)
    if card is None and settings.init_from is not None:
        card = read_card(RunFolder(settings.init_from))
    return card


def identify(
    settings: Settings, dataset: Dataset, run: RunFolder, on_changed_data: str
) -> Identity:
    """Returns what a run is trained on, and what has changed since it last was.

    Args:
        settings: Recipe of the run.
        dataset: The dataset.
        run: Folder of the run.
        on_changed_data: `"refuse"` or `"continue"`.

    Raises:
        InputError: If the data of a run with a checkpoint has changed and is not to be
            continued with, or is not such as the encoder that training begins with.
    """
    earlier = read_card(run)
    found = data_card.changes(earlier, dataset, run.examples) if earlier else ()
    if found and on_changed_data == "refuse":
        more = ", or use on_changed_data=continue to go on with what is there now"
        raise _changed_error(run, dataset, found, more)
    first = earlier or first_card(run, settings)
    schema = make_schema(settings, dataset) if first is None else first.schema
    shapes = (dataset.example_shape, dataset.columns)
    if shapes != (schema.example_shape, schema.columns):
        raise InputError(
            f"Expected examples of shape {schema.example_shape}, of the same columns, "
            f"as the encoder was trained on. Received: dataset={dataset.name} with "
            f"examples of shape {dataset.example_shape}. Use such data, or image_size."
        )
    card = data_card.make_card(dataset, schema)
    return Identity(card, earlier or card, found)


def check_data(run: RunFolder, settings: Settings, dataset: Dataset) -> None:
    """Checks that the data is that which a folder of several trainings began with.

    In a new folder, the data's card and the names of its examples are written.

    Args:
        run: The folder.
        settings: The recipe that the trainings change.
        dataset: The dataset.

    Raises:
        InputError: If the data is another.
    """
    if (run.path / "trials").exists() and not run.data_card.exists():
        raise DamagedError(run.data_card, "it is missing")
    if run.data_card.exists():
        content, where = run.data_card.read_bytes(), str(run.data_card)
        earlier = DataCard.from_json(content, where)
        if found := data_card.changes(earlier, dataset, run.examples):
            raise _changed_error(run, dataset, found)
    else:
        schema = make_schema(settings, dataset)
        _write(run, data_card.make_card(dataset, schema), dataset)


def _changed_error(run, dataset, found, more=""):
    return InputError(
        f"Expected the data that {run.path} was trained on so far. Received: dataset="
        f"{dataset.name}, where {'; '.join(found)}. Choose another workdir{more}."
    )


def _write(run, card, dataset):
    write_text(run.data_card, card.to_json(run=run.run_id) + "\n")
    with write_file(run.examples) as file:
        data_card.save_examples(dataset, file)


def go_on(
    model: VICReg,
    run: RunFolder,
    settings: Settings,
    dataset: Dataset,
    identity: Identity,
) -> None:
    """Brings a run to the place that its last checkpoint stands for in the data.

    Records after it are removed, and the card and the names of the examples written.
    With changed data, the step becomes that of as many epochs of the new data, and the
    changes are printed and logged.

    Args:
        model: The restored model.
        run: Folder of the run.
        settings: Its recipe.
        dataset: The dataset.
        identity: What the dataset is to the run.
    """
    step, size = int(model.step.numpy()), settings.batch_size
    epochs = step / identity.earlier.steps_per_epoch(size)
    run.truncate_metrics(int(epochs))
    _write(run, identity.card, dataset)
    if identity.changes:
        step = round(epochs * identity.card.steps_per_epoch(size))
        inner = getattr(model.optimizer, "inner_optimizer", model.optimizer)
        for counter in (model.step, model.optimizer.iterations, inner.iterations):
            counter.assign(step)
        print(f"Going on with changed data, where {'; '.join(identity.changes)}.")
        record = DataChangeRecord(
            dataset=identity.card.dataset,
            seed=settings.seed,
            step=step,
            changes=identity.changes,
            fingerprint=identity.card.fingerprint,
        )
        run.append_metrics(to_json(record))
