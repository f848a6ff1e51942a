"""Batches as `tf.data`: the order of training, and arrays read in parallel.

The order of training is a pure function of `(seed, step)`, so that a run continued
at step `s` reads exactly the batches an uninterrupted run would have read.
"""

import functools
import os
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from vicreg_keras.errors import InputError

# Batches that are read at once, and batches that wait ready beyond these.
_MAX_READERS, _BATCHES_AHEAD = 16, 4


def training_order(
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


def read_batches(
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
