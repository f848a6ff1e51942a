"""Exported files beside their encoder: differences, accuracy, size and time."""

import statistics
import timeit
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from vicreg_keras.data.dataset import Dataset
from vicreg_keras.data.split import Split
from vicreg_keras.errors import InputError
from vicreg_keras.evaluate.features import compile_encoder, extract_features
from vicreg_keras.evaluate.records import Differences, ExportedFile
from vicreg_keras.models.saved_encoder import variables_of

NUM_TIMED_CALLS = 100

_NUM_WARMUP_CALLS = 10
_NUM_COMPARED_EXAMPLES = 256
_BATCH_SIZE = 32

Encoder = Callable[..., Any]


class FileEncoder:
    """An exported file, called like any other encoder."""

    def __call__(self, examples: Any, training: bool = False) -> tf.Tensor:
        """Returns float32 representations `(N, dim)` of examples.

        Args:
            examples: `(N, height, width, 3)` in [0, 255], or `(N, num_columns)`.
            training: Not used; a file is never trained.
        """
        return tf.numpy_function(self.run, [examples], tf.float32)

    def run(self, examples: np.ndarray) -> np.ndarray:
        """Returns representations as a call does, from NumPy to NumPy.

        Args:
            examples: See `__call__`.
        """
        raise NotImplementedError


class Comparison:
    """Validation examples, and the encoder's representations of them.

    Args:
        encoder: The encoder that files are compared with.
        dataset: Dataset of the examples.
    """

    def __init__(self, encoder: Encoder, dataset: Dataset):
        count = min(_NUM_COMPARED_EXAMPLES, dataset.validation.num_examples)
        self._split = dataset.validation.take(range(count))
        encode = compile_encoder(encoder, dataset.example_shape)
        self._expected = represent(encode, self._split)

    def measure(
        self,
        file: str,
        encoder: FileEncoder,
        *,
        min_cosine: float,
        tolerance: float | None = None,
        **facts: Any,
    ) -> ExportedFile:
        """Returns an exported file's time and differences, and checks these.

        Args:
            file: Its name.
            encoder: Runs the file.
            min_cosine: Smallest cosine allowed of an example's two representations.
            tolerance: Largest difference allowed, over the encoder's largest value.
            **facts: Other attributes of the result.

        Raises:
            InputError: If the file is farther from the encoder.
        """
        differences = self.differences(encoder)
        share = differences.max_difference / max(differences.max_value, 1e-12)
        is_near = tolerance is None or share <= tolerance
        if not (is_near and differences.min_cosine >= min_cosine):
            raise InputError(
                f"Expected {file} to give the encoder's values: cosines of "
                f"{min_cosine} or more, differences of {tolerance or 1:g} of the "
                f"largest value or less. Received: {differences.min_cosine:.6f}, "
                f"{share:.3g}. Earlier versions were left as they are; leave it out."
            )
        example = self._split.read([0])
        return ExportedFile(
            file=file,
            milliseconds=_milliseconds(lambda: encoder.run(example)),
            differences=differences,
            **facts,
        )

    def differences(self, encoder: Encoder) -> Differences:
        """Returns how far an exported file is from the encoder.

        Args:
            encoder: Runs the file.
        """
        expected, received = self._expected, represent(encoder, self._split)
        differences = np.abs(received - expected)
        lengths = np.linalg.norm(received, axis=1) * np.linalg.norm(expected, axis=1)
        products = (received.astype(np.float64) * expected).sum(axis=1)
        # Zeros have no direction; two of them are the same.
        cosines = np.where(lengths > 0, products / np.maximum(lengths, 1e-30), 0)
        cosines = np.where((differences == 0).all(axis=1), 1, cosines)
        return Differences(
            max_difference=float(differences.max()),
            mean_difference=float(differences.mean()),
            max_value=float(np.abs(expected).max()),
            min_cosine=float(cosines.min()),
            num_examples=len(expected),
        )


def measure_encoder(encoder: Encoder, dataset: Dataset) -> ExportedFile:
    """Returns size and time of the encoder itself.

    Args:
        encoder: The encoder.
        dataset: Dataset of the example that it is timed on.
    """
    encode = compile_encoder(encoder, dataset.example_shape)
    example = dataset.validation.read([0])
    return ExportedFile(
        file="the encoder",
        num_bytes=sum(variable.numpy().nbytes for variable in variables_of(encoder)),
        milliseconds=_milliseconds(lambda: encode(example).numpy()),
    )


def represent(encoder: Encoder, split: Split) -> np.ndarray:
    """Returns a split's representations `(N, dim)`, in small batches.

    Args:
        encoder: Runs an exported file, or is the encoder itself.
        split: A split of a dataset.
    """
    features = extract_features(encoder, split, batch_size=_BATCH_SIZE, verbose=0)
    return features.representations


def _milliseconds(call):
    times = timeit.repeat(call, number=1, repeat=_NUM_WARMUP_CALLS + NUM_TIMED_CALLS)
    return 1000 * statistics.median(times[_NUM_WARMUP_CALLS:])
