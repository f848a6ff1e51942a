"""Folders of images: what is in them, and which of it is read."""

import collections
import os
import pathlib
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vicreg_keras.data.sources.base import (
    NOTHING_KNOWN,
    Known,
    Source,
    quoted,
    shown_name,
)
from vicreg_keras.data.sources.folder_layout import Parts, lay_out
from vicreg_keras.data.sources.image_files import read_images
from vicreg_keras.data.sources.images import SUFFIXES
from vicreg_keras.data.split import Split
from vicreg_keras.errors import InputError, file_errors
from vicreg_keras.settings import DataOptions
from vicreg_keras.settings.options import matching_paths

# What systems and archives put beside a user's files, in lower case.
_JUNK = {
    *("__macosx", "@eadir", "$recycle.bin", "#recycle", "lost+found", "__pycache__"),
    *("system volume information", "thumbs.db", "desktop.ini"),
}
# Copies that servers and programs keep, which someone may have named so, too.
_COPIES = re.compile(
    r"@(__thumb|recycle|recently-snapshot|tmp|appdata|share(bin|snap)|syno.*)"
    r"|#snapshot|_gsdata_|_?thumb(s|nails?)|_(thumb|trash|recycle)|[$]recycle"
)


# How many folders without images are named.
_MAX_EMPTY = 10
_DEFAULTS = DataOptions()


class Contents(NamedTuple):
    """The files of a folder, at any depth.

    Attributes:
        images: Paths of images relative to the folder, sorted.
        others: Paths of other files, likewise.
        links: Links to folders that are read elsewhere, likewise.
        copies: Folders that servers and programs keep copies in, likewise.
        folders: All folders that are read, likewise.
    """

    images: list[Parts]
    others: list[Parts]
    links: list[Parts]
    copies: list[Parts]
    folders: list[Parts]


def load_folder(options: DataOptions, known: Known = NOTHING_KNOWN) -> Source:
    """Loads image files under a folder.

    Each subfolder is a class, in the order of their names. With images directly in it,
    more than a tenth of all, or a single subfolder, there are no labels, and every
    image at any depth is an example. Where it holds `train/` and `test/`, `val/` or
    `unlabeled/`, under these or similar names, these are its splits, each laid out so.
    A folder that holds but one folder is read as that one.

    Hidden files, and what systems and archives add, are ignored. EXIF orientation is
    applied, transparency shows white, the first frame or page of several is read.

    Args:
        options: Of these, `dataset`, `folder:PATH`; `image_size`; `labels`, `"none"` to
            read images at any depth without; `unreadable`, whether files that can't be
            read are left out; and `memory_limit_gib`, above which files are decoded
            when they are read.
        known: How the images of the encoder that they are for were read.

    Returns:
        A source; names are paths relative to the folder.

    Raises:
        InputError: If there is no such folder; if it holds no image, or some that can't
            be read; if images differ in size and `image_size` is `None`; or if its
            splits do not have the same classes.
    """
    root = options.path(is_folder=True)
    contents = list_files(root)
    layout = lay_out(contents.images, has_labels=options.labels != "none")
    every = [parts for images in layout.splits.values() for parts in images]
    files = read_images(
        [root.joinpath(*parts) for parts in every],
        root,
        options,
        known,
        options.image_size,
    )
    readable = set(files.kept.tolist())
    kept_of, start = {}, 0
    for split, images in layout.splits.items():
        kept_of[split] = [i for i in range(len(images)) if start + i in readable]
        start += len(images)
    class_names, lost = _readable_classes(layout, kept_of)
    splits: dict[str, Split] = {}
    end = 0
    for split, kept in kept_of.items():
        if not kept:
            continue
        labels = None
        if class_names is not None and split in layout.classes:
            classes = [layout.classes[split][i] for i in kept]
            labels = np.searchsorted(class_names, classes)
        names = [shown_name("/".join(layout.splits[split][i])) for i in kept]
        indices = np.arange(end, end + len(kept))
        splits[split] = Split(files.examples, labels, names, indices)
        end += len(kept)
    if "train" not in splits:
        raise InputError(
            f"Expected images to train on. Received: {shown_name(root)}, where none of "
            "the training split can be read. Replace them."
        )
    return Source(
        train=splits["train"],
        validation=splits.get("validation"),
        test=splits.get("test"),
        unlabeled=splits.get("unlabeled"),
        class_names=class_names,
        max_pixel=files.max_pixel,
        left_out=(*_left_out(contents), *layout.left_out, *files.left_out, *lost),
        notes=(*layout.notes, *files.notes),
    )


def _readable_classes(layout, kept_of):
    """Names of the classes that can be read, `None` of less than two; what can't."""
    found = {
        split: {names[i] for i in kept_of[split]}
        for split, names in layout.classes.items()
    }
    if not found:
        return None, []
    names = sorted(set.union(*found.values()))
    lost = sorted(set(layout.classes["train"]).difference(names))
    lost = [f"{name}/ (no readable images)" for name in lost]
    if len(found["train"]) < 2:
        layout.notes.append("no labels, as no two classes can be read")
        return None, lost
    if unknown := [name for name in names if name not in found["train"]]:
        layout.notes.append(f"no training example of {quoted(unknown)} can be read")
    return tuple(names), lost


def load_files(
    pattern: str,
    example_shape: Sequence[int],
    known: Known = NOTHING_KNOWN,
    options: DataOptions = _DEFAULTS,
) -> Source:
    """Loads images given by a file, a folder or a glob.

    Args:
        pattern: An image file; a folder, of which every image at any depth is taken; or
            a pattern such as `photos/*.jpg` (`**` reaches any depth).
        example_shape: `(height, width, 3)`, to which images are resized as by
            `image_size` in `load_dataset`.
        known: How the images of the encoder that they are for were read.
        options: Of these, `unreadable` and `memory_limit_gib`; see `load_folder`.

    Returns:
        A source of one split without labels; names are paths as given.

    Raises:
        InputError: If nothing matches, or an image can't be read.
    """
    root, left_out = pathlib.Path(pattern).expanduser(), []
    if root.is_dir():
        contents = list_files(root)
        paths = [root.joinpath(*parts) for parts in contents.images]
        left_out = _left_out(contents)
    else:
        paths = [path for path in matching_paths(pattern) if path.is_file()]
        root = pathlib.Path(
            os.path.commonpath([path.parent for path in paths or [root]])
        )
    if not paths:
        raise InputError(
            "Expected an image file, a folder of images, or a glob that matches some "
            f"({', '.join(SUFFIXES)}). Received: {shown_name(pattern)}, where there is "
            "none. Correct the path."
        )
    height, width, _ = example_shape
    files = read_images(paths, root, options, known, (height, width))
    names = [shown_name(paths[i]) for i in files.kept]
    return Source(
        train=Split(files.examples, None, names),
        left_out=(*left_out, *files.left_out),
        notes=files.notes,
    )


def list_files(root: pathlib.Path) -> Contents:
    """Lists the files of a folder, but for hidden ones and junk.

    Raises:
        InputError: If none of them is an image.
    """
    contents = Contents([], [], [], [], [])
    visited: set[str] = set()
    folders: list[Parts] = [()]
    links: list[Parts] = []
    # Links are followed, as subsets of large sets are often made of them; but what they
    # lead to is read where it lies, if that is in the folder, too.
    while folders or links:
        parts = (folders or links).pop()
        folder = root.joinpath(*parts)
        real = os.path.realpath(folder)
        if real in visited:
            contents.links.append(parts)
            continue
        visited.add(real)
        contents.folders.append(parts)
        with file_errors(folder, "a folder that can be read", "Check its permissions"):
            entries = list(os.scandir(folder))
        for entry in entries:
            if entry.name.startswith(".") or entry.name.lower() in _JUNK:
                continue
            path = (*parts, entry.name)
            if entry.is_dir() and _COPIES.fullmatch(entry.name.lower()):
                contents.copies.append(path)
            elif entry.is_dir():
                (links if entry.is_symlink() else folders).append(path)
            elif entry.is_file() or entry.is_symlink():
                is_image = entry.name.lower().endswith(SUFFIXES)
                (contents.images if is_image else contents.others).append(path)
    if not contents.images:
        found = ", ".join(_by_suffix(contents.others) + _copies(contents)) or "none"
        raise InputError(
            f"Expected a folder with images ({', '.join(SUFFIXES)}). Received: "
            f"{shown_name(root)} with {found}. Put images, or class folders of them, "
            "there."
        )
    for paths in contents:
        paths.sort()
    return contents


def _by_suffix(files):
    """How many files there are of each suffix, most first."""
    counts = collections.Counter(
        os.path.splitext(parts[-1])[1].lower() for parts in files
    )
    order = sorted(counts, key=lambda suffix: (-counts[suffix], suffix or "~"))
    return [
        f"{counts[suffix]:,} {shown_name(suffix) or 'without a suffix'}"
        for suffix in order
    ]


def _left_out(contents):
    """Files that are no images, and folders that have no others, or are links."""
    has_images = {
        parts[:depth] for parts in contents.images for depth in range(len(parts))
    }
    without = [
        f"{shown_name('/'.join(parts))}/ (no images)"
        for parts in contents.folders
        if parts not in has_images and parts[:-1] in has_images
    ]
    entries = _by_suffix(contents.others) + without[:_MAX_EMPTY]
    if more := without[_MAX_EMPTY:]:
        entries.append(f"{len(more):,} more folders (no images)")
    for parts in contents.links:
        entries.append(f"{shown_name('/'.join(parts))}/ (a link to what is read)")
    return entries + _copies(contents)


def _copies(contents):
    """Folders of copies, the first of them by name."""
    names = [f"{shown_name('/'.join(parts))}/" for parts in contents.copies]
    more = f" and {len(names) - 1:,} more" if len(names) > 1 else ""
    return [f"{name}{more} (copies of programs)" for name in names[:1]]
