"""The mode `retrieve`: nearest neighbors of test examples, or of user-provided ones."""

import csv
import pathlib

from vicreg_keras.errors import InputError
from vicreg_keras.evaluate.features import (
    concatenate_features,
    extract_features,
    require_class_names,
    require_test_split,
)
from vicreg_keras.evaluate.index import NeighborIndex
from vicreg_keras.evaluate.index_comparison import IndexResult, compare_index
from vicreg_keras.evaluate.records import NAMES
from vicreg_keras.evaluate.retrieval import (
    RetrievalResult,
    RetrieveRecord,
    pick_queries,
    retrieval_eval,
)
from vicreg_keras.figures import text_table
from vicreg_keras.figures.neighbors import Tile, neighbor_grid
from vicreg_keras.figures.style import save
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
    if folder and (index := _read_index(folder, key)):
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
    test, class_names = context.dataset.test, context.dataset.class_names
    picks = pick_queries(test.labels, context.seed)
    labels = test.labels[picks]
    pictures = context.dataset.display_images(test, picks)
    queries = [
        Tile(picture, class_names[label])
        for picture, label in zip(pictures, labels, strict=True)
    ]
    representations = context.features["test"].representations[picks]
    found = zip(*index.search(representations, num_neighbors), labels, strict=True)
    return queries, [_tiles(context, index, *one) for one in found]


def _evaluate(context, index, num_neighbors):
    splits = ("train", "validation", "test")
    exact = index.factory_string == "Flat"
    results = {}
    for name, (*database, test) in context.each(splits):
        results[name] = retrieval_eval(
            concatenate_features(database),
            test,
            num_classes=context.dataset.num_classes,
            index=None if exact or name != "encoder" else index,
        )
    _print_retrieval(context.dataset.name, results)
    comparison = None
    if not exact:
        comparison = compare_index(
            index,
            _database(context).representations,
            context.features["test"].representations,
            k=num_neighbors,
        )
        _print_comparison(comparison)
    path = context.figure("retrieval")
    if path is not None:
        tiles = neighbors_by_class(context, index, num_neighbors)
        save(neighbor_grid(*tiles), path)
        print(f"One example of each class and its nearest: {path}")
    record = RetrieveRecord(
        **context.record_fields, split="test", results=results, index=comparison
    )
    context.log_metrics(record)
    return record


def _write_neighbors(context, examples, index, num_neighbors, path):
    """Writes the neighbors of user-provided examples as a CSV and a figure."""
    representations = extract_features(context.encoder, examples).representations
    distances, neighbors = index.search(representations, num_neighbors)
    with write_file(path, "w") as file:
        _write_csv(file, examples.names, index, distances, neighbors)
    shown = range(min(_MAX_QUERIES, examples.num_examples))
    pictures = context.dataset.display_images(examples, shown)
    names = map(_short, examples.names)
    queries = [Tile(*one) for one in zip(pictures, names, strict=False)]
    tiles = [_tiles(context, index, distances[i], neighbors[i]) for i in shown]
    figure_path = path.with_suffix(".png")
    save(neighbor_grid(queries, tiles), figure_path)
    print(
        f"{examples.num_examples} examples, their nearest {neighbors.shape[1]}: {path}"
    )
    print(f"A figure of the first {len(shown)}: {figure_path}")


def _read_index(folder, key):
    """Returns the index in a folder, if it is whole and has this key."""
    try:
        index = NeighborIndex.load(folder)
    except InputError:
        return None
    return index if index.key == key else None


def _database(context):
    """Returns features of what is searched: training and validation examples."""
    features = context.features
    return concatenate_features([features["train"], features["validation"]])


def _tiles(context, index, distances, neighbors, label=None):
    """Returns a query's neighbors, for a figure; what was not found is left out."""
    tiles = []
    dataset = context.dataset
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
    pairs = zip(distances, neighbors, strict=True)
    return [(distance, number) for distance, number in pairs if number >= 0]


def _class_name(index, number):
    return "" if index.labels is None else index.class_names[index.labels[number]]


def _short(name):
    """Returns a file's name without its folders."""
    return pathlib.PurePath(name).name


def _write_csv(file, names, index, distances, neighbors):
    writer = csv.writer(file)
    writer.writerow(("query", "rank", "neighbor", "class", "distance"))
    for name, *nearest in zip(names, distances, neighbors, strict=True):
        for rank, (distance, number) in enumerate(_found(*nearest), start=1):
            neighbor, class_name = index.names[number], _class_name(index, number)
            writer.writerow((name, rank, neighbor, class_name, f"{distance:.6f}"))


def _print_retrieval(dataset_name: str, results: dict[str, RetrievalResult]) -> None:
    settings = results["encoder"].settings
    print(
        f"Retrieval on {dataset_name}: {settings.num_queries} test examples against "
        f"{settings.num_database} training ones; cosine similarity; in percent."
    )
    names = list(reversed(results))
    metrics = [results[name].metrics for name in names]
    lines = [("", *(NAMES[name] for name in names))]
    for measure in ("precision", "recall", "hit_rate"):
        for k in getattr(metrics[0], measure):
            cells = (text_table.percent(getattr(one, measure)[k]) for one in metrics)
            lines.append((f"{measure.replace('_', ' ')} at {k}", *cells))
    cells = (text_table.percent(one.mean_average_precision) for one in metrics)
    lines.append(("mean average precision", *cells))
    print(text_table.format_table(lines))


def _print_comparison(comparison: IndexResult) -> None:
    metrics, settings = comparison.metrics, comparison.settings
    print(
        f"{settings.factory_string} ({settings.search_parameters}): "
        f"recall@{settings.k} {metrics.recall:.4f} against exact search; "
        f"{metrics.queries_per_second:,.0f} queries/s, {metrics.speedup:.1f} times "
        f"exact search's {metrics.exact_queries_per_second:,.0f}; built in "
        f"{metrics.build_seconds:.1f} s; {metrics.num_bytes / 2**20:.1f} MiB "
        f"(exact: {metrics.exact_num_bytes / 2**20:.1f})."
    )
