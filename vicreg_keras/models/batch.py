"""A batch as `VICReg.fit` is given it: its images, at least two of them."""

import contextlib
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from vicreg_keras.errors import InputError
from vicreg_keras.hardware import distribute

# What TensorFlow's error contains after a batch of one example.
_ONE_EXAMPLE = "batches_of_two_examples_or_more"


def images_of(data: Any) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Returns a batch's images, and its positives or `None`."""
    if isinstance(data, dict):
        return data["images"], data.get("positives")
    return (data[0] if isinstance(data, tuple | list) else data), None


def two_or_more(images: tf.Tensor) -> tf.Tensor:
    """Returns a batch; where its size is unknown before the step, one of 1 fails."""
    if images.shape[0] is not None or distribute.num_replicas() > 1:
        return images
    check = tf.debugging.assert_greater(tf.shape(images)[0], 1, message=_ONE_EXAMPLE)
    # XLA leaves assertions out, and refuses this when it compiles the step.
    first = tf.reshape(images, [tf.shape(images)[0], -1])[:, 0]
    two = tf.slice(first, [0], [2], name=_ONE_EXAMPLE)
    with tf.control_dependencies([check, two]):
        return tf.identity(images)


@contextlib.contextmanager
def batch_errors() -> Iterator[None]:
    """Turns the error of a batch of one example into one that says what to do."""
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        if _ONE_EXAMPLE not in str(error):
            raise
        raise InputError(
            "Expected batches of two examples or more, whose variance the loss takes. "
            "Received: a batch of 1. Leave a remainder of 1 out, by "
            "`batch(..., drop_remainder=True)`, or use another batch_size."
        ) from error
