"""Images or a table in the arrays of an npz file."""

import pathlib
import zipfile
from collections.abc import Mapping

import numpy as np

from vicreg_keras.data.columns import Column
from vicreg_keras.data.sources.array_images import read_images
from vicreg_keras.data.sources.array_labels import (
    Classes,
    Labels,
    number_classes,
    read_labels,
)
from vicreg_keras.data.sources.array_names import (
    CLASS_NAMES,
    COLUMN_NAMES,
    Keys,
    find_arrays,
    find_named,
    texts_of,
    unused_arrays,
)
from vicreg_keras.data.sources.base import NOTHING_KNOWN, Known, Source, quoted
from vicreg_keras.data.sources.column_values import check_columns, match_columns
from vicreg_keras.data.sources.known_columns import read_matrix_column
from vicreg_keras.data.split import Split
from vicreg_keras.errors import InputError, file_errors
from vicreg_keras.settings import DataOptions

# Numbers that count fewer examples may be something else.
_MANY_ROWS = 10


def load_npz(options: DataOptions, known: Known = NOTHING_KNOWN) -> Source:
    """Loads the arrays of an npz file, whole and never by pickle.

    Examples are found by name, such as `images`, `X`, `data` or `x_train`, labels by
    `labels`, `y`, `targets` or `y_train`; other splits by `x_val`, `test_images` and
    the like. Arrays such as `x_unlabeled` are trained on, and so are training examples
    whose label is missing. Optional `class_names` is an array of strings. For images
    see `read_images`, for labels `read_labels` and `number_classes`.

    A table is numbers of shape `(N, num_columns)`, NaN for missing values; optional
    `column_names` is an array of strings, by default `column_0` and so on.

    Args:
        options: Of these, `dataset`, `npz:PATH`; `labels`; and `image_size`, which must
            be `None` for a table.
        known: How the data of the encoder that it is for was read.

    Returns:
        A source with the splits that the file has; names are `"train/17"`.

    Raises:
        InputError: If there is no such file, or its arrays are not as above.
    """
    path = options.path()
    arrays, others = _read_npz(path)
    with_labels = options.labels == "auto"
    keys, notes = find_arrays(path, arrays, others, with_labels=with_labels)
    labels = {}
    if with_labels:
        labels = {
            split: read_labels(arrays[own.labels], f"{path} with {own.labels}")
            for split, own in keys.items()
            if own.labels is not None
        }
    _check_labels(path, arrays, keys, labels)
    where = {split: f"{path} with {own.examples}" for split, own in keys.items()}
    examples = {split: arrays[own.examples] for split, own in keys.items()}
    columns, max_pixel, names_key = None, 255, None
    without: list[str] = []
    if examples["train"].ndim == 2 and not keys["train"].is_image:
        names_key = find_named(arrays, COLUMN_NAMES)
        names = None if names_key is None else arrays[names_key]
        columns, examples, more, without = _read_table(
            path, names, examples, options, known
        )
    else:
        lengths = {split: len(one.values) for split, one in labels.items()}
        examples, max_pixel, more = read_images(
            examples,
            lengths,
            where,
            image_size=options.image_size,
            max_pixel=known.max_pixel,
        )
    shapes = {split: array.shape[1:] for split, array in examples.items()}
    if len(set(shapes.values())) > 1:
        raise InputError(
            "Expected examples of one size in every split. Received: "
            f"{path} with {shapes}. Use image_size."
        )
    own_labels = {own.labels for own in keys.values()} - {None}
    # `classes` may be names or labels.
    free = {key: array for key, array in arrays.items() if key not in own_labels}
    classes_key = find_named(free, CLASS_NAMES) if labels else None
    classes = Classes({}, ())
    if labels:
        names = None if classes_key is None else arrays[classes_key]
        classes = number_classes(labels, names, path)
    splits, left_out = _splits(examples, classes.labels)
    used = {names_key, classes_key, *(key for own in keys.values() for key in own[:2])}
    unused = unused_arrays(arrays, others, used, splits["train"].num_examples)
    if not with_labels and own_labels:
        left_out.append(f"labels in {quoted(sorted(own_labels))}")
    return Source(
        **splits,
        class_names=classes.names if classes.labels else None,
        columns=columns,
        max_pixel=max_pixel,
        left_out=(*without, *left_out, *classes.left_out, *unused),
        notes=(*notes, *more, *classes.notes),
    )


def _read_npz(path: pathlib.Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays by name; and what else there is, by name, with the reason."""
    with path.open("rb") as start:
        if start.read(6) == b"\x93NUMPY":
            raise InputError(
                "Expected an npz file of named arrays. Received: "
                f"{path}, a single array as numpy.save writes it. Write "
                "numpy.savez(PATH, images=numpy.load(...), labels=...)."
            )
    expected = "an npz file of plain arrays, as numpy.savez writes it"
    arrays, others = {}, {}
    with (
        file_errors(path, expected, "Save the arrays again"),
        zipfile.ZipFile(path),
        np.load(path, allow_pickle=False) as file,
    ):
        for key in file.files:
            try:
                array = file[key]
            except ValueError as error:
                if "allow_pickle" not in str(error):
                    raise
                others[key] = f"array '{key}' (objects, which need pickle)"
                continue
            if not isinstance(array, np.ndarray):  # Any file may be in the archive.
                others[key] = f"'{key}' (no array)"
            elif array.ndim:
                arrays[key] = array
    return arrays, others


def _read_table(
    path: pathlib.Path,
    names: np.ndarray | None,
    arrays: Mapping[str, np.ndarray],
    options: DataOptions,
    known: Known,
) -> tuple[tuple[Column, ...], dict[str, np.ndarray], list[str], list[str]]:
    """Columns, the values of every split, notes, and what was left out."""
    if options.image_size is not None:
        raise InputError(
            f"Expected no image_size for a table. Received: {path} with "
            f"image_size={options.image_size}. Leave image_size out, or reshape "
            "flattened images to (N, H, W)."
        )
    width = arrays["train"].shape[1]
    texts = [f"column_{i}" for i in range(width)]
    if names is not None:
        texts = texts_of(names)
    for split, array in arrays.items():
        if (
            array.shape[1:] != (width,)
            or not array.size
            or array.dtype.kind not in "fiub"
        ):
            raise InputError(
                f"Expected a matrix of numbers, not empty, with the {width} columns of "
                f"training. Received: {path}, {split} of shape {array.shape} and dtype "
                f"{array.dtype}. Correct the array; for a table with text use a CSV or "
                "Parquet file."
            )
    if "" in texts or not len(set(texts)) == len(texts) == width:
        raise InputError(
            f"Expected {width} column_names, no two alike and none empty. Received: "
            f"{path} with {len(texts)}, {quoted(texts)}. Correct the names."
        )
    columns, order = match_columns(path, texts, known)
    empty: list[int] = []
    if known.columns is None:
        train = arrays["train"]
        empty = [i for i in order if np.isnan(train[:, i]).all()]
        # Such as the index of a data frame.
        kept = [i for i in order if i not in empty and not _counts_rows(train[:, i])]
        kept = kept or order
        columns, order = tuple(columns[i] for i in kept), kept
    own = {column.name for column in columns}
    examples: dict[str, np.ndarray] = {}
    seen: dict[str, None] = {}
    for split, array in arrays.items():
        examples[split] = np.empty((len(array), len(columns)), np.float32)
        for i, (column, position) in enumerate(zip(columns, order, strict=True)):
            one = read_matrix_column(column, array[:, position], f"{path}, {split}")
            examples[split][:, i] = one.values
            if one.note[0]:
                seen[f"column {column.name!r}: {', '.join(one.note)}"] = None
    if known.columns is None:
        check_columns(columns, examples["train"], path)
    without = [texts[i] for i in empty]
    which = f"{len(without):,} columns" if len(without) > 1 else "column"
    left_out = [f"{which} {quoted(without)} (nothing)"] if without else []
    own.update(without)
    notes = [f"column {name!r} is not read" for name in texts if name not in own]
    notes += seen
    side = width**0.5
    if side >= 8 and side % 1 == 0 and arrays["train"].dtype == np.uint8:
        shape = f"(N, {side:g}, {side:g})"
        notes.append(f"a table of {width} columns; images, if reshaped to {shape}")
    return columns, examples, notes, left_out


def _counts_rows(values: np.ndarray) -> bool:
    """Whether values are consecutive whole numbers in any order."""
    counted = values.min() + np.arange(len(values))
    return len(values) > _MANY_ROWS and np.array_equal(np.sort(values), counted)


def _check_labels(
    path: pathlib.Path,
    arrays: Mapping[str, np.ndarray],
    keys: Mapping[str, Keys],
    labels: Mapping[str, Labels],
) -> None:
    """Checks that examples have one label each, those of training first of all."""
    for split, one in labels.items():
        own, number = keys[split], len(one.values)
        shape = arrays[own.examples].shape
        # The axis of images is the first or the last one.
        if number not in (shape[0], shape[-1] if len(shape) > 2 else shape[0]):
            raise InputError(
                f"Expected a label for each of {shape[0]:,} examples. Received: "
                f"{path} with {own.labels} of {number:,} and {own.examples} of shape "
                f"{shape}. Correct the array, or use labels=none."
            )
    if labels and "train" not in labels:
        raise InputError(
            "Expected labels of the training examples where another split has some. "
            f"Received: {path} with labels in {keys[next(iter(labels))].labels} alone. "
            "Add those of training, or use labels=none."
        )


def _splits(
    examples: Mapping[str, np.ndarray], labels: Mapping[str, np.ndarray]
) -> tuple[dict[str, Split], list[str]]:
    """The splits of a `Source`, and what of them was left out."""
    splits: dict[str, Split] = {}
    left_out = []
    for split, array in examples.items():
        own, everything = labels.get(split), np.arange(len(array))
        names = [f"{split}/{i}" for i in everything]
        unlabeled = Split(array, None, names)
        if not labels:
            splits[split] = unlabeled
            continue
        present = np.zeros(len(array), bool) if own is None else own >= 0
        if present.any():
            splits[split] = Split(array, own, names).take(everything[present])
        if present.all():
            continue
        rest = unlabeled.take(everything[~present])
        if split in ("train", "unlabeled"):
            earlier = splits.get("unlabeled")
            splits["unlabeled"] = earlier.concatenate(rest) if earlier else rest
        else:
            left_out.append(f"{len(rest):,} examples of {split} without a label")
    return splits, left_out
