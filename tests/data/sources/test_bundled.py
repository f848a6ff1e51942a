"""Tests of the tables that scikit-learn brings."""

import numpy as np
import pytest

from vicreg_keras.data.columns import Column
from vicreg_keras.data.dataset import load_dataset


@pytest.mark.parametrize(
    ("name", "shape", "num_classes", "first_column", "first_class"),
    [
        ("digits_table", (1797, 64), 10, "pixel_0_0", "0"),
        ("breast_cancer", (569, 30), 2, "mean radius", "malignant"),
        ("wine", (178, 13), 3, "alcohol", "class_0"),
        ("iris", (150, 4), 3, "sepal length (cm)", "setosa"),
    ],
)
def test_bundled_tables(name, shape, num_classes, first_column, first_class):
    from sklearn import datasets

    raw = getattr(datasets, f"load_{name.removesuffix('_table')}")()
    loaded = load_dataset(name)
    splits = (loaded.train, loaded.validation, loaded.test)
    assert sum(len(split) for split in splits) == shape[0]
    assert loaded.example_shape == shape[1:]
    assert loaded.num_classes == num_classes
    assert loaded.class_names[0] == first_class
    assert len(loaded.columns) == shape[1]
    assert loaded.columns[0] == Column(first_column)
    counts = np.array([np.bincount(split.labels) for split in splits])
    assert np.abs(counts[2] - 0.2 * counts.sum(axis=0)).max() <= 1
    for split in splits:
        numbers = [int(name.removeprefix("row/")) for name in split.names]
        rows = split.read(np.arange(len(split)))
        assert rows.dtype == np.float32
        np.testing.assert_array_equal(rows, raw.data[numbers].astype(np.float32))
        np.testing.assert_array_equal(split.labels, raw.target[numbers])


def test_digits_have_the_same_splits_as_images_and_as_a_table():
    images, table = load_dataset("digits"), load_dataset("digits_table")
    for part in ("train", "validation", "test"):
        ours, theirs = getattr(table, part), getattr(images, part)
        numbers = [name.removeprefix("row/") for name in ours.names]
        assert numbers == [name.removeprefix("digits/") for name in theirs.names]
    assert images.columns is None
