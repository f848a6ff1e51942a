"""The package's contender of `benchmarks.step`: a process of its own.

    python -m benchmarks.step_keras FOLDER PRECISION

Reads `images.npz` and `settings.json` in the folder, and builds the model that
`--mode=pretrain` would train. In float32 it leaves `plan.npz`, from which
`benchmarks/step_torch.py` builds the same model. Its greeting lists the convolutions
and matrix products of a step, for `benchmarks/step_ceiling_keras.py`.
"""

import json
import pathlib
import sys
import time
from collections import Counter

import keras
import numpy as np
import tensorflow as tf

from benchmarks.contender import serve
from benchmarks.rows_keras import train
from vicreg_keras.data.dataset import Dataset, load_dataset
from vicreg_keras.hardware.precision import POLICIES
from vicreg_keras.losses import vicreg_loss
from vicreg_keras.model import VICReg
from vicreg_keras.settings import Settings
from vicreg_keras.training.pretrain import build_model


def main():
    folder, precision = pathlib.Path(sys.argv[1]), sys.argv[2]
    keras.mixed_precision.set_dtype_policy(POLICIES[precision])
    settings = json.loads((folder / "settings.json").read_text())
    settings = Settings(**settings, precision=precision)
    dataset = load_dataset(f"npz:{folder / 'images.npz'}")
    steps_per_epoch = dataset.train.num_examples // settings.batch_size
    model = build_model(settings, dataset, steps_per_epoch)
    images = next(iter(dataset.train.training_batches(settings.batch_size, seed=0)))
    greeting = {
        "version": f"TensorFlow {tf.__version__}, Keras {keras.__version__}",
        "operations": operations(model, images),
    }
    if precision == "float32":
        greeting |= write_plan(folder / "plan.npz", model, images, dataset, settings)
    make_views = tf.function(model.views)
    serve(
        greeting,
        {
            "train": lambda n: train(model, dataset, settings, n),
            "views": lambda n: {"seconds": seconds_of_views(make_views, images, n)},
        },
    )


def seconds_of_views(make_views, images: tf.Tensor, num_steps: int) -> float:
    """Returns how long both views of so many steps take by themselves."""
    start = time.perf_counter()
    for step in range(num_steps):
        views = make_views(images, tf.constant([0, step], tf.int64))
    for view in views:
        view.numpy()  # Waits until all is done.
    return time.perf_counter() - start


def operations(model: VICReg, images: tf.Tensor) -> list[dict]:
    """Returns the convolutions and matrix products that one view cannot do without.

    Each is a kind, the parts that are computed of it, its sizes, and how many of them
    there are; those of equal sizes are one.
    """
    counts = Counter()
    parts = ("forward", "by input", "by kernel")
    pixels = model.augmenter[0].compute_output_shape(images.shape)
    for i, (layer, shape) in enumerate(convolutions(model.encoder, pixels)):
        # No gradient goes on to the pixels.
        needed = parts if i else ("forward", "by kernel")
        counts["convolution", needed, *convolution_sizes(layer, shape)] += 1
    width = model.encoder.output_shape[-1]
    for layer in model.projector.layers:
        if isinstance(layer, keras.layers.Dense):
            counts["dense", parts, images.shape[0], width, layer.units] += 1
            width = layer.units
    # As `vicreg_keras.losses` does it: by way of the smaller of the two products.
    sizes = (images.shape[0], width)
    kind = "Gram matrix" if 2 * sizes[0] <= width else "covariance"
    counts[kind, parts[:2], *sizes] += 1
    return [
        {"kind": kind, "parts": parts, "sizes": sizes, "count": count}
        for (kind, parts, *sizes), count in counts.items()
    ]


def convolutions(encoder: keras.Model, shape: tuple) -> list[tuple]:
    """Returns each convolution with the shape of what it is given."""
    layers = [x for x in encoder.layers if isinstance(x, keras.layers.Conv2D)]
    inputs = keras.Model(encoder.input, [layer.input for layer in layers])
    shapes = inputs.compute_output_shape(tuple(shape))
    return list(zip(layers, shapes, strict=True))


def convolution_sizes(layer: keras.layers.Conv2D, shape: tuple) -> tuple[int, ...]:
    """Returns batch, side and channels of the input, width, kernel, stride, padding.

    The padding on either side is taken off the input where a layer before it adds it.
    """
    batch, side, _, channels = shape
    kernel, stride = layer.kernel_size[0], layer.strides[0]
    padding = kernel // 2
    if layer.padding == "valid":
        side -= 2 * padding
    return batch, side, channels, layer.filters, kernel, stride, padding


def write_plan(
    path: pathlib.Path,
    model: VICReg,
    images: tf.Tensor,
    dataset: Dataset,
    settings: Settings,
) -> dict[str, float]:
    """Writes all of the model's numbers; returns loss and gradient of two views."""
    for layer in model.encoder.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            # A block's last is 0 at first: the rest of it would have no gradient.
            layer.gamma.assign(tf.ones_like(layer.gamma))
    view_a, view_b = model.views(images, (0, 0))
    loss, gradients = loss_and_gradients(model, view_a, view_b)
    weights = {
        f"{layer.name}/{weight.name}": weight
        for layer in (*model.encoder.layers, *model.projector.layers)
        for weight in layer.trainable_weights
    }
    mean, std = dataset.pixel_statistics
    view = model.augmenter[0].get_config()
    names = (
        "crop_scale",
        "crop_ratio",
        "flip_probability",
        "brightness",
        "contrast",
        "saturation",
    )
    names += (
        "hue",
        "jitter_probability",
        "grayscale_probability",
        "solarize_probability",
        "solarize_threshold",
    )
    np.savez(
        path,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        mean=np.float32(mean),
        std=np.float32(std),
        **{name: view[name] for name in names},
        view_a=view_a,
        view_b=view_b,
        **weights,
    )
    return {"loss": float(loss), "gradient": float(tf.linalg.global_norm(gradients))}


@tf.function  # As training is: run eagerly it would take more memory, and keep it.
def loss_and_gradients(
    model: VICReg, view_a: tf.Tensor, view_b: tf.Tensor
) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """Returns the loss of two views, and its gradient by every weight."""
    with tf.GradientTape() as tape:
        embeddings = [model.embed(view, training=True) for view in (view_a, view_b)]
        loss = vicreg_loss(*embeddings)["loss"]
    return loss, tape.gradient(loss, model.trainable_variables)


if __name__ == "__main__":
    main()
