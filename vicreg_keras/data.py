"""Where examples come from: names, splits, raw uint8 pixels and labels.

Every image anywhere is uint8, RGB, `(height, width, 3)`, in `[0, 255]`. Grey images
are repeated over the three channels. Nothing here knows of views or normalisation.

The order of training is a pure function of `(seed, step)`, so that a run continued
at step `s` sees exactly the batches an uninterrupted run would have seen.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from vicreg_keras import sources

# A name is `scheme` or `scheme:location`. Any other name is one of tensorflow-datasets.
DATASETS = {
    "digits": sources.load_digits,
    "folder": sources.load_folder,
    "npz": sources.load_npz,
}

_TEST_FRACTION = 0.2
_TEST_SEED = 0


class Split:
    """Examples of one split, readable by index and as `tf.data` batches.

    Args:
        examples: What holds the pixels: `read(indices)`, `shape` and `dtype`
            (`sources.ArrayExamples` or `sources.FileExamples`).
        labels: Integers of shape `(num_source_examples,)`, or `None`.
        names: One string for each source example.
        indices: Which source examples belong to this split, in order.
            `None` means all of them.

    Attributes:
        num_examples: How many examples the split has.
        labels: int64 array of shape `(num_examples,)`, or `None`.
        names: One string for each example: a relative path, or e.g. `"train/17"`.
        image_shape: `(height, width, 3)`.
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
        self.image_shape = tuple(examples.shape)
        self.labels = None if labels is None else labels[indices].astype(np.int64)
        self.names = tuple(names[i] for i in indices)

    def __len__(self) -> int:
        return self.num_examples

    def read(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Returns the images at `indices`: uint8, `(len(indices), H, W, 3)`."""
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

        def indices_of(number):
            return everything[number * batch_size : (number + 1) * batch_size]

        return self._read(tf.data.Dataset.range(num_batches), indices_of, None)

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
        return self._read(steps, indices_of, batch_size)

    def labelled_training_batches(
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
        steps = tf.data.Dataset.counter(start=start_step)
        return self._read(steps, indices_of, batch_size, with_labels=True)

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

    def _read(
        self,
        numbers: tf.data.Dataset,
        indices_of: Callable[[int], np.ndarray],
        batch_size: int | None,
        *,
        with_labels: bool = False,
    ) -> tf.data.Dataset:
        """Batches of the examples at `indices_of(number)`, read several at once."""

        def read(number):
            indices = indices_of(int(number))
            images = self.read(indices)
            return (images, self.labels[indices]) if with_labels else images

        # In Python, as a gather in the graph would need a copy of the whole array,
        # and costs as much: a batch of 32-pixel images is a tenth of a millisecond.
        def batch_of(number):
            dtype = self._examples.dtype
            shape = (batch_size, *self.image_shape)
            if not with_labels:
                images = tf.numpy_function(read, [number], dtype, stateful=False)
                return tf.ensure_shape(images, shape)
            images, labels = tf.numpy_function(
                read, [number], (dtype, tf.int64), stateful=False
            )
            images = tf.ensure_shape(images, shape)
            return images, tf.ensure_shape(labels, (batch_size,))

        dataset = numbers.map(
            batch_of, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )
        return dataset.prefetch(tf.data.AUTOTUNE)


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Splits of one dataset.

    Attributes:
        name: As given to `load_dataset`.
        image_shape: `(height, width, 3)`.
        class_names: A name for each label, or `None` when there are no labels.
        train: What is trained on.
        validation: Held out of training; every choice is made on it.
        test: What a result is reported on, or `None` when there is none.
    """

    name: str
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...] | None
    train: Split
    validation: Split
    test: Split | None

    @property
    def num_classes(self) -> int | None:
        """Number of classes, or `None` when there are no labels."""
        return None if self.class_names is None else len(self.class_names)


def load_dataset(
    name: str,
    *,
    data_dir: str | None = None,
    image_size: int | None = None,
    validation_fraction: float = 0.1,
    seed: int = 0,
    memory_limit_gib: float = 4.0,
) -> Dataset:
    """Loads a dataset by its name.

    A source's own splits are kept. A source with a test part and no validation part,
    or the reverse, reports on the one it has: that one is `test`. A labelled source
    without either has a fixed fifth of each class held out as `test`, whatever the
    seed; an unlabelled one has no `test`. `validation`, where the source has none of
    its own, is held out of the training part, class by class when it has labels.

    Args:
        name: `"digits"`, `"folder:PATH"`, `"npz:PATH"` (see `sources`), or the name
            of an image set of tensorflow-datasets, e.g. `"cifar10"`,
            `"name/config"`, `"name:version"`.
        data_dir: Where tensorflow-datasets keeps its sets, and, under `cache/`,
            where sets larger than the memory limit are kept decoded. `None`: its
            own default. Not used by the other sources.
        image_size: Height and width in pixels that every image is brought to: the
            shorter side is resized (antialiased bilinear), the longer one is cropped
            about its centre. `None`: sizes are kept, and must all be equal.
        validation_fraction: Part of the training examples held out, in `(0, 1)`.
        seed: Which examples are held out for `validation`.
        memory_limit_gib: Decoded pixels up to this size are held in memory; above it
            files are decoded when they are read, and sets of tensorflow-datasets are
            decoded once into a memory-mapped file. An npz file cannot be mapped:
            it is always loaded whole.

    Returns:
        A `Dataset` with the same pixels in the same order whichever way it is held.

    Raises:
        ValueError: If the name is unknown, an argument is out of range, or a file's
            content is not what is expected.
        FileNotFoundError: If a folder or file does not exist.
    """
    _check_arguments(image_size, validation_fraction, seed, memory_limit_gib)
    scheme, _, location = name.partition(":")
    if scheme in DATASETS:
        loader = DATASETS[scheme]
    else:
        loader, location = sources.load_tfds, name
    source = loader(
        location,
        data_dir=data_dir,
        image_size=image_size,
        memory_limit_bytes=memory_limit_gib * 2**30,
        schemes=tuple(DATASETS),
    )
    train, validation, test = _make_splits(name, source, validation_fraction, seed)
    return Dataset(
        name=name,
        image_shape=train.image_shape,
        class_names=source.class_names,
        train=train,
        validation=validation,
        test=test,
    )


def load_images(pattern: str, image_shape: Sequence[int | None]) -> Split:
    """Image files as one split without labels, decoded when they are read.

    Args:
        pattern: A file, a folder, or a glob, as of `sources.load_files`.
        image_shape: What an encoder takes, `(height, width, 3)`.

    Raises:
        ValueError: If nothing matches, or a file's size is not as expected.
    """
    part = sources.load_files(pattern, image_shape=image_shape)
    return Split(part.examples, part.labels, part.names)


def _make_splits(
    name: str, source: sources.Source, validation_fraction: float, seed: int
) -> tuple[Split, Split, Split | None]:
    train = _whole(source.train)
    validation = _whole(source.validation)
    test = _whole(source.test)
    if test is None and validation is not None:
        validation, test = None, validation
    if test is None and train.labels is not None:
        train, test = _hold_out(name, train, _TEST_FRACTION, _TEST_SEED)
    if validation is None:
        train, validation = _hold_out(name, train, validation_fraction, seed)
    return train, validation, test


def _whole(part: sources.Part | None) -> Split | None:
    return None if part is None else Split(part.examples, part.labels, part.names)


def _hold_out(
    name: str, split: Split, fraction: float, seed: int
) -> tuple[Split, Split]:
    """Splits into (kept, held out), each in the source's order and not empty."""
    total = split.num_examples
    if total < 2:
        raise ValueError(
            "Expected enough examples for training and for a held-out part. "
            f"Received: name={name!r} with {total} left to divide. Add examples."
        )
    count = min(max(round(total * fraction), 1), total - 1)
    # RandomState's stream is frozen by numpy: the same split under any version.
    order = np.random.RandomState(seed).permutation(total)
    if split.labels is not None:
        order = order[np.argsort(split.labels[order], kind="stable")]
    # Evenly spaced picks from examples sorted by class give each class its share,
    # rounded down or up, and exactly `count` in all.
    picks = order[(np.arange(count) * total + total // 2) // count]
    held_out = np.zeros(total, dtype=bool)
    held_out[picks] = True
    return split.take(np.flatnonzero(~held_out)), split.take(np.flatnonzero(held_out))


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
    _check_seed(seed)


def _check_seed(seed: int) -> None:
    if not 0 <= seed < 2**32:
        raise ValueError(
            "Expected a seed of at least 0 and below 2**32. "
            f"Received: seed={seed}. Use e.g. --seed=0."
        )


def _check_arguments(
    image_size: int | None,
    validation_fraction: float,
    seed: int,
    memory_limit_gib: float,
) -> None:
    if image_size is not None and image_size < 1:
        raise ValueError(
            "Expected a size in pixels of at least 1. "
            f"Received: image_size={image_size}. Use a positive --image_size."
        )
    if not 0 < validation_fraction < 1:
        raise ValueError(
            "Expected a fraction between 0 and 1, both excluded. Received: "
            f"validation_fraction={validation_fraction}. Use e.g. 0.1."
        )
    _check_seed(seed)
    if not memory_limit_gib >= 0:
        raise ValueError(
            "Expected a size in GiB of at least 0. "
            f"Received: memory_limit_gib={memory_limit_gib}. Use e.g. 4."
        )
