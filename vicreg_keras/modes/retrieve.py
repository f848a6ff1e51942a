"""The mode `retrieve`: nearest neighbors of test examples, or of user-provided ones."""

import csv
import warnings

import numpy as np

from vicreg_keras.data.fingerprint import digest
from vicreg_keras.errors import DamagedError
from vicreg_keras.evaluate import retrieval
from vicreg_keras.evaluate.features import (
    SPLITS,
    concatenate_features,
    extract_features,
)
from vicreg_keras.evaluate.index import NeighborIndex
from vicreg_keras.figures.examples import neighbor_grid
from vicreg_keras.figures.style import save
from vicreg_keras.modes.baselines import evaluate_each
from vicreg_keras.modes.context import Context
from vicreg_keras.modes.options import RetrieveOptions
from vicreg_keras.workdir.files import csv_text, folder_name, write_file
from vicreg_keras.workdir.versions import newest_version

_MAX_QUERIES = 20  # Of a figure.


def run(context: Context, options: RetrieveOptions) -> retrieval.RetrieveRecord | None:
    """Evaluates retrieval of training examples, or finds neighbors of other examples.

    Args:
        context: Encoder, dataset and run.
        options: With a query, see `Dataset.load_user_examples`, the neighbors of these
            examples are written as a CSV, by default `neighbors.csv` in the run, and
            those of the first ones drawn beside it, with the suffix `.png`.

    Returns:
        The record that was logged; `None` with a query.

    Raises:
        InputError: If there are no such examples or one can't be read, FAISS can't
            build such an index, or, without a query, the dataset has no labels or no
            test split.
    """
    if options.query is None:
        return evaluate(context, options)
    path = context.output(options.output, "neighbors.csv")
    examples = context.dataset.load_user_examples(options.query)
    index = open_index(context, options.index, options.search_parameters)
    _write_neighbors(context, examples, index, options.num_neighbors, path)
    return None


def open_index(
    context: Context,
    factory_string: str = "Flat",
    search_parameters: str | None = None,
) -> NeighborIndex:
    """Returns the index of a context's training and validation examples, in this order.

    Args:
        context: Encoder, dataset and run, which keeps the index in `index/`.
        factory_string: FAISS's description of the index.
        search_parameters: Of the index, or `None` for the default ones.

    Raises:
        InputError: If FAISS can't build such an index.
    """
    dataset = context.dataset
    splits = (dataset.train.fingerprint, dataset.validation.fingerprint)
    key = digest(context.features.key, *splits, dataset.class_names, factory_string)
    folder = context.run and context.run.index / folder_name(dataset.name)
    if folder and newest_version(folder):
        try:
            index = NeighborIndex.load(folder)
        except DamagedError as error:
            warnings.warn(f"{error.fault}: the index is built anew.", stacklevel=2)
        else:
            if index.key == key:
                index.set_search_parameters(search_parameters)
                return index
    database = _database(context)
    index = NeighborIndex.build(
        database.representations,
        [*dataset.train.names, *dataset.validation.names],
        database.labels,
        dataset.class_names,
        factory_string=factory_string,
        search_parameters=search_parameters,
        key=key,
    )
    if folder and context.keeps:
        index.save(folder)
    return index


def evaluate(context: Context, options: RetrieveOptions) -> retrieval.RetrieveRecord:
    """See `run` without a query."""
    num_classes, test = context.num_classes, context.test
    index = open_index(context, options.index, options.search_parameters)
    exact = index.factory_string == "Flat"

    def evaluate_one(name, splits):
        *database, queries = splits
        return retrieval.retrieval_eval(
            concatenate_features(database),
            queries,
            num_classes=num_classes,
            index=None if exact or name != "encoder" else index,
        )

    results = evaluate_each(context, SPLITS, retrieval.RetrievalMetrics, evaluate_one)
    comparison = None
    if not exact:
        comparison = retrieval.compare_index(
            index,
            _database(context).representations,
            context.features["test"].representations,
            k=options.num_neighbors,
        )
    record = context.record(
        retrieval.RetrieveRecord,
        split="test",
        num_database=index.num_vectors,
        num_queries=test.num_examples,
        num_classes=num_classes,
        results=results,
        index=index.factory_string,
        search_parameters=index.search_parameters,
        num_neighbors=options.num_neighbors,
        index_metrics=comparison,
        chance_precision=retrieval.chance_precision(
            np.concatenate(
                [context.dataset.train.labels, context.dataset.validation.labels]
            ),
            test.labels,
        ),
    )
    context.log_metrics(record)
    picks = retrieval.pick_queries(test.labels, context.seed)
    representations = context.features["test"].representations[picks]
    found = index.search(representations, options.num_neighbors)
    figure = _draw(context, test.take(picks), *found)
    title = "One example of each class and its nearest"
    context.save_figure(figure, "retrieval", title)
    return record


def _write_neighbors(context, examples, index, num_neighbors, path):
    """Writes the neighbors of user-provided examples as a CSV and a figure."""
    representations = extract_features(context.encoder, examples).representations
    distances, neighbors = index.search(representations, num_neighbors)
    with write_file(path, "w") as file:
        writer = csv.writer(file)
        writer.writerow(("query", "rank", "neighbor", "class", "distance"))
        for query, *nearest in zip(examples.names, distances, neighbors, strict=True):
            for rank, (distance, number) in enumerate(_found(*nearest), start=1):
                texts = (query, index.names[number], _class_name(index, number))
                query_text, neighbor, name = map(csv_text, texts)
                writer.writerow((query_text, rank, neighbor, name, f"{distance:.6f}"))
    shown = range(min(_MAX_QUERIES, examples.num_examples))
    figure_path = path.with_suffix(".png")
    figure = _draw(context, examples.take(shown), distances[shown], neighbors[shown])
    save(figure, figure_path)
    print(
        f"The nearest {neighbors.shape[1]} of {examples.num_examples} queries: {path}"
    )
    print(f"A figure of the first {len(shown)}: {figure_path}")


def _database(context):
    """Returns features of what is searched: training and validation examples."""
    features = context.features
    return concatenate_features([features["train"], features["validation"]])


def _draw(context, queries, distances, neighbors):
    """Draws queries beside the training and validation examples found for them."""
    train, validation = context.dataset.train, context.dataset.validation
    tiles = []
    for query, nearest in enumerate(zip(distances, neighbors, strict=True)):
        tiles.append([])
        for distance, number in _found(*nearest):
            split, position = train, number
            if number >= train.num_examples:
                split, position = validation, number - train.num_examples
            (tile,) = context.tiles(split, [position])
            wrong = False
            if queries.labels is not None:
                wrong = split.labels[position] != queries.labels[query]
            tiles[-1].append(tile._replace(note=f"{distance:.2f}", wrong=wrong))
    queries = context.tiles(queries, range(queries.num_examples))
    return neighbor_grid(queries, tiles)


def _found(distances, neighbors):
    """Leaves out what an approximate index did not find."""
    pairs = zip(distances, neighbors, strict=True)
    return [(distance, number) for distance, number in pairs if number >= 0]


def _class_name(index, number):
    return "" if index.labels is None else index.class_names[index.labels[number]]
