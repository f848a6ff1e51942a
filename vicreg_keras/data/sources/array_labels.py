"""Labels in arrays, as people write them: each distinct value is a class."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from vicreg_keras.data.cells import MISSING
from vicreg_keras.data.sources.array_names import texts_of
from vicreg_keras.data.sources.base import quoted
from vicreg_keras.errors import InputError

# Whole numbers that stand for a missing label where no other is below 0: of
# scikit-learn's semi-supervised estimators, and of PyTorch's losses.
_MISSING_NUMBERS = (-1, -100)
# Floats above it are not told apart; numbers of more digits may be no int64.
_MAX_LABEL, _MAX_DIGITS = 2**53, 18
# Fewer examples of a class than this on average, and the labels are hardly classes.
_MIN_PER_CLASS, _MANY_CLASSES = 3, 10


class Labels(NamedTuple):
    """Labels of one split.

    Attributes:
        values: `(N,)` whole numbers or texts.
        present: `(N,)` booleans, whether each is there.
        note: How they were read where it could be done in other ways.
    """

    values: np.ndarray
    present: np.ndarray
    note: str = ""


class Classes(NamedTuple):
    """Labels of all splits as numbers of classes.

    Attributes:
        labels: By split, int64 `(N,)`, -1 where a label is missing; empty where the
            labels do not tell the examples of the training split apart.
        names: A name for each class.
        notes: How they were read where it could be done in other ways.
        left_out: What was not read.
    """

    labels: dict[str, np.ndarray]
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


def read_labels(array: np.ndarray, where: str) -> Labels:
    """Reads labels of one split.

    Args:
        array: `(N,)`, `(N, 1)` or `(1, N)` whole numbers, texts or booleans, NaN or
            no text where one is missing; or `(N, K)`, one-hot.
        where: The array, for the message.

    Raises:
        InputError: If they are something else.
    """
    note = ""
    if array.ndim == 2 and min(array.shape) > 1:
        array, note = _from_one_hot(array, where), "one-hot labels"
    elif array.ndim != 1 and (array.ndim != 2 or array.size == 0):
        raise _not_labels(array, where)
    values = array.ravel()
    if values.dtype.kind in "SU":
        return _from_text(values, note)
    present = np.ones(len(values), bool)
    if values.dtype.kind == "f":
        present = ~np.isnan(values)
        values = np.where(present, values, 0)
        large = np.abs(values) > _MAX_LABEL
        if large.any():
            raise InputError(
                "Expected labels that are classes: whole numbers or texts. Received: "
                f"{where} with {values[large.argmax()]:g}. Correct it, or write NaN "
                "for a missing label."
            )
        fractions = values != np.rint(values)
        if fractions.any():
            raise InputError(
                "Expected labels that are classes: whole numbers or texts. Received: "
                f"{where} with {values[fractions.argmax()]:g}, a regression target. "
                "Divide it into classes, or use labels=none."
            )
        note = note or "whole floats as labels"
    elif values.dtype.kind not in "iub" or (
        values.dtype.kind == "u" and values.max(initial=0) > np.iinfo(np.int64).max
    ):
        raise _not_labels(array, where)
    return Labels(values.astype(np.int64), present, note)


def number_classes(
    labels: Mapping[str, Labels], names: np.ndarray | None, path: object
) -> Classes:
    """Numbers the classes of all splits alike, in the order of their values.

    Args:
        labels: By split, with `"train"`.
        names: Texts: a name for each value that is there, in their order; or more of
            them, which values count from 0. `None` takes the values as names.
        path: The file, for the message.

    Raises:
        InputError: If some labels are numbers and others texts, or the names are fewer
            than the classes.
    """
    kinds = {one.values.dtype.kind for one in labels.values() if one.present.any()}
    if len(kinds) > 1:
        raise InputError(
            "Expected labels of one kind in every split, numbers or texts. Received: "
            f"{path} with both. Write all as texts, or all as numbers."
        )
    notes = [one.note for one in labels.values() if one.note][:1]
    labels, missing_note = _without_missing_numbers(labels, path)
    present = {split: one.values[one.present] for split, one in labels.items()}
    values = np.unique(np.concatenate([*present.values()]))
    num_missing = sum(int((~one.present).sum()) for one in labels.values())
    if num_missing and missing_note:
        notes.append(f"{num_missing:,} labels of {missing_note} are missing ones")
    train_values = np.unique(present["train"])
    if not len(train_values):
        return Classes({}, (), (), ("labels of training, which are all missing",))
    if len(train_values) == 1:
        only = f"'{train_values[0]}'" if len(values) == 1 else "of one class in train"
        return Classes({}, (), (f"labels that are all {only}: read without labels",))
    num_train = len(present["train"])
    if len(train_values) == num_train > _MANY_CLASSES:
        text = f"labels that never repeat in {num_train:,} examples"
        return Classes({}, (), (), (text,))
    if num_train < _MIN_PER_CLASS * len(train_values) > _MANY_CLASSES:
        notes.append(
            f"{len(train_values):,} classes in {num_train:,} labels: they look like "
            "identifiers, or a regression target"
        )
    class_names, names_note, left_out = _class_names(values, names, path)
    notes += [names_note] * bool(names_note)
    for split, own in present.items():
        new = [class_names[i] for i in np.searchsorted(values, np.unique(own))]
        known = {class_names[i] for i in np.searchsorted(values, train_values)}
        if unknown := [name for name in new if name not in known]:
            notes.append(
                f"no training example of {quoted(unknown)}, which {split} has and no "
                "classifier can find"
            )
    codes = {
        split: np.where(one.present, np.searchsorted(values, one.values), -1)
        for split, one in labels.items()
    }
    return Classes(codes, class_names, tuple(notes), left_out)


def _from_one_hot(array: np.ndarray, where: str) -> np.ndarray:
    if array.dtype.kind not in "iufb" or not (
        np.isin(array, (0, 1)).all() and (array.sum(axis=1) == 1).all()
    ):
        raise _not_labels(array, where)
    return array.argmax(axis=1)


def _from_text(values: np.ndarray, note: str) -> Labels:
    values = np.array(texts_of(values), str)
    present = ~np.isin(np.char.lower(values), MISSING)
    numbers = [text.removeprefix("-") for text in values[present].tolist()]
    # Not "01", which is another text than "1".
    if numbers and all(
        text.isdecimal() and len(text) <= _MAX_DIGITS and str(int(text)) == text
        for text in numbers
    ):
        plain = np.where(present, values, "0").astype(np.int64)
        return Labels(plain, present, note)
    return Labels(values, present, note)


def _without_missing_numbers(
    labels: Mapping[str, Labels], path: object
) -> tuple[dict[str, Labels], str]:
    """Labels without numbers that stand for missing ones, and what these were."""
    values = np.unique(np.concatenate([v.values[v.present] for v in labels.values()]))
    text = "NaN" if next(iter(labels.values())).values.dtype.kind == "i" else "no text"
    if values.dtype.kind != "i":
        return dict(labels), text
    negative = values[values < 0]
    if len(negative) != 1 or negative[0] not in _MISSING_NUMBERS:
        return dict(labels), text
    missing = negative[0]
    if values.tolist() == [-1, 1]:
        return dict(labels), text
    if values.tolist() == [-1, 0, 1]:
        raise InputError(
            "Expected labels that tell whether -1 is a class or a missing label. "
            f"Received: {path} with -1, 0 and 1. Write classes from 0, or NaN for a "
            "missing label."
        )
    parted = {
        split: one._replace(present=one.present & (one.values != missing))
        for split, one in labels.items()
    }
    return parted, f"{missing}"


def _class_names(
    values: np.ndarray, names: np.ndarray | None, path: object
) -> tuple[tuple[str, ...], str, tuple[str, ...]]:
    """Names of the classes, how they were found, and what was left out."""
    own = tuple(str(value) for value in values)
    if names is None:
        plain = own == tuple(map(str, range(len(own)))) or values.dtype.kind != "i"
        note = "" if plain else f"classes by the labels' values, {quoted(own)}"
        return own, note, ()
    texts = texts_of(names)
    if values.dtype.kind != "i":
        return own, "", ("class names, for the labels are texts themselves",)
    if len(texts) == len(values):
        indices: Sequence[int] = range(len(values))
        note = "class names in the order of the labels' values"
        note = "" if values.tolist() == [*indices] else note
    elif len(texts) > values[-1] and values[0] >= 0:
        indices, note = values.tolist(), "class names by the labels' values from 0"
    else:
        raise InputError(
            f"Expected a class name for each of {len(values)} labels from "
            f"{values[0]} to {values[-1]}. Received: {path} with {len(texts)} names, "
            f"{quoted(texts)}. Correct the names, or leave them out."
        )
    chosen = tuple(texts[i] for i in indices)
    if len(set(chosen)) < len(chosen) or "" in chosen:
        raise InputError(
            "Expected class names, no two alike and none empty. Received: "
            f"{path} with {quoted(chosen)}. Correct the names, or give the examples "
            "of two one label."
        )
    if note:
        pairs = zip(own, chosen, strict=True)
        note += f" ({', '.join(f'{a} = {b}' for a, b in [*pairs][:5])})"
    return chosen, note, ()


def _not_labels(array: np.ndarray, where: str) -> InputError:
    return InputError(
        "Expected labels of shape (N,) or (N, 1): whole numbers or texts, or one-hot "
        f"ones of shape (N, K). Received: {where} of shape {array.shape} and dtype "
        f"{array.dtype}. Give each example one class, or use labels=none."
    )
