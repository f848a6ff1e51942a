"""Labels in arrays as people write them, and the classes that they are."""

import numpy as np

# Number of examples by split.
NUM = {"train": 40, "validation": 11, "test": 13, "unlabeled": 9}
_LABELS = (
    *("from 0", "from 0", "from 1", "gaps", "text", "text", "bytes", "one-hot"),
    *("floats", "column", "row", "uint8", "big-endian", "named", "named from 1"),
    *("digits", "booleans", "bool one-hot"),
)
_MISSING = {"NaN": np.nan, "-1": -1, "-100": -100}
_TEXTS = ("ant", "bee", "猫", "Great Dane", "a,b")


def make_labels(draw, random, case, names, splits):
    """Adds arrays of labels; returns the name of each example's class, by split."""
    kind = draw.one_of(_LABELS)
    num_classes = 2 if kind == "booleans" else draw.integer(2, 5)
    if draw.one_in(12):
        kind = draw.one_of(["regression", "two-hot", "objects", "dates"])
        case.expected.refuse(names["train"][1])
        if names["train"][1] == "arr_1":  # What has no name need not be labels.
            kind = "regression"
        if kind == "regression":
            case.expected.refuse("regression")
    gaps = [3, 7, 8, 20, 21][:num_classes]
    values = {"from 1": range(1, 6), "named from 1": range(1, 6), "gaps": gaps}
    numbers = [*values.get(kind, range(5))][:num_classes]
    shown = [str(number) for number in numbers]
    if kind in ("text", "bytes", "named", "named from 1"):
        shown = [*_TEXTS[:num_classes]]
        if kind in ("text", "bytes"):
            shown.sort()
    if kind == "digits":
        shown = ["1", "2", "3", "10", "11"][:num_classes]
    if kind.startswith("named"):
        key = draw.one_of(["class_names", "label_names", "classes"])
        if any("class" in name for pair in names.values() for name in pair):
            key = "target_names"  # `classes` may be the labels.
        case.arrays[key] = np.array(shown)
    missing = None
    if kind in ("from 0", "from 1", "gaps", "text") and draw.one_in(4):
        missing = draw.one_of(list(_MISSING))
        missing = "" if kind == "text" else missing
        # -1, 0 and 1 may as well be three classes.
        case.expected.may_refuse |= missing == "-1" and numbers == [0, 1]
    classes = {}
    for split in splits:
        if split == "unlabeled":
            classes[split] = [None] * NUM[split]
            continue
        codes = random.permutation(np.arange(NUM[split]) % num_classes)
        array = _encode(kind, codes, numbers, shown)
        own = [shown[code] for code in codes]
        if missing is not None and split == "train":
            gone = np.arange(len(codes)) < 6
            value = _MISSING.get(missing, missing)
            array = np.where(gone, value, array)
            own = [None if gone[i] else name for i, name in enumerate(own)]
            case.expected.said.append("6 labels")
        case.arrays[names[split][1]] = array
        classes[split] = own
    if draw.one_in(12) and names["train"][1] not in ("arr_1", "classes"):
        key = names["train"][1]
        case.arrays[key] = case.arrays[key][:-1]
        case.expected.refuse(key)
    case.expected.class_names = tuple(shown)
    return classes


def _encode(kind, codes, numbers, shown):
    """Labels as an array holds them."""
    values = np.array(numbers)[codes]
    num_classes = len(numbers)
    return {
        "text": lambda: np.array(shown)[codes],
        "digits": lambda: np.array(shown)[codes],
        "bytes": lambda: np.char.encode(np.array(shown), "utf-8")[codes],
        "one-hot": lambda: np.eye(num_classes, dtype=np.float32)[codes],
        "bool one-hot": lambda: np.eye(num_classes, dtype=bool)[codes],
        "floats": lambda: values.astype(np.float32),
        "column": lambda: values[:, None],
        "row": lambda: values[None],
        "uint8": lambda: values.astype(np.uint8),
        "big-endian": lambda: values.astype(">i2"),
        "booleans": lambda: codes == 1,
        "regression": lambda: codes + 0.25,
        "two-hot": lambda: np.ones((len(codes), 3), int),
        "objects": lambda: np.array(shown, object)[codes],
        "dates": lambda: np.datetime64("2020-01-01") + codes,
    }.get(kind, lambda: values)()
