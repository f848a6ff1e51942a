"""The modes `knn_eval` and `retrieve`: what lies near what, and is it of its kind?"""

import csv
import pathlib
from collections.abc import Sequence

import numpy as np

from vicreg_keras.evaluate.features import Features, extract_features
from vicreg_keras.evaluate.index import NeighborIndex
from vicreg_keras.evaluate.retrieval import (
    compare_index,
    pick_queries,
    retrieval_metrics,
)
from vicreg_keras.figures.neighbors import Tile, neighbor_grid
from vicreg_keras.figures.style import save
from vicreg_keras.modes import text_table
from vicreg_keras.modes.context import NAMES, Context
from vicreg_keras.workdir.files import folder_name, write_file

_MAX_ROWS = 20  # Of a picture of queries.


def run_retrieve(
    context: Context,
    *,
    query: str | None = None,
    output: str | None = None,
    index: str = "Flat",
    search_parameters: str | None = None,
    num_neighbors: int = 5,
) -> dict | None:
    """Searches for every test example and judges what is found, or for a user's own.

    Args:
        context: whose training examples are searched.
        query: the user's examples, see `Dataset.load_user_examples`. Their neighbors
            are written as a CSV, and those of the first ones drawn.
        output: of that CSV; the picture lies beside it, with the suffix `.png`. By
            default `neighbors.csv` in the run.
        index: FAISS's factory string.
        search_parameters: of the index, or `None` for the usual ones.
        num_neighbors: of each example, in pictures and in the CSV.

    Returns:
        The row that was kept; `None` for a user's own examples.

    Raises:
        ValueError: if there are no such examples or one can't be read, FAISS can't
            build such an index, or, without `query`, the dataset has no labels or no
            test split.
    """
    if query is not None:
        path = context.output(output, "neighbors.csv")
        examples = context.dataset.load_user_examples(query)
        built = open_index(context, index, search_parameters)
        _find(context, examples, built, num_neighbors, path)
        return None
    context.require("retrieval (or --query=PATH for examples of your own)", labels=True)
    context.require("retrieval (or --query=PATH for examples of your own)", test=True)
    return _judge(context, open_index(context, index, search_parameters), num_neighbors)


def open_index(
    context: Context, spec: str = "Flat", search_parameters: str | None = None
) -> NeighborIndex:
    """The index of a context's training examples, read if it is kept, or built.

    Args:
        context: whose training and held-out examples are in it, in this order.
        spec: FAISS's factory string.
        search_parameters: of the index, or `None` for the usual ones.

    Returns:
        The index; a run keeps it in `index/`.

    Raises:
        ValueError: if FAISS can't build such an index.
    """
    keys = (context.features.split_key(name) for name in ("train", "validation"))
    key = "-".join((*keys, spec))
    folder = context.run and context.run.index / folder_name(context.dataset.name)
    kept = folder and _kept_index(folder, key)
    if kept:
        kept.set_search_parameters(search_parameters)
        return kept
    dataset = context.dataset
    bank = _bank(context)
    index = NeighborIndex.build(
        bank.representations,
        [*dataset.train.names, *dataset.validation.names],
        bank.labels,
        dataset.class_names,
        spec=spec,
        search_parameters=search_parameters,
        key=key,
    )
    if folder is not None:
        index.save(folder)
    return index


def _judge(context, index, num_neighbors):
    num_classes = context.dataset.num_classes
    bank, test = _bank(context), context.features["test"]
    exact = index.spec == "Flat"
    results = {
        "encoder": retrieval_metrics(
            bank, test, num_classes=num_classes, index=None if exact else index
        )
    }
    for name, splits in context.each(("train", "validation", "test"), trained=False):
        results[name] = retrieval_metrics(
            _joined(splits[:2]), splits[2], num_classes=num_classes
        )
    numbers = {"split": "test", "results": results}
    _print_retrieval(context, results)
    if not exact:
        numbers["index"] = compare_index(
            index, bank.representations, test.representations, k=num_neighbors
        )
        _print_index(numbers["index"])
    path = context.figure("retrieval")
    if path is not None:
        tiles = neighbors_by_class(context, index, num_neighbors)
        save(neighbor_grid(*tiles), path)
        print(f"One example of each class and its nearest: {path}")
    return context.keep("retrieve", numbers)


def _find(context, examples, index, num_neighbors, path):
    """Neighbors of a user's own examples: a CSV of all, a picture of the first."""
    queries = extract_features(context.encoder, examples)
    distances, found = index.search(queries.representations, num_neighbors)
    with write_file(path, "w") as file:
        _write_neighbors(file, examples.names, index, distances, found)
    shown = range(min(_MAX_ROWS, examples.num_examples))
    pictures = context.dataset.display_images(examples, shown)
    tiles = [
        Tile(picture, _short(name))
        for picture, name in zip(pictures, examples.names, strict=False)
    ]
    neighbors = [_tiles(context, index, distances[i], found[i]) for i in shown]
    picture = path.with_suffix(".png")
    save(neighbor_grid(tiles, neighbors), picture)
    print(f"{examples.num_examples} examples, their nearest {found.shape[1]}: {path}")
    more = examples.num_examples > _MAX_ROWS
    few = f", the first {_MAX_ROWS} of them" if more else ""
    print(f"A picture{few}: {picture}")


def neighbors_by_class(
    context: Context, index: NeighborIndex, num_neighbors: int
) -> tuple[list[Tile], list[list[Tile]]]:
    """One random test example of each class, and its nearest training examples.

    Args:
        context: with labels and a test split.
        index: as `open_index` gives it.
        num_neighbors: of each example.

    Returns:
        The examples, and the neighbors of each, the nearest first.
    """
    test, names = context.dataset.test, context.dataset.class_names
    picks = pick_queries(test.labels, context.dataset.num_classes, context.seed)
    labels = test.labels[picks]
    rows = context.features["test"].representations[picks]
    queries = [
        Tile(picture, names[label])
        for picture, label in zip(
            context.dataset.display_images(test, picks), labels, strict=True
        )
    ]
    found = zip(*index.search(rows, num_neighbors), labels, strict=True)
    return queries, [_tiles(context, index, *nearest) for nearest in found]


def _kept_index(folder, key):
    """The index that lies there, if it is whole and the one that is asked for."""
    try:
        index = NeighborIndex.load(folder)
    except ValueError:
        return None
    return index if index.key == key else None


def _joined(splits: Sequence[Features]) -> Features:
    labels = [features.labels for features in splits]
    return Features(
        np.concatenate([features.representations for features in splits]),
        None if labels[0] is None else np.concatenate(labels),
    )


def _bank(context):
    """What is searched: all of the training examples, those held out behind."""
    return _joined([context.features[name] for name in ("train", "validation")])


def _bank_picture(context, row):
    train, held_out = context.dataset.train, context.dataset.validation
    if row < train.num_examples:
        return context.dataset.display_images(train, [row])[0]
    return context.dataset.display_images(held_out, [row - train.num_examples])[0]


def _tiles(context, index, distances, found, label=None):
    """A query's neighbors, for a picture; what was not found is left out."""
    tiles = []
    for distance, row in zip(distances, found, strict=True):
        if row < 0:
            continue
        wrong = label is not None and index.labels[row] != label
        picture = _bank_picture(context, row)
        tiles.append(Tile(picture, _caption(index, row), float(distance), bool(wrong)))
    return tiles


def _caption(index, row):
    if index.labels is None:
        return _short(index.names[row])
    return index.class_names[index.labels[row]]


def _short(name):
    """A file's name without its folders."""
    return pathlib.PurePath(name).name


def _write_neighbors(file, names, index, distances, found):
    writer = csv.writer(file)
    writer.writerow(("query", "rank", "neighbor", "class", "distance"))
    for name, near, rows in zip(names, distances, found, strict=True):
        for rank, (distance, row) in enumerate(zip(near, rows, strict=True), start=1):
            if row < 0:
                continue
            kind = ""
            if index.labels is not None:
                kind = index.class_names[index.labels[row]]
            writer.writerow((name, rank, index.names[row], kind, f"{distance:.6f}"))


def _print_retrieval(context, results):
    ks = list(results["encoder"]["precision"])
    measures = ("precision", "recall", "hit_rate")
    print(
        f"Retrieval on {context.dataset.name}: {results['encoder']['num_queries']} "
        f"test examples against {results['encoder']['num_database']} training ones; "
        "cosine similarity; in percent."
    )
    names = list(reversed(results))
    rows = [("", *(NAMES[name] for name in names))]
    for measure in measures:
        for k in ks:
            cells = (text_table.percent(results[name][measure][k]) for name in names)
            rows.append((f"{measure.replace('_', ' ')} at {k}", *cells))
    cells = (text_table.percent(results[n]["mean_average_precision"]) for n in names)
    rows.append(("mean average precision", *cells))
    print(text_table.format_table(rows))


def _print_index(numbers):
    print(
        f"{numbers['spec']} ({numbers['search_parameters']}): recall@{numbers['k']} "
        f"{numbers['recall']:.4f} against exact search; "
        f"{numbers['queries_per_second']:,.0f} queries/s, "
        f"{numbers['speedup']:.1f} times exact search's "
        f"{numbers['exact_queries_per_second']:,.0f}; built in "
        f"{numbers['build_seconds']:.1f} s; {numbers['num_bytes'] / 2**20:.1f} MiB "
        f"(exact: {numbers['exact_num_bytes'] / 2**20:.1f})."
    )
