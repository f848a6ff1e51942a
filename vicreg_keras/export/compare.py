"""Exported files beside their encoder: differences, size and time."""

import dataclasses
import statistics
import timeit
from collections.abc import Callable
from typing import Any

import numpy as np

from vicreg_keras.data.dataset import Dataset
from vicreg_keras.data.split import Split
from vicreg_keras.errors import InputError
from vicreg_keras.evaluate.features import check_representations, compile_encoder
from vicreg_keras.evaluate.normalization import l2_normalize
from vicreg_keras.evaluate.records import Differences, ExportedFile
from vicreg_keras.models.saved_encoder import variables_of

NUM_TIMED_CALLS = 100

_NUM_WARMUP_CALLS = 10
_NUM_COMPARED_EXAMPLES = 256
_BATCH_SIZE = 32


@dataclasses.dataclass(frozen=True)
class Variant:
    """A kind of exported file, and how far it may be from the encoder.

    Attributes:
        description: A few words.
        min_cosine: Smallest cosine between representations of the file and of the
            encoder, for any example.
        tolerance: Largest difference over the encoder's largest value, or `None`.
        calibrated: Whether the range of each layer's output is taken from examples,
            so that it is computed in int8.
    """

    description: str
    min_cosine: float
    tolerance: float | None = None
    calibrated: bool = False


class FileEncoder:
    """An exported file, called with NumPy arrays.

    Attributes:
        input_dtype: NumPy's name of the input's type, or `None`.
        output_dtype: NumPy's name of the output's type, or `None`.
    """

    input_dtype: str | None = None
    output_dtype: str | None = None

    def __call__(self, examples: np.ndarray) -> np.ndarray:
        """Returns float32 representations `(N, dim)` of examples.

        Args:
            examples: `(N, height, width, 3)` in [0, 255], or `(N, num_columns)`.
        """
        raise NotImplementedError


class Comparison:
    """Validation examples, and the encoder's representations of them.

    Args:
        encoder: The encoder that files are compared with.
        dataset: Dataset of the examples.

    Attributes:
        own: Size and time of the encoder itself.

    Raises:
        InputError: If a representation of the encoder is not finite.
    """

    def __init__(self, encoder: Callable[..., Any], dataset: Dataset):
        count = min(_NUM_COMPARED_EXAMPLES, dataset.validation.num_examples)
        self._split = dataset.validation.take(range(count))
        encode = compile_encoder(encoder, dataset.example_shape)

        def run(examples):
            return encode(examples).numpy()

        self._expected = represent(run, self._split)
        check_representations("validation", self._expected)
        weights = [variable.numpy() for variable in variables_of(encoder)]
        self.own = ExportedFile(
            file="the encoder",
            num_bytes=sum(array.nbytes for array in weights),
            milliseconds=self._milliseconds(run),
        )

    def measure(
        self, file: str, num_bytes: int, encoder: FileEncoder, variant: Variant
    ) -> ExportedFile:
        """Returns an exported file's time and differences, and checks these.

        Args:
            file: Its name.
            num_bytes: Its size.
            encoder: Runs the file.
            variant: How far it may be from the encoder.

        Raises:
            InputError: If the file is farther from the encoder.
        """
        differences = self.differences(encoder)
        share = differences.max_difference / max(differences.max_value, 1e-12)
        is_near = variant.tolerance is None or share <= variant.tolerance
        if not (is_near and differences.min_cosine >= variant.min_cosine):
            raise InputError(
                f"Expected {file} to give the encoder's values: cosines of "
                f"{variant.min_cosine} or more, differences of "
                f"{variant.tolerance or 1:g} of the largest value or less. Received: "
                f"{differences.min_cosine:.6f}, {share:.3g}. Earlier versions were "
                "left as they are; leave it out."
            )
        return ExportedFile(
            file=file,
            num_bytes=num_bytes,
            milliseconds=self._milliseconds(encoder),
            description=variant.description,
            input_dtype=encoder.input_dtype,
            output_dtype=encoder.output_dtype,
            differences=differences,
        )

    def differences(self, encoder: FileEncoder) -> Differences:
        """Returns how far an exported file is from the encoder.

        Args:
            encoder: Runs the file.
        """
        expected, received = self._expected, represent(encoder, self._split)
        differences = np.abs(received - expected)
        cosines = (l2_normalize(received) * l2_normalize(expected)).sum(axis=1)
        # Zeros have no direction; two of them are the same.
        cosines[(differences == 0).all(axis=1)] = 1
        return Differences(
            max_difference=float(differences.max()),
            mean_difference=float(differences.mean()),
            max_value=float(np.abs(expected).max()),
            min_cosine=float(cosines.min()),
            num_examples=len(expected),
        )

    def _milliseconds(self, run):
        """Median time of one example."""
        example = self._split.read([0])
        num_calls = _NUM_WARMUP_CALLS + NUM_TIMED_CALLS
        times = timeit.repeat(lambda: run(example), number=1, repeat=num_calls)
        return 1000 * statistics.median(times[_NUM_WARMUP_CALLS:])


def represent(run: Callable[[np.ndarray], np.ndarray], split: Split) -> np.ndarray:
    """Returns a split's representations `(N, dim)`, in small batches.

    Args:
        run: A `FileEncoder`, or the encoder from array to array.
        split: A split of a dataset.
    """
    batches = split.batches(_BATCH_SIZE).as_numpy_iterator()
    return np.concatenate([run(examples) for examples in batches])
