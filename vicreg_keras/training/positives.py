"""Neighbors as positives: found in an earlier run or the input; what they changed."""

import zipfile

import keras
import numpy as np

from vicreg_keras.data.dataset import Dataset
from vicreg_keras.evaluate.features import check_example_shape
from vicreg_keras.evaluate.knn import knn_accuracy
from vicreg_keras.evaluate.linear_eval import why_no_inputs
from vicreg_keras.evaluate.positives import nearest_others, shared_neighbors
from vicreg_keras.evaluate.spectrum import diagnose_collapse, spectrum
from vicreg_keras.models.saved_encoder import load_encoder
from vicreg_keras.models.table_encoder import RowInputs
from vicreg_keras.modes import text_table
from vicreg_keras.modes.context import Context
from vicreg_keras.modes.retrieve import open_index
from vicreg_keras.settings import INPUT, Settings
from vicreg_keras.training.pretrain import pretrain
from vicreg_keras.workdir.files import write_file
from vicreg_keras.workdir.run_folder import RunFolder


def run_pretrain(
    settings: Settings,
    dataset: Dataset,
    run: RunFolder,
    init_from: RunFolder | None = None,
    *,
    index: str = "Flat",
    search_parameters: str | None = None,
) -> dict:
    """Pretrains; with neighbors as positives, finds them first and compares at last.

    Args:
        settings: as of `pretrain`.
        dataset: as of `pretrain`.
        run: as of `pretrain`.
        init_from: as of `pretrain`.
        index: FAISS's factory string of the earlier run's index.
        search_parameters: of that index, or `None` for the usual ones.

    Returns:
        What `pretrain` gives.

    Raises:
        ValueError: as `pretrain`, `earlier_run` and `find_positives`.
        FloatingPointError: as `pretrain`.
    """
    earlier = earlier_run(settings, dataset)
    if earlier is None:
        return pretrain(settings, dataset, run, init_from)
    positives = find_positives(
        earlier, run, settings, spec=index, search_parameters=search_parameters
    )
    result = pretrain(settings, dataset, run, init_from, positives)
    if not result["stopped_by"]:
        judged = Context(load_encoder(run.path), dataset, run, seed=settings.seed)
        compare_runs(earlier, judged, positives)
    return result


def earlier_run(settings: Settings, dataset: Dataset) -> Context | None:
    """What positives come from, or `None` where all views are of one example.

    Args:
        settings: of the run to be trained.
        dataset: what it is to be trained on.

    Returns:
        The earlier run; or, without a run, what gives an example's own numbers.

    Raises:
        ValueError: if that run has no encoder, or one for images of another size, or
            the input is too large to search.
    """
    if settings.neighbors_from is None:
        return None
    if settings.neighbors_from == INPUT:
        if reason := why_no_inputs(dataset):
            raise ValueError(
                "Expected --neighbors_from=RUN for so much data. Received: "
                f"neighbors_from={INPUT}, {reason}. Train a run on it first."
            )
        return Context(_input_encoder(dataset), dataset, seed=settings.seed)
    encoder = load_encoder(settings.neighbors_from)
    check_example_shape(encoder, dataset.example_shape)
    run = RunFolder(settings.neighbors_from)
    return Context(encoder, dataset, run, seed=settings.seed)


def find_positives(
    earlier: Context,
    run: RunFolder,
    settings: Settings,
    *,
    spec: str = "Flat",
    search_parameters: str | None = None,
) -> np.ndarray:
    """The training examples nearest to each, as an earlier run or the input has them.

    They are kept in the new run's `positives.npz`. A run that has begun to train goes
    on with those that it began with, whatever has become of the earlier run since.

    Args:
        earlier: as `earlier_run` gives it, on the dataset to be trained on.
        run: the new run.
        settings: of the new run.
        spec: FAISS's factory string of the earlier run's index.
        search_parameters: of the index, or `None` for the usual ones.

    Returns:
        int32 `(num_train, settings.num_positives)`, the nearest first.

    Raises:
        ValueError: as `open_index` and `nearest_others`; if the run has begun and what
            it began with is lost.
    """
    train = earlier.dataset.train
    path = run.path / "positives.npz"
    if any(run.checkpoints.glob("*.index")):
        return _kept(path, train.num_examples)
    rows = earlier.features["train"].representations
    index = open_index(earlier, spec, search_parameters)
    positives = nearest_others(index, rows, settings.num_positives)
    with write_file(path) as file:
        np.savez(file, positives=positives)
    numbers = {
        "neighbors_from": settings.neighbors_from,
        "index": index.spec,
        "search_parameters": index.search_parameters,
        "num_train": len(positives),
        "num_positives": positives.shape[1],
    }
    text = (
        f"Second views are of the {positives.shape[1]} nearest of {len(positives):,} "
        f"training examples, as {_name(earlier)} has them"
    )
    if train.labels is not None:
        # Labels are for the reader: nothing is trained on them.
        same = np.mean(train.labels[positives] == train.labels[:, None])
        chance = np.square(np.bincount(train.labels) / len(positives)).sum()
        numbers |= {"same_class": float(same), "same_class_by_chance": float(chance)}
        text += (
            f"; {text_table.percent(same)} % of them are of the example's own class "
            f"({text_table.percent(chance)} % by chance)"
        )
    print(f"{text}.")
    run.append_metrics({"mode": "positives", **numbers})
    return positives


def compare_runs(earlier: Context, context: Context, positives: np.ndarray) -> dict:
    """Puts a run beside what its positives came from, on held-out examples.

    Args:
        earlier: as `earlier_run` gives it.
        context: the run that was trained on its neighbors.
        positives: what `find_positives` gave.

    Returns:
        The row that was kept.
    """
    k = positives.shape[1]
    found, nearest = {}, {}
    for name, judged in (("earlier", earlier), ("this", context)):
        train, held_out = (judged.features[part] for part in ("train", "validation"))
        numbers = spectrum(train.representations)
        found[name] = {
            "effective_rank": numbers["effective_rank"],
            "rankme": numbers["rankme"],
            "state": diagnose_collapse(numbers, kind="representation")["state"],
        }
        if train.labels is not None:
            found[name]["knn"] = knn_accuracy(
                train, held_out, num_classes=judged.dataset.num_classes
            )
        nearest[name] = nearest_others(open_index(judged), train.representations, k)
    shared = shared_neighbors(nearest["earlier"], nearest["this"])
    rows = [("", "kNN top-1", "effective rank", "RankMe", "representations")]
    names = {"earlier": _name(earlier), "this": _name(context)}
    for name, numbers in found.items():
        top1 = numbers["knn"]["top1"] if "knn" in numbers else None
        rows.append(
            (
                names[name],
                "-" if top1 is None else text_table.percent(top1),
                f"{numbers['effective_rank']:.1f}",
                f"{numbers['rankme']:.1f}",
                numbers["state"],
            )
        )
    print(
        f"This run beside {names['earlier']} on {context.dataset.name}: kNN accuracy "
        f"in percent on {context.dataset.validation.num_examples} held-out examples; "
        f"{text_table.percent(shared)} % of the {k} nearest examples are shared."
    )
    print(text_table.format_table(rows))
    return context.keep(
        "compare",
        {
            "split": "validation",
            "neighbors_from": names["earlier"],
            "results": found,
            "num_neighbors": k,
            "shared_neighbors": shared,
        },
    )


def _name(context):
    return "the raw input" if context.run is None else str(context.run.path)


def _input_encoder(dataset):
    """A model that gives pixels, or a row's numbers scaled, as `Dataset.raw_inputs`."""
    inputs = keras.Input(dataset.example_shape)
    if dataset.columns is None:
        layer = keras.layers.Flatten(dtype="float32")
    else:
        layer = RowInputs.of(dataset.columns, dataset.table_statistics)
    return keras.Model(inputs, layer(inputs))


def _kept(path, num_train):
    """What a run that has begun was begun with."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            positives = kept["positives"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"Expected {path}, the neighbors that this run was begun with. Received: "
            f"{error}. Restore the file, or begin a new run in another --workdir."
        ) from error
    if len(positives) != num_train:
        raise ValueError(
            f"Expected neighbors of {num_train} training examples. Received: "
            f"{len(positives)} in {path}. Has the data changed? Begin a new run in "
            "another --workdir."
        )
    return positives
