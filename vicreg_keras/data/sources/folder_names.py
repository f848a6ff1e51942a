"""What names of folders say: which are splits, and which hold masks of images."""

import collections
import itertools
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence

from vicreg_keras.data.sources.base import shown_name

# A path relative to the dataset's folder: its folders, and its name.
Parts = tuple[str, ...]
# Images by the folder that they are in.
Folders = Mapping[str, Sequence[Parts]]

# How many names of folders or files a message has.
MAX_NAMED = 3
# Names of splits, in lower case and without what `split_of` takes off.
_SPLITS = {
    "train": ("train", "training", "trn"),
    "validation": (
        *("val", "valid", "validation", "validate"),
        *("dev", "devel", "development", "eval", "evaluation"),
    ),
    "test": ("test", "testing", "tst", "holdout"),
    "unlabeled": (
        *("unlabeled", "unlabelled", "unsup", "unsupervised", "trainunlabeled"),
        *("unlabeledtrain", "trainunlabelled", "unlabelledtrain"),
    ),
}
_SPLIT_OF = {name: split for split, names in _SPLITS.items() for name in names}
_ADDITIONS = ("dataset", "set", "data", "images", "image", "imgs", "split", "folder")
# Shorter names, which are splits only beside another such name.
_SHORT = {"tr": "train", "va": "validation", "te": "test", "ts": "test"}
# Words for images, and for what is drawn over each pixel of them, in the singular; the
# last are for nothing else.
_IMAGES = {"image", "img", "jpegimage", "input", "original", "rgb"}
_DRAWN = {
    *("groundtruth", "gt", "labelid", "manual", "trimap", "panoptic"),
    *("segmentationclass", "segmentationobject", "labelmap"),
}
_MASKS = {"mask", "annotation", "label", "segmentation", "seg", "instance", *_DRAWN}
# What is one word, written in two.
_COMPOUND = re.compile(
    r"\b(ground|label|segmentation|jpeg) (?=(truth|id|class|obj|im))"
)
# Ends and starts of files' names, as in `1_mask.png` beside `1.png`.
_OF_MASK, _OF_IMAGE = (
    re.compile(rf"^({words})s?[ _.-]|[ _.-]({words})s?([ _-]?\d+)?$")
    for words in (
        "mask|label|label_?id|annotation|segmentation|ground_?truth|gt|seg",
        "image|img",
    )
)


def _singular(name):
    return [re.sub(r"(?<=[^s])s$", "", word) for word in words_of(name)]


def _stem(name):
    return name.rpartition(".")[0].lower()


def split_of(name: str) -> str | None:
    """The split that a folder's name stands for."""
    word = re.sub(r"\d+$", "", plain(name))
    while word not in _SPLIT_OF:
        shorter = word
        for addition in _ADDITIONS:
            shorter = shorter.removesuffix(addition).removeprefix(addition)
        if shorter == word:
            return None
        word = shorter
    return _SPLIT_OF[word]


def likely_splits(named: Mapping[str, str | None]) -> Mapping[str, str | None]:
    """Splits of names that hold a split's word among others, if there are several."""
    strict = set(named.values()) - {None}
    if "train" in strict and len(strict) > 1:
        return named
    likely = {
        name: split or _word_of(name, _SPLIT_OF) or _word_of(name, _SHORT)
        for name, split in named.items()
    }
    found = set(likely.values()) - {None}
    return likely if "train" in found and len(found) > 1 else named


def _word_of(name, words):
    """The split of the only word of a name that stands for one."""
    found = {words[token] for token in words_of(name) if token in words}
    return found.pop() if len(found) == 1 else None


def without_masks(images: Sequence[Parts]) -> tuple[list[Parts], list[str]]:
    """Returns images that are in no folder of masks beside one of images.

    Args:
        images: Paths relative to the dataset's folder.

    Returns:
        The images, and what is said of the masks.
    """
    siblings: dict[Parts, dict[str, list[str]]] = collections.defaultdict(dict)
    for parts in images:
        for depth in range(len(parts) - 1):
            siblings[parts[:depth]].setdefault(parts[depth], _singular(parts[depth]))
    masks = {}
    for parent, folders in siblings.items():
        rest = {
            name: tuple(word for word in words if word not in _IMAGES | _MASKS)
            for name, words in folders.items()
        }
        beside = {
            rest[name]: name
            for name, words in folders.items()
            if _IMAGES.intersection(words) or split_of(name)
            if not _MASKS.intersection(words)
        }
        of_images = [n for n in beside.values() if _IMAGES.intersection(folders[n])]
        for name, words in folders.items():
            others = of_images if _DRAWN.intersection(words) else []
            if rest[name] in beside and _MASKS.intersection(words):
                others = [beside[rest[name]]]
            if others:
                masks[(*parent, name)] = others[0]
    stems = {
        (*parts[:-1], stem)
        for parts in images
        for stem in (_stem(parts[-1]), _OF_IMAGE.sub("", _stem(parts[-1])))
    }
    kept: list[Parts] = []
    said: dict[str, list[Parts]] = collections.defaultdict(list)
    first = None
    for parts in images:
        above = (parts[:depth] for depth in range(1, len(parts)))
        found = next((folder for folder in above if folder in masks), None)
        of_image = _OF_MASK.sub("", _stem(parts[-1]))
        if found is not None:
            names = f"{shown_name(found[-1])}/ beside {shown_name(masks[found])}/"
            said[f"of {names}, taken for masks"].append(parts)
        elif of_image != _stem(parts[-1]) and (*parts[:-1], of_image) in stems:
            first = first or shown_name("/".join(parts))
            said[f"such as {first}, taken for masks of others"].append(parts)
        else:
            kept.append(parts)
    return kept, [f"{counted(own)} {text}" for text, own in said.items()]


def counted(images: Sequence[Parts]) -> str:
    """Returns the number of images, for a message."""
    return f"{len(images):,} image{'s' if len(images) > 1 else ''}"


def words_of(name: str) -> list[str]:
    """The words of a name, in lower case, without numbers."""
    name = re.sub(r"([a-z])([A-Z])", r"\1 \2", name)
    words = " ".join(re.findall(r"[^\W\d_]+", name)).lower()
    return _COMPOUND.sub(r"\1", words).split()


def plain(name: str) -> str:
    """A name in lower case without anything but letters and digits."""
    return re.sub(r"[\W_]+", "", name).lower()


def without_split(name: str) -> tuple[str, ...]:
    """The words of a name but for those that stand for splits."""
    return tuple(
        word for word in words_of(name) if word not in _SPLIT_OF and word not in _SHORT
    )


def inner_names(folders: Folders, depth: int) -> dict[str, set[str]]:
    """Returns names of the folders, at any depth, in each folder at a depth."""
    return {
        name: {same_name(part) for parts in images for part in parts[depth + 1 : -1]}
        for name, images in folders.items()
    }


def same_name(name: str) -> str:
    """Returns a name in the one of its two encodings that all are compared in."""
    return unicodedata.normalize("NFC", name)


def class_notes(folders: Folders, depth: int) -> Iterator[str]:
    """Says what is odd of class folders, which are at a depth."""
    for name in folders:
        words = set(_singular(name))
        if words and not words - _IMAGES - _MASKS:
            yield f"{shown_name(name)}/ is read as a class"
    splits = (
        "/".join(parts[depth:end])
        for parts in itertools.chain(*folders.values())
        for end in range(depth + 2, len(parts))
        if split_of(parts[end - 1])
    )
    for inner in itertools.islice(splits, 1):
        above = "splits stand above class folders"
        yield f"{shown_name(inner)}/ is part of a class; {above}"
    inside = inner_names(folders, depth)
    counts = collections.Counter(part for names in inside.values() for part in names)
    shared = {name for name in counts if counts[name] > 1 and not split_of(name)}
    num_holding = sum(bool(names & shared) for names in inside.values())
    if len(shared) > 1 and 2 * num_holding >= len(folders):
        inner = listed(shared, MAX_NAMED)
        yield (
            f"classes are {listed(folders, MAX_NAMED)}, not {inner} in them; if these "
            f"are, give {shown_name(min(folders))}/ as the dataset, or put each class "
            "into one folder"
        )
    similar = collections.defaultdict(list)
    for name in folders:
        similar[plain(name) or name].append(name)
    for names in similar.values():
        if len(names) > 1:
            yield f"{listed(names)} are classes of their own"


def listed(names: Iterable[str], limit: int | None = None) -> str:
    """Returns the first names of folders, for a message."""
    shown = [f"{shown_name(name)}/" for name in sorted(names)]
    return ", ".join(shown[:limit] + ["..."] * (len(shown[:limit]) < len(shown)))
