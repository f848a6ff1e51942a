"""Exported files beside their encoder: differences, accuracy, size and time."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

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
        encoder: Encoder,
        *,
        tolerance: float | None = None,
        min_cosine: float | None = None,
        **facts: Any,
    ) -> ExportedFile:
        """Returns an exported file's time and differences, and checks these.

        Args:
            file: Its name.
            encoder: Runs the file; has a method `run` from NumPy to NumPy.
            tolerance: Largest difference allowed, over the encoder's largest value.
            min_cosine: Smallest cosine allowed of an example's two representations.
            **facts: Other attributes of the result.

        Raises:
            InputError: If the file is farther from the encoder.
        """
        differences = self.differences(encoder)
        share = differences.max_difference / max(differences.max_value, 1e-12)
        expected = None
        if min_cosine is not None and not differences.min_cosine >= min_cosine:
            expected = f"a cosine of {min_cosine} or more on every example"
            received = f"{differences.min_cosine:.6f}"
        if tolerance is not None and not share <= tolerance:
            expected = f"a difference of {tolerance:g} of the largest value "
            expected += f"({differences.max_value:.3g}) or less"
            received = f"{share:.3g} of it"
        if expected:
            raise InputError(
                f"Expected {file} to give the encoder's values, with {expected}. "
                f"Received: {received}. Earlier versions were left as they are; leave "
                "this file out."
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
    times = []
    for _ in range(_NUM_WARMUP_CALLS + NUM_TIMED_CALLS):
        start = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times[_NUM_WARMUP_CALLS:])
