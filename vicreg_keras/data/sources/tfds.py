"""Image datasets of tensorflow-datasets."""

import concurrent.futures
import io
import math
import os
import pathlib
import shutil
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from vicreg_keras.data.sources.base import Source, file_errors, progress_bar
from vicreg_keras.data.sources.images import decode_image, decode_into
from vicreg_keras.data.sources.tfds_builder import feature_keys, prepared_builder
from vicreg_keras.data.split import Split
from vicreg_keras.settings import DataOptions

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

_CHUNK = 512  # Images decoded at a time.


def load_tfds(options: DataOptions, *, other_names: Sequence[str]) -> Source:
    """Loads an image dataset, which is downloaded first where it is not there.

    Args:
        options: Of these, `dataset`: `name`, `name/config`, `name:version`;
            `image_size`; `data_dir`, where datasets are kept (`None` for
            tensorflow-datasets' default); and `memory_limit_gib`, above which images
            are decoded once into memory-mapped files under `data_dir/cache`.
        other_names: Other names that a dataset can have, for the message.

    Returns:
        A source; names are `"train/17"`: the place in the dataset's own split.

    Raises:
        InputError: If the name is unknown, the dataset cannot be downloaded or read,
            or it is not one of uint8 images.
    """
    builder = prepared_builder(options.dataset, options.data_dir, other_names)
    reader = _Reader(builder, options.image_size)
    shapes = {
        split: (builder.info.splits[split].num_examples, *reader.image_shape)
        for split in ("train", "validation", "test")
        if split in builder.info.splits
    }
    num_bytes = sum(math.prod(shape) for shape in shapes.values())
    folder = pathlib.Path(options.data_dir or "~/tensorflow_datasets").expanduser()
    splits = {}
    for split, shape in shapes.items():
        if num_bytes <= options.memory_limit_gib * 2**30:
            images = np.empty(shape, np.uint8)
            labels = reader.read_into(images, split)
        else:
            images, labels = _cached(folder / "cache", shape, split, reader)
        # A split without labels has -1 throughout, e.g. ImageNet's test images.
        if split == "train" or labels is None or np.all(labels >= 0):
            names = [f"{split}/{i}" for i in range(len(images))]
            splits[split] = Split(images, labels, names)
    return Source(**splits, class_names=reader.class_names, columns=None)


class _Reader:
    """Reads the images and labels of a prepared dataset.

    Attributes:
        name: The dataset's name, config and version.
        image_shape: `(height, width, 3)`.
        class_names: A name for each label, or `None` without labels.
    """

    def __init__(self, builder: "tfds.core.DatasetBuilder", image_size: int | None):
        self.name = builder.info.full_name
        self._builder = builder
        self._image_size = image_size
        self._image_key, self._label_key = feature_keys(builder.info)
        features = dict(builder.info.features)
        labels = features.get(self._label_key)
        self.class_names = tuple(labels.names) if labels else None
        height, width, _ = features[self._image_key].shape
        if image_size is not None:
            height = width = image_size
        elif height is None or width is None:
            encoded, _ = next(self._chunks("train", decoded=False))
            first = decode_image(io.BytesIO(encoded[0]), "train/0")
            height, width, _ = first.shape
        self.image_shape = (height, width, 3)

    def read_into(self, images: np.ndarray, split: str) -> np.ndarray | None:
        """Writes the images of a split into an array; returns the labels."""
        feature = self._builder.info.features[self._image_key]
        # PNGs of the size that is wanted are left to tensorflow-datasets, which is
        # several times as fast as Pillow; where nothing is said, arrays became PNGs.
        decoded = (
            feature.encoding_format in (None, "png")
            and feature.shape == self.image_shape
        )
        description = f"{self._builder.info.name} {split}"
        labels, done = [], 0
        with (
            concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool,
            progress_bar(f"Decoding {description}", " images", len(images)) as progress,
        ):
            for some, some_labels in self._chunks(split, decoded):
                target = images[done : done + len(some)]
                if decoded:
                    target[:] = some
                else:
                    names = [f"{description}/{done + i}" for i in range(len(some))]
                    files = list(map(io.BytesIO, some))
                    decode_into(target, pool, files, names, self._image_size)
                done += len(some)
                labels.append(some_labels)
                progress.update(len(some))
        if self._label_key is None or not labels:
            return None
        return np.concatenate(labels).astype(np.int64)

    def _chunks(
        self, split: str, decoded: bool
    ) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """Chunks of images, encoded unless `decoded`, and of labels, in file order."""
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
            for chunk in dataset.batch(_CHUNK).as_numpy_iterator():
                yield chunk[self._image_key], chunk.get(self._label_key)


def _cached(
    folder: pathlib.Path, shape: tuple[int, ...], split: str, reader: _Reader
) -> tuple[np.ndarray, np.ndarray | None]:
    """Images, memory-mapped, and labels, decoded the first time."""
    size = "x".join(map(str, shape[:3]))
    stem = f"{reader.name.replace('/', '-')}-{split}-{size}"
    files = [folder / f"{stem}-{kind}.npy" for kind in ("labels", "images")]
    if not files[1].exists():
        with file_errors(
            folder,
            "room for images larger than the memory limit",
            "Use another data_dir or a larger memory_limit_gib",
        ):
            _write_cache(files, shape, split, reader)
    labels = np.load(files[0], allow_pickle=False)
    images = np.load(files[1], mmap_mode="r", allow_pickle=False)
    return images, labels if len(labels) else None


def _write_cache(
    files: Sequence[pathlib.Path], shape: tuple[int, ...], split: str, reader: _Reader
) -> None:
    folder = files[0].parent
    folder.mkdir(parents=True, exist_ok=True)
    # A mapped file that meets a full disk kills the process without a word.
    if shutil.disk_usage(folder).free < math.prod(shape):
        raise OSError(f"it has less than {math.prod(shape) / 2**30:.1f} GiB free")
    # Written aside and renamed, images last: what has its name is complete.
    aside = [folder / f".{file.stem}.{os.getpid()}.npy" for file in files]
    try:
        images = np.lib.format.open_memmap(
            aside[1], mode="w+", dtype=np.uint8, shape=shape
        )
        labels = reader.read_into(images, split)
        images.flush()
        np.save(aside[0], np.empty(0, np.int64) if labels is None else labels)
        for written, file in zip(aside, files, strict=True):
            os.replace(written, file)
    finally:
        for written in aside:
            written.unlink(missing_ok=True)
