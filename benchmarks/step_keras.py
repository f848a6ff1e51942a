"""The package's contender of `benchmarks.step`: a process of its own.

    python -m benchmarks.step_keras FOLDER PRECISION

Reads `images.npz` and `settings.json` in the folder, and builds the model that
`--mode=pretrain` would train. In float32 it leaves `plan.npz`, from which
`benchmarks/step_torch.py` builds the same model.
"""

import json
import pathlib
import sys
import time
import warnings

import keras
import numpy as np
import tensorflow as tf

from benchmarks.contender import serve
from vicreg_keras.data.dataset import Dataset, load_dataset
from vicreg_keras.hardware.precision import POLICIES
from vicreg_keras.losses import vicreg_loss
from vicreg_keras.model import VICReg
from vicreg_keras.settings import Settings
from vicreg_keras.training.build import build_model
from vicreg_keras.views.named_views import pair_options


def main():
    folder, precision = pathlib.Path(sys.argv[1]), sys.argv[2]
    keras.mixed_precision.set_dtype_policy(POLICIES[precision])
    settings = json.loads((folder / "settings.json").read_text())
    if not settings["encoder"].startswith("resnet"):
        del settings["stem"]
    settings = Settings(**settings, precision=precision)
    dataset = load_dataset(f"npz:{folder / 'images.npz'}")
    steps_per_epoch = dataset.train.num_examples // settings.batch_size
    model = build_model(settings, dataset, steps_per_epoch)
    images = next(iter(dataset.train.training_batches(settings.batch_size, seed=0)))
    greeting = {
        "version": f"TensorFlow {tf.__version__}, Keras {keras.__version__}",
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


def train(
    model: VICReg, dataset: Dataset, settings: Settings, num_steps: int
) -> dict[str, float]:
    """Trains the next steps as one fit, and returns its seconds.

    The wait at the end of a fit is not counted: tf.data now and then takes idle
    seconds there.
    """
    batches = dataset.train.training_batches(
        settings.batch_size, seed=settings.seed, start_step=int(model.step.numpy())
    )
    seconds = []
    start = time.perf_counter()
    note_end = keras.callbacks.LambdaCallback(
        on_train_end=lambda logs: seconds.append(time.perf_counter() - start)
    )
    with warnings.catch_warnings():
        # Keras can't see whether a tf.data.Dataset is shuffled.
        warnings.filterwarnings("ignore", message=".*shuffle=True.*")
        model.fit(batches, steps_per_epoch=num_steps, callbacks=[note_end], verbose=0)
    return {"seconds": seconds[0]}


def seconds_of_views(make_views, images: tf.Tensor, num_steps: int) -> float:
    """Returns how long both views of so many steps take by themselves."""
    start = time.perf_counter()
    for step in range(num_steps):
        views = make_views(images, tf.constant([0, step], tf.int64))
    for view in views:
        view.numpy()  # Waits until all is done.
    return time.perf_counter() - start


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
    options = pair_options(settings.views, **settings.group("image views"))
    np.savez(
        path,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        mean=np.float32(mean),
        std=np.float32(std),
        **{name: value for name, value in options.items() if value is not None},
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
