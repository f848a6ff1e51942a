"""Warnings about images that are not `(N, height, width, channels)` in [0, 255]."""

import inspect
import math
import warnings
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from vicreg_keras.data.sources.pixel_values import MAX_UNIT, UNKNOWN_RANGE

_NUM_CHANNELS = (1, 3)
# How far a filter that resizes may go beyond [0, 255].
_OVERSHOOT = 64
# Values of an array that are looked at.
_MAX_VALUES = 2**28
# Methods of a model that are given data as `x`.
_METHODS = {
    *("fit", "evaluate", "predict"),
    *("train_on_batch", "test_on_batch", "predict_on_batch"),
}


class PixelWarning(UserWarning):
    """Images of another range, or of another order of axes, than an encoder expects."""


def warn_once(images: tf.Tensor, checked: frozenset[str]) -> frozenset[str]:
    """Warns of images that an encoder is called with, or traced with.

    Args:
        images: A batch.
        checked: Names of the methods whose images it has been given before.

    Returns:
        These names with that of the method which gives it the images.
    """
    name, data = "call", images
    if tf.is_symbolic_tensor(images):
        name, data = _given_data(images)
    if not name or name in checked:
        return checked
    given = "images" if name == "call" else f"x of {name}"
    with tf.init_scope():  # Data has values also while a function is traced.
        return checked | {name} if warn_of_data(data, given) else checked


def warn_of_axes(shape: Sequence[int | None]) -> bool:
    """Warns of images whose channels are their second axis; returns whether they are.

    Args:
        shape: That of a batch, `None` for an axis of unknown size.
    """
    if len(shape) != 4 or shape[1] not in _NUM_CHANNELS or shape[3] in _NUM_CHANNELS:
        return False
    # Images as high as they have channels are no images.
    is_first = shape[2] is not None and shape[3] is not None and shape[2] > 1
    if is_first:
        warnings.warn(
            "Expected images of shape (N, height, width, channels). Received: shape="
            f"{tuple(shape)}, channels first. Use numpy.moveaxis(images, 1, -1).",
            PixelWarning,
            stacklevel=2,
        )
    return is_first


def warn_of_range(images: np.ndarray, name: str = "images") -> bool:
    """Warns of images whose values are not those of pixels in [0, 255].

    Args:
        images: A batch of any real type.
        name: The argument that they are.

    Returns:
        Whether the batch tells its range: black images do not.
    """
    if not images.size:
        return False
    low, high = float(images.min()), float(images.max())
    advice = ""
    if not np.isfinite([low, high]).all():
        advice = "finite values, such as numpy.nan_to_num(images)"
    elif low < 0 and max(-low, high) <= MAX_UNIT:
        advice = "(images + 1) * 127.5"
    elif low < -_OVERSHOOT or (low < 0 and high <= UNKNOWN_RANGE):
        advice = "images as they were before their mean was subtracted"
    elif 0 < high <= MAX_UNIT:
        advice = "images * 255"
    elif high > 255 + _OVERSHOOT:
        advice = "images * (255 / white), with the value that stands for white"
    elif high <= UNKNOWN_RANGE and (images != np.rint(images)).any():
        advice = "images scaled to [0, 255]"
    if advice:
        warnings.warn(
            "Expected images with values in [0, 255], of which encoders know mean and "
            f"standard deviation. Received: {name} with values from {low:g} to "
            f"{high:g}. Use {advice}.",
            PixelWarning,
            stacklevel=2,
        )
    return high != 0 or low != 0


def warn_of_data(data: Any, name: str = "images") -> bool:
    """Warns of what a method such as `keras.Model.fit` is given.

    Args:
        data: An array, or the first batch of a `keras.utils.PyDataset` or, if it is of
            floating-point images, of a `tf.data.Dataset`; of others nothing is read.
        name: The argument that it is.

    Returns:
        Whether its range is known.
    """
    if isinstance(data, tf.data.Dataset):
        spec = _first(data.element_spec)
        if not isinstance(spec, tf.TensorSpec) or spec.shape.rank != 4:
            return False
        if warn_of_axes(spec.shape.as_list()) or not spec.dtype.is_floating:
            return True
        data = next(iter(data.take(1)), None)
    elif hasattr(data, "__getitem__") and hasattr(data, "num_batches"):
        data = data[0]
    images = _first(data)
    shape = tuple(getattr(images, "shape", ()))
    if len(shape) != 4 or tf.is_symbolic_tensor(images):
        return False
    if warn_of_axes(shape):
        return True
    values = np.asarray(images[: max(_MAX_VALUES // math.prod(shape[1:]), 1)])
    if values.dtype.kind not in "fiub":  # bfloat16.
        values = values.astype(np.float32)
    return warn_of_range(values, name)


def _first(data):
    """The images of a batch, which may have labels or positives beside them."""
    if isinstance(data, dict):
        return data.get("images")
    return data[0] if isinstance(data, tuple | list) and len(data) else data


def _given_data(images: tf.Tensor) -> tuple[str, object]:
    """Returns what the method of a model is given in which an encoder is traced.

    A traced function sees no values, and one that asked for them could neither be
    compiled nor exported. But while it is traced, that method is being called.

    Args:
        images: The encoder's symbolic input.

    Returns:
        The method's name and its data; an empty name where there is none, or the
        encoder is given something that is computed from the data.
    """
    operation = images.op
    while operation.type in ("Cast", "Identity") and operation.inputs:
        operation = operation.inputs[0].op
    frame = inspect.currentframe()
    while frame is not None and operation.type == "Placeholder":
        name = frame.f_code.co_name
        if name in ("build", "compute_output_spec"):  # Of made-up inputs.
            break
        if name in _METHODS and isinstance(frame.f_locals.get("self"), keras.Model):
            return name, frame.f_locals.get("x")
        frame = frame.f_back
    return "", None
