"""Devices that share a batch, and the embeddings of the global batch."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def make_strategy(name: str) -> tf.distribute.Strategy:
    """Returns the `tf.distribute` strategy of a run.

    Args:
        name: `"auto"` mirrors the model over all GPUs where there are two or more,
            and takes the one device otherwise; `"mirrored"` mirrors over all GPUs, or
            over all logical CPU devices where there is no GPU; `"one"` takes the
            first device.

    Returns:
        A strategy; its scope is where the model and its optimizer are built.
    """
    gpus = tf.config.list_logical_devices("GPU")
    if name == "mirrored" or (name == "auto" and len(gpus) > 1):
        devices = gpus or tf.config.list_logical_devices("CPU")
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    return tf.distribute.get_strategy()


def gather(embeddings: tf.Tensor) -> tf.Tensor:
    """Returns the global batch's embeddings, on every replica, with gradients.

    Args:
        embeddings: `(replica_batch, dim)` embeddings of this replica.

    Returns:
        `(global_batch, dim)` float32 embeddings. Outside a strategy they are the
        replica's own. In the backward pass each replica receives the gradients that
        all replicas have for its part.
    """
    embeddings = tf.cast(embeddings, tf.float32)  # CPU collectives have no bfloat16.
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return embeddings
    return context.all_gather(embeddings, axis=0)


def run_if(condition: tf.Tensor, function: Callable[..., Any], *arguments: Any) -> None:
    """Calls a function on every replica, if a condition holds.

    An optimizer merges the replicas' work, which TensorFlow forbids inside of a
    replica's `tf.cond`: the condition is asked across replicas.

    Args:
        condition: Boolean scalar, the same on every replica.
        function: Called with this replica's `arguments`.
        *arguments: Tensors, and lists of them.
    """

    def across(strategy, condition, *arguments):
        (first, *_) = strategy.experimental_local_results(condition)

        def run():
            strategy.extended.call_for_each_replica(function, args=arguments)
            return 0

        tf.cond(first, run, lambda: 0)

    context = tf.distribute.get_replica_context()
    context.merge_call(across, args=(condition, *arguments))


def num_replicas() -> int:
    """Returns the number of replicas that share a step under the strategy in scope."""
    return tf.distribute.get_strategy().num_replicas_in_sync
