"""Image datasets of tensorflow-datasets."""

import difflib
import io
import math
import os
import pathlib
import re
import shutil
import socket
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vicreg_keras.data.sources.base import NOTHING_KNOWN, Known, Source, progress_bar
from vicreg_keras.data.sources.images import CHUNK, decode_image, decode_images
from vicreg_keras.data.split import Split
from vicreg_keras.errors import InputError, file_errors
from vicreg_keras.settings import DataOptions

if TYPE_CHECKING:
    import tensorflow_datasets as tfds


# The splits that are read, by the names that datasets give them.
_SPLITS = {
    **{"train": "train", "validation": "validation", "test": "test"},
    **{"unlabelled": "unlabeled", "unlabeled": "unlabeled"},
}


def load_tfds(
    options: DataOptions,
    known: Known = NOTHING_KNOWN,
    *,
    other_names: Sequence[str],
) -> Source:
    """Loads an image dataset, which is downloaded first where it is not there.

    Args:
        options: Of these, `dataset`: `name`, `name/config`, `name:version`;
            `image_size`; `labels`, `"none"` to leave them out; `data_dir`, where
            datasets are kept (`None` for tensorflow-datasets' default); and
            `memory_limit_gib`, above which images are decoded once into memory-mapped
            files under `data_dir/cache`.
        known: Without effect.
        other_names: Other names that a dataset can have, for the message.

    Returns:
        A source; names are `"train/17"`: the place in the dataset's own split.

    Raises:
        InputError: If the name is unknown, the dataset cannot be downloaded or read,
            or it is not one of uint8 images.
    """
    builder = _prepared_builder(options.dataset, options.data_dir, other_names)
    reader = _Reader(builder, options.image_size, options.labels != "none")
    sizes = {
        split: info.num_examples
        for split, info in builder.info.splits.items()
        if split in _SPLITS and info.num_examples
    }
    shape = (sum(sizes.values()), *reader.image_shape)
    if math.prod(shape) <= options.memory_limit_gib * 2**30:
        images = np.empty(shape, np.uint8)
        labels = reader.read_into(images, sizes)
    else:
        folder = pathlib.Path(options.data_dir or "~/tensorflow_datasets").expanduser()
        images, labels = _cached(folder / "cache", shape, sizes, reader)
    splits: dict[str, Any] = {}
    left_out = [
        f"{info.num_examples:,} images of the split {split}"
        for split, info in builder.info.splits.items()
        if split not in sizes and info.num_examples
    ]
    start = 0
    for split, size in sizes.items():
        indices = np.arange(start, start + size)
        start += size
        own = labels[indices] if reader.class_names else None
        if _SPLITS[split] == "unlabeled":
            own = None
        # A split without labels has -1 throughout, e.g. ImageNet's test images.
        elif own is not None and split != "train" and np.any(own < 0):
            left_out.append(f"{size:,} images of the split {split}, without labels")
            continue
        names = [f"{split}/{i}" for i in range(size)]
        splits[_SPLITS[split]] = Split(images, own, names, indices)
    return Source(**splits, class_names=reader.class_names, left_out=tuple(left_out))


def _prepared_builder(
    location: str, data_dir: str | None, other_names: Sequence[str]
) -> "tfds.core.DatasetBuilder":
    """Finds a dataset's builder; its files are downloaded where they are missing."""
    # Imported here: it takes seconds on some machines, and only this source needs it.
    import tensorflow_datasets as tfds

    start = re.split("[:/]", location)[0]
    known = [*other_names, *tfds.list_builders()]
    near = difflib.get_close_matches(start, known, n=5)
    expected = (
        f"one of {', '.join(other_names)} (as in folder:PATH), or a dataset that "
        "tensorflow-datasets can build"
    )
    received = f"dataset={location!r}; near names are {', '.join(near) or 'none'}"
    with file_errors(received, expected, "Correct its name or version"):
        builder = tfds.builder(location, data_dir=data_dir)
    if not builder.is_prepared():
        with file_errors(
            f"data_dir={data_dir!r}",
            f"{location!r} to be prepared, or a network to download it",
            "Use the data_dir that has it, connect to a network, or use "
            "dataset=digits, which needs none",
        ):
            _check_network(builder)
            builder.download_and_prepare()
    return builder


def _check_network(builder: "tfds.core.DatasetBuilder") -> None:
    """Fails at once where a download would retry for minutes before it fails."""
    own = type(builder).__module__.startswith("tensorflow_datasets.")
    if own and not builder.MANUAL_DOWNLOAD_INSTRUCTIONS:
        if not urllib.request.getproxies():  # A proxy resolves names by itself.
            socket.getaddrinfo("storage.googleapis.com", 443)


class _Reader:
    """Reads the images and labels of a prepared dataset.

    Attributes:
        name: The dataset's name, config and version.
        image_shape: `(height, width, 3)`.
        class_names: A name for each label, or `None` without labels.
    """

    def __init__(
        self,
        builder: "tfds.core.DatasetBuilder",
        image_size: int | None,
        has_labels: bool,
    ):
        self.name = builder.info.full_name
        self._builder = builder
        self._image_size = image_size
        self._image_key, self._label_key = _feature_keys(builder.info)
        self._label_key = self._label_key if has_labels else None
        features = dict(builder.info.features)
        labels = features.get(self._label_key)
        self.class_names = tuple(labels.names) if labels else None
        feature = features[self._image_key]
        height, width, _ = feature.shape
        if image_size is not None:
            height = width = image_size
        elif height is None or width is None:
            chunk = next(self._chunks("train", decoded=False))
            first = decode_image(io.BytesIO(chunk[self._image_key][0]), "train/0")
            height, width, _ = first.shape
        self.image_shape = (height, width, 3)
        # PNGs of the size that is wanted are left to tensorflow-datasets, which is
        # several times as fast as Pillow; where nothing is said, arrays became PNGs.
        is_png = feature.encoding_format in (None, "png")
        self._is_decoded = is_png and feature.shape == self.image_shape

    def read_into(self, images: np.ndarray, sizes: Mapping[str, int]) -> np.ndarray:
        """Writes splits, one after another, into an array; returns the labels, or -1.

        Args:
            images: uint8 `(num_images, *image_shape)`.
            sizes: Number of images of each split.
        """
        labels, start = np.full(len(images), -1), 0
        for split in sizes:
            for some, own in self._read(split, sizes[split]):
                end = start + len(some)
                images[start:end] = some
                if own is not None:
                    labels[start:end] = own
                start = end
        return labels

    def _read(self, split, size):
        """Chunks of decoded images of a split, and their labels or `None`."""
        description, start = f"{self._builder.info.name} {split}", 0
        with progress_bar(f"Decoding {description}", " images", size) as progress:
            for chunk in self._chunks(split, self._is_decoded):
                some = chunk[self._image_key]
                if not self._is_decoded:
                    names = [f"{description}/{start + i}" for i in range(len(some))]
                    files = list(map(io.BytesIO, some))
                    some = decode_images(
                        files, names, self.image_shape, self._image_size
                    )
                yield some, chunk.get(self._label_key)
                start += len(some)
                progress.update(len(some))

    def _chunks(self, split: str, decoded: bool) -> Iterator[Mapping[str, np.ndarray]]:
        """Chunks of labels and of images, encoded unless `decoded`, in file order."""
        import tensorflow as tf
        import tensorflow_datasets as tfds

        options = tf.data.Options()
        options.autotune.enabled = False  # Its end waits seconds for the next tuning.
        dataset = self._builder.as_dataset(
            split=split,
            shuffle_files=False,
            decoders=None if decoded else {self._image_key: tfds.decode.SkipDecoding()},
            read_config=tfds.ReadConfig(
                options=options,
                try_autocache=False,
                interleave_cycle_length=1,
                num_parallel_calls_for_decode=os.cpu_count(),
            ),
        )
        keys = [key for key in (self._image_key, self._label_key) if key is not None]
        dataset = dataset.map(lambda example: {key: example[key] for key in keys})
        with file_errors(
            self._builder.data_path,
            f"whole files of {self.name!r}",
            "Remove this folder, to have it prepared anew",
        ):
            yield from dataset.batch(CHUNK).as_numpy_iterator()


def _feature_keys(info: "tfds.core.DatasetInfo") -> tuple[str, str | None]:
    """Finds the image feature and, if there is one, the label feature."""
    import tensorflow_datasets as tfds

    features = dict(info.features) if hasattr(info.features, "keys") else {}
    supervised = info.supervised_keys or (None, None)

    def key_of(kind, preferred):
        keys = [key for key, value in features.items() if isinstance(value, kind)]
        if preferred in keys:
            return preferred
        return keys[0] if len(keys) == 1 else None

    image_key = key_of(tfds.features.Image, supervised[0])
    label_key = key_of(tfds.features.ClassLabel, supervised[1])
    train = info.splits.get("train")
    is_usable = image_key is not None and features[image_key].np_dtype == np.uint8
    if not is_usable or train is None or not train.num_examples:
        raise InputError(
            "Expected a dataset with a `train` split and one uint8 image per example. "
            f"Received: dataset={info.full_name!r} with features {sorted(features)} "
            f"and splits {sorted(info.splits)}. Use another one."
        )
    return image_key, label_key


def _cached(
    cache: pathlib.Path,
    shape: tuple[int, ...],
    sizes: Mapping[str, int],
    reader: _Reader,
) -> tuple[np.ndarray, np.ndarray]:
    """Images, memory-mapped, and labels, decoded the first time."""
    name = f"{reader.name.replace('/', '-')}-{'x'.join(map(str, shape[:3]))}"
    folder = cache / (name if reader.class_names else f"{name}-unlabeled")
    if not folder.exists():
        with file_errors(
            cache,
            "room for images larger than the memory limit",
            "Use another data_dir or a larger memory_limit_gib",
        ):
            _write_cache(folder, shape, sizes, reader)
    images = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
    return images, np.load(folder / "labels.npy", allow_pickle=False)


def _write_cache(
    folder: pathlib.Path,
    shape: tuple[int, ...],
    sizes: Mapping[str, int],
    reader: _Reader,
) -> None:
    # Written aside and renamed: what has its name is complete.
    aside = folder.with_name(f".{folder.name}.{os.getpid()}")
    aside.mkdir(parents=True)
    try:
        # A mapped file that meets a full disk kills the process without a word.
        if shutil.disk_usage(aside).free < math.prod(shape):
            raise OSError(f"it has less than {math.prod(shape) / 2**30:.1f} GiB free")
        images = np.lib.format.open_memmap(
            aside / "images.npy", mode="w+", dtype=np.uint8, shape=shape
        )
        np.save(aside / "labels.npy", reader.read_into(images, sizes))
        images.flush()
        if not folder.exists():  # Another process may have been faster.
            os.rename(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
