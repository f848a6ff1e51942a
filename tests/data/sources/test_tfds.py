"""Tests of tensorflow-datasets, in memory and mapped: a small one and CIFAR-10."""

import pathlib
import socket

import numpy as np
import pytest

from vicreg_keras.data.dataset import load_dataset
from vicreg_keras.data.sources import images
from vicreg_keras.data.sources import tfds as source

CIFAR_DIR = pathlib.Path(__file__).parents[4] / "shared" / "data" / "tfds"


def np_batches(dataset, num_batches):
    return list(dataset.take(num_batches).as_numpy_iterator())


def noise(seed, height=8, width=8):
    shape = (height, width, 3)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture(scope="module")
def tfds_dir(tmp_path_factory):
    """A small prepared dataset, `tiny_shapes`."""
    import tensorflow_datasets as tfds

    folder = tmp_path_factory.mktemp("tfds")

    def examples(start, count):
        for i in range(count):
            image = noise(start + i, 6, 8)[..., :1]
            yield i, {"image": image, "label": i % 2, "id": str(i)}

    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(6, 8, 1)),
            "label": tfds.features.ClassLabel(names=["round", "square"]),
            "id": tfds.features.Text(),
        }
    )
    tfds.dataset_builders.store_as_tfds_dataset(
        name="tiny_shapes",
        version="1.0.0",
        data_dir=folder,
        split_datasets={"train": examples(0, 40), "test": examples(1000, 10)},
        features=features,
        disable_shuffling=True,
    )
    tfds.dataset_builders.store_as_tfds_dataset(
        name="tiny_more",
        version="1.0.0",
        data_dir=folder,
        split_datasets={
            "extra": examples(3000, 3),
            "train": examples(0, 20),
            "unlabelled": examples(2000, 30),
        },
        features=features,
        disable_shuffling=True,
    )
    return folder


@pytest.fixture
def colored_dir(tmp_path):
    """A small prepared dataset of colored PNGs of one size, `tiny_colors`."""
    import tensorflow_datasets as tfds

    features = {"image": tfds.features.Image(shape=(6, 8, 3))}
    tfds.dataset_builders.store_as_tfds_dataset(
        name="tiny_colors",
        version="1.0.0",
        data_dir=tmp_path,
        split_datasets={"train": [(i, {"image": noise(i, 6, 8)}) for i in range(20)]},
        features=tfds.features.FeaturesDict(features),
        disable_shuffling=True,
    )
    return tmp_path


@pytest.mark.parametrize("image_size", [None, 4])
def test_pillow_and_tensorflow_datasets_decode_the_same_pixels(
    colored_dir, image_size, monkeypatch
):
    files = []

    def decode_images(some, names, image_shape, image_size):
        files.extend(names)
        return images.decode_images(some, names, image_shape, image_size)

    monkeypatch.setattr(source, "decode_images", decode_images)
    loaded = load_dataset(
        "tiny_colors", data_dir=str(colored_dir), image_size=image_size
    )
    # Pillow is needed where they are resized.
    assert len(files) == (0 if image_size is None else 20)
    for split in (loaded.train, loaded.validation):
        for i, name in enumerate(split.names):
            expected = noise(int(name.removeprefix("train/")), 6, 8)[np.newaxis]
            expected = images.resized(expected, image_size)
            np.testing.assert_array_equal(split.read([i]), expected)


def test_a_dataset_needs_images_to_train_on(tmp_path):
    import tensorflow_datasets as tfds

    features = tfds.features.FeaturesDict({"image": tfds.features.Image()})
    tfds.dataset_builders.store_as_tfds_dataset(
        name="tiny_test",
        version="1.0.0",
        data_dir=tmp_path,
        split_datasets={"test": [(0, {"image": noise(0)})]},
        features=features,
    )
    with pytest.raises(ValueError, match="a `train` split.*tiny_test.*'test'"):
        load_dataset("tiny_test", data_dir=str(tmp_path))


def test_a_damaged_file_is_named_in_one_line(colored_dir):
    (path,) = colored_dir.glob("tiny_colors/1.0.0/*.tfrecord*")
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError, match="whole files of .*1.0.0.*Remove") as error:
        load_dataset("tiny_colors", data_dir=str(colored_dir))
    assert "\n" not in str(error.value)


def test_tfds(tfds_dir):
    loaded = load_dataset("tiny_shapes", data_dir=str(tfds_dir))
    assert loaded.example_shape == (6, 8, 3)
    assert loaded.class_names == ("round", "square")
    splits = (loaded.train, loaded.validation, loaded.test)
    assert [s.num_examples for s in splits] == [36, 4, 10]
    assert np.bincount(loaded.validation.labels).tolist() == [2, 2]
    assert loaded.test.names[9] == "test/9"
    for i, name in enumerate(loaded.train.names):
        source = int(name.removeprefix("train/"))
        expected = np.repeat(noise(source, 6, 8)[..., :1], 3, axis=-1)
        np.testing.assert_array_equal(loaded.train.read([i])[0], expected)
        assert loaded.train.labels[i] == source % 2


@pytest.mark.parametrize("image_size", [None, 4])
def test_mapped_tfds_equals_tfds_in_memory(tfds_dir, image_size, monkeypatch):
    kwargs = {"data_dir": str(tfds_dir), "image_size": image_size}
    memory = load_dataset("tiny_shapes", **kwargs)
    mapped = load_dataset("tiny_shapes", memory_limit_gib=0, **kwargs)
    # The second time nothing is decoded.
    monkeypatch.setattr(images, "decode_image", None)
    again = load_dataset("tiny_shapes", memory_limit_gib=0, **kwargs)
    assert isinstance(mapped.train._examples, np.memmap)
    everything = np.arange(memory.train.num_examples)
    for other in (mapped, again):
        assert other.train.names == memory.train.names
        np.testing.assert_array_equal(other.train.labels, memory.train.labels)
        np.testing.assert_array_equal(
            other.train.read(everything), memory.train.read(everything)
        )
    for a, b in zip(
        np_batches(memory.train.training_batches(8, seed=0), 6),
        np_batches(mapped.train.training_batches(8, seed=0), 6),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)
    assert not list((tfds_dir / "cache").glob(".*"))


@pytest.mark.parametrize("limit", [0, 4])
def test_unlabeled_images_are_trained_on(tfds_dir, limit):
    kwargs = {"data_dir": str(tfds_dir), "memory_limit_gib": limit}
    loaded = load_dataset("tiny_more", **kwargs)
    sizes = {name: len(split) for name, split in loaded.splits.items()}
    assert sizes == {"train": 14, "validation": 2, "test": 4, "unlabeled": 30}
    assert loaded.unlabeled.labels is None and loaded.unlabeled.names[29] == (
        "unlabelled/29"
    )
    expected = np.repeat(noise(2029, 6, 8)[..., :1], 3, axis=-1)
    np.testing.assert_array_equal(loaded.pretraining.read([-1])[0], expected)
    assert loaded.left_out == ("3 images of the split extra",)
    without = load_dataset("tiny_more", labels="none", **kwargs)
    assert without.class_names is None and without.train.labels is None
    assert len(without.train) == 18 and without.test is None


def test_interrupted_decoding_leaves_nothing(tfds_dir, monkeypatch):
    def broken(*args):
        raise KeyboardInterrupt

    kwargs = {"data_dir": str(tfds_dir), "image_size": 3, "memory_limit_gib": 0}
    before = set((tfds_dir / "cache").glob("*"))
    with monkeypatch.context() as patch:
        patch.setattr(images, "decode_image", broken)
        with pytest.raises(KeyboardInterrupt):
            load_dataset("tiny_shapes", **kwargs)
    assert set((tfds_dir / "cache").glob("*")) == before
    assert load_dataset("tiny_shapes", **kwargs).example_shape == (3, 3, 3)


def test_full_disk_is_reported_before_decoding(tfds_dir, tmp_path, monkeypatch):
    usage = source.shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(source.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(ValueError, match="room for images.*GiB free.*data_dir"):
        load_dataset(
            "tiny_shapes", data_dir=str(tfds_dir), image_size=7, memory_limit_gib=0
        )


def test_unknown_name_lists_near_ones(tmp_path):
    kwargs = {"data_dir": str(tmp_path)}
    with pytest.raises(ValueError, match="one of digits, .*near.*cifar10"):
        load_dataset("cifar11", **kwargs)
    with pytest.raises(ValueError, match="near names are folder.*") as error:
        load_dataset("foldr:/photos", **kwargs)
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="can build.*cifar10:9.9.9"):
        load_dataset("cifar10:9.9.9", **kwargs)


def test_missing_dataset_without_a_network_names_three_remedies(tmp_path, monkeypatch):
    def no_network(*args, **kwargs):
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    monkeypatch.setattr(source.urllib.request, "getproxies", dict)
    ways = "the data_dir that.*network.*dataset=digits"
    with pytest.raises(ValueError, match=ways) as error:
        load_dataset("mnist", data_dir=str(tmp_path))
    assert "\n" not in str(error.value)


@pytest.mark.skipif(not CIFAR_DIR.exists(), reason=f"no CIFAR-10 at {CIFAR_DIR}")
def test_cifar10():
    loaded = load_dataset("cifar10", data_dir=str(CIFAR_DIR))
    assert loaded.example_shape == (32, 32, 3)
    splits = (loaded.train, loaded.validation, loaded.test)
    assert [s.num_examples for s in splits] == [45000, 5000, 10000]
    assert np.bincount(loaded.train.labels).tolist() == [4500] * 10
    assert np.bincount(loaded.test.labels).tolist() == [1000] * 10
    assert loaded.class_names[0] == "airplane"
    # Published means of the training images: 125.3, 123.0, 113.9.
    images = loaded.train.read(np.arange(0, 45000, 5))
    means = images.mean(axis=(0, 1, 2))
    np.testing.assert_allclose(means, [125.3, 123.0, 113.9], atol=1)
