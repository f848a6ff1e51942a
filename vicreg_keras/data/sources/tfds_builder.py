"""Builders of tensorflow-datasets: found by name, downloaded, checked."""

import difflib
import re
import socket
import urllib.request
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from vicreg_keras.data.sources.base import require
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

    try:
        builder = tfds.builder(location, data_dir=data_dir)
    except Exception as error:  # It raises many kinds for a bad config or version.
        known = tfds.list_builders()
        start = re.split("[:/]", location)[0]
        near = difflib.get_close_matches(start, [*other_names, *known], n=5)
        hint = f"near names are {', '.join(near)}" if near else "no name is near"
        require(
            start in known,
            f"one of {', '.join(other_names)} (as in folder:PATH), or a name of "
            "tensorflow-datasets",
            f"dataset={location!r}; {hint}",
            "Correct the name",
        )
        raise InputError(
            "Expected a dataset that tensorflow-datasets can build. Received: "
            f"dataset={location!r} ({first_line(error)}). Correct its name or version."
        ) from error
    if not builder.is_prepared():
        try:
            _check_network(builder)
            builder.download_and_prepare()
        except Exception as error:  # Network, disk and many of its own kinds.
            raise InputError(
                f"Expected {location!r} to be prepared, or a network to download it. "
                f"Received: data_dir={data_dir!r} ({first_line(error)}). Use the "
                "data_dir that has it, connect to a network, or use dataset=digits, "
                "which needs none."
            ) from error
    return builder


def _check_network(builder: "tfds.core.DatasetBuilder") -> None:
    """Fails at once where a download would retry for minutes before it fails."""
    own = type(builder).__module__.startswith("tensorflow_datasets.")
    if own and not builder.MANUAL_DOWNLOAD_INSTRUCTIONS:
        if not urllib.request.getproxies():  # A proxy resolves names by itself.
            socket.getaddrinfo("storage.googleapis.com", 443)


def first_line(error: BaseException) -> str:
    """Returns an exception's name and the first line of its message."""
    lines = str(error).strip().splitlines()
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return text[:200].rstrip(". ")


def feature_keys(
    location: str, info: "tfds.core.DatasetInfo"
) -> tuple[str, str | None]:
    """Returns names of the image feature and of the label feature, if there is one.

    Args:
        location: The dataset's name, for the message.
        info: What its builder says of it.

    Raises:
        InputError: If there is not one feature of uint8 images.
    """
    import tensorflow_datasets as tfds

    features = dict(info.features) if hasattr(info.features, "keys") else {}
    images = [k for k, f in features.items() if isinstance(f, tfds.features.Image)]
    labels = [k for k, f in features.items() if isinstance(f, tfds.features.ClassLabel)]
    image_key, label_key = (info.supervised_keys or (None, None))[:2]
    if image_key not in images:
        image_key = images[0] if len(images) == 1 else None
    if label_key not in labels:
        label_key = labels[0] if len(labels) == 1 else None
    require(
        image_key is not None and features[image_key].np_dtype == np.uint8,
        "a dataset with one uint8 image per example",
        f"dataset={location!r} with features {sorted(features)}",
        "Use another one",
    )
    return image_key, label_key
