"""The mode `retrieve`: nearest neighbors of test examples, or of user-provided ones."""

import csv
import pathlib

from vicreg_keras.errors import InputError
from vicreg_keras.evaluate.features import (
    SPLITS,
    concatenate_features,
    extract_features,
    require_class_names,
    require_test_split,
)
from vicreg_keras.evaluate.index import NeighborIndex
from vicreg_keras.evaluate.index_comparison import compare_index
from vicreg_keras.evaluate.records import NAMES
from vicreg_keras.evaluate.retrieval import (
    RetrieveRecord,
    pick_queries,
    retrieval_eval,
)
from vicreg_keras.figures.neighbors import Tile, neighbor_grid
from vicreg_keras.figures.style import save
from vicreg_keras.figures.text_table import format_table, percent
from vicreg_keras.modes.context import Context
from vicreg_keras.modes.options import RetrieveOptions
from vicreg_keras.workdir.files import folder_name, write_file

_MAX_QUERIES = 20  # Of a figure.


def run(context: Context, options: RetrieveOptions) -> RetrieveRecord | None:
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
        require_class_names(context.dataset)
        require_test_split(context.dataset)
        index = open_index(context, options.index, options.search_parameters)
        return _evaluate(context, index, options.num_neighbors)
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
    keys = (context.features.split_key(name) for name in ("train", "validation"))
    key = "-".join((*keys, factory_string))
    folder = context.run and context.run.index / folder_name(dataset.name)
    if folder:
        try:
            index = NeighborIndex.load(folder)
        except InputError:
            pass  # There is none that is whole.
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
    if folder:
        index.save(folder)
    return index


def neighbors_by_class(
    context: Context, index: NeighborIndex, num_neighbors: int
) -> tuple[list[Tile], list[list[Tile]]]:
    """Returns a random test example of each class, and its nearest training examples.

    Args:
        context: Of a labeled dataset with a test split.
        index: See `open_index`.
        num_neighbors: Neighbors of each example.

    Returns:
        The examples, and the neighbors of each, the nearest first.
    """
    dataset, test = context.dataset, context.dataset.test
    picks = pick_queries(test.labels, context.seed)
    labels = test.labels[picks]
    names = [dataset.class_names[label] for label in labels]
    queries = list(map(Tile, dataset.display_images(test, picks), names))
    representations = context.features["test"].representations[picks]
    found = zip(*index.search(representations, num_neighbors), labels, strict=True)
    return queries, [_tiles(context, index, *one) for one in found]


def _evaluate(context, index, num_neighbors):
    exact = index.factory_string == "Flat"
    results = {}
    for name, (*database, test) in context.each(SPLITS):
        results[name] = retrieval_eval(
            concatenate_features(database),
            test,
            num_classes=context.dataset.num_classes,
            index=None if exact or name != "encoder" else index,
        )
    comparison = None
    if not exact:
        database, queries = _database(context), context.features["test"]
        comparison = compare_index(
            index, database.representations, queries.representations, k=num_neighbors
        )
    record = RetrieveRecord(
        **context.record_fields,
        split="test",
        num_database=index.num_vectors,
        num_queries=context.dataset.test.num_examples,
        num_classes=context.dataset.num_classes,
        results=results,
        index=index.factory_string,
        search_parameters=index.search_parameters,
        num_neighbors=num_neighbors,
        index_metrics=comparison,
    )
    _print_retrieval(record)
    path = context.figure("retrieval")
    if path is not None:
        tiles = neighbors_by_class(context, index, num_neighbors)
        save(neighbor_grid(*tiles), path)
        print(f"One example of each class and its nearest: {path}")
    context.log_metrics(record)
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
                neighbor, name = index.names[number], _class_name(index, number)
                writer.writerow((query, rank, neighbor, name, f"{distance:.6f}"))
    shown = range(min(_MAX_QUERIES, examples.num_examples))
    pictures = context.dataset.display_images(examples, shown)
    queries = list(map(Tile, pictures, map(_short, examples.names)))
    tiles = [_tiles(context, index, distances[i], neighbors[i]) for i in shown]
    figure_path = path.with_suffix(".png")
    save(neighbor_grid(queries, tiles), figure_path)
    print(
        f"{examples.num_examples} examples, their nearest {neighbors.shape[1]}: {path}"
    )
    print(f"A figure of the first {len(shown)}: {figure_path}")


def _database(context):
    """Returns features of what is searched: training and validation examples."""
    features = context.features
    return concatenate_features([features["train"], features["validation"]])


def _tiles(context, index, distances, neighbors, label=None):
    """Returns a query's neighbors, for a figure."""
    dataset, tiles = context.dataset, []
    for distance, number in _found(distances, neighbors):
        split, position = dataset.train, number
        if number >= split.num_examples:
            split, position = dataset.validation, number - split.num_examples
        (picture,) = dataset.display_images(split, [position])
        name = _class_name(index, number) or _short(index.names[number])
        wrong = label is not None and index.labels[number] != label
        tiles.append(Tile(picture, name, float(distance), bool(wrong)))
    return tiles


def _found(distances, neighbors):
    """Leaves out what an approximate index did not find."""
    pairs = zip(distances, neighbors, strict=True)
    return [(distance, number) for distance, number in pairs if number >= 0]


def _class_name(index, number):
    return "" if index.labels is None else index.class_names[index.labels[number]]


def _short(name):
    """Returns a file's name without its folders."""
    return pathlib.PurePath(name).name


def _print_retrieval(record: RetrieveRecord) -> None:
    print(
        f"Retrieval on {record.dataset}: {record.num_queries} test examples against "
        f"{record.num_database} training ones; cosine similarity; in percent."
    )
    names, results = list(record.results), list(record.results.values())
    lines = [["", *(NAMES[name] for name in names[::-1])]]
    for measure in ("precision", "recall", "hit_rate"):
        for k in getattr(results[0], measure):
            values = [getattr(one, measure)[k] for one in results[::-1]]
            lines.append([f"{measure.replace('_', ' ')} at {k}", *map(percent, values)])
    values = [one.mean_average_precision for one in results[::-1]]
    lines.append(["mean average precision", *map(percent, values)])
    print(format_table(lines))
    metrics = record.index_metrics
    if metrics is not None:
        print(
            f"{record.index} ({record.search_parameters}): "
            f"recall@{record.num_neighbors} {metrics.recall:.4f} against exact search; "
            f"{metrics.queries_per_second:,.0f} queries/s, {metrics.speedup:.1f} times "
            f"exact search's {metrics.exact_queries_per_second:,.0f}; built in "
            f"{metrics.build_seconds:.1f} s; {metrics.num_bytes / 2**20:.1f} MiB "
            f"(exact: {metrics.exact_num_bytes / 2**20:.1f})."
        )
