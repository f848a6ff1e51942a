"""Images or a table in the arrays of an npz file."""

import math
import pathlib
import zipfile
from collections.abc import Mapping

import numpy as np

from vicreg_keras.data.columns import Column
from vicreg_keras.data.sources.base import Source, existing_path, require
from vicreg_keras.data.sources.images import as_rgb, resized
from vicreg_keras.data.sources.table_columns import as_float32, check_not_empty
from vicreg_keras.data.split import Split
from vicreg_keras.errors import InputError
from vicreg_keras.settings import DataOptions

# Examples and labels of each split: our names of them, Keras's and MedMNIST's.
_NPZ_KEYS = {
    "train": (
        ("images", "labels"),
        ("examples", "labels"),
        ("x_train", "y_train"),
        ("train_images", "train_labels"),
    ),
    "validation": (("x_val", "y_val"), ("val_images", "val_labels")),
    "test": (("x_test", "y_test"), ("test_images", "test_labels")),
}


def load_npz(location: str, options: DataOptions) -> Source:
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
        location: The file.
        options: Of these, `image_size`, which must be `None` for a table.

    Returns:
        A source with the splits that the file has; names are `"train/17"`.

    Raises:
        InputError: If there is no such file, or its arrays are not as above.
    """
    path = existing_path("npz", location)
    arrays = _read_npz(path)
    found = {
        split: next((keys for keys in pairs if keys[0] in arrays), None)
        for split, pairs in _NPZ_KEYS.items()
    }
    require(
        found["train"],
        "one of the arrays 'images', 'examples', 'x_train', 'train_images'",
        f"{path} with arrays {sorted(arrays)}",
        "Rename the array",
    )
    columns = None
    key = found["train"][0]
    if key == "examples" or (key == "x_train" and arrays[key].ndim == 2):
        require(
            options.image_size is None,
            "no image_size for a table",
            f"dataset='npz:{location}' with image_size={options.image_size}",
            "Leave image_size out",
        )
        columns = _npz_columns(path, arrays, key)
    splits = {}
    for split, keys in found.items():
        if keys is None:
            continue
        key, labels_key = keys
        if columns is None:
            examples = _npz_images(path, key, arrays[key], options.image_size)
        else:
            examples = _npz_table(path, key, arrays[key], columns)
        labels = _npz_labels(path, arrays, labels_key, len(examples))
        names = [f"{split}/{i}" for i in range(len(examples))]
        splits[split] = Split(examples, labels, names)
    shapes = {split.example_shape for split in splits.values()}
    require(
        len(shapes) == 1,
        "images of one size in every split",
        f"{path} with sizes {sorted(shape[:2] for shape in shapes)}",
        "Use image_size",
    )
    if columns is not None:
        check_not_empty(splits["train"].read(), path, columns)
    class_names = _npz_class_names(path, arrays, splits)
    return Source(
        splits["train"],
        splits.get("validation"),
        splits.get("test"),
        class_names=class_names,
        columns=columns,
    )


def _read_npz(path: pathlib.Path) -> dict[str, np.ndarray]:
    try:
        # An .npy file would come back as one array, without names.
        with zipfile.ZipFile(path), np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except zipfile.BadZipFile:
        reason = "not a zip file"
    except (OSError, ValueError, EOFError, KeyError) as error:
        reason = " ".join(str(error).split())
    raise InputError(
        "Expected an npz file of plain arrays, as numpy.savez writes it. "
        f"Received: {path} ({reason}). Save the arrays again."
    )


def _npz_columns(
    path: pathlib.Path, arrays: Mapping[str, np.ndarray], key: str
) -> tuple[Column, ...]:
    num_columns = math.prod(arrays[key].shape[1:])
    names = [f"column_{i}" for i in range(num_columns)]
    if "column_names" in arrays:
        names = [str(name) for name in arrays["column_names"].ravel()]
    require(
        len(names) == len(set(names)) == num_columns,
        f"{num_columns} column_names, no two alike, as {key} has columns",
        f"{path} with {len(names)}, {len(set(names))} of them different",
        "Name each column once",
    )
    return tuple(map(Column, names))


def _npz_table(
    path: pathlib.Path, key: str, array: np.ndarray, columns: tuple[Column, ...]
) -> np.ndarray:
    num_columns = len(columns)
    require(
        array.ndim == 2
        and array.shape[1] == num_columns
        and array.size
        and array.dtype.kind in "fiub",
        f"a table as a matrix of numbers, not empty, with the {num_columns} columns of "
        f"training: (N, {num_columns})",
        _description(path, key, array),
        "Reshape or convert the array",
    )
    examples = np.empty(array.shape, np.float32)
    for i, column in enumerate(columns):
        examples[:, i] = as_float32(array[:, i], path, column.name)
    return examples


def _npz_images(
    path: pathlib.Path, key: str, images: np.ndarray, image_size: int | None
) -> np.ndarray:
    require(
        images.dtype == np.uint8
        and (images.ndim == 3 or (images.ndim == 4 and images.shape[3] in (1, 3)))
        and images.size,
        "uint8 images with values from 0 to 255, of shape (N, H, W), (N, H, W, 1) or "
        "(N, H, W, 3), at least one",
        _description(path, key, images),
        "Reshape the array, or scale it to 0..255, round, and save as uint8",
    )
    return resized(as_rgb(images), image_size)


def _npz_labels(
    path: pathlib.Path, arrays: Mapping[str, np.ndarray], key: str, num_examples: int
) -> np.ndarray | None:
    if key not in arrays:
        return None
    labels = arrays[key]
    require(
        labels.dtype.kind in "iu"
        and labels.shape in ((num_examples,), (num_examples, 1))
        and labels.min() >= 0,
        f"labels that are integers of at least 0, one for each of {num_examples} "
        f"examples: ({num_examples},) or ({num_examples}, 1)",
        _description(path, key, labels),
        "Number the classes from 0",
    )
    return labels.ravel()


def _npz_class_names(
    path: pathlib.Path, arrays: Mapping[str, np.ndarray], splits: Mapping[str, Split]
) -> tuple[str, ...] | None:
    labels = [split.labels for split in splits.values() if split.labels is not None]
    if not labels:
        return None
    require(
        len(labels) == len(splits),
        "labels for every split, or for none",
        f"{path} with arrays {sorted(arrays)}",
        "Add the missing labels",
    )
    num_classes = 1 + max(int(some.max()) for some in labels)
    if "class_names" not in arrays:
        return tuple(str(i) for i in range(num_classes))
    names = tuple(str(name) for name in arrays["class_names"].ravel())
    require(
        len(names) >= num_classes,
        f"a class name for each of {num_classes} labels",
        f"{path} with {len(names)} class_names",
        "Add the missing names",
    )
    return names


def _description(path: pathlib.Path, key: str, array: np.ndarray) -> str:
    text = f"{path} with {key} of shape {array.shape} and dtype {array.dtype}"
    if array.dtype.kind in "fiu" and array.size:
        text += f", with values from {array.min():g} to {array.max():g}"
    return text
