"""The mode `embed`: representations with names, for use elsewhere."""

import csv
from collections.abc import Iterator

import numpy as np
from scipy.special import softmax

from vicreg_keras.data.dataset import Split
from vicreg_keras.evaluate.features import extract_features
from vicreg_keras.modes.context import Context
from vicreg_keras.workdir.files import write_file


def run_embed(
    context: Context,
    *,
    input: str | None = None,
    output: str | None = None,
    head: str | None = None,
) -> None:
    """Writes one row an example: its name, its split, its representation.

    Args:
        context: whose encoder it is; without `input`, whose examples.
        input: a user's own examples, as of `Dataset.load_user_examples`.
        output: a path that ends in `.npz` or `.csv`; by default
            `representations.npz` in the run.
        head: `"linear"` adds the linear head's class and its probability.

    Raises:
        ValueError: for another suffix, examples that can't be read, or a head without
            labels to fit it to.
    """
    path = context.output(output, "representations.npz")
    if path.suffix not in _WRITERS:
        raise ValueError(
            f"Expected --output=PATH with a suffix of {', '.join(_WRITERS)}. Received: "
            f"--output={path}."
        )
    if head:
        context.require("--head=linear", labels=True)
    parts = list(_parts(context, input))
    names = [name for _, examples, _ in parts for name in examples.names]
    splits = [
        split for split, examples, _ in parts for _ in range(examples.num_examples)
    ]
    columns = {"name": np.array(names), "split": np.array(splits)}
    rows = np.concatenate([rows for _, _, rows in parts])
    known = context.dataset.class_names
    if known is not None and input is None:
        labels = np.concatenate([examples.labels for _, examples, _ in parts])
        columns["label"] = np.array(known)[labels]
    if head:
        scores = context.head[0].scores(rows).astype(np.float64)
        probabilities = softmax(scores, axis=1)
        columns["class"] = np.array(known)[probabilities.argmax(axis=1)]
        columns["probability"] = probabilities.max(axis=1).astype(np.float32)
    _WRITERS[path.suffix](path, columns, rows)
    print(f"{len(rows)} representations of {rows.shape[1]} numbers: {path}")


def _parts(context, pattern) -> Iterator[tuple[str, Split, np.ndarray]]:
    """The name of a split, its examples, and their representations."""
    if pattern is not None:
        examples = context.dataset.load_user_examples(pattern)
        yield "", examples, extract_features(context.encoder, examples).representations
        return
    for name in context.features:
        examples = getattr(context.dataset, name)
        yield name, examples, context.features[name].representations


def _write_npz(path, columns, rows):
    with write_file(path) as file:
        np.savez(file, **columns, representation=rows)


def _write_csv(path, columns, rows):
    with write_file(path, "w") as file:
        writer = csv.writer(file)
        numbers = [f"representation_{i}" for i in range(rows.shape[1])]
        writer.writerow([*columns, *numbers])
        for beside, row in zip(zip(*columns.values(), strict=True), rows, strict=True):
            # As few digits as tell every float32 from all others.
            writer.writerow([*beside, *map(str, row)])


_WRITERS = {".npz": _write_npz, ".csv": _write_csv}
