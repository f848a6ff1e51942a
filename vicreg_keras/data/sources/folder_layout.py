"""Splits and classes of images by the folders that they are in."""

import collections
import dataclasses
from collections.abc import Iterable, Sequence

from vicreg_keras.data.sources.base import quoted, shown_name
from vicreg_keras.data.sources.folder_names import (
    MAX_NAMED,
    Parts,
    class_notes,
    counted,
    inner_names,
    likely_splits,
    listed,
    plain,
    same_name,
    split_of,
    without_masks,
    without_split,
)
from vicreg_keras.errors import InputError

# What was labeled stands beside what was not.
_LABELED = ("labeled", "labelled")
# Up to this share of the images beside class folders are there by chance.
_MAX_STRAY = 0.1


@dataclasses.dataclass
class Layout:
    """Where images belong.

    Attributes:
        splits: The images of each split; there is always `train`.
        classes: The class of each image of `train`, and of others where it has any.
        left_out: See `Source`.
        notes: See `Source`.
    """

    splits: dict[str, list[Parts]]
    classes: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    left_out: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)


def lay_out(images: Sequence[Parts], *, has_labels: bool = True) -> Layout:
    """Finds the splits and classes of images.

    Args:
        images: Paths relative to the dataset's folder, at least one.
        has_labels: Whether class folders are looked for.

    Returns:
        A layout.

    Raises:
        InputError: If there is more than one folder for a split, none for `train`, or
            if splits have other classes than `train`.
    """
    layout = Layout({})
    images, masks = without_masks(images)
    layout.left_out.extend(masks)
    depths = _find_splits(layout, images)
    if has_labels:
        _find_classes(layout, depths)
    return layout


def _find_splits(layout, images):
    """Fills `splits`; returns how many folders each is in."""
    depth, stray, inside = _descend(images)
    loose, folders = _grouped(inside, depth)
    named = {name: split_of(name) for name in folders}
    likely = dict(likely_splits(named))
    if likely != named and _are_alike(folders, likely, depth):
        named = likely
    if not _have_splits(named, folders, depth):
        layout.splits["train"] = list(images)
        layout.notes.extend(
            f"{shown_name(name)}/ is read as a class"
            for name, split in likely.items()
            if split and len(folders) > 1 and not loose
        )
        return {"train": 0}
    has_train = "train" in named.values()
    layout.notes.extend(
        f"{shown_name(name)}/ is read as the train split"
        for name, split in named.items()
        if split == "train" and not likely[name]
    )
    names_of = collections.defaultdict(list)
    for name, split in named.items():
        if split is not None:
            names_of[split].append(name)
        elif has_train:
            layout.left_out.append(
                f"{counted(folders[name])} of {shown_name(name)}/, which is no split"
            )
        else:
            layout.splits.setdefault("train", []).extend(folders[name])
    for split, names in names_of.items():
        if len(names) > 1:
            raise InputError(
                f"Expected one folder of the {split} split. Received: "
                f"{listed(names)}. Keep one of them, or give the others other names."
            )
        layout.splits[split] = folders[names[0]]
    layout.left_out.extend(_left_out(stray + loose, "splits"))
    depths = dict.fromkeys(layout.splits, depth + 1)
    return depths if has_train else {**depths, "train": depth}


def _are_alike(folders, likely, depth):
    """Whether likely splits have names that are alike, or the same folders in them."""
    alike = collections.defaultdict(set)
    for name, inner in inner_names(folders, depth).items():
        if likely[name] is not None:
            alike[likely[name] == "train"] |= {without_split(name), *inner}
    return bool(alike[True] & alike[False])


def _have_splits(named, folders, depth):
    """Whether folders are splits, by name; what is labeled may become `train`."""
    others = [name for name, split in named.items() if split is None]
    found = set(named.values()) - {None}
    if "unlabeled" in found and "train" not in found:
        named.update({name: "train" for name in others if name.lower() in _LABELED})
        found = set(named.values()) - {None}
    if "train" in found:
        return len(found) > 1 or _only_train_has_classes(folders, named, depth)
    if len(found) > 1 and not others:
        raise InputError(
            "Expected a folder of training images, such as train/, beside those of "
            f"other splits. Received: {listed(folders)} alone. Add it, or give one of "
            "these as the dataset."
        )
    # Class folders, and beside them a split of the same classes, or without any.
    sets = inner_names(folders, depth)
    inner = set().union(*(sets[name] for name in folders if named[name]))
    if inner.intersection(others) or ("unlabeled" in found and others):
        return True
    # Of whatever name, it holds the classes that other splits hold.
    if found and len(others) == 1 and len(set.intersection(*sets.values())) > 1:
        named[others[0]] = "train"
        return True
    return False


def _only_train_has_classes(folders, named, depth):
    """Whether `train` has class folders where its neighbors have images alone."""
    has_folders = {
        name: all(len(parts) > depth + 2 for parts in images)
        for name, images in folders.items()
    }
    return len(folders) > 1 and all(
        has_folders[name] == (split == "train") for name, split in named.items()
    )


def _find_classes(layout, depths):
    """Fills `classes`, unless the training split has none."""
    train = layout.splits["train"]
    depth, stray, train = _descend(train, depths["train"])
    loose, folders = _grouped(train, depth)
    for name in [name for name in folders if split_of(name) == "unlabeled"]:
        if len(folders) > 1:
            layout.splits.setdefault("unlabeled", []).extend(folders.pop(name))
            layout.splits["train"] = train = loose + _sorted(folders)
    if len(folders) == 1:
        layout.notes.append(f"no labels, as there is one class, {listed(folders)}")
    elif folders and not _are_few(loose, train):
        place = shown_name("/".join(train[0][:depth]))
        layout.notes.append(
            f"no labels, as {len(loose):,} of {len(train):,} images "
            f"{f'in {place}/' if place else 'here'} are in no class folder"
        )
        folders = {}
    elif folders:
        _leave_out_copies(layout, folders, depth)
        layout.left_out.extend(_left_out(stray + loose, "class folders"))
        layout.splits["train"] = _sorted(folders)
        layout.classes["train"] = _class_names(folders)
        layout.notes.extend(class_notes(folders, depth))
    for split in ("validation", "test"):
        if split in layout.splits:
            _find_known_classes(layout, split, depths[split], folders)


def _find_known_classes(layout, split, depth, train):
    """Fills the classes of a split by the class folders of `train`; it may go."""
    images = layout.splits[split]
    place = f"{shown_name('/'.join(images[0][:depth]))}/"
    if len(train) == 1:  # Nothing to tell apart.
        return
    depth, stray, inside = _descend(images, depth, train)
    loose, folders = _grouped(inside, depth)
    _leave_out_copies(layout, folders, depth)
    known = [name for name in folders if name in train]
    unknown = [name for name in folders if name not in train]
    few = _are_few(loose, images)
    if not train:
        is_wrong = len(folders) > 1 and few
    elif known:
        is_wrong = bool(unknown) or not few
    else:
        alike = {plain(name) for name in train}
        is_wrong = len(folders) > 1 and bool(alike.intersection(map(plain, unknown)))
    if is_wrong:
        raise InputError(
            f"Expected in {split} the class folders of train, or images without class "
            f"folders in both. Received: {place} with images in "
            f"{quoted(map(shown_name, unknown or ['.']))}, where train has none. Lay "
            "both out alike, or use labels=none."
        )
    if not train:
        return
    if not known:
        del layout.splits[split]
        which = "has no class folders of train" if unknown else "has no class folders"
        layout.left_out.append(f"{counted(images)} of {place}, which {which}")
        return
    layout.left_out.extend(_left_out(stray + loose, "class folders"))
    layout.splits[split] = _sorted(folders)
    layout.classes[split] = _class_names(folders)


def _leave_out_copies(layout, folders, depth):
    """Takes folders away that hold those beside them once more."""
    inner = {
        name: {part.casefold() for part in names}
        for name, names in inner_names(folders, depth).items()
    }
    for name, names in inner.items():
        again = [
            other
            for other in folders
            if other != name and other.casefold() in names
            if name.casefold() not in inner[other]
        ]
        if len(again) > 1 and 2 * len(again) >= len(folders) - 1:
            layout.left_out.append(
                f"{counted(folders.pop(name))} of {shown_name(name)}/, which holds "
                f"{listed(again, MAX_NAMED)} as there are beside it"
            )
        elif again:
            layout.notes.append(
                f"{shown_name(name)}/ is read as a class, with {listed(again)} in it"
            )


def _descend(
    images: Sequence[Parts], depth: int = 0, known: Iterable[str] = ()
) -> tuple[int, list[Parts], Sequence[Parts]]:
    """Finds the folder that holds several: that of an archive holds but one other.

    Args:
        images: Paths.
        depth: Number of folders that all images are in.
        known: Names of folders that count however few they are.

    Returns:
        The number of folders that lead there, the few images beside these, and the
        others.
    """
    stray: list[Parts] = []
    while True:
        loose, folders = _grouped(images, depth)
        if len(folders) != 1 or set(folders).intersection(known):
            return depth, stray, images
        (inside,) = folders.values()
        # With more than a few images directly in it, the only folder may be a class.
        direct = [parts for parts in inside if len(parts) == depth + 2]
        if not (_are_few(direct, inside) and _are_few(loose, images)):
            return depth, stray, images
        stray += loose
        images = inside
        depth += 1


def _are_few(loose, images):
    return len(loose) <= _MAX_STRAY * len(images)


def _grouped(images, depth):
    """Images directly in a folder, and those of each folder in it, by its name."""
    loose, folders = [], collections.defaultdict(list)
    for parts in images:
        if len(parts) == depth + 1:
            loose.append(parts)
        else:
            folders[same_name(parts[depth])].append(parts)
    return loose, dict(sorted(folders.items()))


def _sorted(folders):
    return [parts for images in folders.values() for parts in images]


def _class_names(folders):
    return [shown_name(name) for name, images in folders.items() for _ in images]


def _left_out(stray, beside):
    """What is said of images beside folders, if there are any."""
    if stray:
        names = [shown_name("/".join(parts)) for parts in stray[:MAX_NAMED]]
        names += ["..."] * (len(stray) > MAX_NAMED)
        yield f"{counted(stray)} beside {beside}: {', '.join(names)}"
