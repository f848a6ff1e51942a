"""Images that lie in files under a folder."""

import glob
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image

from vicreg_keras.data.sources.base import (
    ArrayExamples,
    Examples,
    Part,
    Progress,
    Source,
)
from vicreg_keras.data.sources.images import (
    FileExamples,
    image_errors,
    mixed_sizes_message,
)

_SUFFIXES = (".jpg", ".jpeg", ".png")
_HELD_OUT_FOLDERS = {
    "test": ("test",),
    "validation": ("validation", "val", "valid"),
}
_CHUNK = 512  # Images decoded at a time.


def load_folder(
    location: str,
    *,
    image_size: int | None,
    memory_limit_bytes: float,
    **unused: Any,
) -> Source:
    """JPEG and PNG files under a folder.

    With an image directly in it the folder has no labels, and every image at any
    depth is an example; otherwise each subfolder is a class, in the order of their
    names. Where it holds `train/` and `test/` or `val/` (`valid/`, `validation/`),
    these are its parts, each laid out so. Hidden files are ignored, EXIF orientation
    is applied, transparency is dropped.

    Args:
        location: The folder.
        image_size: As in `load_dataset`.
        memory_limit_bytes: Above it files are decoded when they are read.
        **unused: What other sources need.

    Returns:
        A source; names are paths relative to the folder.

    Raises:
        FileNotFoundError: If the folder does not exist.
        ValueError: If it holds no image or a broken one, if images differ in size
            and `image_size` is `None`, or if its parts do not have the same classes.
    """
    del unused
    root = pathlib.Path(location).expanduser()
    if not location or not root.is_dir():
        raise FileNotFoundError(
            "Expected an existing folder. "
            f"Received: name={'folder:' + location!r}. Use --dataset=folder:PATH."
        )
    found = {part: _list_images(path) for part, path in _part_folders(root).items()}
    class_names = _common_classes(found)
    paths = {part: [path for path, _ in files] for part, files in found.items()}
    every_path = [path for part in paths.values() for path in part]
    shape = _common_shape(every_path, image_size)
    in_memory = len(every_path) * int(np.prod(shape)) <= memory_limit_bytes

    parts = {}
    for part, files in found.items():
        examples = FileExamples(paths[part], shape, image_size)
        if in_memory:
            examples = _read_all(examples, len(files), f"{root} {part}")
        names = [path.relative_to(root).as_posix() for path in paths[part]]
        labels = None
        if class_names is not None:
            number = {name: i for i, name in enumerate(class_names)}
            labels = np.array([number[name] for _, name in files], np.int64)
        parts[part] = Part(examples, labels, names)
    return Source(**parts, class_names=class_names)


def load_files(pattern: str, *, example_shape: Sequence[int | None]) -> Part:
    """Images given by what a person types: a file, a folder, or a glob.

    Args:
        pattern: A JPEG or PNG file; a folder, of which every image at any depth is
            taken; or a pattern such as `photos/*.jpg` (`**` reaches any depth).
        example_shape: `(height, width, 3)` that images are brought to where it is
            square, as `image_size` in `load_dataset`; others must have that shape.

    Returns:
        A part without labels, read when it is needed; names are paths as given.

    Raises:
        ValueError: If nothing matches, or a file's size is not as expected.
    """
    path = pathlib.Path(pattern).expanduser()
    if path.is_dir():
        paths = sorted(_walk(path))
    elif path.is_file():
        paths = [path]
    else:
        matches = map(pathlib.Path, glob.glob(str(path), recursive=True))
        paths = sorted(match for match in matches if match.is_file())
    if not paths:
        raise ValueError(
            "Expected an image file, a folder of images, or a glob that matches some "
            f"({', '.join(_SUFFIXES)}). Received: {pattern}, where there is none."
        )
    height, width, _ = example_shape
    size = height if height == width else None
    shape = example_shape
    if None in example_shape:
        size, shape = None, _common_shape(paths, None)
    return Part(FileExamples(paths, shape, size), None, list(map(str, paths)))


def _part_folders(root: pathlib.Path) -> dict[str, pathlib.Path]:
    """Where each part lies: the folder itself is the training part without others."""
    folders = {
        path.name.lower(): path
        for path in root.iterdir()
        if path.is_dir() and not path.name.startswith(".")
    }
    found = {
        part: folders[name]
        for part, names in _HELD_OUT_FOLDERS.items()
        for name in reversed(names)
        if name in folders
    }
    # `train` may also be a class, beside other classes: of trains.
    if "train" in folders and (found or len(folders) == 1):
        return {"train": folders["train"], **found}
    return {"train": root}


def _list_images(root: pathlib.Path) -> list[tuple[pathlib.Path, str | None]]:
    """Sorted `(path, class name)`; the class is `None` throughout without labels."""
    paths = sorted(_walk(root))
    if not paths:
        raise ValueError(
            f"Expected a folder with images ({', '.join(_SUFFIXES)}). "
            f"Received: {root} with none. Put images, or class folders of them, there."
        )
    if any(path.parent == root for path in paths):
        return [(path, None) for path in paths]
    return [(path, path.relative_to(root).parts[0]) for path in paths]


def _walk(root: pathlib.Path) -> Iterator[pathlib.Path]:
    visited = set()
    # Links are followed, as subsets of large sets are often made of them.
    for folder, subfolders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        if real in visited:
            subfolders.clear()
            continue
        visited.add(real)
        for name in files:
            if not name.startswith(".") and name.lower().endswith(_SUFFIXES):
                yield pathlib.Path(folder, name)


def _common_classes(
    found: dict[str, list[tuple[pathlib.Path, str | None]]],
) -> tuple[str, ...] | None:
    classes = {part: {name for _, name in files} for part, files in found.items()}
    for part, names in classes.items():
        if (None in names) != (None in classes["train"]):
            raise ValueError(
                "Expected class folders in every part, or in none. Received: train "
                f"and {part}, of which one has images without a class folder. "
                "Lay both out alike."
            )
        if unknown := sorted(names - classes["train"], key=str):
            raise ValueError(
                f"Expected the classes of train in {part}. "
                f"Received: {unknown[0]!r}, which train lacks. Remove or add it."
            )
    return None if None in classes["train"] else tuple(sorted(classes["train"]))


def _common_shape(
    paths: Sequence[pathlib.Path], image_size: int | None
) -> tuple[int, int, int]:
    """The shape of all files, from their headers, which are all checked here."""
    progress = Progress("headers", len(paths))
    first = None
    for done, path in enumerate(paths, start=1):
        with image_errors(path), Image.open(path, formats=("JPEG", "PNG")) as image:
            width, height = image.size
            sideways = "exif" in image.info and image.getexif().get(0x0112, 1) >= 5
            if sideways:
                width, height = height, width
        first = first or (height, width, 3)
        if image_size is None and (height, width, 3) != first:
            raise ValueError(mixed_sizes_message(first, (height, width), path))
        progress.update(done)
    return first if image_size is None else (image_size, image_size, 3)


def _read_all(examples: Examples, num_examples: int, what: str) -> ArrayExamples:
    array = np.empty((num_examples, *examples.shape), examples.dtype)
    progress = Progress(what, num_examples)
    for start in range(0, num_examples, _CHUNK):
        stop = min(start + _CHUNK, num_examples)
        array[start:stop] = examples.read(np.arange(start, stop))
        progress.update(stop)
    return ArrayExamples(array)
