"""Loaders of each kind of dataset.

A loader is a function `(location, options) -> Source`: it finds the examples of the
dataset `scheme:location` and the splits that the dataset has of its own.
"""

from vicreg_keras.data.sources.base import Source
from vicreg_keras.data.sources.bundled import load_bundled_table, load_digits
from vicreg_keras.data.sources.folder import load_files, load_folder
from vicreg_keras.data.sources.images import FileExamples, decode_image
from vicreg_keras.data.sources.npz import load_npz
from vicreg_keras.data.sources.tables import (
    load_csv,
    load_parquet,
    load_user_table,
)
from vicreg_keras.data.sources.tfds import load_tfds

__all__ = [
    "FileExamples",
    "Source",
    "decode_image",
    "load_bundled_table",
    "load_csv",
    "load_digits",
    "load_files",
    "load_folder",
    "load_npz",
    "load_parquet",
    "load_tfds",
    "load_user_table",
]
