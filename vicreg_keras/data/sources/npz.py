"""Images or a table in the arrays of an npz file."""

import math
import pathlib
import zipfile
from collections.abc import Mapping, Sequence

import numpy as np

from vicreg_keras.data.columns import Column
from vicreg_keras.data.sources.base import NOTHING_KNOWN, Known, Source
from vicreg_keras.data.sources.images import as_rgb, resized
from vicreg_keras.data.sources.table_columns import as_float32, check_columns
from vicreg_keras.data.split import Split
from vicreg_keras.errors import InputError, file_errors
from vicreg_keras.settings import DataOptions

# Split, its examples and their labels: our names of them, Keras's and MedMNIST's.
_KEYS = (
    ("train", "images", "labels"),
    ("train", "examples", "labels"),
    ("train", "x_train", "y_train"),
    ("train", "train_images", "train_labels"),
    ("validation", "x_val", "y_val"),
    ("validation", "val_images", "val_labels"),
    ("test", "x_test", "y_test"),
    ("test", "test_images", "test_labels"),
)
# What is expected of each kind of array; {} is a number that `_check` is given.
_EXPECTED = {
    "images": "uint8 images with values from 0 to 255, of shape (N, H, W), "
    "(N, H, W, 1) or (N, H, W, 3), at least one",
    "table": "a matrix of numbers, not empty, with the {} columns of training",
    "labels": "labels that are integers of at least 0, one for each of {} examples",
    "column_names": "{} column_names, no two alike",
    "class_names": "a class name for each of {} labels",
}


def load_npz(options: DataOptions, known: Known = NOTHING_KNOWN) -> Source:
    """Loads the arrays of an npz file, whole and never by pickle.

    Keys: examples are `images`, `examples` (of a table) or `x_train`, with optional
    labels `labels` or `y_train`; optional splits of the same form are `x_val`, `y_val`
    and `x_test`, `y_test`. MedMNIST's `train_images`, `train_labels`, `val_images`,
    ... serve as well. Optional `class_names` is an array of strings. Images are uint8
    of shape `(N, H, W)`, `(N, H, W, 1)` or `(N, H, W, 3)`; labels are integers from 0
    of shape `(N,)` or `(N, 1)`.

    A table is numbers of shape `(N, num_columns)`, NaN for missing values; optional
    `column_names` is an array of strings, by default `column_0` and so on.

    Args:
        options: Of these, `dataset`, `npz:PATH`; and `image_size`, which must be
            `None` for a table.
        known: How the data of the encoder that it is for was read.

    Returns:
        A source with the splits that the file has; names are `"train/17"`.

    Raises:
        InputError: If there is no such file, or its arrays are not as above.
    """
    path = options.path()
    arrays = _read_npz(path)
    # Of several keys of a split the first counts.
    keys = {split: keys for split, *keys in reversed(_KEYS) if keys[0] in arrays}
    if "train" not in keys:
        wanted = [key for split, key, _ in _KEYS if split == "train"]
        raise InputError(
            f"Expected one of the arrays {wanted}. Received: {path} with arrays "
            f"{sorted(arrays)}. Rename the array."
        )
    key = keys["train"][0]
    columns = None
    if key == "examples" or (key == "x_train" and arrays[key].ndim == 2):
        if options.image_size is not None:
            raise InputError(
                f"Expected no image_size for a table. Received: {path} with "
                f"image_size={options.image_size}. Leave image_size out."
            )
        columns = _columns(path, arrays, key)
    splits = {}
    for split, (key, labels_key) in keys.items():
        where = f"{path} with {key}"
        if columns is None:
            examples = _images(where, arrays[key], options.image_size)
        else:
            examples = _table(where, arrays[key], columns)
        names = [f"{split}/{i}" for i in range(len(examples))]
        labels = arrays.get(labels_key)
        if labels is not None:
            valid = labels.dtype.kind in "iu" and labels.min(initial=0) >= 0
            valid = valid and labels.shape in ((len(names),), (len(names), 1))
            _check(valid, "labels", f"{path} with {labels_key}", labels, len(names))
            labels = labels.ravel()
        splits[split] = Split(examples, labels, names)
    shapes = {split.example_shape for split in splits.values()}
    labeled = {split.labels is not None for split in splits.values()}
    if len(shapes) > 1 or len(labeled) > 1:
        raise InputError(
            "Expected images of one size in every split, and labels for every split or "
            f"for none. Received: {path} with examples of shapes {sorted(shapes)} and "
            f"arrays {sorted(arrays)}. Use image_size, or add the missing labels."
        )
    if columns is not None:
        check_columns(columns, splits["train"].read(), path)
    class_names = _class_names(path, arrays, splits) if True in labeled else None
    return Source(**splits, class_names=class_names, columns=columns)


def _read_npz(path: pathlib.Path) -> dict[str, np.ndarray]:
    expected = "an npz file of plain arrays, as numpy.savez writes it"
    with (
        file_errors(path, expected, "Save the arrays again"),
        zipfile.ZipFile(path),  # An .npy file would come back as one array.
        np.load(path, allow_pickle=False) as file,
    ):
        return {key: file[key] for key in file.files}


def _columns(
    path: pathlib.Path, arrays: Mapping[str, np.ndarray], key: str
) -> tuple[Column, ...]:
    num_columns = math.prod(arrays[key].shape[1:])
    default = np.array([f"column_{i}" for i in range(num_columns)])
    names = arrays.get("column_names", default)
    valid = num_columns == names.size == len(np.unique(names))
    _check(valid, "column_names", f"{path} with column_names", names, num_columns)
    return tuple(Column(str(name)) for name in names.ravel())


def _class_names(
    path: pathlib.Path, arrays: Mapping[str, np.ndarray], splits: Mapping[str, Split]
) -> tuple[str, ...]:
    num_classes = 1 + max(split.labels.max() for split in splits.values())
    names = arrays.get("class_names", np.arange(num_classes))
    valid = names.size >= num_classes
    _check(valid, "class_names", f"{path} with class_names", names, num_classes)
    return tuple(str(name) for name in names.ravel())


def _images(where: str, array: np.ndarray, image_size: int | None) -> np.ndarray:
    valid = array.dtype == np.uint8 and array.size
    valid = valid and (array.ndim == 3 or array.shape[3:] in ((1,), (3,)))
    _check(valid, "images", where, array)
    return resized(as_rgb(array), image_size)


def _table(where: str, array: np.ndarray, columns: Sequence[Column]) -> np.ndarray:
    valid = array.shape[1:] == (len(columns),) and array.size
    valid = valid and array.dtype.kind in "fiub"
    _check(valid, "table", where, array, len(columns))
    examples = np.empty(array.shape, np.float32)
    for i, column in enumerate(columns):
        examples[:, i] = as_float32(array[:, i], where, column.name)
    return examples


def _check(
    valid: object, kind: str, where: str, array: np.ndarray, number: int = 0
) -> None:
    if valid:
        return
    values = ""
    if array.dtype.kind in "fiu" and array.size:
        values = f", with values from {array.min():g} to {array.max():g}"
    raise InputError(
        f"Expected {_EXPECTED[kind].format(number)}. Received: {where} of shape "
        f"{array.shape} and dtype {array.dtype}{values}. Correct the array."
    )
