"""Folders of images as people have them, and what a careful person would read."""

import os
import pathlib

import numpy as np
from PIL import Image, ImageOps

from tests.data.fuzz_draw import Draw
from tests.data.fuzz_images import (
    BROKEN_KINDS,
    DEEP_KINDS,
    PLAIN_KINDS,
    SUFFIXES,
    broken,
    picture,
)
from tests.data.fuzz_layouts import Layout, shown_path

_STEMS = (
    *("IMG_{}", "{}", "photo ({})", "[{}]", "{}%20", "bild-ü{}", "{}.final", "-{}"),
    *("a,b{}", "猫{}", os.fsdecode(b"caf\xe9") + "{}", "x\n{}", "{}'", "?{}", "~{}"),
)
_WRAPPERS = ("imagenette2", "My photos (2)", "data/raw", "dataset", "train", "images")
# Kinds of files that are no images, where they lie, and what is said of them.
_JUNK = (
    *(("__MACOSX/{folder}/._0.png", ""), (".DS_Store", ""), ("Thumbs.db", "")),
    *(("{folder}/.DS_Store", ""), ("{folder}/Thumbs.db", ""), ("desktop.ini", "")),
    *(("{folder}/@eaDir/0.png/SYNOFILE_THUMB_M.png", ""), (".git/x.png", "")),
    *(("{folder}/.ipynb_checkpoints/0-checkpoint.png", ""), ("README.txt", ".txt")),
    *(("{folder}/notes.txt", ".txt"), ("labels.csv", ".csv"), ("LICENSE", "suffix")),
    *(("annotations/0.xml", "annotations/"), ("cat/0.heic", "cat/ (no images)")),
    *(("{folder}/raw.CR2", ".cr2"), ("video.mp4", ".mp4"), ("empty/", "")),
    *(("{folder}/nothing/", ""), ("__pycache__/x.png", "")),
    *(("labels/train/0.txt", "labels/"), ("masks/0.npy", "masks/")),
)


class Case:
    """A folder.

    Args:
        options: Of `load_dataset`.
        expected: What a careful person would read.

    Attributes:
        files: The content of each file by its path, `None` for an empty folder.
        links: What links lead to, by their paths; relative to the folder.
        pictures: `Picture` by path, of those that can be read.
        broken: The content of each file that is no image, by its path.
    """

    def __init__(self, options, expected):
        self.options, self.expected = options, expected
        self.files, self.links, self.pictures, self.broken = {}, {}, {}, {}

    def write(self, root):
        """Writes all files; what links lead to lies beside `root`."""
        for path, content in self.files.items():
            full = root / path
            folder = full if content is None else full.parent
            folder.mkdir(parents=True, exist_ok=True)
            if content is not None:
                full.write_bytes(content)
        for path, target in self.links.items():
            (root / path).symlink_to(target)

    def __repr__(self):
        own = {key: list(split) for key, split in self.expected.splits.items()}
        return (
            f"Case({sorted(self.files)}, links={self.links}, options={self.options}, "
            f"splits={own}, said={self.expected.said}, "
            f"refused={self.expected.refused})"
        )


def make_folders(seed):
    """A folder with random defects."""
    draw = Draw(seed)
    random = draw.numbers
    options = {}
    if draw.one_in(8):
        options["labels"] = "none"
    if draw.one_in(4):
        options["memory_limit_gib"] = 0
    wrapper = draw.one_of(_WRAPPERS) + "/" if draw.one_in(5) else ""
    layout = Layout(draw, has_labels="labels" not in options)
    case = Case(options, layout.expected)
    plan = [((wrapper + path).strip("/"), *rest) for path, *rest in layout.images]
    _fill(draw, random, case, plan)
    paths = list(case.pictures)
    if layout.name != "flat" and len(paths) > 11 and draw.one_in(5):
        _add_stray(draw, random, case, wrapper)
    _add_junk(draw, random, case, wrapper)
    if draw.one_in(4):
        _break(draw, random, case, paths)
    if draw.one_in(6):
        _link(draw, case, paths, wrapper)
    return case


def _fill(draw, random, case, plan):
    """Makes the images of a plan."""
    shape = draw.one_of([(8, 8), (8, 8), (6, 9)])
    is_deep = shape == (8, 8) and draw.one_in(4)
    kinds = [draw.one_of(PLAIN_KINDS) for _ in range(draw.integer(1, 5))]
    white = draw.one_of([1023, 4095, 16383, 65535])
    if is_deep:
        deep = [draw.one_of(DEEP_KINDS) for _ in range(2)]
        kinds = deep + (kinds if draw.one_in(2) else [])
    stem = draw.one_of(_STEMS)
    max_value = white - draw.integer(0, white // 8)
    turns = draw.one_in(3)
    sizes = [shape]
    if not is_deep and draw.one_in(4):
        sizes = [shape, (12, 7), (9, 20)]
    if len(sizes) > 1 and draw.one_in(2):
        case.options["image_size"] = 8
    upper, wrong, has_tail = draw.one_in(6), draw.one_in(6), draw.one_in(8)
    for i, (folder, split, label) in enumerate(plan):
        kind = kinds[i % len(kinds)]
        one = picture(
            random,
            kind,
            sizes[i % len(sizes)],
            orientation=int(random.integers(1, 9)) if turns else 1,
            max_value=max_value,
            is_late=bool(random.integers(2)),
        )
        if has_tail and one.in_graph:
            one.content += b"appended by a camera"
        suffix = random.choice(SUFFIXES.get(one.suffix, (f".{one.suffix}",)))
        suffix = random.choice([".png", ".jpg"]) if wrong else suffix
        suffix = suffix.upper() if upper else suffix
        path = "/".join(filter(None, [folder, stem.format(i) + suffix]))
        case.files[path], case.pictures[path] = one.content, one
        if split is not None:
            own = case.expected.splits.setdefault(split, {})
            own[shown_path(path)] = (_shown(one, white, case.options), label)
    if any(one.is_deep for one in case.pictures.values()):
        case.expected.said.append(f"{white} is white")
    if len(sizes) > 1 and "image_size" not in case.options:
        case.expected.refuse("image_size=")


def _shown(one, white, options):
    pixels = one.shown(white)
    size = options.get("image_size")
    if size is None or pixels.shape[:2] == (size, size):
        return pixels
    image = Image.fromarray(np.ascontiguousarray(pixels))
    method = Image.Resampling.BILINEAR
    return np.asarray(ImageOps.fit(image, (size, size), method=method))


def _add_stray(draw, random, case, wrapper):
    """One picture beside the folders."""
    shape = next(iter(case.pictures.values())).pixels.shape[:2]
    one = picture(random, "png RGB", shape)
    path = f"{wrapper}montage.png"
    case.files[path], case.pictures[path] = one.content, one
    is_unlabeled = "labels" in case.options or "one class" in case.expected.said
    if is_unlabeled and len(case.expected.splits) == 1:
        train = case.expected.splits["train"]
        train[path] = (_shown(one, 255, case.options), None)
    else:
        case.expected.said.append("montage.png")


def _add_junk(draw, random, case, wrapper):
    first = pathlib.PurePath(next(iter(case.pictures))).parent
    for path, said in draw.some(_JUNK, 0, 4):
        path = path.replace("{folder}", str(first))
        if path.startswith(("annotations", "cat", "README", "labels/", "masks")):
            path = wrapper + path
        content = b"x"
        if path.endswith((".png", ".db")):
            content = picture(random, "png RGB", (8, 8)).content
        case.files[path.rstrip("/")] = None if path.endswith("/") else content
        case.expected.said += [said] if said else []


def _break(draw, random, case, paths):
    """Replaces some files by what is no image."""
    count = draw.one_of([1, 1, 2, 4])
    chosen = draw.some(paths, 1, count)
    skip = draw.one_in(2)
    if skip:
        case.options["unreadable"] = "skip"
    for path in chosen:
        shape = case.pictures.pop(path).pixels.shape[:2]
        content = broken(random, draw.one_of(BROKEN_KINDS), shape)
        case.files[path] = case.broken[path] = content
    expected = case.expected
    named = [shown_path(path) for path in chosen]
    num_read = sum(map(len, expected.splits.values()))
    in_use = [
        name for name in named if any(name in s for s in expected.splits.values())
    ]
    if not in_use:
        return
    if not skip or len(in_use) > num_read // 10:
        expected.refuse(*in_use)
    for split in expected.splits.values():
        for name in in_use:
            split.pop(name, None)
    expected.said += in_use
    if all(one.is_deep is False for one in case.pictures.values()):
        expected.said = [text for text in expected.said if "is white" not in text]


def _link(draw, case, paths, wrapper):
    """Moves files away and leaves links; or adds links that lead back, or nowhere."""
    kind = draw.one_of(["file", "folder", "loop", "nowhere"])
    path = draw.one_of(paths)
    folder = str(pathlib.PurePath(path).parent)
    if kind == "file":
        case.links[path] = f"{'../' * (path.count('/') + 1)}elsewhere/file"
        case.files["../elsewhere/file"] = case.files.pop(path)
    elif kind == "folder" and folder != ".":
        up = "../" * (folder.count("/") + 1)
        case.links[folder] = f"{up}elsewhere/folder"
        moved = [one for one in case.files if one.startswith(f"{folder}/")]
        for one in moved:
            rest = one.removeprefix(f"{folder}/")
            case.files[f"../elsewhere/folder/{rest}"] = case.files.pop(one)
        parent = str(pathlib.PurePath(folder).parent)
        case.files.setdefault(parent, None)
    elif kind == "loop":
        case.links[f"{folder}/loop"] = "."
        case.expected.said.append("loop/")
    elif kind == "nowhere" and any(
        shown_path(path) in split for split in case.expected.splits.values()
    ):
        bad = f"{folder}/gone.png".removeprefix("./")
        case.links[bad] = "nowhere.png"
        if case.options.get("unreadable") != "skip":
            case.expected.refuse("gone.png")
        else:
            case.expected.may_refuse = True
            case.expected.said.append("gone.png")
