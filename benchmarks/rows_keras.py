"""The package's contender of `benchmarks.rows`: a process of its own.

    python -m benchmarks.rows_keras FOLDER PRECISION

Reads `rows.parquet` in the folder as `main.py --dataset=parquet:PATH` does, and builds
the model that it would train; trains as many steps as `benchmarks.contender` asks for.
In float32 it leaves `plan.npz`, from which `benchmarks/rows_torch.py` builds the same
model.
"""

import pathlib
import sys
import time
import warnings

import keras
import numpy as np
import tensorflow as tf

from benchmarks.contender import serve
from vicreg_keras.data.columns import input_columns
from vicreg_keras.data.dataset import Dataset, load_dataset
from vicreg_keras.hardware.precision import POLICIES
from vicreg_keras.losses import vicreg_loss
from vicreg_keras.model import VICReg
from vicreg_keras.settings import Settings
from vicreg_keras.training.pretrain import build_model


def main():
    folder, precision = pathlib.Path(sys.argv[1]), sys.argv[2]
    keras.mixed_precision.set_dtype_policy(POLICIES[precision])
    settings = Settings(
        encoder="mlp",
        mlp="256-128",
        projector="512-512",
        views="table",
        batch_size=512,
        precision=precision,
    )
    start = time.perf_counter()
    dataset = load_dataset(f"parquet:{folder / 'rows.parquet'}")
    greeting = {
        "version": f"TensorFlow {tf.__version__}, Keras {keras.__version__}",
        "read_seconds": time.perf_counter() - start,
        "num_rows": dataset.train.num_examples,
    }
    steps_per_epoch = dataset.train.num_examples // settings.batch_size
    model = build_model(settings, dataset, steps_per_epoch)
    if precision == "float32":
        greeting |= write_plan(folder / "plan.npz", model, dataset, settings)
    serve(greeting, {"train": lambda n: train(model, dataset, settings, n)})


def train(
    model: VICReg, dataset: Dataset, settings: Settings, num_steps: int
) -> dict[str, float]:
    """Trains the next steps as one fit; returns its seconds, and those of all cores.

    The fit's start is counted. Its end is told apart: there it now and then waits for
    seconds, idle, as it seems until tf.data's autotuning next wakes.
    """
    batches = dataset.train.training_batches(
        settings.batch_size, seed=settings.seed, start_step=int(model.step.numpy())
    )
    last_step = {}

    def note_end(logs):
        last_step["seconds"] = time.perf_counter() - start
        last_step["cpu_seconds"] = time.process_time() - cpu_start

    start, cpu_start = time.perf_counter(), time.process_time()
    with warnings.catch_warnings():
        # Keras can't see whether a tf.data.Dataset is shuffled.
        warnings.filterwarnings("ignore", message=".*shuffle=True.*")
        model.fit(
            batches,
            steps_per_epoch=num_steps,
            callbacks=[keras.callbacks.LambdaCallback(on_train_end=note_end)],
            verbose=0,
        )
    whole = time.perf_counter() - start
    return {**last_step, "wait_seconds": whole - last_step["seconds"]}


def write_plan(
    path: pathlib.Path, model: VICReg, dataset: Dataset, settings: Settings
) -> dict[str, float]:
    """Writes all of the model's numbers; returns loss and gradient of two views."""
    numbers, indicators, categories = input_columns(
        dataset.columns, dataset.row_statistics
    )
    batches = dataset.train.training_batches(settings.batch_size, seed=settings.seed)
    view_a, view_b = model.views(next(iter(batches)), (0, 0))
    with tf.GradientTape() as tape:
        embeddings = [model.embed(view, training=True) for view in (view_a, view_b)]
        loss = vicreg_loss(*embeddings)["loss"]
    gradients = tape.gradient(loss, model.trainable_variables)
    weights = {f"weight_{i}": w for i, w in enumerate(model.trainable_variables)}
    view = model.augmenter[0].get_config()
    np.savez(
        path,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        numbers=numbers,
        indicators=indicators,
        categories=categories,
        num_categories=[len(dataset.columns[i].categories) for i in categories],
        mean=dataset.row_statistics.mean,
        std=dataset.row_statistics.std,
        marginals=type(model.augmenter[0]).from_config(view)._marginals,
        corruption_probability=view["corruption_probability"],
        noise_std=view["noise_std"],
        view_a=view_a,
        view_b=view_b,
        **weights,
    )
    return {"loss": float(loss), "gradient": float(tf.linalg.global_norm(gradients))}


if __name__ == "__main__":
    main()
