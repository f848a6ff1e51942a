"""How the examples of each kind of dataset are found and decoded.

A source is a function `(location, *, data_dir, image_size, memory_limit_bytes,
schemes, label_column, drop_columns) -> Source`. It says which parts the dataset
itself has; `data` makes the splits of them.
"""

from vicreg_keras.data.sources.arrays import load_digits, load_npz
from vicreg_keras.data.sources.base import ArrayExamples, Examples, Part, Source
from vicreg_keras.data.sources.folder import load_files, load_folder
from vicreg_keras.data.sources.images import FileExamples, decode_image
from vicreg_keras.data.sources.tables import load_bundled_table, load_csv, load_parquet
from vicreg_keras.data.sources.tfds import load_tfds
from vicreg_keras.data.sources.user_tables import load_rows

__all__ = [
    "ArrayExamples",
    "Examples",
    "FileExamples",
    "Part",
    "Source",
    "decode_image",
    "load_bundled_table",
    "load_csv",
    "load_digits",
    "load_files",
    "load_folder",
    "load_npz",
    "load_parquet",
    "load_rows",
    "load_tfds",
]
