"""What does an encoder say of every example of a split?

An encoder here is anything called as `encoder(images, training=False)` that gives
`(N, D)` representations: a `keras.Model`, or a SavedModel read by `load_encoder`.
It runs in inference mode and is never changed.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

_PROGRESS_AFTER_SECONDS = 3.0


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
    labels = [part.labels for part in parts]
    return Features(
        np.concatenate([part.representations for part in parts]),
        None if labels[0] is None else np.concatenate(labels),
    )


def extract_features(
    encoder: Callable[..., Any],
    split: Any,
    *,
    batch_size: int = 256,
    verbose: int | bool = 1,
) -> Features:
    """The representations of a whole split: every example once, in order.

    The last batch may be smaller than the others; it is included.

    Args:
        encoder: Called as `encoder(images, training=False)`. What `compile_encoder`
            returns is used as it is, which saves tracing it again.
        split: A `vicreg_keras.data.dataset.Split`.
        batch_size: Examples a batch.
        verbose: 0 is silent; otherwise a progress bar with images a second and the
            time left appears once the work has taken a few seconds.

    Returns:
        `Features`, with the split's own labels.

    Raises:
        ValueError: If the encoder takes images of another size, gives anything but
            one finite row an example, or the split is empty.
    """
    if batch_size < 1:
        raise ValueError(
            f"Expected at least one example a batch. Received: batch_size={batch_size}"
        )
    batches = split.batches(batch_size)
    spec = batches.element_spec
    if isinstance(encoder, tf.types.experimental.PolymorphicFunction):
        encode = encoder
    else:
        check_example_shape(encoder, spec.shape[1:])
        encode = compile_encoder(encoder, spec.shape[1:], spec.dtype)

    rows = []
    progress = Progress(split.num_examples, verbose=verbose)
    for images in batches:
        rows.append(encode(images).numpy())
        progress.add(len(images))
    progress.close()
    return _checked_features(rows, split)


def compile_encoder(
    encoder: Callable[..., Any],
    example_shape: tuple[int | None, ...],
    dtype: Any = None,
) -> Callable[[tf.Tensor], tf.Tensor]:
    """One `tf.function` that gives float32 representations in inference mode.

    Make it once and hand it to `extract_features` where an encoder that is still
    learning is looked at again and again: it reads the encoder's variables anew at
    every call, and is traced only once.

    Args:
        encoder: Called as `encoder(images, training=False)`.
        example_shape: Shape of one example, `(H, W, 3)` or `(num_columns,)`.
        dtype: Type of the examples; by default uint8 for images, float32 for rows.

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


def check_example_shape(encoder: Callable[..., Any], example_shape: Any) -> None:
    """Refuses examples of a size that the encoder does not take.

    Args:
        encoder: Its `example_shape`, or `input_shape` without the batch axis, is
            compared where it has one; axes that are `None` accept any size.
        example_shape: Shape of one example, `(H, W, 3)`.

    Raises:
        ValueError: If the two differ.
    """
    expected = getattr(encoder, "example_shape", None)
    if expected is None:
        # A model of several inputs has a list here; it is left to fail by itself.
        expected = getattr(encoder, "input_shape", None)
        expected = expected[1:] if isinstance(expected, tuple) else None
    if expected is None:
        return
    expected, received = tuple(expected), tuple(example_shape)
    if len(expected) != len(received):
        kinds = {1: "rows of numbers", 3: "images"}
        raise ValueError(
            f"Expected {kinds.get(len(expected), 'examples')} of shape {expected}, "
            f"which the encoder takes. Received: example_shape={received}. Choose "
            "another --dataset, or an encoder that was trained on such examples."
        )
    if any(
        None not in pair and pair[0] != pair[1]
        for pair in zip(expected, received, strict=True)
    ):
        raise ValueError(
            f"Expected examples of the encoder's shape {expected}. Received: "
            f"example_shape={received}. Read the dataset at the encoder's size "
            f"(--image_size={expected[0]}), or choose the encoder that was trained "
            "on it."
        )


class Progress:
    """A Keras progress bar over images that shows only when the work is long.

    Args:
        num_images: How many there are in all.
        verbose: 0 is silent.
    """

    def __init__(self, num_images: int, *, verbose: int | bool = 1):
        self._num_images = num_images
        self._verbose = bool(verbose)
        self._start = time.monotonic()
        self._done = 0
        self._shown = False
        self._bar = keras.utils.Progbar(
            num_images,
            interval=1.0,
            stateful_metrics=["images/s"],
            unit_name="image",
        )

    def add(self, num_images: int) -> None:
        """Notes that so many images more are done."""
        self._done += num_images
        seconds = time.monotonic() - self._start
        last = self._done >= self._num_images
        if not self._verbose or seconds < _PROGRESS_AFTER_SECONDS:
            return
        if last and not self._shown:
            return
        self._shown = True
        rate = float(round(self._done / seconds))
        self._bar.update(self._done, [("images/s", rate)], finalize=False)

    def close(self) -> None:
        """Ends the line that the bar was drawn on."""
        if self._shown:
            rate = self._done / (time.monotonic() - self._start)
            self._bar.update(self._done, [("images/s", float(round(rate)))], True)


def _checked_features(rows: list[np.ndarray], split: Any) -> Features:
    """Joins batches of representations, and refuses what no evaluation can use."""
    if not rows:
        raise ValueError(
            "Expected a split with examples. Received: split.num_examples="
            f"{split.num_examples}"
        )
    representations = np.concatenate(rows)
    if representations.ndim != 2 or len(representations) != split.num_examples:
        raise ValueError(
            "Expected one row an example from the encoder, of shape "
            f"({split.num_examples}, D). Received: shape={representations.shape}"
        )
    bad = ~np.isfinite(representations).all(axis=1)
    if bad.any():
        raise ValueError(
            "Expected finite representations. Received: NaN or infinity for "
            f"{bad.sum()} of {len(bad)} examples, the first at index {bad.argmax()}. "
            "The training that gave this encoder has diverged; use an earlier "
            "checkpoint, or a lower learning rate."
        )
    labels = split.labels
    labels = None if labels is None else np.asarray(labels, np.int64)
    return Features(representations, labels)
