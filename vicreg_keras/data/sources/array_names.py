"""Which arrays of a file are examples, labels and names, by what people call them."""

import pathlib
import re
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from vicreg_keras.errors import InputError
from vicreg_keras.settings.data import column_name

CLASS_NAMES = ("classnames", "labelnames", "targetnames", "classes", "categories")
COLUMN_NAMES = ("columnnames", "featurenames", "columns")

# Names such as x_train, train_images, Y or X_te: a word of a split and one of a role.
_SPLITS = {
    "train": ("", "train", "training", "tr"),
    "validation": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing", "te", "eval", "holdout"),
    "unlabeled": ("unlabeled", "unlabelled"),
}
_IMAGES = ("images", "image", "imgs", "img", "pixels")
_EXAMPLES = (*_IMAGES, "examples", "x", "data", "features", "inputs", "samples", "")
_LABELS = ("labels", "label", "y", "targets", "target", "classes", "class")
_MAX_CHANNELS = 4
# The names of arrays that numpy.savez was given without any.
_POSITION = re.compile(r"arr_\d+")


class Keys(NamedTuple):
    """The arrays of a split.

    Attributes:
        examples: Name of the array of its examples.
        labels: Name of the array of its labels, or `None` without one.
        is_image: Whether the name is one of images, so that they are no table.
    """

    examples: str
    labels: str | None
    is_image: bool


def find_arrays(
    path: pathlib.Path,
    arrays: Mapping[str, np.ndarray],
    others: Collection[str],
    *,
    with_labels: bool,
) -> tuple[dict[str, Keys], list[str]]:
    """Finds the arrays of each split.

    Args:
        path: The file, for the message.
        arrays: Its arrays by name.
        others: Names of what can't be read.
        with_labels: Whether arrays of labels are to be read.

    Returns:
        The arrays by split, with `"train"`, and notes.

    Raises:
        InputError: If there are no examples to train on, or it is not plain which array
            holds them.
    """
    if wanted := [key for key in others if _is_known(key, with_labels)]:
        raise InputError(
            "Expected arrays of numbers or texts, which need no pickle. Received: "
            f"{path} with objects in {wanted[0]!r}. Save it with astype(str) or as "
            "numbers; images of several sizes as a folder of files."
        )
    keys = {}
    for split, words in _SPLITS.items():
        for word in words:
            examples = _first(arrays, word, _EXAMPLES, min_dims=2)
            if examples is not None and split not in keys:
                # Labels that are named as the examples are come first.
                order = [word, *(other for other in words if other != word)]
                labels = _labels_of(arrays, examples, order)
                is_image = any(role in _normalized(examples) for role in _IMAGES)
                keys[split] = Keys(examples, labels, is_image)
    if "train" not in keys and "unlabeled" in keys:
        keys["train"] = keys.pop("unlabeled")
    if "train" not in keys:
        keys["train"] = _guess(path, arrays, {own.examples for own in keys.values()})
    if "unlabeled" in keys:
        keys["unlabeled"] = keys["unlabeled"]._replace(labels=None)
    texts = [
        f"{split} is {own.examples!r}"
        + f", labels {own.labels!r}" * bool(own.labels and with_labels)
        for split, own in keys.items()
    ]
    return keys, ["; ".join(texts)]


def find_named(arrays: Mapping[str, np.ndarray], names: Sequence[str]) -> str | None:
    """Returns the first array of texts with one of these names, or `None`."""
    for name in names:
        for key, array in arrays.items():
            if _normalized(key) == name and array.dtype.kind in "SU":
                return key
    return None


def texts_of(array: np.ndarray) -> list[str]:
    """Returns texts in one writing, also where they are encoded or have blanks."""
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8", "backslashreplace")
    return [column_name(str(text)) for text in array.ravel().tolist()]


def unused_arrays(
    arrays: Mapping[str, np.ndarray],
    others: Mapping[str, str],
    used: Collection[str | None],
    num_examples: int,
) -> list[str]:
    """Describes the arrays that were not read, those of the examples' number first.

    Args:
        arrays: All arrays by name.
        others: What can't be read, by name.
        used: Names of those that were.
        num_examples: Number of training examples.
    """
    unused = {key: array for key, array in arrays.items() if key not in used}
    texts: dict[bool, list[str]] = {True: [], False: []}
    for key, array in unused.items():
        one_each = len(array) == num_examples
        text = f"array '{key}' of shape {array.shape} ({array.dtype})"
        texts[one_each].append(text + ", one per example" * one_each)
    return [*texts[True], *texts[False], *others.values()]


def _is_known(key: str, with_labels: bool) -> bool:
    name = _normalized(key)
    if name in COLUMN_NAMES or (with_labels and name in CLASS_NAMES):
        return True
    roles = (*_EXAMPLES, *_LABELS) if with_labels else _EXAMPLES
    return any(
        name in _spellings(word, roles) for words in _SPLITS.values() for word in words
    )


def _first(
    arrays: Mapping[str, np.ndarray], word: str, roles: Sequence[str], min_dims: int
) -> str | None:
    """The first array whose name is a word of a split and one of a role."""
    spellings = _spellings(word, roles)
    found = [
        (spellings.index(_normalized(key)), key)
        for key, array in arrays.items()
        if _normalized(key) in spellings and array.ndim >= min_dims
    ]
    return min(found)[1] if found else None


def _spellings(word: str, roles: Sequence[str]) -> list[str]:
    names = [name for role in roles for name in (word + role, role + word)]
    return [name for name in names if name]


def _labels_of(
    arrays: Mapping[str, np.ndarray], examples: str, words: Sequence[str]
) -> str | None:
    shape = arrays[examples].shape
    # `classes` may also be the names of the classes.
    free = {
        key: array
        for key, array in arrays.items()
        if _normalized(key) not in CLASS_NAMES or _is_one_each(array, shape)
    }
    found = (_first(free, word, _LABELS, min_dims=1) for word in words)
    return next(filter(None, found), None)


def _is_one_each(array: np.ndarray, shape: Sequence[int]) -> bool:
    """Whether there may be a label for each example, also as one-hot vectors."""
    number = array.size if min(array.shape) == 1 else len(array)
    # The last axis is that of few channels, or of the examples.
    return number == shape[0] or (
        len(shape) > 2 and number == shape[-1] > _MAX_CHANNELS
    )


def _normalized(key: str) -> str:
    """Returns `xtrain` and `trainx` of `X_train_orig` and `train_set_x`."""
    return re.sub(
        r"[^a-z0-9]|(?<![a-z])(orig|raw)(?![a-z])|set(?![a-z])", "", key.lower()
    )


def _guess(
    path: pathlib.Path, arrays: Mapping[str, np.ndarray], taken: Collection[str]
) -> Keys:
    """The only array that can be examples, whatever its name, and its labels."""
    free = {
        key: array
        for key, array in arrays.items()
        if key not in taken and array.dtype.kind in "iufb"
    }
    big = [key for key, array in free.items() if array.ndim > 2]
    big = big or [key for key, array in free.items() if array.ndim == 2]
    if len(big) != 1:
        shapes = ", ".join(f"{key!r} {array.shape}" for key, array in arrays.items())
        raise InputError(
            "Expected an array images, examples or x_train. Received: "
            f"{path} with {shapes or 'none'}. Rename the array of examples, and that "
            "of labels to labels or y_train."
        )
    shape = arrays[big[0]].shape
    positional = [
        key
        for key, array in arrays.items()
        if _POSITION.fullmatch(key) and key != big[0] and _is_one_each(array, shape)
    ]
    only = positional[0] if len(positional) == 1 else None
    return Keys(big[0], _labels_of(arrays, big[0], [""]) or only, False)
