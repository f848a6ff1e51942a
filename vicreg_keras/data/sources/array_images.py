"""Images in arrays of any layout and range, as uint8 RGB."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from vicreg_keras.data.sources.base import at_a_time
from vicreg_keras.data.sources.images import resized
from vicreg_keras.data.sources.pixel_values import (
    MAX_PIXELS,
    MAX_UNIT,
    UNKNOWN_RANGE,
    note_of_dark,
    note_of_one_color,
)
from vicreg_keras.errors import InputError

# Axes that an array may have; the first of each number is the documented one.
_LAYOUTS = {3: ("NHW", "HWN"), 4: ("NHWC", "NCHW", "HWCN", "CHWN")}
_NUM_CHANNELS = (1, 3, 4)
# Height over width, or the reverse, beyond which axes are hardly those of an image.
_MAX_ASPECT = 4
# Largest values of sensors of more than 8 bits.
_WIDE = MAX_PIXELS[1:]
# Lower values than this are hardly 0 but for an error of computing.
_LOWEST = -0.1
_NUM_LOOKED_AT = 64
_CHUNK = 1024


class Images(NamedTuple):
    """Images of every split.

    Attributes:
        arrays: By split, uint8 `(N, H, W, 3)`.
        max_pixel: See `Source`.
        notes: How they were read where it could be done in other ways.
    """

    arrays: dict[str, np.ndarray]
    max_pixel: int
    notes: list[str]


def read_images(
    arrays: Mapping[str, np.ndarray],
    num_labels: Mapping[str, int],
    where: Mapping[str, str],
    *,
    image_size: int | None,
    max_pixel: int | None,
) -> Images:
    """Reads the images of all splits by the same rules.

    Args:
        arrays: By split: `(N, H, W)` or `(N, H, W, C)`, C 1, 3 or 4 (transparency,
            which is put on white). Other orders of the axes are recognized. Values are
            0 and 1, in [0, 1], in [0, 255], or whole numbers up to 65535.
        num_labels: By split, of those that have labels.
        where: By split, its array, for messages.
        image_size: See `load_dataset`.
        max_pixel: See `Known`.

    Raises:
        InputError: If they are no such images, or not of one kind in all splits.
    """
    layout, notes = _common_layout(arrays, num_labels, where)
    order = [layout.index(axis) for axis in "NHWC" if axis in layout]
    scale, max_pixel, value_notes = _scale(arrays, where, max_pixel)
    read = {}
    for split, array in arrays.items():
        images = array.transpose(order)
        images = images if images.ndim == 4 else images[..., np.newaxis]
        _check_alpha(images, where[split])
        if images.dtype.kind == "f" and scale == 1:
            _check_each(images, where[split])
        read[split] = resized(_as_uint8_rgb(images, scale), image_size)
    if "C" in layout and arrays["train"].shape[layout.index("C")] == 4:
        notes.append("transparency on white")
    train = read["train"]
    some = train[:: len(train) // _NUM_LOOKED_AT + 1]
    notes += note_of_one_color(some)
    return Images(read, max_pixel, [*notes, *value_notes])


def _check_alpha(images: np.ndarray, where: str) -> None:
    """Refuses transparency of another range than colors."""
    if images.shape[3] < 4:
        return
    color, alpha = float(images[..., :3].max()), float(images[..., 3].max())
    is_other = alpha < 256 <= color or alpha <= MAX_UNIT < color
    if is_other or 0 < color <= MAX_UNIT < alpha:
        raise InputError(
            "Expected images whose transparency has the range of their colors. "
            f"Received: {where}, colors up to {color:g} and transparency up to "
            f"{alpha:g}. Scale both to [0, 255], or save the first three channels."
        )


def _check_each(images: np.ndarray, where: str) -> None:
    """Refuses images of fractions in [0, 1] among others in [0, 255]."""
    maxima = images.max(axis=(1, 2, 3))
    low = np.flatnonzero((maxima > 0) & (maxima <= MAX_UNIT))
    few = images[low]
    num_low = int((few != np.rint(few)).any(axis=(1, 2, 3)).sum())
    if num_low:
        raise InputError(
            "Expected images of one range of values. Received: "
            f"{where}, {num_low:,} of {len(images):,} images with fractions up to 1 "
            f"and others up to {maxima.max():g}. Scale all to [0, 255]."
        )


def _common_layout(
    arrays: Mapping[str, np.ndarray],
    num_labels: Mapping[str, int],
    where: Mapping[str, str],
) -> tuple[str, list[str]]:
    """The order of axes that suits every split, and a note unless it is the usual."""
    possible = [
        _layouts(array.shape, num_labels.get(split), is_told=bool(num_labels))
        for split, array in arrays.items()
    ]
    common = [one for one in possible[0] if all(one in others for others in possible)]
    shape = arrays["train"].shape
    # A single image has as many axes as several gray ones.
    if len(arrays) == 1 and not num_labels and shape[2:] in ((3,), (4,)):
        common = []
    if not common or _is_ambiguous(shape, common, num_labels.get("train")):
        received = "; ".join(
            f"{where[split]} of shape {array.shape}, dtype {array.dtype}"
            + (f" and {num_labels[split]:,} labels" if split in num_labels else "")
            for split, array in arrays.items()
        )
        advice = "Use numpy.reshape or numpy.moveaxis"
        if len(shape) == 2:
            advice = "Reshape flattened images, or name a table's array examples"
        raise InputError(
            "Expected images of shape (N, H, W, 3) or (N, H, W, 1), with sides of at "
            "least 2 pixels and one label each, alike in every split. Received: "
            f"{received}. {advice}."
        )
    layout = common[0]
    if layout in [of_dim[0] for of_dim in _LAYOUTS.values()]:
        return layout, []
    return layout, [f"shape {shape} as ({', '.join(layout)})"]


def _layouts(
    shape: Sequence[int], num_labels: int | None, *, is_told: bool
) -> list[str]:
    """The orders of axes that a shape allows, the most likely first.

    Args:
        shape: Of an array of images.
        num_labels: Number of their labels, if they have any.
        is_told: Whether labels of some split tell which axis is that of examples.
    """
    found = {}
    for layout in _LAYOUTS.get(len(shape), ()):
        sizes = dict(zip(layout, shape, strict=True))
        low, high = sorted((sizes["H"], sizes["W"]))
        usual = layout in ("NHW", "NHWC")
        valid = low > 1 and sizes["N"] > 0
        valid = valid and sizes.get("C", 1) in _NUM_CHANNELS
        valid = valid and num_labels in (None, sizes["N"])
        valid = valid and (usual or high <= _MAX_ASPECT * low)
        if layout.endswith("N") and not is_told:
            valid = valid and low == high
        if valid:
            found[layout] = high / low if len(shape) == 4 else 1
    return sorted(found, key=lambda layout: found[layout])


def _is_ambiguous(shape, common, num_labels):
    """Whether N may be the first or the last axis; drops what is out of proportion."""
    if num_labels is not None or len(shape) != 3 or shape[0] == shape[2]:
        return False
    is_wide = shape[2] > _MAX_ASPECT * shape[1]
    if common != ["NHW", "HWN"]:  # Images that are not square may be either.
        return is_wide and max(shape[:2]) <= _MAX_ASPECT * min(shape[:2])
    if is_wide:
        common.remove("NHW")
    return len(common) > 1


def _scale(
    arrays: Mapping[str, np.ndarray],
    where: Mapping[str, str],
    known: int | None,
) -> tuple[float, int, list[str]]:
    """The factor to [0, 255] of every split's values, `max_pixel` and notes."""
    limits = {split: _limits(array, where[split]) for split, array in arrays.items()}
    maximum = max(limits.values())
    text = f"values from 0 to {maximum:g}"
    # What is all 0 may be of any range.
    units = {high <= 1 for high in limits.values() if high}
    narrow = {
        array.dtype.kind == "b" or array.itemsize == 1 for array in arrays.values()
    }
    if len(units) > 1 or (len(narrow) > 1 and maximum > 255):
        received = ", ".join(
            f"{where[split]} up to {high:g} ({arrays[split].dtype})"
            for split, high in limits.items()
        )
        raise InputError(
            f"Expected images of one range of values in every split. Received: "
            f"{received}. Scale all to [0, 255]."
        )
    is_float = any(array.dtype.kind == "f" for array in arrays.values())
    wide = 255
    if known is not None and not any(narrow) and True not in units:
        wide = known
    elif maximum > 255:
        wide = next((one for one in _WIDE if maximum <= one), _WIDE[-1])
    if maximum > max(wide, 255):
        raise InputError(
            f"Expected images with values up to {max(wide, 255)}. Received: "
            f"{where['train']} and others with {text}. Scale them to [0, 255]."
        )
    if wide > 255:
        notes = [f"{text}: scaled by 255 / {wide}", *note_of_dark(maximum, wide)]
        return 255 / wide, wide, notes
    if True in units:
        kind = "values between 0 and 1" if is_float else "values 0 and 1 only"
        return 255.0, 255, [f"{kind}: multiplied by 255"]
    notes = []
    if is_float:
        notes.append(f"{text}: rounded")
    return 1.0, 255, [*notes, *note_of_dark(maximum)]


def _limits(array: np.ndarray, where: str) -> float:
    """The largest value of images; refuses what is no range of pixels."""
    problem = ""
    if array.dtype.kind not in "iufb":
        raise InputError(
            f"Expected images of numbers. Received: {where} of dtype {array.dtype}. "
            "Save the array as uint8."
        )
    low, high = float(array.min()), float(array.max())
    if not np.isfinite([low, high]).all():
        count = int((~np.isfinite(array)).sum())
        problem = f"{count:,} values that are NaN or infinite. Correct them."
    elif low < 0:
        text = f"values from {low:g} to {high:g}"
        advice = "Scale them to [0, 255]"
        if low > _LOWEST:
            advice = "Clip them at 0 (numpy.maximum(images, 0)) if 0 is black"
        elif low >= -MAX_UNIT and high <= MAX_UNIT:
            advice = "Save (images + 1) * 127.5"
        elif array.dtype.kind == "i" and low >= -128 and high <= 127:
            advice = "Save images + 128 as uint8"
        problem = f"{text}. {advice}."
    elif array.dtype.kind == "f" and high > MAX_UNIT:
        whole = bool((array == np.rint(array)).all())
        if not whole and not UNKNOWN_RANGE < high <= 255.5:
            problem = f"fractions from {low:g} to {high:g}. Scale them to [0, 255]."
        high = high if whole else min(high, 255.0)
    if not problem and high > _WIDE[-1]:
        problem = f"values from {low:g} to {high:g}. Scale them to [0, 255]."
    if problem:
        raise InputError(
            "Expected images with values in [0, 255] or in [0, 1]. Received: "
            f"{where} with {problem}"
        )
    return 1.0 if array.dtype.kind == "f" and 1 < high <= MAX_UNIT else high


def _as_uint8_rgb(images: np.ndarray, scale: float) -> np.ndarray:
    """Scaled and rounded images `(N, H, W, 3)` of `(N, H, W, 1 or 3 or 4)`."""
    if images.dtype == np.uint8 and scale == 1 and images.shape[3] == 3:
        return np.ascontiguousarray(images)
    rgb = np.empty((*images.shape[:3], 3), np.uint8)
    size = at_a_time(_CHUNK, images.shape[1:])
    for start in range(0, len(images), size):
        part = images[start : start + size]
        if part.dtype != np.uint8 or scale != 1 or part.shape[3] == 4:
            part = part.astype(np.float32) * np.float32(scale)
        if part.shape[3] == 4:
            alpha = part[..., 3:] / 255
            part = part[..., :3] * alpha + 255 * (1 - alpha)
        if part.dtype != np.uint8:
            part = np.clip(np.rint(part), 0, 255)
        rgb[start : start + size] = part  # One channel is repeated.
    return rgb
