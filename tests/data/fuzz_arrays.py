"""NumPy files as people have them, and what a careful person would read."""

import io
import zipfile

import numpy as np

from tests.data.fuzz_draw import Draw
from tests.data.fuzz_expected import Expected
from tests.data.fuzz_images import on_white
from tests.data.fuzz_labels import NUM, make_labels

# Names of examples and labels in a split: `{}` is the split's word.
_SPLIT_NAMES = (
    *(("x_{}", "y_{}"), ("X_{}", "Y_{}"), ("{}_images", "{}_labels")),
    *(("{}_x", "{}_y"), ("X{}", "y{}"), ("{}_data", "{}_targets")),
    *(("{}_set_x", "{}_set_y"), ("images_{}", "labels_{}"), ("{}X", "{}Y")),
)
_PLAIN_NAMES = (
    *(("images", "labels"), ("images", "label"), ("x", "y"), ("X", "y"), ("X", "Y")),
    *(("data", "target"), ("data", "targets"), ("imgs", "classes"), ("arr_0", "arr_1")),
    *(("examples", "labels"), ("image", "class"), ("inputs", "targets")),
    *(("features", "labels"), ("Images", "Labels"), ("pictures", "labels")),
)
_WORDS = {
    "train": ("train", "train", "training", "tr"),
    "validation": ("val", "valid", "validation", "dev"),
    "test": ("test", "te", "testing"),
    "unlabeled": ("unlabeled", "unlabelled"),
}
_LAYOUTS = {"NHWC": 4, "NCHW": 2, "HWCN": 1, "CHWN": 1}
_GRAY_LAYOUTS = ("NHW", "NHW", "NHWC", "NCHW", "HWN")
_RANGES = (
    *("uint8", "uint8", "uint8", "unit", "unit of float64", "float", "int64", "bool"),
    *("0 and 1", "10 bits", "12 bits", "14 bits", "16 bits", "big-endian", "alpha"),
    *("float16", "fortran", "int16"),
)
_BAD_RANGES = ("signed unit", "int8", "NaN", "infinite", "complex", "too large", "text")


class Case:
    """A NumPy file.

    Args:
        arrays: By name.
        content: The file, if not of these arrays alone.
        options: Of `load_dataset`.
        expected: What a careful person would read.
    """

    def __init__(self):
        self.arrays, self.options, self.expected = {}, {}, Expected()
        self.damage, self.is_labeled = "", True

    def content(self):
        """The bytes of the file."""
        file = io.BytesIO()
        if self.damage == "npy":
            np.save(file, next(iter(self.arrays.values())))
        elif self.damage == "compressed":
            np.savez_compressed(file, **self.arrays)
        else:
            np.savez(file, **self.arrays)
        content = file.getvalue()
        if self.damage == "cut":
            return content[: len(content) // 2]
        if self.damage == "text":
            return b"not an archive"
        if self.damage == "bit":  # Noticed by the checksum.
            place = content.index(b"NUMPY") + 400
            return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        if self.damage == "other":
            with zipfile.ZipFile(file, "a") as archive:
                archive.writestr("readme.txt", "about these arrays")
            return file.getvalue()
        return b"" if self.damage == "empty" else content

    def __repr__(self):
        arrays = {key: (a.dtype.str, a.shape) for key, a in self.arrays.items()}
        return (
            f"Case({arrays}, {self.damage!r}, options={self.options}, "
            f"said={self.expected.said}, refused={self.expected.refused})"
        )


def make_archives(seed):
    """A NumPy file with random defects."""
    draw = Draw(seed)
    random = draw.numbers
    case = Case()
    splits = draw.one_of(
        [["train"]] * 3
        + [["train", "test"]] * 2
        + [["train", "validation", "test"], ["train", "validation"]]
        + [["train", "unlabeled"], ["train", "test", "unlabeled"]]
    )
    names = _names(draw, splits)
    is_table = draw.one_in(4)
    case.is_labeled = not draw.one_in(6)
    make = _make_table if is_table else _make_images
    examples = make(draw, random, case, names, splits)
    labels = dict.fromkeys(splits)
    if case.is_labeled:
        refused = case.expected.refused
        labels = make_labels(draw, random, case, names, splits)
        if draw.one_in(10):
            case.options["labels"] = "none"
            sizes = case.arrays[names["train"][0]].shape
            case.expected.may_refuse |= sizes[0] != NUM["train"]
            unread = [names[split][1] for split in splits if split != "unlabeled"]
            case.expected.said = unread
            case.expected.refused, case.expected.class_names = refused, None
            labels = dict.fromkeys(splits)
    _add_splits(case, examples, labels)
    _add_extras(draw, random, case)
    ambiguous = {"arr_0", "arr_1"} <= {*case.arrays} and is_table
    case.expected.may_refuse |= ambiguous and case.arrays["arr_1"].ndim == 2
    if draw.one_in(8):
        _damage(draw, case)
    return case


def _names(draw, splits):
    """Names of the arrays of examples and of labels of each split."""
    if splits == ["train"] and draw.one_in(2):
        return {"train": draw.one_of(_PLAIN_NAMES)}
    pair = draw.one_of(_SPLIT_NAMES)
    words = {split: draw.one_of(_WORDS[split]) for split in splits}
    return {split: [p.format(words[split]) for p in pair] for split in splits}


def _make_images(draw, random, case, names, splits):
    """Adds arrays of images; returns the pixels that they show, by split."""
    height, width = draw.one_of([(8, 8), (8, 8), (6, 9), (9, 7)])
    is_gray = draw.one_in(2)
    kind = draw.one_of(_RANGES)
    if draw.one_in(10):
        kind = draw.one_of(_BAD_RANGES)
        case.expected.refuse(names["train"][0])
    if kind == "alpha":
        is_gray = False
    weights = [name for name, weight in _LAYOUTS.items() for _ in range(weight)]
    layout = draw.one_of(_GRAY_LAYOUTS if is_gray else weights)
    # Without labels nothing tells which axis is which.
    case.expected.may_refuse |= layout.endswith("N") and not case.is_labeled
    images = {}
    for split in splits:
        shape = (NUM[split], height, width, 1 if is_gray else 3)
        pixels = random.integers(0, 256, shape, dtype=np.uint8)
        pixels[0, 0, 0], pixels[0, 0, 1] = 0, 255
        values, shown = _as_kind(random, pixels, kind)
        order = ["NHWC".index(axis) for axis in layout if axis in "NHWC"]
        if "C" not in layout:
            values = values[..., 0]
        array = values.transpose(order)
        array = np.asfortranarray(array) if kind == "fortran" else array.copy()
        if kind == "big-endian":
            array = array.astype(array.dtype.newbyteorder(">"))
        case.arrays[names[split][0]] = array
        images[split] = np.broadcast_to(shown, (*shape[:3], 3))
    return images


def _as_kind(random, pixels, kind):
    """Values of an array, and the pixels that a person would show them as."""
    bits = {"10 bits": 10, "12 bits": 12, "14 bits": 14, "16 bits": 16}.get(kind)
    if bits:
        white = 2**bits - 1
        values = random.integers(0, white + 1, pixels.shape).astype(np.uint16)
        values[0, 0, 0] = white
        return values, np.rint(values * (255 / white)).astype(np.uint8)
    if kind in ("bool", "0 and 1"):
        bright = pixels > 127
        return bright if kind == "bool" else bright.astype(int), bright * np.uint8(255)
    if kind == "alpha":
        alpha = random.integers(0, 256, (*pixels.shape[:3], 1), dtype=np.uint8)
        return np.concatenate([pixels, alpha], -1), on_white(pixels, alpha)
    values = {
        "unit": lambda: (pixels / 255).astype(np.float32),
        "unit of float64": lambda: pixels / 255,
        "float": lambda: pixels.astype(np.float32),
        "float16": lambda: (pixels / 255).astype(np.float16),
        "int64": lambda: pixels.astype(np.int64),
        "int16": lambda: pixels.astype(np.int16),
        "big-endian": lambda: pixels.astype(np.int32),
        "signed unit": lambda: (pixels / 127.5 - 1).astype(np.float32),
        "int8": lambda: (pixels.astype(int) - 128).astype(np.int8),
        "NaN": lambda: np.where(pixels == 7, np.nan, pixels),
        "infinite": lambda: np.where(pixels == 7, np.inf, pixels / 255),
        "complex": lambda: pixels + 0j,
        "too large": lambda: pixels.astype(int) * 70_000,
        "text": lambda: pixels.astype(str),
    }.get(kind, lambda: pixels)()
    return values, pixels


def _make_table(draw, random, case, names, splits):
    """Adds arrays of a table; returns its examples by split."""
    width = draw.integer(2, 6)
    kind = draw.one_of(["float32", "float64", "int64", "bool", "float16", ">f4"])
    examples = {}
    for split in splits:
        # As a table is recognized by its dimensions, the names of images are none.
        key = names[split][0]
        if "ima" in key.lower() or "imgs" in key or key == "pictures":
            names[split] = (
                f"{'x_' if split != 'train' else ''}{split}",
                names[split][1],
            )
            names[split] = (f"x_{split}", names[split][1])
        values = random.normal(0, 100, (NUM[split], width))
        if kind == "bool":
            values = values > 0
        array = values.astype(kind)
        if kind[0] == "f" and draw.one_in(2):
            array[random.random(array.shape) < 0.1] = np.nan
            array[:2] = 1
        case.arrays[names[split][0]] = array
        examples[split] = array.astype(np.float32)
    columns = tuple(f"column_{i}" for i in range(width))
    if draw.one_in(2):
        columns = tuple(["age", "Größe, m", "b", "x.1", "#", "z"][:width])
        key = draw.one_of(["column_names", "feature_names", "columns"])
        case.arrays[key] = np.array(columns)
    case.expected.categories = dict.fromkeys(columns)
    if draw.one_in(8):
        bad = draw.one_of([1e39, np.inf])
        if kind == "float64":
            case.arrays[names["train"][0]][3, 1] = bad
            case.expected.refuse(columns[1])
    return examples


def _add_splits(case, examples, labels):
    """Fills the splits that are expected."""
    splits = case.expected.splits
    is_labeled = any(own is not None for own in labels.values())
    for split, array in examples.items():
        own = labels[split] or [None] * len(array)
        for i, (example, label) in enumerate(zip(array, own, strict=True)):
            is_unlabeled = is_labeled and label is None
            target = "unlabeled" if is_unlabeled else split
            splits.setdefault(target, {})[f"{split}/{i}"] = (example, label)


def _add_extras(draw, random, case):
    """Arrays beside those that are read."""
    # A matrix beside one of any name may as well be the examples.
    is_named = not {"arr_0", "pictures"} & {*case.arrays}
    extras = {
        "ids": np.arange(NUM["train"]),
        "mean": random.random(3),
        "weights": random.random((4, 5)[: 1 + is_named]),
        "file_names": np.array([f"{i}.png" for i in range(NUM["train"])]),
        "meta": np.array({"a": 1}, dtype=object),
        "version": np.array("1.2"),
    }
    for key in draw.some(extras, 0, 2):
        case.arrays[key] = extras[key]
        case.expected.said += [f"'{key}'"] if extras[key].ndim or key == "meta" else []


def _damage(draw, case):
    kinds = ["cut", "text", "empty", "npy", "bit", "compressed", "other"]
    case.damage = draw.one_of(kinds)
    if case.damage == "npy" and any(a.dtype == object for a in case.arrays.values()):
        case.damage = "cut"
    if case.damage in ("cut", "text", "empty", "npy", "bit"):
        case.expected.refused = ["npz"]
