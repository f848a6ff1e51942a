"""What a careful person would read, and the comparison of a dataset with it."""

import dataclasses
import re

import numpy as np

from vicreg_keras.data.dataset import load_dataset
from vicreg_keras.errors import InputError

# One sentence for each of: what was expected, what was received, what to do.
_MESSAGE = re.compile(r"Expected \S.*\. Received: \S.*[.)'\"] [A-Z][^.].*", re.ASCII)


@dataclasses.dataclass
class Expected:
    """What a careful person would read.

    Attributes:
        splits: Of each split that has its own files, its examples by name, each with
            the name of its class, or `None`.
        said: Texts that must be in notes or in what is left out.
        refused: Texts that must be in the error message, `None` if it must be read.
        may_refuse: Whether a person could as well ask.
        class_names: In their order, `None` for the sorted ones that are there.
        categories: Of a table, the names of each column's categories, or `None`, by
            its name and in the order of the examples.
        noticed: Names of columns that may be read, where something is said of them.
        tolerance: Of the examples' values, relative.
    """

    splits: dict = dataclasses.field(default_factory=dict)
    said: list = dataclasses.field(default_factory=list)
    refused: list | None = None
    may_refuse: bool = False
    class_names: tuple | None = None
    categories: dict | None = None
    noticed: tuple = ()
    tolerance: float = 0

    def refuse(self, *texts):
        """Adds that it must be refused, naming these."""
        self.refused = [*(self.refused or []), *texts]


def load(name, options, expected):
    """Returns the dataset, or `None` where it is refused as it should be."""
    try:
        dataset = load_dataset(name, **options)
        examples = {key: split.read() for key, split in dataset.splits.items()}
    except InputError as error:
        message = str(error)
        check_message(message)
        assert expected.refused is not None or expected.may_refuse, message
        if not expected.may_refuse:
            # With several defects, it is enough to name one.
            named = [text for text in expected.refused if text in message]
            assert named or not expected.refused, (message, expected.refused)
        return None
    assert expected.refused is None, (
        f"read, with {dataset.notes} and {dataset.left_out}",
        expected.refused,
    )
    _check_splits(dataset, examples, expected)
    said = " | ".join([*dataset.notes, *dataset.left_out])
    for text in expected.said:
        assert text in said, (text, said)
    return dataset


def check_message(message):
    """Checks that there is one line, with a sentence of each kind."""
    assert "\n" not in message and message.isprintable(), repr(message)
    assert _MESSAGE.fullmatch(message) and message.count(" Received: ") == 1, message
    assert len(message) < 2000 and not re.search(r"--[a-z]", message), message


def _check_splits(dataset, examples, expected):
    """Compares splits, examples, names and classes with what is expected."""
    found = {}
    columns = [(i, one) for i, one in enumerate(dataset.columns or ())]
    columns = [(i, one) for i, one in columns if one.name not in expected.noticed]
    for key, split in dataset.splits.items():
        target = "train" if key in dataset.held_out else key
        classes = [None] * len(split)
        if split.labels is not None:
            classes = [dataset.class_names[label] for label in split.labels]
        own = found.setdefault(target, {})
        for name, example, label in zip(
            split.names, examples[key], classes, strict=True
        ):
            assert name not in own, f"{name} twice in {target}"
            own[name] = (
                example[[i for i, _ in columns]] if columns else example,
                label,
            )
    splits = dict(expected.splits)
    if "validation" in splits and "test" not in splits:
        splits["test"] = splits.pop("validation")
    counts = {key: len(split) for key, split in splits.items()}
    numbers = {key: len(split) for key, split in found.items()}
    assert numbers == counts, (numbers, counts)
    names = expected.class_names
    if names is None:
        names = {label for _, label in splits["train"].values()} - {None}
        names = tuple(sorted(names)) or None
    assert dataset.class_names == names, (dataset.class_names, names)
    for key, own in splits.items():
        _check_split(found[key], own, expected.tolerance, key)
    if expected.categories is not None:
        categories = {one.name: one.categories for _, one in columns}
        assert categories == expected.categories, (categories, expected.categories)
        assert list(categories) == list(expected.categories)


def _check_split(found, expected, tolerance, key):
    assert sorted(found) == sorted(expected), key
    for name, (example, label) in expected.items():
        assert found[name][1] == label, (key, name)
        difference = _difference(found[name][0], example, tolerance)
        assert not difference, (key, name, difference)


def _difference(found, expected, tolerance):
    if found.shape != expected.shape:
        return f"shape {found.shape}, not {expected.shape}"
    scale = np.maximum(np.abs(np.nan_to_num(expected)), 1e-30) * tolerance
    same = np.abs(found - np.asarray(expected, np.float64)) <= scale
    same |= np.isnan(found) & np.isnan(expected)
    return "" if same.all() else f"{int((~same).sum())} values"


def examples_by_name(dataset):
    """Returns all examples of a dataset by their names."""
    return {
        name: example
        for split in dataset.splits.values()
        for name, example in zip(split.names, split.read(), strict=True)
    }
