"""Small data sets as people have them, for `test_kinds.py`."""

import pathlib
import zipfile
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from PIL import Image


class Kind(NamedTuple):
    """Data of one kind.

    Attributes:
        text: What it is, for the reader.
        make: Writes it under a folder; returns the rest of the dataset's name.
        options: Of `load_dataset`.
    """

    text: str
    make: Callable[[pathlib.Path], str]
    options: dict


KINDS: list[Kind] = []


def kind(text, **options):
    """Decorates a function that writes data of a kind."""

    def register(make):
        KINDS.append(Kind(text, make, options))
        return make

    return register


def images(root, *folders, count=10, side=8, suffix=".png"):
    """Writes images into folders, `count` each."""
    for number, folder in enumerate(folders):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            random = np.random.default_rng([number, i])
            pixels = random.integers(0, 256, (side, side, 3), np.uint8)
            Image.fromarray(pixels).save(root / folder / f"{i}{suffix}")
    return f"folder:{root}"


def folder_kind(text, *folders, junk=(), **options):
    """Registers a folder of images, with empty files beside them."""

    @kind(text, **options)
    def make(root):
        images(root, *folders)
        for name in junk:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(b"x")
        return f"folder:{root}"


folder_kind("class folders", "ant", "bee")
folder_kind(
    "`training/` and `testing/`",
    *("training/0", "training/1", "testing/0", "testing/1"),
)
folder_kind("`train_set/`, `dev/`", "train_set/a", "train_set/b", "dev/a", "dev/b")
folder_kind(
    "`train/` and `test/` in one more folder, as zip files have them",
    *("data/train/a", "data/train/b", "data/test/a", "data/test/b"),
)
folder_kind(
    "`train/` beside `__MACOSX/` and `@eaDir/`",
    *("train/a", "train/b"),
    junk=("__MACOSX/._1.png", "@eaDir/1.png@SynoEAStream"),
)
folder_kind("`unlabeled/` beside labeled splits", "train/a", "train/b", "unlabeled")
folder_kind("labeled `train/`, flat `test/`", "train/cat", "train/dog", "test")
folder_kind("class folders and a copy of them", "cat", "dog", "pets/cat", "pets/dog")
folder_kind(
    "folders that hold the same ones", "gray/cat", "gray/dog", "color/cat", "color/dog"
)
folder_kind("masks beside images", "JPEGImages", "SegmentationClass")
folder_kind("one class folder", "photos/all")
folder_kind("class folders, `labels=none`", "ant", "bee", labels="none")
folder_kind(
    "class folders and other files",
    *("ant", "bee"),
    junk=("ant/1.txt", "bee/2.txt", "notes.md", "annotations/1.xml", ".DS_Store"),
)
folder_kind(
    "`test/` with a class that `train/` lacks",
    *("train/a", "train/b", "test/a", "test/c"),
)


@kind("class folders and one picture beside them")
def montage(root):
    images(root, "ant", "bee")
    return images(root, ".", count=1)


@kind("three unreadable files")
def unreadable(root):
    images(root, "ant", "bee")
    for name in ("x", "y", "z"):
        (root / "ant" / f"{name}.png").write_bytes(b"\x89PNG\r\n\x1a\n....")
    return f"folder:{root}"


@kind("one unreadable file of 21, `unreadable=skip`", unreadable="skip")
def one_unreadable(root):
    images(root, "ant", "bee")
    (root / "ant" / "x.png").write_bytes(b"")
    return f"folder:{root}"


@kind("WebP, BMP, GIF and TIFF files")
def formats(root):
    for folder, suffix in zip("abcd", (".webp", ".bmp", ".gif", ".tif"), strict=True):
        images(root, folder, suffix=suffix)
    return f"folder:{root}"


@kind("gray images of 12 bits in 16")
def twelve_bits(root):
    for folder in ("a", "b"):
        (root / folder).mkdir(parents=True)
        for i in range(8):
            pixels = np.full((8, 8), 4095 - 100 * i, np.uint16)
            Image.fromarray(pixels).save(root / folder / f"{i}.png")
    return f"folder:{root}"


@kind("images of different sizes")
def sizes(root):
    images(root, "ant", side=8)
    return images(root, "bee", side=12)


@kind("a zip file")
def archive(root):
    root.mkdir(exist_ok=True)
    with zipfile.ZipFile(root / "a.zip", "w") as file:
        file.writestr("a.txt", "a")
    return f"folder:{root / 'a.zip'}"


def npz_kind(text, options=None, **arrays):
    """Registers an npz file of arrays."""

    @kind(text, **(options or {}))
    def make(root):
        root.mkdir(exist_ok=True)
        np.savez(root / "a.npz", **arrays)
        return f"npz:{root / 'a.npz'}"


_RANDOM = np.random.default_rng(0)
PIXELS = _RANDOM.integers(0, 256, (40, 8, 8), np.uint8)
LABELS = np.arange(40) % 4
npz_kind("npz: `images` and `label`", images=PIXELS, label=LABELS)
npz_kind("npz: labels from 1", images=PIXELS, labels=LABELS + 1)
npz_kind("npz: labels with gaps", X=PIXELS, y=LABELS * 10)
npz_kind("npz: one-hot labels", x_train=PIXELS, y_train=np.eye(4)[LABELS])
npz_kind("npz: (H, W, N)", images=np.moveaxis(PIXELS, 0, 2), labels=LABELS)
npz_kind(
    "npz: (N, 3, H, W)", images=np.repeat(PIXELS[:, None], 3, axis=1), labels=LABELS
)
npz_kind("npz: floats in [0, 1]", images=PIXELS / 255, labels=LABELS)
npz_kind("npz: zeros and ones", images=PIXELS // 128, labels=LABELS)
npz_kind("npz: floats in [-1, 1]", images=PIXELS / 127.5 - 1, labels=LABELS)
npz_kind("npz: images of 1 x 28", images=np.zeros((40, 1, 28, 1), np.uint8))
npz_kind("npz: an array that is not used", images=PIXELS, labels=LABELS, ids=LABELS)
npz_kind("npz: labels of another length", images=PIXELS, labels=LABELS[:30])


def csv_kind(text, cells, **options):
    """Registers a CSV file: a column of such cells in turn, and a column of numbers."""

    @kind(f"csv: {text}", **options)
    def make(root):
        root.mkdir(exist_ok=True)
        lines = [f'"{cells[i % len(cells)]}",{i / 7:.2f}' for i in range(40)]
        (root / "a.csv").write_text("\n".join(["x,y", *lines]) + "\n")
        return f"csv:{root / 'a.csv'}"


for cells in (
    ("1.5", "2", "", "NA"),
    ("$0.00", "$1,490.50", "-$5"),
    ("45%", "7.5 %"),
    ("1,5", "2,25", "0,125"),
    ("1,200", "950", "12,300"),
    ("1.234.567,89", "0,5"),
    ("5 kg", "12 kg"),
    ("5 kg", "500 g"),
    ("−5", "3"),
    ("(1,200)", "300"),
    ("1.5", "-", ".", "none", "#DIV/0!"),
    ("01/31/2020", "02/01/2020"),
    ("31.01.2020", "01.02.2020"),
    ("01/02/2020", "03/04/2020"),
    ("2020-01-31", "2020-02-01T10:00"),
    ("14:30", "09:15"),
    ("31 Jan 2020", "1 Feb 2020"),
    ("red", "blue"),
    ("1", "2", "3+"),
    ("01234", "98765"),
    ("yes", "no"),
):
    csv_kind(", ".join(f"`{cell}`" for cell in cells), cells)
csv_kind("`1`, `2`, `categorical_columns=x`", ("1", "2"), categorical_columns=["x"])
csv_kind("`red`, `blue`, `label_column=x`", ("red", "blue"), label_column="x")
csv_kind("`007`, `1E2`, `label_column=x`", ("007", "1E2"), label_column="x")
csv_kind("`red`, ``, `blue`, `label_column=x`", ("red", "", "blue"), label_column="x")


def text_kind(text, lines, **options):
    """Registers a CSV file with these lines."""

    @kind(f"csv: {text}", **options)
    def make(root):
        root.mkdir(exist_ok=True)
        (root / "a.csv").write_text("\n".join(lines) + "\n")
        return f"csv:{root / 'a.csv'}"


ROWS = [f"{i % 5},{i % 7 / 2}" for i in range(40)]
text_kind(
    "an index without a name", [",a,b", *(f"{i},{r}" for i, r in enumerate(ROWS))]
)
text_kind(
    "a first column without a name that is data",
    [",a,b", *(f"{'uv'[i % 2]},{row}" for i, row in enumerate(ROWS))],
)
text_kind("`Unnamed: 0`", ["Unnamed: 0,a,b", *(f"{i},{r}" for i, r in enumerate(ROWS))])
text_kind(
    "whole numbers that never repeat",
    ["id,a,b", *(f"{7 * i % 400},{row}" for i, row in enumerate(ROWS))],
)
text_kind("no header", [f"{i / 10},3.5,setosa" for i in range(51, 91)])
text_kind("no header, prices", [f"${i % 9}.50,{'uv'[i % 2]}" for i in range(40)])
text_kind("a header that is repeated", ["a,b", *ROWS, "a,b", *ROWS])
text_kind(
    "no header, `header=none`",
    [f"{i % 9 / 10},{i % 4},setosa" for i in range(40)],
    header="none",
)
text_kind("semicolons", ["a;b", *(f"{i % 5};{i % 7},5" for i in range(40))])
text_kind(
    "semicolons and decimal commas, `header=none`",
    [f"{i % 5},5;{i % 7},25" for i in range(40)],
    header="none",
)
text_kind(
    "300 whole numbers as labels of 600 rows",
    ["a,price", *(f"{i / 7:.3f},{i % 300}" for i in range(600))],
    label_column="price",
)
text_kind("an empty column", ["a,b,c", *(f"{row}," for row in ROWS)])


@kind("parquet: `__index_level_0__`")
def index_level(root):
    root.mkdir(exist_ok=True)
    table = {
        "a": [i % 5 / 2 for i in range(40)],
        "b": ["red", "blue"] * 20,
        "__index_level_0__": list(range(40)),
    }
    pa.parquet.write_table(pa.table(table), root / "a.parquet")
    return f"parquet:{root / 'a.parquet'}"
