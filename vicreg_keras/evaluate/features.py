"""Representations of whole splits, computed by an encoder or equal to the input.

An encoder is anything called as `encoder(images, training=False)` that returns `(N, D)`
representations: a `keras.Model`, or a SavedModel read by `load_encoder`. It runs in
inference mode and is never changed.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from vicreg_keras.data.dataset import Dataset, Split
from vicreg_keras.data.sources.base import at_a_time
from vicreg_keras.errors import InputError, NonFiniteError
from vicreg_keras.models.saved_encoder import known_of
from vicreg_keras.models.table_encoder import make_input_encoder

Encoder = Callable[..., tf.Tensor]

SPLITS = ("train", "validation", "test")

_MAX_INPUT_BYTES = 2 * 2**30


class Features(NamedTuple):
    """Representations of a split, in its order, and the labels beside them.

    Attributes:
        representations: float32 array of shape `(N, D)`.
        labels: int64 array of shape `(N,)` with values in `[0, num_classes)`, or `None`
            where the split has no labels.
    """

    representations: np.ndarray
    labels: np.ndarray | None


def concatenate_features(parts: Sequence[Features]) -> Features:
    """Joins the features of several splits, which all have labels or all have none.

    Args:
        parts: At least one.
    """
    labels = [part.labels for part in parts if part.labels is not None]
    return Features(
        np.concatenate([part.representations for part in parts]),
        np.concatenate(labels) if labels else None,
    )


def extract_features(
    encoder: Encoder,
    split: Split,
    *,
    batch_size: int = 256,
    verbose: int | bool = 1,
) -> Features:
    """Computes the representations of a whole split: every example once, in order.

    The last batch may be smaller than the others; it is included.

    Args:
        encoder: Called as `encoder(images, training=False)`. What `compile_encoder`
            returns is used as it is, which avoids tracing it again.
        split: Examples of one split.
        batch_size: Examples per batch; of large images it is fewer.
        verbose: 0 is silent; otherwise a progress bar appears after a few seconds.

    Returns:
        Representations, with the split's own labels.

    Raises:
        InputError: If the encoder expects examples of another shape, a representation
            is not finite, or the split is empty.
        ValueError: If the encoder does not return one vector per example.
    """
    if not split.num_examples:
        raise InputError("Expected a split with examples. Received: num_examples=0.")
    batches = split.batches(at_a_time(batch_size, split.example_shape))
    spec = batches.element_spec
    if isinstance(encoder, tf.types.experimental.PolymorphicFunction):
        encode = encoder
    else:
        check_example_shape(encoder, spec.shape[1:])
        encode = compile_encoder(encoder, spec.shape[1:], spec.dtype)

    bar = tqdm(batches, unit=" batches", delay=3, disable=None if verbose else True)
    representations = np.concatenate([encode(images).numpy() for images in bar])
    if representations.ndim != 2 or len(representations) != split.num_examples:
        raise ValueError(
            "Expected one vector per example from the encoder, of shape "
            f"({split.num_examples}, D). Received: shape={representations.shape}"
        )
    check_representations("computed", representations)
    return Features(representations, split.labels)


def input_features(dataset: Dataset, split_name: str) -> Features:
    """Returns the examples themselves as representations: pixels, or scaled columns.

    Args:
        dataset: The dataset.
        split_name: Name of a split.
    """
    encoder = make_input_encoder(dataset)
    return extract_features(encoder, getattr(dataset, split_name), verbose=0)


def require_class_names(dataset: Dataset) -> tuple[str, ...]:
    """Returns the names of a labeled dataset's classes.

    Args:
        dataset: The dataset.

    Raises:
        InputError: If it has no labels.
    """
    if dataset.class_names is None:
        raise InputError(
            f"Expected a labeled dataset. Received: dataset={dataset.name}, which has "
            "no labels. Use a labeled one; evaluate, cluster, spectrum, embed, and "
            "retrieve with query=PATH need none."
        )
    return dataset.class_names


def require_test_split(dataset: Dataset) -> Split:
    """Returns the test split of a dataset.

    Args:
        dataset: The dataset.

    Raises:
        InputError: If it has none.
    """
    if dataset.test is None:
        raise InputError(
            f"Expected a dataset with a test split. Received: dataset={dataset.name}, "
            "which has none. Add a test split to it."
        )
    return dataset.test


def input_size_problem(dataset: Dataset) -> str | None:
    """Returns why the raw input is too large for a baseline, or `None` if it is not."""
    splits = (getattr(dataset, name) for name in SPLITS)
    num_examples = sum(split.num_examples for split in splits if split is not None)
    num_bytes = 4 * num_examples * int(np.prod(dataset.example_shape))
    if num_bytes <= _MAX_INPUT_BYTES:
        return None
    return f"{num_bytes / 2**30:.1f} GiB as float32 is over the limit of 2 GiB"


def compile_encoder(
    encoder: Encoder,
    example_shape: Sequence[int | None],
    dtype: tf.DType | None = None,
) -> "tf.types.experimental.PolymorphicFunction":
    """Returns one `tf.function` of float32 representations in inference mode.

    Make it once and pass it to `extract_features` where an encoder is evaluated
    repeatedly during training: it reads the encoder's variables anew at every call,
    and is traced only once.

    Args:
        encoder: Called as `encoder(images, training=False)`.
        example_shape: Shape of one example, `(H, W, 3)` or `(num_columns,)`.
        dtype: Type of the examples; by default uint8 for images, float32 for tables.

    Returns:
        A `tf.function` from `(N, *example_shape)` to `(N, D)` float32.
    """
    if dtype is None:
        dtype = tf.uint8 if len(example_shape) == 3 else tf.float32
    signature = [tf.TensorSpec((None, *example_shape), dtype)]

    # Not compiled by XLA: on a CPU that makes the convolutions several times slower.
    @tf.function(input_signature=signature, jit_compile=False)
    def encode(images):
        return tf.cast(encoder(images, training=False), tf.float32)

    return encode


def check_example_shape(encoder: Encoder, example_shape: tuple[int, ...]) -> None:
    """Checks that examples have the shape that the encoder expects.

    Args:
        encoder: Its `example_shape`, or `input_shape` without the batch axis, is
            compared where it has one; axes that are `None` accept any size.
        example_shape: Shape of one example, `(H, W, 3)` or `(num_columns,)`.

    Raises:
        InputError: If the two differ.
    """
    expected = getattr(encoder, "example_shape", None)
    expected = expected or getattr(encoder, "input_shape", ())[1:]
    if expected and not tf.TensorShape(expected).is_compatible_with(example_shape):
        kind = {1: "tabular examples", 3: "images"}.get(len(expected), "examples")
        hint = "another dataset"
        if len(expected) == len(example_shape) == 3:
            height, width, _ = expected
            hint = f"images resized to {height}x{width} (height x width)"
            if height == width:
                hint = f"image_size={height}"
        raise InputError(
            f"Expected {kind} of the encoder's shape {tuple(expected)}. Received: "
            f"example_shape={tuple(example_shape)}. Use {hint}, or an encoder that was "
            "trained on such examples."
        )


def check_columns(encoder: Encoder, dataset: Dataset) -> None:
    """Checks that a table has the columns that the encoder was trained on.

    Args:
        encoder: See `known_of`; another encoder is not checked.
        dataset: The dataset.

    Raises:
        InputError: If names, categories or formats differ, or their order does.
    """
    known = known_of(encoder)
    if known is not None and known.columns != dataset.columns:
        raise InputError(
            "Expected the columns and categories that the encoder was trained on. "
            f"Received: dataset={dataset.name} with others. Train both on one table."
        )


def check_representations(
    name: str,
    representations: np.ndarray,
    *,
    min_count: int = 1,
    width: int | None = None,
) -> None:
    """Checks that representations can be compared.

    Args:
        name: Description of them in messages.
        representations: `(N, D)` array.
        min_count: Smallest `N`.
        width: Expected `D`, or `None` for any.

    Raises:
        InputError: If the shape is another.
        NonFiniteError: If a value is NaN or infinite.
    """
    shape = np.shape(representations)
    if len(shape) != 2 or shape[0] < min_count or not shape[1]:
        raise InputError(
            f"Expected {name} representations of shape (N, D), at least {min_count} of "
            f"them. Received: shape={shape}."
        )
    if width is not None and shape[1] != width:
        raise InputError(
            f"Expected {name} representations {width} wide, like the others. "
            f"Received: shape={shape}. All must come from one encoder."
        )
    finite = np.isfinite(representations).all(axis=1)
    if not finite.all():
        raise NonFiniteError(
            f"Expected finite {name} representations. Received: NaN or infinity in "
            f"{(~finite).sum()} of {len(finite)}, the first at index "
            f"{finite.argmin()}. The training of the encoder has diverged; use an "
            "earlier checkpoint, or a lower learning rate."
        )
