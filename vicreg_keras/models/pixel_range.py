"""Warnings about images that are not `(N, height, width, channels)` in [0, 255]."""

import warnings
from collections.abc import Sequence

import tensorflow as tf

_NUM_CHANNELS = (1, 3)


class PixelWarning(UserWarning):
    """Images of another range, or of another order of axes, than an encoder expects."""


def warn_of_axes(shape: Sequence[int | None]) -> None:
    """Warns of images whose channels are their second axis.

    Args:
        shape: That of a batch, `None` for an axis of unknown size.
    """
    if len(shape) != 4 or shape[1] not in _NUM_CHANNELS or shape[3] in _NUM_CHANNELS:
        return
    # Images as high as they have channels are no images.
    if shape[2] is not None and shape[3] is not None and shape[2] > 1:
        warnings.warn(
            "Expected images of shape (N, height, width, channels). Received: shape="
            f"{tuple(shape)}, channels first. Use numpy.moveaxis(images, 1, -1).",
            PixelWarning,
            stacklevel=2,
        )


def warn_of_range(images: tf.Tensor) -> bool:
    """Warns of floating-point images that are all in [-1, 1].

    Args:
        images: A batch, not symbolic.

    Returns:
        Whether the batch tells its range: black images do not.
    """
    maximum = float(tf.reduce_max(tf.abs(tf.cast(images, tf.float32))))
    if 0 < maximum <= 1:
        low = float(tf.reduce_min(images))
        advice = "(images + 1) * 127.5" if low < 0 else "images * 255"
        warnings.warn(
            "Expected images with values in [0, 255], of which encoders know mean and "
            f"standard deviation. Received: values from {low:g} to {maximum:g}. Use "
            f"{advice}.",
            PixelWarning,
            stacklevel=2,
        )
    return maximum > 0


def warn_of_first_batch(data: object) -> None:
    """Warns of what `keras.Model.fit` is given, by its first batch.

    Args:
        data: An array, a `tf.data.Dataset` or a `keras.utils.PyDataset`; of others
            nothing is read.
    """
    if isinstance(data, tf.data.Dataset):
        spec = _first(data.element_spec)
        if not isinstance(spec, tf.TensorSpec) or spec.shape.rank != 4:
            return
        warn_of_axes(spec.shape.as_list())
        if spec.dtype.is_floating:
            for batch in data.take(1):
                warn_of_range(_first(batch))
        return
    if hasattr(data, "__getitem__") and hasattr(data, "num_batches"):
        data = data[0]
    images = _first(data)
    shape = tuple(getattr(images, "shape", ()))
    if len(shape) == 4:
        warn_of_axes(shape)
        if tf.as_dtype(images.dtype).is_floating and shape[0]:
            warn_of_range(tf.convert_to_tensor(images[:256]))


def _first(data):
    """The images of a batch, which may have labels or positives beside them."""
    if isinstance(data, dict):
        return data.get("images")
    return data[0] if isinstance(data, tuple | list) and len(data) else data
