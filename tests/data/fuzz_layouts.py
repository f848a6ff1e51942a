"""How people lay out folders of images, and what a careful person takes them for."""

import os
import unicodedata

from tests.data.fuzz_expected import Expected

_SPLITS = {
    "train": (
        *("train", "train", "training", "Training", "TRAIN", "train_set", "trainset"),
        *("Training Data", "train-images"),
    ),
    "validation": (
        *("val", "valid", "validation", "Validation", "dev", "eval", "val_set"),
        *("val_images", "development"),
    ),
    "test": ("test", "testing", "Test", "test_set", "testset", "holdout", "hold-out"),
    "unlabeled": ("unlabeled", "unlabelled", "Unlabeled", "unsup", "unlabeled_images"),
}
_CLASSES = (
    *("ant", "bee", "0", "1", "10", "Great Dane", "n01440764", "été", "[x]", "100%"),
    *("a,b", "-x", "猫", "Ant", "a'b", 'a"b', "x.png", "cafe\u0301", "#1", "~"),
    *(os.fsdecode(b"caf\xe9"), "a\nb", "*"),
)


class Layout:
    """Images of a folder, by what they belong to.

    Args:
        draw: Makes the choices.
        has_labels: Whether classes are to be read.

    Attributes:
        name: A key of `LAYOUTS`.
        images: Folder, split and class of each image; split `None` if it is not read.
        expected: What is to be said, or refused.
    """

    def __init__(self, draw, has_labels):
        self.draw, self.has_labels = draw, has_labels
        self.name = draw.one_of(LAYOUTS)
        self.images, self.expected = [], Expected()
        self.number = draw.integer(4, 7)
        self.classes = draw.some(_CLASSES, 2, 4)
        self.folders = {split: draw.one_of(names) for split, names in _SPLITS.items()}
        _LAYOUTS[self.name](self)

    def add(self, split, folder, classes=None, *, inner="", is_flat=False, count=None):
        """Adds images of each class, or of none where `is_flat`."""
        for name in [""] if is_flat else classes or self.classes:
            path = "/".join(filter(None, [folder, name, inner]))
            label = shown_path(unicodedata.normalize("NFC", name))
            label = label if self.has_labels and name else None
            self.images += [(path, split, label)] * (count or self.number)

    def say(self, *texts):
        """Adds what is said of class folders."""
        self.expected.said += texts if self.has_labels else []


def _class_folders(layout):
    layout.add("train", "")


def _copy(layout):
    """As archives have it, the class folders once more in one of them."""
    layout.add("train", "")
    layout.add(None if layout.has_labels else "train", "more")
    layout.say("images of more/, which holds")


def _splits(layout):
    layout.add("train", layout.folders["train"])
    for split in layout.draw.some(["test", "validation"], 1, 2):
        # Some classes may be of training only.
        lacks = layout.draw.one_in(2) and len(layout.classes) > 2
        classes = layout.classes[lacks:]
        layout.add(split, layout.folders[split], classes, count=3)


def _unlabeled(layout):
    (_splits if layout.draw.one_in(2) else _only_train)(layout)
    layout.add("unlabeled", layout.folders["unlabeled"], is_flat=True, count=9)


def _only_train(layout):
    layout.add("train", layout.folders["train"])


def _deep_splits(layout):
    layout.add("train", layout.folders["train"], inner="images")
    layout.add("test", layout.folders["test"], inner="images")


def _flat(layout):
    folder = layout.draw.one_of(["", "", "photos"])
    layout.add("train", folder, is_flat=True, count=20)


def _flat_splits(layout):
    layout.add("train", layout.folders["train"], is_flat=True, count=12)
    layout.add("test", layout.folders["test"], is_flat=True)


def _kaggle(layout):
    """Class folders for training, and images alone to submit predictions of."""
    layout.add("train", layout.folders["train"])
    split = None if layout.has_labels else "test"
    inner = "/images" * layout.draw.one_in(2)
    layout.add(split, layout.folders["test"] + inner, is_flat=True)
    layout.say(f"{layout.number} images of ", layout.folders["test"])


def _one_class(layout):
    layout.add("train", "all", is_flat=True, count=20)
    layout.say("one class")


def _one_class_in_splits(layout):
    """As sets for the detection of anomalies are."""
    train, test = layout.folders["train"], layout.folders["test"]
    layout.add("train", f"{train}/good", is_flat=True, count=20)
    layout.add("test", f"{test}/good", is_flat=True)
    layout.add("test", f"{test}/bad", is_flat=True)
    layout.say("one class")


def _splits_in_classes(layout):
    """Which a person may have meant; it is said that they are none."""
    for split in ("train", "test"):
        layout.add("train", "", inner=layout.folders[split])
    layout.say("part of a class")


def _another_class(layout):
    layout.add("train", layout.folders["train"])
    layout.add("test", layout.folders["test"], [*layout.classes[1:], "wasp"])
    if layout.has_labels:
        layout.expected.refuse("wasp")


def _two_of_a_split(layout):
    layout.add("train", "train")
    layout.add("test", "test")
    layout.add("test", "testing")
    layout.expected.refuse("testing")


_LAYOUTS = {
    "class folders": _class_folders,
    "a copy": _copy,
    "splits": _splits,
    "unlabeled": _unlabeled,
    "deep splits": _deep_splits,
    "flat": _flat,
    "flat splits": _flat_splits,
    "Kaggle": _kaggle,
    "one class": _one_class,
    "one class in splits": _one_class_in_splits,
    "splits in classes": _splits_in_classes,
    "another class": _another_class,
    "two of a split": _two_of_a_split,
}
# Those that are most common come more often.
LAYOUTS = (*_LAYOUTS, "class folders", "splits", "splits", "Kaggle", "unlabeled")


def shown_path(path):
    """A path as it is printed: bytes that are no UTF-8, and line ends, escaped."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return text.replace("\n", "\\n")
