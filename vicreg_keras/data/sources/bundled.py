"""Datasets that scikit-learn brings, which need no network."""

import numpy as np

from vicreg_keras.data.sources.base import NOTHING_KNOWN, Known, Source
from vicreg_keras.data.sources.column_values import match_columns
from vicreg_keras.data.sources.images import as_rgb, resized
from vicreg_keras.data.split import Split
from vicreg_keras.settings import DataOptions


def load_digits(options: DataOptions, known: Known = NOTHING_KNOWN) -> Source:
    """Loads scikit-learn's 1,797 handwritten digits of 8 x 8 pixels.

    Gray levels 0 to 16 become 0 to 255.

    Args:
        options: Of these, `image_size`.
        known: Without effect.

    Returns:
        A source with `train` only; names are `"digits/17"`.
    """
    # Imported here: it takes a second that no other source needs.
    from sklearn import datasets

    digits = datasets.load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    images = resized(as_rgb(images), options.image_size)
    names = [f"digits/{i}" for i in range(len(images))]
    class_names = tuple(str(n) for n in digits.target_names)
    return Source(Split(images, digits.target, names), class_names=class_names)


def load_bundled_table(options: DataOptions, known: Known = NOTHING_KNOWN) -> Source:
    """Loads a labeled table that scikit-learn brings.

    Args:
        options: Of these, `dataset`: `"digits_table"` (1,797 examples of 64 gray
            levels, 0 to 16), `"breast_cancer"` (569 of 30 numbers), `"wine"` (178 of
            13) or `"iris"` (150 of 4).
        known: The columns of the encoder that it is for, by name.

    Returns:
        A source with `train` only; names are `"row/17"`.

    Raises:
        InputError: If a known column is missing.
    """
    # Imported here: it takes a second that no other source needs.
    from sklearn import datasets

    loaded = getattr(datasets, f"load_{options.dataset.removesuffix('_table')}")()
    names = [f"row/{i}" for i in range(len(loaded.data))]
    found = [str(name) for name in loaded.feature_names]
    columns, positions = match_columns(options.dataset, found, known)
    examples = loaded.data.astype(np.float32)[:, positions]
    return Source(
        Split(examples, loaded.target, names),
        class_names=tuple(str(name) for name in loaded.target_names),
        columns=columns,
    )
