"""Tests of npz files: arrays, labels, names, messages about bad ones."""

import numpy as np
import pytest

from vicreg_keras.data.columns import Column
from vicreg_keras.data.dataset import load_dataset
from vicreg_keras.errors import InputError


@pytest.mark.parametrize(
    ("shape", "keys"),
    [
        ((20, 8, 6), ("images", "labels")),
        ((20, 8, 6, 1), ("x_train", "y_train")),
        ((20, 8, 6, 3), ("train_images", "train_labels")),
    ],
)
def test_npz(tmp_path, shape, keys):
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    labels = np.arange(20, dtype=np.int32)[:, None] % 2
    path = tmp_path / "a.npz"
    np.savez(path, **{keys[0]: images, keys[1]: labels, "class_names": ["no", "yes"]})
    loaded = load_dataset(f"npz:{path}")
    assert loaded.example_shape == (8, 6, 3)
    assert loaded.class_names == ("no", "yes")
    assert loaded.test.num_examples == 4
    row = int(loaded.train.names[3].removeprefix("train/"))
    expected = np.broadcast_to(images[row].reshape(8, 6, -1), (8, 6, 3))
    np.testing.assert_array_equal(loaded.train.read([3])[0], expected)
    assert loaded.train.labels[3] == row % 2


def test_npz_with_its_own_splits_and_without_labels(tmp_path):
    images = np.zeros((6, 4, 4), np.uint8)
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x_train=images, x_val=images[:2], x_test=images[:3])
    loaded = load_dataset(f"npz:{path}", image_size=2)
    splits = (loaded.train, loaded.validation, loaded.test)
    assert [s.num_examples for s in splits] == [6, 2, 3]
    assert loaded.class_names is None and loaded.example_shape == (2, 2, 3)
    assert loaded.test.names == ("test/0", "test/1", "test/2")


IMAGES = np.zeros((4, 8, 8, 3), np.uint8)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": IMAGES / 255}, "uint8 images.*float64, with values from 0 to 0"),
        ({"images": IMAGES * np.nan}, "uint8 images.*with values from nan to nan"),
        ({"images": IMAGES[0, 0]}, r"shape \(N, H, W\).*shape \(8, 3\)"),
        ({"images": IMAGES[..., :2]}, r"shape \(N, H, W\).*\(4, 8, 8, 2\)"),
        ({"images": IMAGES[:0]}, r"at least one. .*\(0, 8, 8, 3\)"),
        ({"pixels": IMAGES}, r"one of the arrays.*\['pixels'\]. Rename"),
        ({"images": IMAGES, "labels": [0, 1]}, r"each of 4 examples.*shape \(2,\)"),
        ({"images": IMAGES, "labels": [0.0, 1, 0, 1]}, "labels that are integers"),
        ({"images": IMAGES, "labels": [-1, 0, 1, 0]}, "at least 0.*from -1 to 1"),
        ({"images": IMAGES, "labels": [0, 1, 2, 0], "class_names": ["a"]}, "each of 3"),
        ({"images": IMAGES, "labels": [0] * 4, "x_test": IMAGES}, "labels for every"),
        ({"images": IMAGES, "x_test": IMAGES[:, 1:]}, "one size in every split"),
        ({"images": np.array([{}] * 4)}, "npz file of plain arrays.*pickle"),
    ],
)
def test_bad_npz(tmp_path, arrays, message):
    path = tmp_path / "a.npz"
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=message) as error:
        load_dataset(f"npz:{path}")
    assert "\n" not in str(error.value)
    assert "a.npz" in str(error.value)


# Tables.

TABLE = np.arange(60, dtype=np.float64).reshape(20, 3) / 8


@pytest.mark.parametrize(
    ("examples", "keys"),
    [
        (TABLE, ("examples", "labels")),
        (TABLE.astype(np.float16), ("x_train", "y_train")),
        ((TABLE * 8).astype(np.uint8), ("x_train", "y_train")),
        (TABLE > 3, ("examples", "labels")),
    ],
)
def test_npz_table(tmp_path, examples, keys):
    path = tmp_path / "a.npz"
    np.savez(path, **{keys[0]: examples, keys[1]: np.arange(20) % 2})
    loaded = load_dataset(f"npz:{path}")
    assert loaded.example_shape == (3,) and loaded.class_names == ("0", "1")
    assert loaded.columns == tuple(Column(f"column_{i}") for i in range(3))
    numbers = [int(name.removeprefix("train/")) for name in loaded.train.names]
    read = loaded.train.read(np.arange(len(numbers)))
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, examples[numbers].astype(np.float32))
    assert loaded.train.labels.tolist() == [number % 2 for number in numbers]


def test_npz_table_with_its_own_splits_and_names(tmp_path):
    path = tmp_path / "a.npz"
    gaps = np.where(TABLE == 1, np.nan, TABLE)
    np.savez(path, x_train=gaps, x_test=TABLE[:4], column_names=["a", "b", "c"])
    loaded = load_dataset(f"npz:{path}")
    assert loaded.columns == (Column("a"), Column("b"), Column("c"))
    assert loaded.test.names == ("test/0", "test/1", "test/2", "test/3")
    np.testing.assert_array_equal(loaded.test.read([3]), np.float32(TABLE[3:4]))
    kept = loaded.train.read(np.arange(len(loaded.train)))
    held_out = loaded.validation.read(np.arange(len(loaded.validation)))
    assert np.isnan(np.concatenate([kept, held_out])).sum() == 1


INFINITE = np.where(TABLE == 1, np.inf, TABLE)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"examples": TABLE[0]}, r"matrix of numbers.*shape \(3,\)"),
        ({"examples": TABLE[:0]}, r"not empty.*shape \(0, 3\)"),
        ({"examples": np.array([["a"]])}, "matrix of numbers.*dtype <U1"),
        ({"examples": INFINITE}, "finite in float32.*'column_2' with inf in row/2"),
        (
            {"examples": TABLE * 1e39},
            "finite in float32.*'column_0' with 3.75e.38 in row/1",
        ),
        ({"examples": TABLE * [1, np.nan, 1]}, "nothing in 'column_1'"),
        (
            {"examples": TABLE, "column_names": ["a", "b"]},
            r"3 column_names.*shape \(2,\)",
        ),
        (
            {"examples": TABLE, "column_names": ["a", "b", "a"]},
            "3 column_names, no two alike",
        ),
        (
            {"examples": TABLE, "x_test": TABLE[:, 1:]},
            r"the 3 columns of training.*\(20, 2\)",
        ),
        ({"examples": TABLE, "labels": [1]}, r"one for each of 20 examples.*\(1,\)"),
        ({"x_train": IMAGES / 255}, "uint8 images"),
    ],
)
def test_bad_npz_table(tmp_path, arrays, message):
    path = tmp_path / "a.npz"
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=message) as error:
        load_dataset(f"npz:{path}")
    assert "\n" not in str(error.value) and "a.npz" in str(error.value)


def test_a_table_has_no_image_size(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, examples=TABLE)
    with pytest.raises(ValueError, match="no image_size for a table.*image_size=8"):
        load_dataset(f"npz:{path}", image_size=8)


def test_missing_and_unreadable_npz(tmp_path):
    with pytest.raises(InputError, match="existing npz file.*nowhere"):
        load_dataset("npz:nowhere.npz")
    (tmp_path / "a.npz").write_text("not an archive")
    with pytest.raises(ValueError, match="npz file of plain arrays.*is not a zip file"):
        load_dataset(f"npz:{tmp_path}/a.npz")
    np.save(tmp_path / "b.npy", IMAGES)
    with pytest.raises(ValueError, match="npz file of plain arrays.*is not a zip file"):
        load_dataset(f"npz:{tmp_path}/b.npy")
