"""How does an encoder leave the program that trained it?

As a SavedModel in the numbered layout that TensorFlow Serving watches. A version
appears whole or not at all, and only after it was read back and gave the encoder's
own numbers.
"""

import os
import pathlib
import shutil
import uuid
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

_TOLERANCE = 1e-4  # Of the largest number in a representation.


def export_savedmodel(
    encoder: keras.Model, folder: str | os.PathLike, image_shape: Sequence[int]
) -> pathlib.Path:
    """Writes the next numbered version of an encoder under `folder`.

    Its signature `serving_default` takes `image`, uint8 `(batch, height, width, 3)` in
    [0, 255], and gives `representation`, float32 `(batch, dim)`.

    Args:
        encoder: functional `keras.Model` that takes pixels in [0, 255].
        folder: where the versions are.
        image_shape: `(height, width, 3)` that the signature takes.

    Returns:
        The version's folder, `folder/1` for the first.

    Raises:
        RuntimeError: if what was written gives other numbers than the encoder; earlier
            versions stay as they are.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / f".unfinished-{uuid.uuid4().hex}"
    try:
        _write(encoder, aside, tuple(image_shape))
        _check(encoder, aside, tuple(image_shape))
        _flush(aside)
        version = folder / str(max(_versions(folder), default=0) + 1)
        os.rename(aside, version)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return version


def _write(encoder, path, image_shape):
    def serve(image):
        return {"representation": encoder(image, training=False)}

    archive = keras.export.ExportArchive()
    archive.track(encoder)
    signature = tf.TensorSpec((None, *image_shape), tf.uint8, name="image")
    archive.add_endpoint("serving_default", serve, [signature])
    archive.write_out(str(path), verbose=False)


def _check(encoder, path, image_shape):
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (3, *image_shape)).astype(np.uint8)
    expected = keras.ops.convert_to_numpy(encoder(images, training=False))
    served = tf.saved_model.load(str(path)).signatures["serving_default"]
    received = served(image=tf.constant(images))["representation"].numpy()
    difference = np.abs(received - expected).max()
    if not difference <= _TOLERANCE * max(np.abs(expected).max(), 1e-12):
        raise RuntimeError(
            "Expected the written SavedModel to give the encoder's numbers. Received: "
            f"a difference of {difference:.3g} where the largest number is "
            f"{np.abs(expected).max():.3g}. Nothing was replaced."
        )


def _flush(path):
    for file in path.rglob("*"):
        if file.is_file():
            with open(file, "rb") as handle:
                os.fsync(handle.fileno())


def _versions(folder):
    return [int(child.name) for child in folder.iterdir() if child.name.isdecimal()]
