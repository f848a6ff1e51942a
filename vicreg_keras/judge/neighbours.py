"""The modes `knn_eval` and `retrieve`: what lies near what, and is it of its kind?"""

import csv
import pathlib
from collections.abc import Sequence

import numpy as np

from vicreg_keras import tables
from vicreg_keras.evaluate.knn import knn_eval
from vicreg_keras.evaluate.neighbours import NeighbourIndex
from vicreg_keras.evaluate.retrieval import (
    compare_index,
    pick_queries,
    retrieval_metrics,
)
from vicreg_keras.features import Features, extract_features
from vicreg_keras.figures.neighbours import Tile, neighbour_grid
from vicreg_keras.judge.subject import NAMES, Subject
from vicreg_keras.workdir import folder_name, write_file

_MOST_ROWS = 20  # Of a picture of queries.


def run_knn_eval(subject: Subject) -> dict:
    """Judges the kNN classifier, prints the table, and keeps the numbers.

    Args:
        subject: what is judged.

    Returns:
        The row that was kept.

    Raises:
        ValueError: if the data set has no labels or no test split.
    """
    subject.require("kNN evaluation", labels=True, test=True)
    num_classes = subject.dataset.num_classes
    splits = ("train", "validation", "test")
    results = {
        name: knn_eval(*features, num_classes=num_classes)
        for name, features in subject.each(splits)
    }
    rows = [("", "top-1", "top-5", "chosen on held-out labels")]
    for name in reversed(results):
        numbers = results[name]
        chosen = f"k {numbers['k']}, temperature {numbers['temperature']:g}"
        accuracies = (tables.percent(numbers[key]) for key in ("top1", "top5"))
        rows.append((NAMES[name], *accuracies, chosen))
    print(
        f"Weighted kNN on {subject.dataset.name}, test split, "
        f"{results['encoder']['num_test']} examples; cosine similarity; accuracy in "
        "percent."
    )
    print(tables.format_table(rows))
    return subject.keep("knn_eval", {"split": "test", "results": results})


def run_retrieve(
    subject: Subject,
    *,
    query: str | None = None,
    output: str | None = None,
    index: str = "Flat",
    search_parameters: str | None = None,
    num_neighbours: int = 5,
) -> dict | None:
    """Searches for every test example and judges what is found, or for a user's own.

    Args:
        subject: whose training examples are searched.
        query: a user's own examples, as of `Dataset.load_own`. Their neighbours are
            written as a CSV, and those of the first ones drawn.
        output: of that CSV; the picture lies beside it, with the suffix `.png`. By
            default `neighbours.csv` in the run.
        index: FAISS's factory string.
        search_parameters: of the index, or `None` for the usual ones.
        num_neighbours: of each example, in pictures and in the CSV.

    Returns:
        The row that was kept; `None` for a user's own examples.

    Raises:
        ValueError: if there are no such examples or one can't be read, FAISS can't
            build such an index, or, without `query`, the data set has no labels or no
            test split.
    """
    if query is not None:
        path = subject.output(output, "neighbours.csv")
        examples = subject.dataset.load_own(query)
        built = open_index(subject, index, search_parameters)
        _find(subject, examples, built, num_neighbours, path)
        return None
    subject.require("retrieval (or --query=PATH for examples of your own)", labels=True)
    subject.require("retrieval (or --query=PATH for examples of your own)", test=True)
    return _judge(
        subject, open_index(subject, index, search_parameters), num_neighbours
    )


def open_index(
    subject: Subject, spec: str = "Flat", search_parameters: str | None = None
) -> NeighbourIndex:
    """The index of a subject's training examples, read if it is kept, or built.

    Args:
        subject: whose training and held-out examples are in it, in this order.
        spec: FAISS's factory string.
        search_parameters: of the index, or `None` for the usual ones.

    Returns:
        The index; a run keeps it in `index/`.

    Raises:
        ValueError: if FAISS can't build such an index.
    """
    keys = (subject.features.split_key(name) for name in ("train", "validation"))
    key = "-".join((*keys, spec))
    folder = subject.run and subject.run.index / folder_name(subject.dataset.name)
    kept = folder and _kept_index(folder, key)
    if kept:
        kept.set_search_parameters(search_parameters)
        return kept
    dataset = subject.dataset
    bank = _bank(subject)
    index = NeighbourIndex.build(
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


def _judge(subject, index, num_neighbours):
    num_classes = subject.dataset.num_classes
    bank, test = _bank(subject), subject.features["test"]
    exact = index.spec == "Flat"
    results = {
        "encoder": retrieval_metrics(
            bank, test, num_classes=num_classes, index=None if exact else index
        )
    }
    for name, splits in subject.each(("train", "validation", "test"), trained=False):
        results[name] = retrieval_metrics(
            _joined(splits[:2]), splits[2], num_classes=num_classes
        )
    numbers = {"split": "test", "results": results}
    _print_retrieval(subject, results)
    if not exact:
        numbers["index"] = compare_index(
            index, bank.representations, test.representations, k=num_neighbours
        )
        _print_index(numbers["index"])
    path = subject.figure("retrieval")
    if path is not None:
        neighbour_grid(*neighbours_by_class(subject, index, num_neighbours), path)
        print(f"One example of each class and its nearest: {path}")
    return subject.keep("retrieve", numbers)


def _find(subject, examples, index, num_neighbours, path):
    """Neighbours of a user's own examples: a CSV of all, a picture of the first."""
    queries = extract_features(subject.encoder, examples)
    distances, found = index.search(queries.representations, num_neighbours)
    with write_file(path, "w") as file:
        _write_neighbours(file, examples.names, index, distances, found)
    shown = range(min(_MOST_ROWS, examples.num_examples))
    pictures = subject.dataset.pictures(examples, shown)
    tiles = [
        Tile(picture, _short(name))
        for picture, name in zip(pictures, examples.names, strict=False)
    ]
    neighbours = [_tiles(subject, index, distances[i], found[i]) for i in shown]
    picture = path.with_suffix(".png")
    neighbour_grid(tiles, neighbours, picture)
    print(f"{examples.num_examples} examples, their nearest {found.shape[1]}: {path}")
    more = examples.num_examples > _MOST_ROWS
    few = f", the first {_MOST_ROWS} of them" if more else ""
    print(f"A picture{few}: {picture}")


def neighbours_by_class(
    subject: Subject, index: NeighbourIndex, num_neighbours: int
) -> tuple[list[Tile], list[list[Tile]]]:
    """One random test example of each class, and its nearest training examples.

    Args:
        subject: with labels and a test split.
        index: as `open_index` gives it.
        num_neighbours: of each example.

    Returns:
        The examples, and the neighbours of each, the nearest first.
    """
    test, names = subject.dataset.test, subject.dataset.class_names
    picks = pick_queries(test.labels, subject.dataset.num_classes, subject.seed)
    labels = test.labels[picks]
    rows = subject.features["test"].representations[picks]
    queries = [
        Tile(picture, names[label])
        for picture, label in zip(
            subject.dataset.pictures(test, picks), labels, strict=True
        )
    ]
    found = zip(*index.search(rows, num_neighbours), labels, strict=True)
    return queries, [_tiles(subject, index, *nearest) for nearest in found]


def _kept_index(folder, key):
    """The index that lies there, if it is whole and the one that is asked for."""
    try:
        index = NeighbourIndex.load(folder)
    except ValueError:
        return None
    return index if index.key == key else None


def _joined(splits: Sequence[Features]) -> Features:
    labels = [features.labels for features in splits]
    return Features(
        np.concatenate([features.representations for features in splits]),
        None if labels[0] is None else np.concatenate(labels),
    )


def _bank(subject):
    """What is searched: all of the training examples, those held out behind."""
    return _joined([subject.features[name] for name in ("train", "validation")])


def _bank_picture(subject, row):
    train, held_out = subject.dataset.train, subject.dataset.validation
    if row < train.num_examples:
        return subject.dataset.pictures(train, [row])[0]
    return subject.dataset.pictures(held_out, [row - train.num_examples])[0]


def _tiles(subject, index, distances, found, label=None):
    """A query's neighbours, for a picture; what was not found is left out."""
    tiles = []
    for distance, row in zip(distances, found, strict=True):
        if row < 0:
            continue
        wrong = label is not None and index.labels[row] != label
        picture = _bank_picture(subject, row)
        tiles.append(Tile(picture, _caption(index, row), float(distance), bool(wrong)))
    return tiles


def _caption(index, row):
    if index.labels is None:
        return _short(index.names[row])
    return index.class_names[index.labels[row]]


def _short(name):
    """A file's name without its folders."""
    return pathlib.PurePath(name).name


def _write_neighbours(file, names, index, distances, found):
    writer = csv.writer(file)
    writer.writerow(("query", "rank", "neighbour", "class", "distance"))
    for name, near, rows in zip(names, distances, found, strict=True):
        for rank, (distance, row) in enumerate(zip(near, rows, strict=True), start=1):
            if row < 0:
                continue
            kind = ""
            if index.labels is not None:
                kind = index.class_names[index.labels[row]]
            writer.writerow((name, rank, index.names[row], kind, f"{distance:.6f}"))


def _print_retrieval(subject, results):
    ks = list(results["encoder"]["precision"])
    measures = ("precision", "recall", "hit_rate")
    print(
        f"Retrieval on {subject.dataset.name}: {results['encoder']['num_queries']} "
        f"test examples against {results['encoder']['num_database']} training ones; "
        "cosine similarity; in percent."
    )
    names = list(reversed(results))
    rows = [("", *(NAMES[name] for name in names))]
    for measure in measures:
        for k in ks:
            cells = (tables.percent(results[name][measure][k]) for name in names)
            rows.append((f"{measure.replace('_', ' ')} at {k}", *cells))
    cells = (tables.percent(results[n]["mean_average_precision"]) for n in names)
    rows.append(("mean average precision", *cells))
    print(tables.format_table(rows))


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
