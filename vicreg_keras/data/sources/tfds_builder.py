"""Builders of tensorflow-datasets: found by name, downloaded, checked."""

import difflib
import re
import socket
import urllib.request
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from vicreg_keras.data.sources.base import file_errors
from vicreg_keras.errors import InputError

if TYPE_CHECKING:
    import tensorflow_datasets as tfds


def prepared_builder(
    location: str, data_dir: str | None, other_names: Sequence[str]
) -> "tfds.core.DatasetBuilder":
    """Returns a dataset's builder; its files are downloaded where they are missing.

    Args:
        location: The name: `name`, `name/config`, `name:version`.
        data_dir: Folder of the datasets; `None` for tensorflow-datasets' default.
        other_names: Other names that a dataset can have, for the message.

    Raises:
        InputError: If the name is unknown, or the dataset cannot be prepared.
    """
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


def feature_keys(info: "tfds.core.DatasetInfo") -> tuple[str, str | None]:
    """Returns names of the image feature and of the label feature, if there is one.

    Args:
        info: What its builder says of it.

    Raises:
        InputError: If there is not one feature of uint8 images, or no `train` split.
    """
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
