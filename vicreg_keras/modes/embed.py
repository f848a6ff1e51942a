"""The mode `embed`: representations with names, for use elsewhere."""

import pathlib
from collections.abc import Sequence

import numpy as np
import pyarrow
import pyarrow.csv
from scipy.special import softmax

from vicreg_keras.evaluate.features import Features, extract_features
from vicreg_keras.modes.context import Context
from vicreg_keras.modes.options import EmbedOptions
from vicreg_keras.workdir.files import csv_text, write_file


def run(context: Context, options: EmbedOptions) -> None:
    """Writes name, split and representation of every example, unlabeled ones included.

    With labels, the class is written, too, and with `head="linear"` the class that the
    linear head predicts and its probability. User-provided examples (`input`) have
    neither split nor class.

    Args:
        context: The encoder and its dataset.
        options: Options of the mode; the output is a `.npz` or `.csv` file, by default
            `representations.npz` in the run.

    Raises:
        InputError: If the output has another suffix, examples can't be read, or there
            are no labels for a head.
    """
    path = context.output(options.output, "representations.npz")
    class_names = context.class_names if options.head else context.dataset.class_names
    if options.input is None:
        splits = context.dataset.splits
        features = [context.features[name] for name in splits]
    else:
        examples = context.dataset.load_user_examples(options.input)
        splits = {"": examples}
        features = [extract_features(context.encoder, examples)]
    representations = np.concatenate([part.representations for part in features])
    columns = {
        "name": np.concatenate([np.array(split.names) for split in splits.values()]),
        "split": np.repeat(list(splits), [len(split) for split in splits.values()]),
    }
    if class_names is not None and options.input is None:
        columns["label"] = np.concatenate(
            [_classes(part, class_names) for part in features]
        )
    if options.head:
        scores = context.head.scores(representations).astype(np.float64)
        probabilities = softmax(scores, axis=1)
        columns["class"] = np.array(class_names)[probabilities.argmax(axis=1)]
        columns["probability"] = probabilities.max(axis=1).astype(np.float32)
    _WRITERS[path.suffix](path, columns, representations)
    count, width = representations.shape
    print(f"{count} representations of width {width}: {path}")


def _classes(features: Features, class_names: Sequence[str]) -> np.ndarray:
    """Returns the class of each example, empty where there is no label."""
    if features.labels is None:
        return np.full(len(features.representations), "")
    return np.array(class_names)[features.labels]


def _write_npz(
    path: pathlib.Path, columns: dict[str, np.ndarray], representations: np.ndarray
) -> None:
    with write_file(path) as file:
        # No column is named `allow_pickle`.
        np.savez(file, **columns, representation=representations)  # type: ignore[arg-type]


def _write_csv(
    path: pathlib.Path, columns: dict[str, np.ndarray], representations: np.ndarray
) -> None:
    width = representations.shape[1]
    numbers = {f"representation_{i}": representations[:, i] for i in range(width)}
    texts = {
        name: [csv_text(one) for one in column] if column.dtype.kind == "U" else column
        for name, column in columns.items()
    }
    with write_file(path) as file:
        pyarrow.csv.write_csv(pyarrow.table({**texts, **numbers}), file)


_WRITERS = {".npz": _write_npz, ".csv": _write_csv}
