"""Which representations are known already? Each split of each encoder, computed once.

Every mode looks at the same few arrays. They lie in the run's folder, each beside the
key of what it was computed from, and are computed anew when that has changed.
"""

import hashlib
import pathlib
import zipfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from vicreg_keras.evaluate.features import Features, compile_encoder, extract_features
from vicreg_keras.models.saved_encoder import variables_of
from vicreg_keras.workdir.files import folder_name, write_file

SPLITS = ("train", "validation", "test")

_PROBED_IMAGES = 64  # Of a split, evenly spaced: they stand for its pixels in the key.


class FeatureStore(Mapping):
    """`Features` of a dataset's splits by name, computed when first asked for.

    Example:
    >>> store = FeatureStore(encoder, dataset, run.features)
    >>> store["test"].representations.shape
    (10000, 512)

    Args:
        encoder: Called as `encoder(images, training=False)`, with variables.
        dataset: A `vicreg_keras.data.dataset.Dataset`.
        folder: Where they are kept; `None` keeps them in memory only.
        batch_size: Images a batch.
        verbose: 0 is silent.

    Attributes:
        key: Names the encoder's weights, 16 hexadecimal digits.
    """

    def __init__(
        self,
        encoder: Callable[..., Any],
        dataset: Any,
        folder: pathlib.Path | None = None,
        *,
        batch_size: int = 256,
        verbose: int | bool = 1,
    ):
        self.key = _weights_key(encoder)
        self._encoder = encoder
        self._dataset = dataset
        self._folder = folder and folder / folder_name(dataset.name)
        self._options = {"batch_size": batch_size, "verbose": verbose}
        self._encode = None
        self._known = {}

    def __getitem__(self, name: str) -> Features:
        """The features of a split.

        Args:
            name: `"train"`, `"validation"` or `"test"`.

        Raises:
            KeyError: If the dataset has no such split.
            ValueError: As `extract_features`.
        """
        if name not in iter(self):
            raise KeyError(name)
        if name not in self._known:
            split = getattr(self._dataset, name)
            key = self.split_key(name)
            path = self._folder and self._folder / f"{name}.npz"
            features = _read(path, key, split.labels) if path else None
            if features is None:
                features = self._extract(split)
                if path:
                    _write(path, key, features)
            self._known[name] = features
        return self._known[name]

    def split_key(self, name: str) -> str:
        """Names the encoder's weights and the split's examples.

        Args:
            name: `"train"`, `"validation"` or `"test"`.
        """
        return f"{self.key}-{_split_key(getattr(self._dataset, name))}"

    def __iter__(self) -> Iterator[str]:
        return (name for name in SPLITS if getattr(self._dataset, name) is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _extract(self, split):
        if self._encode is None:
            self._encode = compile_encoder(self._encoder, self._dataset.example_shape)
        return extract_features(self._encode, split, **self._options)


def _weights_key(encoder):
    digest = hashlib.sha256()
    # The same weights round otherwise in another precision.
    digest.update(str(getattr(encoder, "compute_dtype", "")).encode())
    for variable in variables_of(encoder):
        array = np.ascontiguousarray(variable.numpy())
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:16]


def _split_key(split):
    digest = hashlib.sha256()
    digest.update(f"{split.num_examples}{split.example_shape}".encode())
    digest.update("\0".join(split.names).encode())
    count = min(_PROBED_IMAGES, split.num_examples)
    probed = np.linspace(0, split.num_examples - 1, count).astype(np.int64)
    digest.update(np.ascontiguousarray(split.read(probed)).tobytes())
    return digest.hexdigest()[:16]


def _read(path, key, labels):
    """What is kept under `key`, or `None`."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            if str(kept["key"]) != key:
                return None
            rows = kept["representations"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        # Not there, or not a whole one of these.
        return None
    labels = None if labels is None else np.asarray(labels, np.int64)
    return Features(rows, labels)


def _write(path, key, features):
    with write_file(path) as file:
        np.savez(file, key=np.array(key), representations=features.representations)
