"""In which order are a split's examples read?

The order of training is a pure function of `(seed, step)`, so that a run continued
at step `s` sees exactly the batches an uninterrupted run would have seen.
"""

import functools
import os
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from vicreg_keras.data import sources

# Batches that are read at once, and that lie ready beyond these.
_MAX_READERS, _BATCHES_AHEAD = 16, 4


class Split:
    """Examples of one split, readable by index and as `tf.data` batches.

    Args:
        examples: What holds the pixels or rows: `read(indices)`, `shape` and `dtype`
            (`sources.ArrayExamples` or `sources.FileExamples`).
        labels: Integers of shape `(num_source_examples,)`, or `None`.
        names: One string for each source example.
        indices: Which source examples belong to this split, in order.
            `None` means all of them.

    Attributes:
        num_examples: How many examples the split has.
        labels: int64 array of shape `(num_examples,)`, or `None`.
        names: One string for each example: a relative path, or e.g. `"train/17"`.
        example_shape: `(height, width, 3)`, or `(num_columns,)`.
    """

    def __init__(
        self,
        examples: sources.Examples,
        labels: np.ndarray | None,
        names: Sequence[str],
        indices: np.ndarray | None = None,
    ) -> None:
        if indices is None:
            indices = np.arange(len(names), dtype=np.int64)
        self._examples = examples
        self._source_labels = labels
        self._source_names = names
        self._indices = indices
        self.num_examples = len(indices)
        self.example_shape = tuple(examples.shape)
        self.labels = None if labels is None else labels[indices].astype(np.int64)
        self.names = tuple(names[i] for i in indices)

    def __len__(self) -> int:
        return self.num_examples

    def read(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Returns the examples at `indices`: uint8 `(len(indices), H, W, 3)` or rows.

        Rows are float32 `(len(indices), num_columns)`.
        """
        indices = np.asarray(indices, dtype=np.int64)
        return self._examples.read(self._indices[indices])

    def take(self, indices: Sequence[int] | np.ndarray) -> "Split":
        """Returns the split that has only the examples at `indices`, in that order."""
        taken = self._indices[np.asarray(indices, dtype=np.int64)]
        return Split(self._examples, self._source_labels, self._source_names, taken)

    def batches(self, batch_size: int) -> tf.data.Dataset:
        """Every image once, in order: uint8 `(batch, H, W, 3)`, the last batch smaller.

        Args:
            batch_size: Images in a batch.

        Returns:
            A finite dataset whose cardinality is known.

        Raises:
            ValueError: If `batch_size` is not positive.
        """
        _check_batch_size(batch_size)
        num_batches = -(-self.num_examples // batch_size)
        everything = np.arange(self.num_examples)

        def read(number):
            start = number * batch_size
            return [self.read(everything[start : start + batch_size])]

        return _map(tf.data.Dataset.range(num_batches), read, self._images(None))

    def training_batches(
        self, batch_size: int, *, seed: int, start_step: int = 0
    ) -> tf.data.Dataset:
        """Endless shuffled batches of images only: uint8 `(batch_size, H, W, 3)`.

        Step `s` belongs to epoch `s // steps_per_epoch`, where `steps_per_epoch` is
        `num_examples // batch_size`. Each epoch is a new full shuffle, a pure function
        of `(seed, epoch)`; what does not fill a batch at its end is left out.

        Args:
            batch_size: Images in a batch.
            seed: Which order.
            start_step: Training step of the first batch yielded.

        Returns:
            An infinite dataset, in the same order however many threads read it.

        Raises:
            ValueError: If `batch_size` is not in `[1, num_examples]`,
                `start_step` is negative, or `seed` is not in `[0, 2**32)`.
        """
        indices_of = self._shuffled_indices(batch_size, seed, start_step)
        steps = tf.data.Dataset.counter(start=start_step)
        images = self._images(batch_size)
        return _map(steps, lambda step: [self.read(indices_of(step))], images)

    def labeled_training_batches(
        self, batch_size: int, *, seed: int, start_step: int = 0
    ) -> tf.data.Dataset:
        """As `training_batches`, but yields `(images, int64 labels)`.

        Args:
            batch_size: Images in a batch.
            seed: Which order.
            start_step: Training step of the first batch yielded.

        Returns:
            An infinite dataset of pairs, in the order of `training_batches`.

        Raises:
            ValueError: As `training_batches`; and if the split has no labels.
        """
        if self.labels is None:
            raise ValueError(
                "Expected a split with labels. Received: labels=None. "
                "Use `training_batches`, or a dataset with labels."
            )
        indices_of = self._shuffled_indices(batch_size, seed, start_step)

        def read(step):
            indices = indices_of(step)
            return self.read(indices), self.labels[indices]

        steps = tf.data.Dataset.counter(start=start_step)
        return _map(steps, read, self._images(batch_size), _labels(batch_size))

    def training_pairs(
        self,
        batch_size: int,
        positives: np.ndarray,
        *,
        seed: int,
        start_step: int = 0,
    ) -> tf.data.Dataset:
        """As `training_batches`, each image with another one to be its second view.

        Args:
            batch_size: Images in a batch.
            positives: Integers `(num_examples, k)`: of each example, those that one
                is drawn from, anew each epoch.
            seed: Which order, and which are drawn.
            start_step: Training step of the first batch yielded.

        Returns:
            An infinite dataset of `{"images": ..., "positives": ...}`, both as
            `training_batches` gives images. The order is that of `training_batches`.

        Raises:
            ValueError: As `training_batches`; and if `positives` has another shape or
                an entry that is no example's index.
        """
        positives = np.asarray(positives)
        shape = positives.shape
        if len(shape) != 2 or len(positives) != self.num_examples or not shape[1]:
            raise ValueError(
                f"Expected positives of shape ({self.num_examples}, k), k above 0. "
                f"Received: shape={shape}. Each example needs one or more."
            )
        if positives.min() < 0 or positives.max() >= self.num_examples:
            raise ValueError(
                f"Expected positives in [0, {self.num_examples}). Received: from "
                f"{positives.min()} to {positives.max()}."
            )
        indices_of = self._shuffled_indices(batch_size, seed, start_step)

        def read(step):
            indices = indices_of(step)
            # Longer than an epoch's seed, and so another stream.
            random = np.random.RandomState([seed, *divmod(step, 2**32), 1])
            chosen = random.randint(shape[1], size=batch_size)
            return self.read(indices), self.read(positives[indices, chosen])

        images = self._images(batch_size)
        steps = tf.data.Dataset.counter(start=start_step)
        return _map(steps, read, images, images).map(
            lambda images, positives: {"images": images, "positives": positives}
        )

    def _shuffled_indices(
        self, batch_size: int, seed: int, start_step: int
    ) -> Callable[[int], np.ndarray]:
        """The function from a step to the indices `(batch_size,)` of its batch."""
        _check_training_batches(self.num_examples, batch_size, seed, start_step)
        num_examples = self.num_examples
        steps_per_epoch = num_examples // batch_size

        # Not tf.random.experimental.index_shuffle, which needs no array: its orders
        # under consecutive keys are measurably not independent. RandomState's stream
        # is frozen by numpy: the same order under any version.
        @functools.lru_cache(maxsize=2)  # Threads may be in two epochs at once.
        def order_of(epoch):
            return np.random.RandomState([seed, epoch]).permutation(num_examples)

        def indices_of(step):
            epoch, batch = divmod(step, steps_per_epoch)
            return order_of(epoch)[batch * batch_size : (batch + 1) * batch_size]

        return indices_of

    def _images(self, batch_size: int | None) -> tf.TensorSpec:
        return tf.TensorSpec((batch_size, *self.example_shape), self._examples.dtype)


def _labels(batch_size: int) -> tf.TensorSpec:
    return tf.TensorSpec((batch_size,), tf.int64)


def _map(
    numbers: tf.data.Dataset,
    read: Callable[[int], Sequence[np.ndarray]],
    *specs: tf.TensorSpec,
) -> tf.data.Dataset:
    """The arrays that `read` gives for each number, several read at once, in order."""

    # In Python, as a gather in the graph would need a copy of the whole array, and
    # costs as much: a batch of 32-pixel images is a tenth of a millisecond.
    def batch_of(number):
        types = [spec.dtype for spec in specs]
        arrays = tf.numpy_function(
            lambda number: read(int(number)), [number], types, stateful=False
        )
        batch = [
            tf.ensure_shape(array, spec.shape)
            for array, spec in zip(arrays, specs, strict=True)
        ]
        return tuple(batch) if len(batch) > 1 else batch[0]

    # Autotuning would choose these two numbers, and make the end of a fit wait for it:
    # 8 to 15 seconds in some of the fits measured (LOG.md).
    options = tf.data.Options()
    options.autotune.enabled = False
    threads = min(os.cpu_count(), _MAX_READERS)
    dataset = numbers.map(batch_of, num_parallel_calls=threads, deterministic=True)
    return dataset.prefetch(_BATCHES_AHEAD).with_options(options)


def check_seed(seed: int) -> None:
    """Refuses what numpy's `RandomState` does not take.

    Args:
        seed: of a split or an order.

    Raises:
        ValueError: If it is not in `[0, 2**32)`.
    """
    if not 0 <= seed < 2**32:
        raise ValueError(
            "Expected a seed of at least 0 and below 2**32. "
            f"Received: seed={seed}. Use e.g. --seed=0."
        )


def _check_batch_size(batch_size: int) -> None:
    if batch_size < 1:
        raise ValueError(
            "Expected a batch of at least one example. "
            f"Received: batch_size={batch_size}. Use a positive --batch_size."
        )


def _check_training_batches(
    num_examples: int, batch_size: int, seed: int, start_step: int
) -> None:
    _check_batch_size(batch_size)
    if batch_size > num_examples:
        raise ValueError(
            f"Expected a batch no larger than the training split ({num_examples} "
            f"examples). Received: batch_size={batch_size}. Use a smaller --batch_size."
        )
    if start_step < 0:
        raise ValueError(
            "Expected a step of at least 0. "
            f"Received: start_step={start_step}. Start at 0 for a new run."
        )
    check_seed(seed)
