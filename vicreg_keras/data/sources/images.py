"""Images in files: folders of them, and their decoding into uint8 RGB."""

import concurrent.futures
import glob
import io
import math
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from vicreg_keras.data.sources.base import (
    NOTHING_KNOWN,
    Known,
    Source,
    progress_bar,
    quoted,
)
from vicreg_keras.data.split import Split
from vicreg_keras.errors import InputError, file_errors
from vicreg_keras.settings import DataOptions

_SUFFIXES = (".jpg", ".jpeg", ".png")
_FORMATS = ("JPEG", "PNG")
# Of several folders of a split the last counts.
_SPLIT_FOLDERS = {
    "test": "test",
    "valid": "validation",
    "val": "validation",
    "validation": "validation",
}
# What is expected of an image file, and what to do about another.
_IMAGE = ("a readable JPEG or PNG image", "Replace or remove this file")
# Images that are decoded at a time where all are wanted.
CHUNK = 512
_POOL = concurrent.futures.ThreadPoolExecutor(os.cpu_count())


def load_folder(options: DataOptions, known: Known = NOTHING_KNOWN) -> Source:
    """Loads JPEG and PNG files under a folder.

    With an image directly in it the folder has no labels, and every image at any
    depth is an example; otherwise each subfolder is a class, in the order of their
    names. Where it holds `train/` and `test/` or `val/` (`valid/`, `validation/`),
    these are its splits, each laid out so. Hidden files are ignored, EXIF orientation
    is applied, transparency is dropped.

    Args:
        options: Of these, `dataset`, `folder:PATH`; `image_size`; and
            `memory_limit_gib`, above which files are decoded when they are read.
        known: How the images of the encoder that they are for were read.

    Returns:
        A source; names are paths relative to the folder.

    Raises:
        InputError: If there is no such folder; if it holds no image or a broken one;
            if images differ in size and `image_size` is `None`; or if its splits do
            not have the same classes.
    """
    root = options.path(is_folder=True)
    folders = _split_folders(root)
    found = {split: _list_images(folder) for split, folder in folders.items()}
    classes = {split: _classes(folders[split], paths) for split, paths in found.items()}
    class_names = tuple(sorted(set(classes["train"])))
    for split, names in classes.items():
        unknown = sorted(set(names).difference(class_names))
        if unknown:
            raise InputError(
                f"Expected in {split} the class folders of train, or images without "
                f"class folders in both. Received: {folders[split]} with images in "
                f"{quoted(unknown)}, where train has none. Lay both out alike."
            )
    all_paths = [path for paths in found.values() for path in paths]
    shape = _common_shape(all_paths, options.image_size)
    in_memory = len(all_paths) * math.prod(shape) <= options.memory_limit_gib * 2**30

    labeled = class_names != (".",)
    splits: dict[str, Any] = {}
    for split, paths in found.items():
        files = FileExamples(paths, shape, options.image_size)
        examples = files.read_all(f"Decoding {root} {split}") if in_memory else files
        labels = np.searchsorted(class_names, classes[split]) if labeled else None
        names = [path.relative_to(root).as_posix() for path in paths]
        splits[split] = Split(examples, labels, names)
    return Source(**splits, class_names=class_names if labeled else None, columns=None)


def load_files(pattern: str, example_shape: Sequence[int | None]) -> Split:
    """Loads images given by a file, a folder or a glob.

    Args:
        pattern: A JPEG or PNG file; a folder, of which every image at any depth is
            taken; or a pattern such as `photos/*.jpg` (`**` reaches any depth).
        example_shape: `(height, width, 3)`. Images are resized to it where it is
            square, as by `image_size` in `load_dataset`; others must have that shape.

    Returns:
        A split without labels, decoded when it is read; names are paths as given.

    Raises:
        InputError: If nothing matches, or a file's size is not as expected.
    """
    path = pathlib.Path(pattern).expanduser()
    if path.is_dir():
        paths = _list_images(path)
    else:
        # A file's name may itself look like a glob.
        matches = [path, *map(pathlib.Path, glob.glob(str(path), recursive=True))]
        paths = sorted({match for match in matches if match.is_file()})
    if not paths:
        raise InputError(
            "Expected an image file, a folder of images, or a glob that matches some "
            f"({', '.join(_SUFFIXES)}). Received: {pattern}, where there is none. "
            "Correct the path."
        )
    height, width, _ = example_shape
    size = height if height == width else None
    shape = _common_shape(paths, None) if None in example_shape else example_shape
    return Split(FileExamples(paths, shape, size), None, list(map(str, paths)))


class FileExamples:
    """Image files, indexed like an array and decoded each time they are read.

    Args:
        paths: JPEG or PNG files.
        image_shape: `(height, width, 3)` of every decoded image.
        image_size: See `load_dataset`.
    """

    def __init__(
        self,
        paths: Sequence[pathlib.Path],
        image_shape: Sequence[int],
        image_size: int | None,
    ):
        self._paths = paths
        self._image_size = image_size
        self.shape = (len(paths), *image_shape)
        self.dtype = np.dtype(np.uint8)

    def __getitem__(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Returns the decoded images at `indices`."""
        paths = self.paths(indices)
        return decode_images(paths, paths, self.shape[1:], self._image_size)

    def paths(self, indices: Sequence[int] | np.ndarray) -> list[pathlib.Path]:
        """Returns the files at `indices`."""
        return [self._paths[i] for i in indices]

    def read_all(self, description: str) -> np.ndarray:
        """Returns all images; a progress bar has the description."""
        images = np.empty(self.shape, self.dtype)
        with progress_bar(description, " images", len(images)) as progress:
            for start in range(0, len(images), CHUNK):
                end = min(start + CHUNK, len(images))
                images[start:end] = self[range(start, end)]
                progress.update(end - start)
        return images


def decode_image(
    file: str | os.PathLike | io.BytesIO,
    name: str | os.PathLike,
    image_size: int | None = None,
) -> np.ndarray:
    """Decodes one JPEG or PNG file.

    Args:
        file: A path, or a file object with the encoded bytes.
        name: What to call it in a message.
        image_size: See `load_dataset`.

    Returns:
        uint8 RGB, `(height, width, 3)`, in `[0, 255]`.

    Raises:
        InputError: If it cannot be read or decoded.
    """
    with file_errors(name, *_IMAGE), Image.open(file, formats=_FORMATS) as opened:
        image: Image.Image = opened
        if "exif" in image.info:  # Asking Pillow costs more than a small image.
            ImageOps.exif_transpose(image, in_place=True)
        if image.mode.startswith("I"):  # 16-bit gray, which `convert` would clip.
            image = Image.fromarray(np.rint(np.asarray(image) / 257).astype(np.uint8))
        if image.mode != "RGB":
            image = image.convert("RGB")
        return np.asarray(_fit(image, image_size))


def decode_images(
    files: Sequence[str | os.PathLike | io.BytesIO],
    names: Sequence[str | os.PathLike],
    image_shape: Sequence[int],
    image_size: int | None,
) -> np.ndarray:
    """Decodes files on all cores.

    Args:
        files: Paths, or file objects with the encoded bytes.
        names: What to call each in a message.
        image_shape: `(height, width, 3)` of every decoded image.
        image_size: See `load_dataset`.

    Returns:
        uint8 `(num_files, height, width, 3)`.

    Raises:
        InputError: If a file cannot be decoded, or has another size.
    """
    images = np.empty((len(files), *image_shape), np.uint8)
    num_threads = os.cpu_count() or 1

    def decode_every(start):  # One task per thread: one per image would cost more.
        for i in range(start, len(files), num_threads):
            image = decode_image(files[i], names[i], image_size)
            _check_same_size(image_shape, image.shape, names[i])
            images[i] = image

    list(_POOL.map(decode_every, range(num_threads)))  # Raises what a thread raised.
    return images


def _check_same_size(
    shape: Sequence[int], other: Sequence[int], name: str | os.PathLike
) -> None:
    """Checks that an image has the height and width of the others.

    Args:
        shape: `(height, width, 3)` of the others.
        other: `(height, width, 3)` of the image.
        name: What to call the image in a message.

    Raises:
        InputError: If it has not.
    """
    if tuple(other) != tuple(shape):
        raise InputError(
            f"Expected images of one size, {shape[0]}x{shape[1]} (height x width) as "
            f"the first. Received: {name} of {other[0]}x{other[1]}. Use image_size."
        )


def as_rgb(images: np.ndarray) -> np.ndarray:
    """Repeats gray images over three channels.

    Args:
        images: `(N, H, W)`, `(N, H, W, 1)` or `(N, H, W, 3)`.

    Returns:
        `(N, H, W, 3)`.
    """
    images = images.reshape(*images.shape[:3], -1)
    return np.ascontiguousarray(np.broadcast_to(images, (*images.shape[:3], 3)))


def resized(images: np.ndarray, image_size: int | None) -> np.ndarray:
    """Resizes images `(N, H, W, 3)` to `image_size`, see `load_dataset`."""
    if image_size is None or images.shape[1:3] == (image_size, image_size):
        return images
    return np.stack(
        [np.asarray(_fit(Image.fromarray(image), image_size)) for image in images]
    )


def _split_folders(root: pathlib.Path) -> dict[str, pathlib.Path]:
    """The folder of each split; the root itself is `train` without others."""
    folders = {
        path.name.lower(): path
        for path in root.iterdir()
        if path.is_dir() and not path.name.startswith(".")
    }
    found = {
        split: folders[name]
        for name, split in _SPLIT_FOLDERS.items()
        if name in folders
    }
    # `train` may also be a class, beside other classes: of trains.
    if "train" in folders and (found or len(folders) == 1):
        return {"train": folders["train"], **found}
    return {"train": root}


def _list_images(root: pathlib.Path) -> list[pathlib.Path]:
    """Images at any depth, at least one, sorted."""
    paths, visited = [], set()
    # Links are followed, as subsets of large sets are often made of them.
    for folder, subfolders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in visited:
            subfolders.clear()
            continue
        visited.add(real)
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        for name in files:
            if not name.startswith(".") and name.lower().endswith(_SUFFIXES):
                paths.append(pathlib.Path(folder, name))
    if not paths:
        raise InputError(
            f"Expected a folder with images ({', '.join(_SUFFIXES)}). Received: {root} "
            "with none. Put images, or class folders of them, there."
        )
    return sorted(paths)


def _classes(root: pathlib.Path, paths: Sequence[pathlib.Path]) -> list[str]:
    """The class of each image: `.` throughout with an image directly in the folder."""
    parts = [path.relative_to(root).parts for path in paths]
    if min(map(len, parts)) == 1:
        return ["."] * len(parts)
    return [names[0] for names in parts]


def _common_shape(
    paths: Sequence[pathlib.Path], image_size: int | None
) -> tuple[int, int, int]:
    """The shape of all images, from the headers, which are all checked here."""
    first = None
    for path in progress_bar("Reading headers", " files", len(paths), paths):
        with file_errors(path, *_IMAGE), Image.open(path, formats=_FORMATS) as image:
            width, height = image.size
            if "exif" in image.info and image.getexif().get(0x0112, 1) >= 5:
                width, height = height, width
        first = first or (height, width, 3)
        if image_size is None:
            _check_same_size(first, (height, width, 3), path)
    return first if image_size is None else (image_size, image_size, 3)


def _fit(image: Image.Image, image_size: int | None) -> Image.Image:
    if image_size is None or image.size == (image_size, image_size):
        return image
    # Pillow widens the bilinear filter when it shrinks: that is the antialiasing.
    size = (image_size, image_size)
    return ImageOps.fit(image, size, method=Image.Resampling.BILINEAR)
