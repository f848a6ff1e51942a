"""Images and rows that lie in arrays: scikit-learn's digits and npz files."""

import pathlib
import zipfile
from typing import Any

import numpy as np

from vicreg_keras.data.columns import Column
from vicreg_keras.data.sources.base import ArrayExamples, Part, Source
from vicreg_keras.data.sources.images import as_rgb, resized
from vicreg_keras.data.sources.table_checks import (
    as_float32,
    check_no_image_size,
    check_not_empty,
)

# Examples and labels of each part: ours, Keras's and MedMNIST's names of them.
_NPZ_KEYS = {
    "train": (
        ("images", "labels"),
        ("rows", "labels"),
        ("x_train", "y_train"),
        ("train_images", "train_labels"),
    ),
    "validation": (("x_val", "y_val"), ("val_images", "val_labels")),
    "test": (("x_test", "y_test"), ("test_images", "test_labels")),
}


def load_digits(location: str, *, image_size: int | None, **unused: Any) -> Source:
    """Scikit-learn's 1,797 handwritten digits of 8 x 8 pixels; needs no network.

    Gray levels 0 to 16 become 0 to 255.

    Args:
        location: Must be empty.
        image_size: As in `load_dataset`.
        **unused: What other sources need.

    Returns:
        A source with a training part only.

    Raises:
        ValueError: If `location` is not empty.
    """
    # Imported here: it takes a second that no other source needs.
    from sklearn import datasets

    del unused
    if location:
        raise ValueError(
            "Expected `digits` alone. "
            f"Received: name={'digits:' + location!r}. Use --dataset=digits."
        )
    digits = datasets.load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    images = resized(as_rgb(images), image_size)
    names = [f"digits/{i}" for i in range(len(images))]
    train = Part(ArrayExamples(images), digits.target.astype(np.int64), names)
    return Source(train, class_names=tuple(str(n) for n in digits.target_names))


def load_npz(location: str, *, image_size: int | None, **unused: Any) -> Source:
    """Arrays in an npz file, loaded whole and never by pickle.

    Keys: examples are `images`, `rows` or `x_train`, with optional labels `labels` or
    `y_train`; optional parts of the same form are `x_val`, `y_val` and `x_test`,
    `y_test`. MedMNIST's `train_images`, `train_labels`, `val_images`, ... serve as
    well. Optional `class_names` is an array of strings. Images are uint8 of shape
    `(N, H, W)`, `(N, H, W, 1)` or `(N, H, W, 3)`; labels are integers from 0 of
    shape `(N,)` or `(N, 1)`.

    Rows are numbers of shape `(N, F)`, NaN for those that are missing; optional
    `column_names` is an array of F strings, without which they are `column_0` and
    on.

    Args:
        location: The file.
        image_size: As in `load_dataset`; `None` for rows.
        **unused: What other sources need.

    Returns:
        A source with the parts that the file has.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is not such a file.
    """
    del unused
    path = pathlib.Path(location).expanduser()
    if not path.is_file():
        raise FileNotFoundError(
            "Expected an existing npz file. "
            f"Received: name={'npz:' + location!r}. Use --dataset=npz:PATH."
        )
    arrays = _read_npz(path)
    found = _npz_examples(arrays)
    if "train" not in found:
        raise ValueError(
            "Expected one of the arrays 'images', 'rows', 'x_train', 'train_images'. "
            f"Received: {path} with arrays {sorted(arrays)}. Rename the array."
        )
    parts, columns = {}, None
    if _holds_rows(arrays, found["train"][0]):
        check_no_image_size(f"npz:{location}", image_size)
        columns = _npz_columns(path, arrays, found["train"][0])
    for part, (key, labels_key) in found.items():
        if columns is None:
            examples = _npz_images(path, key, arrays[key], image_size)
        else:
            examples = _npz_rows(path, key, arrays[key], columns)
        labels = arrays.get(labels_key)
        if labels is not None:
            labels = _checked_npz_labels(path, labels_key, labels, len(examples))
        names = [f"{part}/{i}" for i in range(len(examples))]
        parts[part] = Part(ArrayExamples(examples), labels, names)
    shapes = {part.examples.shape for part in parts.values()}
    if len(shapes) > 1:
        raise ValueError(
            "Expected images of one size in every part. Received: "
            f"{path} with sizes {sorted(s[:2] for s in shapes)}. Use --image_size."
        )
    if columns is not None:
        check_not_empty(parts["train"].examples.read(slice(None)), path, columns)
    class_names = _npz_class_names(path, arrays, parts)
    return Source(**parts, class_names=class_names, columns=columns)


def _read_npz(path: pathlib.Path) -> dict[str, np.ndarray]:
    try:
        # An .npy file would come back as one array, without names.
        with zipfile.ZipFile(path), np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except zipfile.BadZipFile:
        reason = "not a zip file"
    except (OSError, ValueError, EOFError, KeyError) as error:
        reason = " ".join(str(error).split())
    raise ValueError(
        "Expected an npz file of plain arrays, as numpy.savez writes it. "
        f"Received: {path} ({reason}). Save the arrays again."
    )


def _npz_examples(arrays: dict[str, np.ndarray]) -> dict[str, tuple[str, str]]:
    """The keys of examples and labels of each part that is there."""
    found = {}
    for part, pairs in _NPZ_KEYS.items():
        for keys in pairs:
            if keys[0] in arrays:
                found[part] = keys
                break
    return found


def _holds_rows(arrays: dict[str, np.ndarray], key: str) -> bool:
    """Whether the training examples are rows: by their name, or as matrices can be."""
    return key == "rows" or (key == "x_train" and arrays[key].ndim == 2)


def _npz_columns(
    path: pathlib.Path, arrays: dict[str, np.ndarray], key: str
) -> tuple[Column, ...]:
    _check_npz_rows(path, key, arrays[key])
    num_columns = arrays[key].shape[1]
    if "column_names" not in arrays:
        return tuple(Column(f"column_{i}") for i in range(num_columns))
    names = [str(name) for name in arrays["column_names"].ravel()]
    if len(set(names)) != num_columns or len(names) != num_columns:
        raise ValueError(
            f"Expected {num_columns} column_names, no two alike, as {key} has columns. "
            f"Received: {path} with {len(names)}, {len(set(names))} of them different. "
            "Name each column once."
        )
    return tuple(map(Column, names))


def _npz_rows(
    path: pathlib.Path, key: str, matrix: np.ndarray, columns: tuple[Column, ...]
) -> np.ndarray:
    _check_npz_rows(path, key, matrix)
    if matrix.shape[1] != len(columns):
        raise ValueError(
            f"Expected {len(columns)} columns in every part, as in training. Received: "
            f"{path} with {key} of shape {matrix.shape}. Make them the same."
        )
    rows = np.empty(matrix.shape, np.float32)
    for place, column in enumerate(columns):
        rows[:, place] = as_float32(matrix[:, place], path, column.name)
    return rows


def _check_npz_rows(path: pathlib.Path, key: str, matrix: np.ndarray) -> None:
    if matrix.ndim != 2 or matrix.dtype.kind not in "fiub" or not matrix.size:
        raise ValueError(
            "Expected rows that are a matrix of numbers (N, F), not empty. Received: "
            f"{path} with {key} of shape {matrix.shape} and dtype {matrix.dtype}. "
            "Reshape or convert the array."
        )


def _npz_images(
    path: pathlib.Path, key: str, images: np.ndarray, image_size: int | None
) -> np.ndarray:
    _check_npz_images(path, key, images)
    return resized(as_rgb(images), image_size)


def _check_npz_images(path: pathlib.Path, key: str, images: np.ndarray) -> None:
    received = f"{path} with {key} of shape {images.shape} and dtype {images.dtype}"
    if images.dtype != np.uint8:
        if images.dtype.kind == "f" and not np.isfinite(images).all():
            received += ", with NaN or infinite values"
        elif images.dtype.kind in "fiu" and images.size:
            received += f", with values from {images.min():g} to {images.max():g}"
        raise ValueError(
            "Expected uint8 images with values from 0 to 255. "
            f"Received: {received}. Scale to 0..255, round, and save as uint8."
        )
    if images.ndim not in (3, 4) or (
        images.ndim == 4 and images.shape[3] not in (1, 3)
    ):
        raise ValueError(
            "Expected images of shape (N, H, W), (N, H, W, 1) or (N, H, W, 3). "
            f"Received: {received}. Reshape the array."
        )
    if not images.size:
        raise ValueError(
            f"Expected at least one image. Received: {received}. Add images."
        )


def _checked_npz_labels(
    path: pathlib.Path, key: str, labels: np.ndarray, num_examples: int
) -> np.ndarray:
    received = f"{path} with {key} of shape {labels.shape} and dtype {labels.dtype}"
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise ValueError(
            "Expected labels that are integers of shape (N,) or (N, 1). "
            f"Received: {received}. Number the classes from 0."
        )
    if len(labels) != num_examples:
        raise ValueError(
            f"Expected a label for each of {num_examples} examples. "
            f"Received: {received}. Make them the same length."
        )
    if labels.min() < 0:
        raise ValueError(
            "Expected labels of at least 0. "
            f"Received: {received}, with {labels.min()}. Number the classes from 0."
        )
    return labels.astype(np.int64)


def _npz_class_names(
    path: pathlib.Path, arrays: dict[str, np.ndarray], parts: dict[str, Part]
) -> tuple[str, ...] | None:
    labels = [part.labels for part in parts.values()]
    if all(part is None for part in labels):
        return None
    if any(part is None for part in labels):
        raise ValueError(
            "Expected labels for every part, or for none. "
            f"Received: {path} with arrays {sorted(arrays)}. Add the missing labels."
        )
    num_classes = 1 + max(int(part.max()) for part in labels)
    if "class_names" not in arrays:
        return tuple(str(i) for i in range(num_classes))
    names = tuple(str(name) for name in arrays["class_names"].ravel())
    if len(names) < num_classes:
        raise ValueError(
            f"Expected a class name for each of {num_classes} labels. "
            f"Received: {path} with {len(names)} class_names. Add the missing names."
        )
    return names
