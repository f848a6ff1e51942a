"""How the pixels of each kind of dataset are found and decoded.

A source is a function `(location, *, data_dir, image_size, memory_limit_bytes,
schemes) -> Source`. It says which parts the dataset itself has; `data` makes the
splits of them.
"""

import concurrent.futures
import contextlib
import dataclasses
import difflib
import io
import os
import pathlib
import re
import shutil
import socket
import sys
import time
import urllib.request
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from PIL import Image, ImageOps

_SUFFIXES = (".jpg", ".jpeg", ".png")
_HELD_OUT_FOLDERS = {
    "test": ("test",),
    "validation": ("validation", "val", "valid"),
}
# Images and labels of each part: ours, Keras's and MedMNIST's names of them.
_NPZ_KEYS = {
    "train": (
        ("images", "labels"),
        ("x_train", "y_train"),
        ("train_images", "train_labels"),
    ),
    "validation": (("x_val", "y_val"), ("val_images", "val_labels")),
    "test": (("x_test", "y_test"), ("test_images", "test_labels")),
}
_CHUNK = 512  # Images decoded at a time.


class Examples(Protocol):
    """What a split reads from: random access by index to arrays of one shape."""

    shape: tuple[int, ...]
    dtype: np.dtype

    def read(self, indices: np.ndarray) -> np.ndarray: ...


class ArrayExamples:
    """Examples that lie in an array, in memory or memory-mapped.

    Args:
        array: Shape `(num_examples, ...)`.
    """

    def __init__(self, array: np.ndarray):
        self._array = array
        self.shape = array.shape[1:]
        self.dtype = array.dtype

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Returns a copy of the examples at `indices`."""
        return np.asarray(self._array[indices])


class FileExamples:
    """Image files that are decoded each time they are read, several at once.

    Args:
        paths: Files, JPEG or PNG.
        shape: `(height, width, 3)` of every decoded image.
        image_size: As in `load_dataset`.
    """

    def __init__(
        self,
        paths: Sequence[pathlib.Path],
        shape: tuple[int, int, int],
        image_size: int | None,
    ):
        self._paths = paths
        self._image_size = image_size
        self._pool = concurrent.futures.ThreadPoolExecutor(os.cpu_count())
        self.shape = shape
        self.dtype = np.dtype(np.uint8)

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Returns the decoded images at `indices`."""
        paths = [self._paths[i] for i in indices]
        images = np.empty((len(paths), *self.shape), np.uint8)
        _decode_into(images, self._pool, paths, paths, self._image_size)
        return images


@dataclasses.dataclass(frozen=True)
class Part:
    """One part of a source: examples, int64 labels or `None`, and a name for each."""

    examples: Examples
    labels: np.ndarray | None
    names: Sequence[str]


@dataclasses.dataclass(frozen=True)
class Source:
    """The parts that a dataset has of its own."""

    train: Part
    validation: Part | None = None
    test: Part | None = None
    class_names: tuple[str, ...] | None = None


def load_digits(location: str, *, image_size: int | None, **unused: Any) -> Source:
    """Scikit-learn's 1,797 handwritten digits of 8 x 8 pixels; needs no network.

    Grey levels 0 to 16 become 0 to 255.

    Args:
        location: Must be empty.
        image_size: As in `load_dataset`.
        **unused: What other sources need.

    Returns:
        A source with a training part only.

    Raises:
        ValueError: If `location` is not empty.
    """
    # Imported here: it takes a second that no other source needs.
    from sklearn import datasets

    del unused
    if location:
        raise ValueError(
            "Expected `digits` alone. "
            f"Received: name={'digits:' + location!r}. Use --dataset=digits."
        )
    digits = datasets.load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    images = _resized(_as_rgb(images), image_size)
    names = [f"digits/{i}" for i in range(len(images))]
    train = Part(ArrayExamples(images), digits.target.astype(np.int64), names)
    return Source(train, class_names=tuple(str(n) for n in digits.target_names))


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


def load_npz(location: str, *, image_size: int | None, **unused: Any) -> Source:
    """Arrays in an npz file, loaded whole and never by pickle.

    Keys: images are `images` or `x_train`, with optional labels `labels` or
    `y_train`; optional parts of the same form are `x_val`, `y_val` and `x_test`,
    `y_test`. MedMNIST's `train_images`, `train_labels`, `val_images`, ... serve as
    well. Optional `class_names` is an array of strings. Images are uint8 of shape
    `(N, H, W)`, `(N, H, W, 1)` or `(N, H, W, 3)`; labels are integers from 0 of
    shape `(N,)` or `(N, 1)`.

    Args:
        location: The file.
        image_size: As in `load_dataset`.
        **unused: What other sources need.

    Returns:
        A source with the parts that the file has.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is not such a file.
    """
    del unused
    path = pathlib.Path(location).expanduser()
    if not path.is_file():
        raise FileNotFoundError(
            "Expected an existing npz file. "
            f"Received: name={'npz:' + location!r}. Use --dataset=npz:PATH."
        )
    arrays = _read_npz(path)
    parts = {}
    for part, keys in _NPZ_KEYS.items():
        for images_key, labels_key in keys:
            if images_key in arrays:
                parts[part] = _npz_part(
                    part, path, arrays, images_key, labels_key, image_size
                )
                break
    if "train" not in parts:
        raise ValueError(
            "Expected one of the arrays 'images', 'x_train', 'train_images'. "
            f"Received: {path} with arrays {sorted(arrays)}. Rename the array."
        )
    shapes = {part.examples.shape for part in parts.values()}
    if len(shapes) > 1:
        raise ValueError(
            "Expected images of one size in every part. Received: "
            f"{path} with sizes {sorted(s[:2] for s in shapes)}. Use --image_size."
        )
    return Source(**parts, class_names=_npz_class_names(path, arrays, parts))


def load_tfds(
    location: str,
    *,
    data_dir: str | None,
    image_size: int | None,
    memory_limit_bytes: float,
    schemes: Sequence[str],
) -> Source:
    """An image set of tensorflow-datasets, downloaded first if it is not there.

    Args:
        location: Its name: `name`, `name/config`, `name:version`.
        data_dir: Where the sets are kept; `None` is tensorflow-datasets' default.
        image_size: As in `load_dataset`.
        memory_limit_bytes: Above it the images are decoded once into memory-mapped
            files under `data_dir/cache`.
        schemes: The other names that a dataset can have, for the message.

    Returns:
        A source; names are `"train/17"`: the place in the source's part.

    Raises:
        ValueError: If the name is unknown, the set cannot be had, or it is not one
            of uint8 images.
    """
    builder = _prepared_builder(location, data_dir, schemes)
    image_key, label_key = _tfds_keys(location, builder.info)
    splits = {
        part: builder.info.splits[part].num_examples
        for part in ("train", "validation", "test")
        if part in builder.info.splits
    }
    if not splits.get("train"):
        raise ValueError(
            "Expected a dataset with a `train` split. Received: "
            f"name={location!r} with {sorted(builder.info.splits)}. Use another one."
        )
    shape = _tfds_shape(builder, image_key, image_size)
    in_memory = sum(splits.values()) * int(np.prod(shape)) <= memory_limit_bytes

    parts = {}
    for part, num_examples in splits.items():
        files = None
        if not in_memory:
            files = _cache_files(builder.info.full_name, part, shape, data_dir)
        blobs = _tfds_blobs(builder, part, image_key, label_key)
        what = f"{builder.info.name} {part}"
        images, labels = _decode_once(
            what, blobs, num_examples, shape, image_size, files
        )
        # A part without labels has -1 throughout, e.g. ImageNet's test images.
        if part != "train" and labels is not None and np.any(labels < 0):
            continue
        names = [f"{part}/{i}" for i in range(num_examples)]
        parts[part] = Part(ArrayExamples(images), labels, names)
    class_names = None
    if label_key is not None:
        class_names = tuple(builder.info.features[label_key].names)
    return Source(**parts, class_names=class_names)


def decode_image(
    file: str | os.PathLike | io.BytesIO,
    name: str | os.PathLike,
    image_size: int | None = None,
) -> np.ndarray:
    """Decodes one JPEG or PNG file.

    Args:
        file: A path, or a file object with the encoded bytes.
        name: What to call it in a message.
        image_size: As in `load_dataset`.

    Returns:
        uint8 RGB, `(height, width, 3)`, in `[0, 255]`.

    Raises:
        ValueError: If it cannot be read or decoded.
    """
    with _image_errors(name), Image.open(file, formats=("JPEG", "PNG")) as image:
        if "exif" in image.info:  # Asking Pillow costs more than a small image.
            ImageOps.exif_transpose(image, in_place=True)
        if image.mode.startswith("I"):  # 16-bit grey, which `convert` would clip.
            image = Image.fromarray(np.rint(np.asarray(image) / 257).astype(np.uint8))
        if image.mode != "RGB":
            image = image.convert("RGB")
        return np.asarray(_fit(image, image_size))


# Images.


def _fit(image: Image.Image, image_size: int | None) -> Image.Image:
    if image_size is None or image.size == (image_size, image_size):
        return image
    # Pillow widens the bilinear filter when it shrinks: that is the antialiasing.
    size = (image_size, image_size)
    return ImageOps.fit(image, size, method=Image.Resampling.BILINEAR)


@contextlib.contextmanager
def _image_errors(name: str | os.PathLike) -> Iterator[None]:
    """Turns whatever Pillow raises for a bad file into one line that names it."""
    try:
        yield
    except Image.UnidentifiedImageError:
        raise ValueError(_bad_image(name, "not a JPEG or PNG file")) from None
    except Image.DecompressionBombError:
        raise ValueError(_bad_image(name, "too many pixels")) from None
    # Broken PNG chunks surface as SyntaxError, and as struct errors.
    except (OSError, SyntaxError, ValueError, ArithmeticError, EOFError) as error:
        raise ValueError(_bad_image(name, error)) from None


def _bad_image(name: str | os.PathLike, reason: object) -> str:
    reason = " ".join(str(reason).split())
    return (
        "Expected a readable JPEG or PNG image. "
        f"Received: {name} ({reason}). Replace or remove this file."
    )


def _decode_into(
    images: np.ndarray,
    pool: concurrent.futures.ThreadPoolExecutor,
    files: Iterable[str | os.PathLike | io.BytesIO],
    names: Sequence[str | os.PathLike],
    image_size: int | None,
) -> None:
    """Decodes each file into its row of `images`, on all threads of the pool."""
    files = list(files)
    num_threads = min(os.cpu_count() or 1, len(files))

    def decode_every(start):  # One task a thread: a task an image would cost more.
        for row in range(start, len(files), num_threads):
            image = decode_image(files[row], names[row], image_size)
            if image.shape != images.shape[1:]:
                raise ValueError(
                    _mixed_sizes(images.shape[1:], image.shape, names[row])
                )
            images[row] = image

    for _ in pool.map(decode_every, range(num_threads)):
        pass  # Raises what a thread raised.


def _mixed_sizes(
    shape: Sequence[int], other: Sequence[int], name: str | os.PathLike
) -> str:
    return (
        f"Expected images of one size, {shape[0]}x{shape[1]} (height x width) as the "
        f"first. Received: {name} of {other[0]}x{other[1]}. Use --image_size."
    )


def _as_rgb(images: np.ndarray) -> np.ndarray:
    """`(N, H, W)`, `(N, H, W, 1)` or `(N, H, W, 3)` to `(N, H, W, 3)`."""
    if images.ndim == 3:
        images = images[..., np.newaxis]
    if images.shape[-1] == 1:
        images = np.repeat(images, 3, axis=-1)
    return images


def _resized(images: np.ndarray, image_size: int | None) -> np.ndarray:
    if image_size is None or images.shape[1:3] == (image_size, image_size):
        return images
    resized = np.empty((len(images), image_size, image_size, 3), np.uint8)
    for row, image in enumerate(images):
        resized[row] = np.asarray(_fit(Image.fromarray(image), image_size))
    return resized


class _Progress:
    """One line on stderr that counts, once the work has lasted three seconds."""

    def __init__(self, what: str, total: int):
        self._what = what
        self._total = total
        self._next = time.monotonic() + 3
        self._shown = False

    def update(self, done: int) -> None:
        now = time.monotonic()
        if now >= self._next or (self._shown and done == self._total):
            line = f"\rDecoding {self._what}: {done:,} of {self._total:,}"
            print(line, end="", file=sys.stderr, flush=True)
            self._next = now + 0.5
            self._shown = True
        if self._shown and done == self._total:
            print(file=sys.stderr, flush=True)


# Folders.


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
    progress = _Progress("headers", len(paths))
    first = None
    for done, path in enumerate(paths, start=1):
        with _image_errors(path), Image.open(path, formats=("JPEG", "PNG")) as image:
            width, height = image.size
            sideways = "exif" in image.info and image.getexif().get(0x0112, 1) >= 5
            if sideways:
                width, height = height, width
        first = first or (height, width, 3)
        if image_size is None and (height, width, 3) != first:
            raise ValueError(_mixed_sizes(first, (height, width), path))
        progress.update(done)
    return first if image_size is None else (image_size, image_size, 3)


def _read_all(examples: Examples, num_examples: int, what: str) -> ArrayExamples:
    array = np.empty((num_examples, *examples.shape), examples.dtype)
    progress = _Progress(what, num_examples)
    for start in range(0, num_examples, _CHUNK):
        stop = min(start + _CHUNK, num_examples)
        array[start:stop] = examples.read(np.arange(start, stop))
        progress.update(stop)
    return ArrayExamples(array)


# Npz files.


def _read_npz(path: pathlib.Path) -> dict[str, np.ndarray]:
    try:
        # An .npy file would come back as one array, without names.
        with zipfile.ZipFile(path), np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except zipfile.BadZipFile:
        reason = "not a zip file"
    except (OSError, ValueError, EOFError, KeyError) as error:
        reason = " ".join(str(error).split())
    raise ValueError(
        "Expected an npz file of plain arrays, as numpy.savez writes it. "
        f"Received: {path} ({reason}). Save the arrays again."
    )


def _npz_part(
    part: str,
    path: pathlib.Path,
    arrays: dict[str, np.ndarray],
    images_key: str,
    labels_key: str,
    image_size: int | None,
) -> Part:
    images = arrays[images_key]
    _check_npz_images(path, images_key, images)
    labels = arrays.get(labels_key)
    if labels is not None:
        labels = _checked_npz_labels(path, labels_key, labels, len(images))
    names = [f"{part}/{i}" for i in range(len(images))]
    return Part(ArrayExamples(_resized(_as_rgb(images), image_size)), labels, names)


def _check_npz_images(path: pathlib.Path, key: str, images: np.ndarray) -> None:
    received = f"{path} with {key} of shape {images.shape} and dtype {images.dtype}"
    if images.dtype != np.uint8:
        if images.dtype.kind == "f" and not np.isfinite(images).all():
            received += ", with NaN or infinite values"
        elif images.dtype.kind in "fiu" and images.size:
            received += f", with values from {images.min():g} to {images.max():g}"
        raise ValueError(
            "Expected uint8 images with values from 0 to 255. "
            f"Received: {received}. Scale to 0..255, round, and save as uint8."
        )
    if images.ndim not in (3, 4) or (
        images.ndim == 4 and images.shape[3] not in (1, 3)
    ):
        raise ValueError(
            "Expected images of shape (N, H, W), (N, H, W, 1) or (N, H, W, 3). "
            f"Received: {received}. Reshape the array."
        )
    if not images.size:
        raise ValueError(
            f"Expected at least one image. Received: {received}. Add images."
        )


def _checked_npz_labels(
    path: pathlib.Path, key: str, labels: np.ndarray, num_images: int
) -> np.ndarray:
    received = f"{path} with {key} of shape {labels.shape} and dtype {labels.dtype}"
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise ValueError(
            "Expected labels that are integers of shape (N,) or (N, 1). "
            f"Received: {received}. Number the classes from 0."
        )
    if len(labels) != num_images:
        raise ValueError(
            f"Expected a label for each of {num_images} images. "
            f"Received: {received}. Make them the same length."
        )
    if labels.min() < 0:
        raise ValueError(
            "Expected labels of at least 0. "
            f"Received: {received}, with {labels.min()}. Number the classes from 0."
        )
    return labels.astype(np.int64)


def _npz_class_names(
    path: pathlib.Path, arrays: dict[str, np.ndarray], parts: dict[str, Part]
) -> tuple[str, ...] | None:
    labels = [part.labels for part in parts.values()]
    if all(part is None for part in labels):
        return None
    if any(part is None for part in labels):
        raise ValueError(
            "Expected labels for every part, or for none. "
            f"Received: {path} with arrays {sorted(arrays)}. Add the missing labels."
        )
    num_classes = 1 + max(int(part.max()) for part in labels)
    if "class_names" not in arrays:
        return tuple(str(i) for i in range(num_classes))
    names = tuple(str(name) for name in arrays["class_names"].ravel())
    if len(names) < num_classes:
        raise ValueError(
            f"Expected a class name for each of {num_classes} labels. "
            f"Received: {path} with {len(names)} class_names. Add the missing names."
        )
    return names


# tensorflow-datasets.


def _prepared_builder(location: str, data_dir: str | None, schemes: Sequence[str]):
    """A builder whose files are there."""
    # Imported here: it takes seconds on some machines, and only this source needs it.
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(location, data_dir=data_dir)
    except Exception as error:  # It raises many kinds for a bad config or version.
        known = tfds.list_builders()
        if re.split("[:/]", location)[0] not in known:
            raise ValueError(_unknown_name(location, schemes, known)) from None
        raise ValueError(
            "Expected a dataset that tensorflow-datasets can build. Received: "
            f"name={location!r} ({_first_line(error)}). Correct its name or version."
        ) from error
    if not builder.is_prepared():
        try:
            _check_network(builder)
            builder.download_and_prepare()
        except Exception as error:  # Network, disk and many of its own kinds.
            raise ValueError(
                f"Expected {location!r} to be prepared, or a network to download it. "
                f"Received: data_dir={data_dir!r} ({_first_line(error)}). Use "
                "--data_dir with the folder that has it, connect to a network, or "
                "use --dataset=digits, which needs none."
            ) from error
    return builder


def _check_network(builder: Any) -> None:
    """Fails at once where a download would retry for minutes before it fails."""
    own = type(builder).__module__.startswith("tensorflow_datasets.")
    if own and not builder.MANUAL_DOWNLOAD_INSTRUCTIONS:
        if not urllib.request.getproxies():  # A proxy resolves names by itself.
            socket.getaddrinfo("storage.googleapis.com", 443)


def _unknown_name(location: str, schemes: Sequence[str], known: Sequence[str]) -> str:
    start = re.split("[:/]", location)[0]
    near = difflib.get_close_matches(start, [*schemes, *known], n=5)
    hint = f"near names are {', '.join(near)}" if near else "no name is near"
    return (
        f"Expected one of {', '.join(schemes)} (as in folder:PATH), or a name of "
        f"tensorflow-datasets. Received: name={location!r}; {hint}. Correct the name."
    )


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return text[:200].rstrip(". ")


def _tfds_keys(location: str, info: Any) -> tuple[str, str | None]:
    """Names of the image feature and of the label feature, which may be `None`."""
    import tensorflow_datasets as tfds

    features = dict(info.features) if hasattr(info.features, "keys") else {}
    images = [k for k, f in features.items() if isinstance(f, tfds.features.Image)]
    labels = [k for k, f in features.items() if isinstance(f, tfds.features.ClassLabel)]
    image_key, label_key = (info.supervised_keys or (None, None))[:2]
    if image_key not in images:
        image_key = images[0] if len(images) == 1 else None
    if label_key not in labels:
        label_key = labels[0] if len(labels) == 1 else None
    if image_key is None or features[image_key].np_dtype != np.uint8:
        raise ValueError(
            "Expected a dataset with one uint8 image an example. Received: "
            f"name={location!r} with features {sorted(features)}. Use another one."
        )
    return image_key, label_key


def _tfds_blobs(
    builder: Any, part: str, image_key: str, label_key: str | None
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Chunks of encoded images and of their labels, in the order of the files."""
    import tensorflow_datasets as tfds

    dataset = builder.as_dataset(
        split=part,
        shuffle_files=False,
        decoders={image_key: tfds.decode.SkipDecoding()},
        read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),
    )
    keys = [image_key] if label_key is None else [image_key, label_key]
    dataset = dataset.map(lambda example: {key: example[key] for key in keys})
    for chunk in dataset.batch(_CHUNK).as_numpy_iterator():
        yield chunk[image_key], None if label_key is None else chunk[label_key]


def _tfds_shape(
    builder: Any, image_key: str, image_size: int | None
) -> tuple[int, int, int]:
    if image_size is not None:
        return (image_size, image_size, 3)
    height, width, _ = builder.info.features[image_key].shape
    if height is None or width is None:
        blobs, _ = next(_tfds_blobs(builder, "train", image_key, None))
        height, width, _ = decode_image(io.BytesIO(blobs[0]), "train/0").shape
    return (height, width, 3)


def _cache_files(
    full_name: str, part: str, shape: Sequence[int], data_dir: str | None
) -> dict[str, pathlib.Path]:
    folder = pathlib.Path(data_dir or "~/tensorflow_datasets").expanduser() / "cache"
    stem = f"{full_name.replace('/', '-')}-{part}-{shape[0]}x{shape[1]}"
    return {
        "images": folder / f"{stem}-images.npy",
        "labels": folder / f"{stem}-labels.npy",
    }


def _decode_once(
    what: str,
    blobs: Iterable[tuple[np.ndarray, np.ndarray | None]],
    num_examples: int,
    shape: tuple[int, int, int],
    image_size: int | None,
    files: dict[str, pathlib.Path] | None,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Images `(num_examples, H, W, 3)` and labels, in memory or in `files`."""
    if files is None:
        images = np.empty((num_examples, *shape), np.uint8)
        return images, _fill(images, blobs, image_size, what)
    if not files["images"].exists():
        _write_cache(what, blobs, num_examples, shape, image_size, files)
    images = np.load(files["images"], mmap_mode="r", allow_pickle=False)
    labels = np.load(files["labels"], allow_pickle=False)
    if images.shape != (num_examples, *shape) or len(labels) not in (0, num_examples):
        raise ValueError(
            f"Expected decoded images of shape {(num_examples, *shape)}. Received: "
            f"{files['images']} of shape {images.shape}. Remove the file."
        )
    return images, labels if len(labels) else None


def _write_cache(
    what: str,
    blobs: Iterable[tuple[np.ndarray, np.ndarray | None]],
    num_examples: int,
    shape: tuple[int, int, int],
    image_size: int | None,
    files: dict[str, pathlib.Path],
) -> None:
    """Writes aside and renames, images last: what has its name is complete."""
    _check_room(files["images"].parent, num_examples * int(np.prod(shape)))
    aside = {k: p.with_name(f".{p.stem}.{os.getpid()}.npy") for k, p in files.items()}
    try:
        images = np.lib.format.open_memmap(
            aside["images"], mode="w+", dtype=np.uint8, shape=(num_examples, *shape)
        )
        labels = _fill(images, blobs, image_size, what)
        images.flush()
        np.save(aside["labels"], np.empty(0, np.int64) if labels is None else labels)
        for key in ("labels", "images"):
            os.replace(aside[key], files[key])
    finally:
        for path in aside.values():
            path.unlink(missing_ok=True)


def _check_room(folder: pathlib.Path, num_bytes: int) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError("it is not writable")
        # A mapped file that meets a full disk kills the process without a word.
        if shutil.disk_usage(folder).free < num_bytes:
            raise OSError(f"it has less than {num_bytes / 2**30:.1f} GiB free")
    except OSError as error:
        raise ValueError(
            "Expected room for images larger than the memory limit. Received: "
            f"{folder} ({error}). Use another --data_dir or a larger memory limit."
        ) from None


def _fill(
    images: np.ndarray,
    blobs: Iterable[tuple[np.ndarray, np.ndarray | None]],
    image_size: int | None,
    what: str,
) -> np.ndarray | None:
    """Decodes every blob into `images`; returns the labels."""
    progress = _Progress(what, len(images))
    all_labels, done = [], 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for encoded, labels in blobs:
            names = [f"{what}/{i}" for i in range(done, done + len(encoded))]
            rows = images[done : done + len(encoded)]
            _decode_into(rows, pool, map(io.BytesIO, encoded), names, image_size)
            done += len(encoded)
            all_labels.append(labels)
            progress.update(done)
    if any(labels is None for labels in all_labels):
        return None
    return np.concatenate(all_labels).astype(np.int64)
