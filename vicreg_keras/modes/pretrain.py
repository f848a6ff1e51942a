"""The mode `pretrain`: trains an encoder, and draws its figures."""

import numpy as np

from vicreg_keras.data.dataset import Dataset, open_dataset
from vicreg_keras.errors import InputError
from vicreg_keras.evaluate.collapse import diagnose_collapse
from vicreg_keras.evaluate.knn import knn_accuracy
from vicreg_keras.evaluate.positives import (
    CompareRecord,
    PositivesRecord,
    RunMetrics,
    nearest_others,
    shared_neighbors,
)
from vicreg_keras.evaluate.records import PretrainRecord, read_records, to_json
from vicreg_keras.evaluate.spectrum import spectrum
from vicreg_keras.figures import text_table
from vicreg_keras.figures.run_figures import draw_run
from vicreg_keras.models.saved_encoder import load_encoder
from vicreg_keras.modes.context import Context
from vicreg_keras.modes.options import PretrainOptions
from vicreg_keras.modes.retrieve import open_index
from vicreg_keras.settings import DataOptions, Settings
from vicreg_keras.training.positives import (
    NeighborSource,
    find_positives,
    neighbor_source,
)
from vicreg_keras.training.pretrain import PretrainResult, pretrain
from vicreg_keras.workdir.recipe import check_recipe
from vicreg_keras.workdir.run_folder import RunFolder


def run(
    settings: Settings, data: DataOptions, folder: RunFolder, options: PretrainOptions
) -> int:
    """Pretrains; with neighbors as positives, also compares the run with their source.

    Args:
        settings: Recipe of the run.
        data: Which dataset is trained on.
        folder: Folder of the run.
        options: How neighbors are found.

    Returns:
        The exit status: 0, or 130 if a signal ended the run early.

    Raises:
        InputError: See `pretrain`, `neighbor_source` and `find_positives`.
        NonFiniteLossError: If the loss is no longer finite.
    """
    folder.create()
    with folder.lock():
        _check_epochs(folder, settings)
        check_recipe(folder, settings, data)
        result = run_pretrain(
            settings, open_dataset(data, settings.seed), folder, options
        )
    if result.stopped_by:
        return 130
    print(f"The encoder is in {result.encoder}, figures in {folder.figures}.")
    return 0


def _check_epochs(folder: RunFolder, settings: Settings) -> None:
    """Checks that a run is not asked for fewer epochs than it has."""
    epochs = [record.epoch for record in read_records(folder, PretrainRecord)]
    if epochs and epochs[-1] > settings.epochs and any(folder.checkpoints.glob("*")):
        raise InputError(
            f"Expected epochs of at least {epochs[-1]}, which {folder.path} has "
            f"already. Received: epochs={settings.epochs}. Choose another workdir."
        )


def run_pretrain(
    settings: Settings,
    dataset: Dataset,
    run: RunFolder,
    options: PretrainOptions | None = None,
) -> PretrainResult:
    """Pretrains on a dataset that is open; see `run`."""
    if settings.fitting_warmup_epochs < settings.warmup_epochs:
        print(
            f"The warm-up is shortened to {settings.fitting_warmup_epochs:g} epochs: "
            f"warmup_epochs={settings.warmup_epochs:g} is not shorter than "
            f"epochs={settings.epochs}."
        )
    source = neighbor_source(settings, dataset)
    positives = None
    if source is not None:
        positives = prepare_positives(source, run, settings, options)
    result = pretrain(settings, dataset, run, positives)
    draw_run(run)
    if source is not None and positives is not None and not result.stopped_by:
        trained = Context(load_encoder(run.path), dataset, run, seed=settings.seed)
        compare_with_source(source, trained, positives.shape[1])
    return result


def prepare_positives(
    source: NeighborSource,
    run: RunFolder,
    settings: Settings,
    options: PretrainOptions | None = None,
) -> np.ndarray:
    """Finds a run's positives, and prints and logs what they are.

    Args:
        source: See `neighbor_source`.
        run: Folder of the new run.
        settings: Recipe of the new run.
        options: Index that finds the neighbors; `None` for an exact one.

    Returns:
        See `find_positives`.
    """
    options = options or PretrainOptions()
    positives = find_positives(
        source,
        run,
        settings.num_positives,
        index=options.index,
        search_parameters=options.search_parameters,
    )
    same = chance = None
    text = (
        f"Second views are of the {positives.shape[1]} nearest of {len(positives):,} "
        f"training examples, according to {source.name}"
    )
    labels = source.dataset.train.labels
    if labels is not None:
        # For information: nothing is trained on labels.
        same = float(np.mean(labels[positives] == labels[:, None]))
        chance = float(np.square(np.bincount(labels) / len(labels)).sum())
        text += (
            f"; {text_table.percent(same)} % of them are of the example's own class "
            f"({text_table.percent(chance)} % by chance)"
        )
    print(f"{text}.")
    record = PositivesRecord(
        dataset=source.dataset.name,
        seed=settings.seed,
        neighbors_from=source.name,
        index=options.index,
        search_parameters=options.search_parameters,
        num_train=len(positives),
        num_positives=positives.shape[1],
        same_class=same,
        same_class_by_chance=chance,
    )
    run.append_metrics(to_json(record))
    return positives


def compare_with_source(
    source: NeighborSource, trained: Context, num_neighbors: int
) -> CompareRecord:
    """Compares a run with the source of its positives, on the validation split.

    Args:
        source: What the positives were found with.
        trained: The run that was trained on them.
        num_neighbors: Neighbors of each example that are compared.

    Returns:
        The record that was logged.
    """
    dataset = trained.dataset
    earlier = Context(source.encoder, dataset, source.run, seed=trained.seed)
    results, neighbors = {}, []
    for name, context in (("earlier", earlier), ("this", trained)):
        train, validation = (context.features[part] for part in ("train", "validation"))
        ranks = spectrum(train.representations)
        knn_top1 = None
        if dataset.num_classes is not None:
            knn = knn_accuracy(train, validation, num_classes=dataset.num_classes)
            knn_top1 = knn.metrics.top1
        results[name] = RunMetrics(
            effective_rank=ranks.effective_rank,
            rankme=ranks.rankme,
            state=diagnose_collapse(ranks, kind="representation").state,
            knn_top1=knn_top1,
        )
        index = open_index(context)
        neighbors.append(nearest_others(index, train.representations, num_neighbors))
    record = CompareRecord(
        **trained.record_fields,
        split="validation",
        neighbors_from=source.name,
        results=results,
        num_neighbors=num_neighbors,
        shared_neighbors=shared_neighbors(*neighbors),
    )
    print(
        f"This run and {source.name} on {dataset.name}: kNN accuracy in percent on "
        f"{dataset.validation.num_examples} validation examples; "
        f"{text_table.percent(record.shared_neighbors)} % of the {num_neighbors} "
        "nearest examples are shared."
    )
    lines = [("", "kNN top-1", "effective rank", "RankMe", "representations")]
    for name, metrics in results.items():
        cells = (
            text_table.percent(metrics.knn_top1),
            f"{metrics.effective_rank:.1f}",
            f"{metrics.rankme:.1f}",
            metrics.state,
        )
        lines.append((source.name if name == "earlier" else "this run", *cells))
    print(text_table.format_table(lines))
    trained.log_metrics(record)
    return record
