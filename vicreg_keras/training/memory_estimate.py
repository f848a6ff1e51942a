"""What a training step takes of this machine's memory, before the first one."""

import math
import pathlib

import keras
import psutil
import tensorflow as tf

from vicreg_keras.data.dataset import Dataset
from vicreg_keras.errors import InputError
from vicreg_keras.model import VICReg
from vicreg_keras.models.encoders import make_encoder, make_projector
from vicreg_keras.settings import Settings
from vicreg_keras.settings.options import parse_widths

_GIB = 2**30
# Within a fifth of 14 measured peaks, from 0.6 to 7 GiB: benchmarks/LOG.md, 2026-11-26,
# what memory does a step take.
_FIXED_BYTES, _COPIES_OF_WEIGHTS, _COPIES_OF_IMAGES = 0.4 * _GIB, 3, 4
# The share of the free memory above which the estimate is said.
_NOTABLE = 0.25
_IMAGE_SIZES = (224, 160, 128, 96, 64, 32)


def check_memory(settings: Settings, dataset: Dataset) -> None:
    """Says what a step on large images takes, where it is much of what is free.

    Nothing is checked where a GPU is used, whose memory it would be, nor for tables.

    Args:
        settings: Recipe of the run.
        dataset: Dataset that is trained on, of which no example is read.

    Raises:
        InputError: If it is more than this machine has.
    """
    if dataset.columns is not None or tf.config.list_logical_devices("GPU"):
        return
    height, width, _ = dataset.example_shape
    encoder = make_encoder(settings.encoder, dataset.example_shape, stem=settings.stem)
    widths = parse_widths(settings.projector)
    projector = make_projector(encoder.output_shape[-1], widths)
    model = VICReg(encoder, projector, tf.identity, num_views=settings.num_views)
    is_cropped = settings.crop_size is not None
    if is_cropped:
        height = width = settings.crop_size

    def estimate(height, width, batch_size=settings.batch_size):
        source = dataset.example_shape if is_cropped else (height, width, 3)
        return estimate_bytes(
            model, (height, width), batch_size=batch_size, source=source
        )

    needed, free = estimate(height, width), available_bytes()
    step = f"about {needed / _GIB:.1f} GiB for a step of {settings.batch_size} images"
    if needed > free:
        option = "crop_size" if is_cropped else "image_size"
        sizes = [size for size in _IMAGE_SIZES if size <= min(height, width)]
        fitting = [size for size in sizes if 2 * estimate(size, size) < free]
        ways = [f"{option}={fitting[0]}"] if fitting else [f"a smaller {option}"]
        halves = range(1, int(math.log2(settings.batch_size)))
        batch_sizes = [settings.batch_size // 2**i for i in halves]
        batch_sizes = [b for b in batch_sizes if estimate(height, width, b) < free / 2]
        ways += [f"batch_size={size}" for size in batch_sizes[:1]]
        raise InputError(
            "Expected a training step that fits into this machine's memory. Received: "
            f"{step} of {height}x{width}, where {free / _GIB:.1f} GiB are free. Use "
            f"{', or '.join(ways)}."
        )
    if needed > _NOTABLE * free:
        print(
            f"Memory: {step} of {height}x{width}; {free / _GIB:.1f} GiB are free.",
            flush=True,
        )


def estimate_bytes(
    model: VICReg, size: tuple[int, int], *, batch_size: int, source: tuple[int, ...]
) -> float:
    """Returns the memory that a training step takes on a CPU, in bytes.

    The outputs of all layers are held for the backward pass, those of each view.

    Args:
        model: The model.
        size: Height and width of the views.
        batch_size: Images in a step.
        source: Shape of the images that views are made of.
    """
    bytes_per_value = 2 if model.compute_dtype in ("bfloat16", "float16") else 4
    activations = num_activations(model.encoder, (1, *size, 3)) * bytes_per_value
    images = 4 * math.prod(source) * _COPIES_OF_IMAGES
    per_image = model.num_views * activations + images
    weights = 4 * model.count_params() * _COPIES_OF_WEIGHTS
    return _FIXED_BYTES + weights + batch_size * per_image


def num_activations(encoder: keras.Model, input_shape: tuple[int, ...]) -> int:
    """Returns how many values the layers of a functional model put out together."""
    shapes: dict[int, tuple[int, ...]] = {}
    total = 0
    for layer in encoder.layers:  # In the order of their calls.
        shape = input_shape
        if not isinstance(layer, keras.layers.InputLayer):
            inputs = [shapes[id(one)] for one in keras.tree.flatten(layer.input)]
            shape = layer.compute_output_shape(
                inputs[0] if len(inputs) == 1 else inputs
            )
        shapes[id(layer.output)] = shape
        total += math.prod(shape)
    return total


def available_bytes() -> int:
    """Returns the memory that is free for this process, in bytes."""
    available = psutil.virtual_memory().available
    group = pathlib.Path("/sys/fs/cgroup")  # Of a container, which has its own limit.
    try:
        limit = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text())
    except (OSError, ValueError):  # It has none.
        return available
    return max(min(available, limit - used), 0)
