"""`Split`: examples with labels and names, read by index and as `tf.data` batches."""

import functools
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from vicreg_keras.data.fingerprint import digest, example_digests
from vicreg_keras.errors import InputError

if TYPE_CHECKING:
    from vicreg_keras.data.sources.image_files import FileExamples

# Batches that are read at once, and batches that wait ready beyond these.
_MAX_READERS, _BATCHES_AHEAD = 16, 4


class Split:
    """Examples of one split, readable by index and as `tf.data` batches.

    Args:
        examples: Images, uint8 `(num_source_examples, height, width, 3)` in
            `[0, 255]`, or a table's examples, float32 `(num_source_examples,
            num_columns)`: an array, in memory or mapped, or image files.
        labels: Integers of shape `(num_examples,)`, or `None`.
        names: One string per example of the split.
        indices: Which source examples belong to this split, in order.
            `None` means all of them.

    Attributes:
        num_examples: Number of examples in the split.
        labels: int64 array of shape `(num_examples,)`, or `None`.
        names: One string per example: a relative path, or e.g. `"train/17"`.
        example_shape: `(height, width, 3)`, or `(num_columns,)`.
    """

    def __init__(
        self,
        examples: "np.ndarray | FileExamples",
        labels: np.ndarray | None,
        names: Sequence[str],
        indices: np.ndarray | None = None,
    ) -> None:
        self._examples = examples
        self._indices = np.arange(len(names)) if indices is None else indices
        self.num_examples = len(names)
        self.example_shape = tuple(examples.shape[1:])
        self.labels = None if labels is None else labels.astype(np.int64)
        self.names = tuple(names)

    @functools.cached_property
    def digests(self) -> np.ndarray:
        """A digest of each example, uint64 `(num_examples,)`; see `example_digests`."""
        return example_digests(self._examples, self._indices)

    @functools.cached_property
    def examples_fingerprint(self) -> str:
        """Digest of all examples, in their order."""
        dtype = str(self._examples.dtype)
        return digest(self.example_shape, dtype, self.digests.tobytes())

    @functools.cached_property
    def fingerprint(self) -> str:
        """Digest of all examples, labels and names, in their order."""
        labels = None if self.labels is None else self.labels.tobytes()
        return digest(self.examples_fingerprint, labels, "\0".join(self.names).encode())

    @property
    def is_in_memory(self) -> bool:
        """Whether digests are of whole contents."""
        examples = self._examples
        return isinstance(examples, np.ndarray) and not isinstance(examples, np.memmap)

    def __len__(self) -> int:
        return self.num_examples

    def read(self, indices: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
        """Returns examples as one array.

        Args:
            indices: Which of the split's examples, in any order; `None` for all.

        Returns:
            uint8 `(len(indices), height, width, 3)`, or float32
            `(len(indices), num_columns)`.
        """
        if indices is None:
            indices = np.arange(self.num_examples)
        indices = np.asarray(indices, dtype=np.int64)
        return np.asarray(self._examples[self._indices[indices]])

    def take(self, indices: Sequence[int] | np.ndarray) -> "Split":
        """Returns the split that has only the examples at `indices`, in that order."""
        indices = np.asarray(indices, dtype=np.int64)
        labels = None if self.labels is None else self.labels[indices]
        names = [self.names[i] for i in indices]
        return Split(self._examples, labels, names, self._indices[indices])

    def concatenate(self, other: "Split") -> "Split":
        """Returns this split and then another, without labels.

        Args:
            other: A split of examples of the same shape and type.
        """
        names = [*self.names, *other.names]
        if self._examples is other._examples:
            indices = np.concatenate([self._indices, other._indices])
            return Split(self._examples, None, names, indices)
        return Split(np.concatenate([self.read(), other.read()]), None, names)

    def sample(self, num: int, seed: int | np.random.Generator) -> "Split":
        """Returns a random subset, in the order of this split.

        Args:
            num: Number of examples; all are taken where there are fewer.
            seed: A seed, or a generator that is drawn from.
        """
        order = np.random.default_rng(seed).permutation(self.num_examples)
        return self.take(np.sort(order[:num]))

    def hold_out(self, fraction: float, seed: int) -> tuple["Split", "Split"]:
        """Splits in two, neither empty; of each class the same fraction is held out.

        Args:
            fraction: Fraction of the examples to hold out, in `(0, 1)`.
            seed: Which ones.

        Returns:
            `(kept, held_out)`, both in the order of this split.
        """
        total = self.num_examples
        count = min(max(round(total * fraction), 1), total - 1)
        # RandomState's stream is frozen by numpy: the same split under any version.
        order = np.random.RandomState(seed).permutation(total)
        if self.labels is not None:
            order = order[np.argsort(self.labels[order], kind="stable")]
        # Evenly spaced picks from examples sorted by class give each class its share,
        # rounded down or up, and exactly `count` in all.
        picks = order[(np.arange(count) * total + total // 2) // count]
        held_out = np.zeros(total, dtype=bool)
        held_out[picks] = True
        return self.take(np.flatnonzero(~held_out)), self.take(np.flatnonzero(held_out))

    def batches(self, batch_size: int) -> tf.data.Dataset:
        """Returns every example once, in order; the last batch may be smaller.

        Args:
            batch_size: Examples per batch.

        Returns:
            A finite dataset of arrays `(batch, *example_shape)`, of known cardinality.
        """
        indices = tf.data.Dataset.range(self.num_examples).batch(batch_size)
        return _read_batches(
            indices, lambda some: [self.read(some)], [self._spec(None)]
        )

    def training_batches(
        self, batch_size: int, *, seed: int, start_step: int = 0
    ) -> tf.data.Dataset:
        """Returns endless shuffled batches, without labels.

        Step `s` belongs to epoch `s // steps_per_epoch`, where `steps_per_epoch` is
        `num_examples // batch_size`. Each epoch is a new full shuffle, a pure function
        of `(seed, epoch)`; what does not fill a batch at its end is left out.

        Args:
            batch_size: Examples per batch.
            seed: Seed of the order.
            start_step: Training step of the first batch yielded.

        Returns:
            An infinite dataset of arrays `(batch_size, *example_shape)`, in the same
            order however many threads read it.

        Raises:
            InputError: If `batch_size` is not in `[1, num_examples]`.
            ValueError: If `start_step` is negative, or `seed` not in `[0, 2**32)`.
        """
        return self._training_pipeline(batch_size, seed, start_step)

    def labeled_training_batches(
        self, batch_size: int, *, seed: int, start_step: int = 0
    ) -> tf.data.Dataset:
        """Returns the batches of `training_batches` with their labels.

        Args:
            batch_size: See `training_batches`.
            seed: See `training_batches`.
            start_step: See `training_batches`.

        Returns:
            An infinite dataset of pairs `(examples, labels)`, labels int64
            `(batch_size,)`.

        Raises:
            ValueError: See `training_batches`; and if the split has no labels.
        """
        if self.labels is None:
            raise ValueError(
                "Expected a split with labels. Received: labels=None. "
                "Use `training_batches`, or a dataset with labels."
            )
        spec = tf.TensorSpec((batch_size,), tf.int64)
        labels = (lambda step, indices: self.labels[indices], spec)
        return self._training_pipeline(batch_size, seed, start_step, labels)

    def training_pairs(
        self, batch_size: int, positives: np.ndarray, *, seed: int, start_step: int = 0
    ) -> tf.data.Dataset:
        """Returns the batches of `training_batches` with a positive of each example.

        Args:
            batch_size: See `training_batches`.
            positives: Integers `(num_examples, k)`: indices of the examples that each
                one's positive is drawn from, anew in each epoch.
            seed: Seed of the order and of the draws.
            start_step: See `training_batches`.

        Returns:
            An infinite dataset of `{"images": ..., "positives": ...}`, each
            `(batch_size, *example_shape)`.
        """

        def read_positives(step, indices):
            # Longer than an epoch's seed, and so another stream.
            random = np.random.RandomState([seed, *divmod(step, 2**32), 1])
            chosen = random.randint(positives.shape[1], size=batch_size)
            return self.read(positives[indices, chosen])

        pairs = self._training_pipeline(
            batch_size, seed, start_step, (read_positives, self._spec(batch_size))
        )
        return pairs.map(
            lambda images, positives: {"images": images, "positives": positives}
        )

    def _training_pipeline(
        self,
        batch_size: int,
        seed: int,
        start_step: int,
        *others: tuple[Callable[[int, np.ndarray], np.ndarray], tf.TensorSpec],
    ) -> tf.data.Dataset:
        """Endless shuffled batches of examples, and of others beside them.

        The order is a pure function of `(seed, step)`, so that a run continued at a
        step reads exactly the batches an uninterrupted run would have read.

        Args:
            batch_size: Examples per batch.
            seed: Seed of the order.
            start_step: The first batch's step.
            *others: What to read for a step and its examples' indices, and its spec.
        """
        indices_of = _training_order(self.num_examples, batch_size, seed)
        if start_step < 0 or not 0 <= seed < 2**32:
            raise ValueError(
                "Expected a step of at least 0 and a seed of at least 0 and below "
                f"2**32. Received: {start_step=}, {seed=}."
            )

        def read(key):
            step = int(key)
            indices = indices_of(step)
            return [self.read(indices), *(one(step, indices) for one, _ in others)]

        specs = [self._spec(batch_size), *(spec for _, spec in others)]
        return _read_batches(tf.data.Dataset.counter(start=start_step), read, specs)

    def _spec(self, batch_size: int | None) -> tf.TensorSpec:
        return tf.TensorSpec((batch_size, *self.example_shape), self._examples.dtype)


def _training_order(
    num_examples: int, batch_size: int, seed: int
) -> Callable[[int], np.ndarray]:
    """Returns the function from a step to the indices `(batch_size,)` of its batch.

    Args:
        num_examples: Number of examples; each epoch is a new shuffle of them.
        batch_size: Examples per batch; what does not fill one is left out of an epoch.
        seed: Seed of the shuffles, in `[0, 2**32)`.

    Raises:
        InputError: If `batch_size` is not in `[1, num_examples]`.
    """
    if not 1 <= batch_size <= num_examples:
        raise InputError(
            "Expected a batch of at least one example, and no more than the training "
            f"split has ({num_examples} examples). Received: {batch_size=}. Use "
            "another batch_size."
        )
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


def _read_batches(
    keys: tf.data.Dataset,
    read: Callable[[np.ndarray], Sequence[np.ndarray]],
    specs: Sequence[tf.TensorSpec],
) -> tf.data.Dataset:
    """Returns the arrays that a function gives for each key.

    Args:
        keys: Integers: training steps, or the indices of each batch.
        read: The function, called on several threads at once.
        specs: Shapes and types of its arrays.

    Returns:
        A dataset in the order of `keys`, of arrays or of tuples of them.
    """
    types = [spec.dtype for spec in specs]

    # In Python, as a gather in the graph would need a copy of the whole array, and
    # costs as much: a batch of 32-pixel images is a tenth of a millisecond.
    def batch_of(key):
        arrays = tf.numpy_function(read, [key], types, stateful=False)
        batch = [
            tf.ensure_shape(array, spec.shape)
            for array, spec in zip(arrays, specs, strict=True)
        ]
        return tuple(batch) if len(batch) > 1 else batch[0]

    # Autotuning would choose these two numbers, and make the end of a fit wait for it:
    # 8 to 15 seconds in some of the fits measured (benchmarks/LOG.md, 2026-11-23, how
    # fast do rows train without autotuning).
    options = tf.data.Options()
    options.autotune.enabled = False
    threads = min(os.cpu_count(), _MAX_READERS)
    dataset = keys.map(batch_of, num_parallel_calls=threads, deterministic=True)
    return dataset.prefetch(_BATCHES_AHEAD).with_options(options)
