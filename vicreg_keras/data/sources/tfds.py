"""Image sets of tensorflow-datasets."""

import concurrent.futures
import difflib
import io
import os
import pathlib
import re
import shutil
import socket
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from vicreg_keras.data.sources.base import ArrayExamples, Part, Progress, Source
from vicreg_keras.data.sources.images import decode_image, decode_into

_CHUNK = 512  # Images decoded at a time.


def load_tfds(
    location: str,
    *,
    data_dir: str | None,
    image_size: int | None,
    memory_limit_bytes: float,
    schemes: Sequence[str],
    **unused: Any,
) -> Source:
    """An image set of tensorflow-datasets, downloaded first if it is not there.

    Args:
        location: Its name: `name`, `name/config`, `name:version`.
        data_dir: Where the sets are kept; `None` is tensorflow-datasets' default.
        image_size: As in `load_dataset`.
        memory_limit_bytes: Above it the images are decoded once into memory-mapped
            files under `data_dir/cache`.
        schemes: The other names that a dataset can have, for the message.
        **unused: What other sources need.

    Returns:
        A source; names are `"train/17"`: the place in the source's part.

    Raises:
        ValueError: If the name is unknown, the set cannot be had, or it is not one
            of uint8 images.
    """
    del unused
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
        blobs = _tfds_blobs(builder, part, image_key, label_key, shape)
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
    builder: Any,
    part: str,
    image_key: str,
    label_key: str | None,
    shape: tuple[int, int, int] | None = None,
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Chunks of images and of their labels, in the order of the files.

    Images are encoded, unless they are all PNGs of the `shape` that is wanted: then
    tensorflow-datasets has decoded them, several times as fast as Pillow would.
    """
    import tensorflow as tf
    import tensorflow_datasets as tfds

    feature = builder.info.features[image_key]
    # Where nothing is said of it, arrays have become PNGs.
    decoded = feature.encoding_format in (None, "png") and feature.shape == shape
    options = tf.data.Options()
    options.autotune.enabled = False  # Its end waits seconds for the next tuning.
    read_config = tfds.ReadConfig(
        options=options,
        try_autocache=False,
        interleave_cycle_length=1,
        num_parallel_calls_for_decode=os.cpu_count(),
    )
    dataset = builder.as_dataset(
        split=part,
        shuffle_files=False,
        decoders=None if decoded else {image_key: tfds.decode.SkipDecoding()},
        read_config=read_config,
    )
    keys = [image_key] if label_key is None else [image_key, label_key]
    dataset = dataset.map(lambda example: {key: example[key] for key in keys})
    try:
        for chunk in dataset.batch(_CHUNK).as_numpy_iterator():
            yield chunk[image_key], None if label_key is None else chunk[label_key]
    except tf.errors.OpError as error:
        raise ValueError(
            f"Expected whole files of {builder.info.full_name!r}. Received: "
            f"{builder.data_path} ({_first_line(error)}). Remove this folder, to have "
            "it prepared anew."
        ) from None


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
    """Puts every chunk into `images`, decoded; returns the labels."""
    progress = Progress(what, len(images))
    all_labels, done = [], 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for some, labels in blobs:
            rows = images[done : done + len(some)]
            if some.dtype == np.uint8:
                rows[:] = some
            else:
                names = [f"{what}/{i}" for i in range(done, done + len(some))]
                decode_into(rows, pool, map(io.BytesIO, some), names, image_size)
            done += len(some)
            all_labels.append(labels)
            progress.update(done)
    if any(labels is None for labels in all_labels):
        return None
    return np.concatenate(all_labels).astype(np.int64)
