"""Representations of each split, computed once per encoder and kept on disk.

They are in the run's folder, each beside the key of what it was computed from, and are
computed anew when that has changed.
"""

import pathlib
import warnings
from collections.abc import Iterator, Mapping

import numpy as np

from vicreg_keras.data.dataset import Dataset
from vicreg_keras.data.fingerprint import digest
from vicreg_keras.errors import DamagedError
from vicreg_keras.evaluate import features
from vicreg_keras.evaluate.features import Encoder, Features
from vicreg_keras.models.saved_encoder import variables_of
from vicreg_keras.settings.options import write_problem
from vicreg_keras.workdir.files import folder_name, read_npz, write_file


class FeatureCache(Mapping[str, Features]):
    """`Features` of a dataset's splits by name, computed when first asked for.

    Example:
    >>> features = FeatureCache(encoder, dataset, run.features)
    >>> features["test"].representations.shape
    (10000, 512)

    Args:
        encoder: Called as `encoder(images, training=False)`, with variables.
        dataset: The dataset.
        folder: Folder of the files; `None`, or one that can't be written, keeps new
            features in memory only.

    Attributes:
        key: Digest of the encoder's weights, 16 hexadecimal digits.
    """

    def __init__(
        self,
        encoder: Encoder,
        dataset: Dataset,
        folder: pathlib.Path | None = None,
    ):
        self.key = _weights_key(encoder)
        self._encode = features.compile_encoder(encoder, dataset.example_shape)
        self._dataset = dataset
        self._folder = folder and folder / folder_name(dataset.name)
        self._features: dict[str, Features] = {}

    def __getitem__(self, name: str) -> Features:
        """Returns the features of a split.

        Args:
            name: `"train"`, `"validation"` or `"test"`.

        Raises:
            InputError: As `extract_features`.
        """
        if name not in self._features:
            self._features[name] = self._read_or_compute(name)
        return self._features[name]

    def split_key(self, name: str) -> str:
        """Returns a digest of the encoder's weights and the split's examples.

        Args:
            name: `"train"`, `"validation"` or `"test"`.
        """
        return f"{self.key}-{getattr(self._dataset, name).examples_fingerprint}"

    def __iter__(self) -> Iterator[str]:
        return (
            name for name in features.SPLITS if getattr(self._dataset, name) is not None
        )

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _read_or_compute(self, name: str) -> Features:
        split = getattr(self._dataset, name)
        if self._folder is None:
            return features.extract_features(self._encode, split)
        path, key = self._folder / f"{name}.npz", self.split_key(name)
        representations = _read(path, key)
        if representations is not None:
            return Features(representations, split.labels)
        computed = features.extract_features(self._encode, split)
        if write_problem(path) is None:
            with write_file(path) as file:
                np.savez(file, key=key, representations=computed.representations)
        return computed


def _weights_key(encoder: Encoder) -> str:
    weights = [variable.numpy().tobytes() for variable in variables_of(encoder)]
    # The same weights round otherwise in another precision.
    kind = [str(getattr(encoder, "compute_dtype", ""))]
    kind += filter(None, [getattr(encoder, "read_out", None)])
    return digest(*kind, *weights)


def _read(path: pathlib.Path, key: str) -> np.ndarray | None:
    """Representations kept under `key`, or `None`."""
    try:
        file = read_npz(path)
    except FileNotFoundError:
        return None
    except DamagedError as error:
        warnings.warn(f"{error.fault}: it is computed again.", stacklevel=2)
        return None
    return file["representations"] if str(file.get("key")) == key else None
