"""Tests of folders: in memory or streamed, splits, messages about bad files."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from vicreg_keras.data.dataset import load_dataset
from vicreg_keras.data.sources import folders
from vicreg_keras.data.sources.folders import load_files
from vicreg_keras.data.sources.image_files import FileExamples
from vicreg_keras.errors import InputError
from vicreg_keras.settings import DataOptions
from vicreg_keras.settings.options import matching_paths


def np_batches(dataset, num_batches):
    return list(dataset.take(num_batches).as_numpy_iterator())


def save_image(path, value=100, size=(8, 8), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    color = value if mode in ("L", "P") else (value,) * len(mode)
    Image.new(mode, size, color).save(path)
    return path


def noise(seed, height=8, width=8):
    shape = (height, width, 3)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def make_folder(root, classes=("ant", "bee"), num_each=10, size=(8, 8)):
    for c, name in enumerate(classes):
        for i in range(num_each):
            path = root / name / f"{i:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(noise(100 * c + i, *size)).save(path)
    return root


def test_class_folders(tmp_path):
    make_folder(tmp_path)
    save_image(tmp_path / ".hidden" / "a.png")
    (tmp_path / "ant" / ".b.png").write_text("hidden")
    (tmp_path / "ant" / "notes.txt").write_text("not an image")
    loaded = load_dataset(f"folder:{tmp_path}")
    assert loaded.class_names == ("ant", "bee")
    assert [loaded.train.num_examples, loaded.test.num_examples] == [14, 4]
    assert np.bincount(loaded.test.labels).tolist() == [2, 2]
    for split in (loaded.train, loaded.validation, loaded.test):
        for i, name in enumerate(split.names):
            folder, file = name.split("/")
            assert loaded.class_names[split.labels[i]] == folder
            expected = np.asarray(Image.open(tmp_path / folder / file))
            np.testing.assert_array_equal(split.read([i])[0], expected)


@pytest.mark.parametrize("image_size", [None, 5])
def test_streamed_folder_equals_folder_in_memory(tmp_path, image_size):
    make_folder(tmp_path, num_each=8, size=(6, 9))
    kwargs = {"image_size": image_size}
    memory = load_dataset(f"folder:{tmp_path}", **kwargs)
    stream = load_dataset(f"folder:{tmp_path}", memory_limit_gib=0, **kwargs)
    assert isinstance(memory.train._examples, np.ndarray)
    assert isinstance(stream.train._examples, FileExamples)
    assert memory.example_shape == stream.example_shape
    for one, other in zip(
        (memory.train, memory.validation, memory.test),
        (stream.train, stream.validation, stream.test),
        strict=True,
    ):
        assert one.names == other.names
        np.testing.assert_array_equal(one.labels, other.labels)
        everything = np.arange(one.num_examples)
        np.testing.assert_array_equal(one.read(everything), other.read(everything))
    for a, b in zip(
        np_batches(memory.train.training_batches(3, seed=0, start_step=2), 9),
        np_batches(stream.train.training_batches(3, seed=0, start_step=2), 9),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


def test_folder_without_classes(tmp_path):
    for i in range(5):
        save_image(tmp_path / f"{i}.JPG", value=i)
    save_image(tmp_path / "deeper" / "still" / "z.jpeg")
    loaded = load_dataset(f"folder:{tmp_path}")
    assert loaded.class_names is None and loaded.num_classes is None
    assert loaded.test is None and loaded.train.labels is None
    assert [loaded.train.num_examples, loaded.validation.num_examples] == [5, 1]
    names = {*loaded.train.names, *loaded.validation.names}
    assert "deeper/still/z.jpeg" in names


def test_folder_with_its_own_splits(tmp_path):
    make_folder(tmp_path / "train", num_each=10)
    make_folder(tmp_path / "val", num_each=2)
    two = load_dataset(f"folder:{tmp_path}")
    assert two.test.names[0] == "val/ant/00.png"
    assert [two.train.num_examples, two.validation.num_examples] == [18, 2]
    assert two.validation.names[0].startswith("train/")

    make_folder(tmp_path / "test", num_each=3)
    three = load_dataset(f"folder:{tmp_path}")
    assert three.train.num_examples == 20
    assert three.validation.names[0].startswith("val/")
    assert three.test.names[0].startswith("test/")


def test_a_class_may_be_called_train(tmp_path):
    make_folder(tmp_path, classes=("train", "plane"))
    assert load_dataset(f"folder:{tmp_path}").class_names == ("plane", "train")


def test_splits_must_have_the_same_classes(tmp_path):
    make_folder(tmp_path / "train")
    make_folder(tmp_path / "test", classes=("ant", "wasp"))
    with pytest.raises(ValueError, match="in test the class folders of train.*'wasp'"):
        load_dataset(f"folder:{tmp_path}")
    loaded = load_dataset(f"folder:{tmp_path}", labels="none")
    assert loaded.class_names is None and loaded.test.num_examples == 20


def test_exif_orientation_is_applied_the_same_way_when_streamed(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    for i in range(3):
        Image.fromarray(noise(i, 4, 10)).save(tmp_path / f"{i}.png", exif=exif)
    for limit in (0, 4):
        loaded = load_dataset(f"folder:{tmp_path}", memory_limit_gib=limit)
        assert loaded.example_shape == (10, 4, 3)
        number = int(loaded.train.names[0][0])
        expected = np.rot90(noise(number, 4, 10), -1)
        np.testing.assert_array_equal(loaded.train.read([0])[0], expected)


def test_sizes_must_agree_without_image_size(tmp_path):
    save_image(tmp_path / "a.png", size=(8, 8))
    save_image(tmp_path / "b.png", size=(9, 7))
    with pytest.raises(ValueError, match="2 sizes, 7x9 to 8x8 .*image_size=7"):
        load_dataset(f"folder:{tmp_path}")
    assert load_dataset(f"folder:{tmp_path}", image_size=4).example_shape == (4, 4, 3)


def test_turned_images_are_of_two_sizes(tmp_path):
    save_image(tmp_path / "a.png", size=(16, 24))
    save_image(tmp_path / "b.png", size=(24, 16))
    with pytest.raises(ValueError, match="2 sizes, 16x24 to 24x16"):
        load_dataset(f"folder:{tmp_path}")


@pytest.mark.parametrize(
    "name", ["@Recycle", "@__thumb", "#snapshot", "_gsdata_", "Thumbnails", "_trash"]
)
def test_copies_are_left_out(tmp_path, name):
    make_folder(tmp_path, num_each=3)
    save_image(tmp_path / name / "ant" / "x.png")
    save_image(tmp_path / "bee" / name / "x.png")
    source = folders.load_folder(DataOptions(dataset=f"folder:{tmp_path}"))
    assert source.class_names == ("ant", "bee") and len(source.train) == 6
    assert source.left_out == (f"{name}/ and 1 more (copies of programs)",)


def test_what_is_left_out_of_a_folder_of_queries_is_said(tmp_path, capsys):
    make_folder(tmp_path, num_each=1)
    (tmp_path / "a.heic").touch()
    load_dataset("digits").load_user_examples(str(tmp_path))
    assert "left out: 1 .heic." in capsys.readouterr().err


def test_missing_and_empty_folders(tmp_path):
    with pytest.raises(InputError, match="existing folder.*nowhere"):
        load_dataset(f"folder:{tmp_path}/nowhere")
    with pytest.raises(InputError, match="folder:PATH"):
        load_dataset("folder")
    with pytest.raises(ValueError, match="folder with images.*with none"):
        load_dataset(f"folder:{tmp_path}")


def test_one_image_is_too_few(tmp_path):
    save_image(tmp_path / "a.png")
    with pytest.raises(ValueError, match="enough examples.*with 1. Add"):
        load_dataset(f"folder:{tmp_path}")


@pytest.mark.parametrize("limit", [0, 4])
def test_a_text_file_named_png(tmp_path, limit):
    make_folder(tmp_path)
    (tmp_path / "bee" / "text.png").write_text("not an image")
    with pytest.raises(
        ValueError, match="1 of 21 unreadable: bee/text.png .*cannot identify"
    ) as error:
        load_dataset(f"folder:{tmp_path}", memory_limit_gib=limit)
    assert "\n" not in str(error.value)


def test_a_truncated_jpeg(tmp_path):
    for i in range(4):
        Image.fromarray(noise(i, 64, 64)).save(tmp_path / f"{i}.jpg")
    content = (tmp_path / "2.jpg").read_bytes()
    (tmp_path / "2.jpg").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="1 of 4 unreadable: 2.jpg .*truncated"):
        load_dataset(f"folder:{tmp_path}")
    # Streamed, its header is sound: it is named when it is read.
    loaded = load_dataset(f"folder:{tmp_path}", memory_limit_gib=0)
    split = loaded.train if "2.jpg" in loaded.train.names else loaded.validation
    with pytest.raises(ValueError, match="2.jpg"):
        split.read([split.names.index("2.jpg")])
    with pytest.raises(tf.errors.InvalidArgumentError, match="2.jpg"):
        list(split.batches(1))


def test_links_that_lead_back_are_followed_once(tmp_path):
    make_folder(tmp_path, num_each=3)
    (tmp_path / "ant" / "loop").symlink_to(tmp_path)
    loaded = load_dataset(f"folder:{tmp_path}")
    splits = (loaded.train, loaded.validation, loaded.test)
    assert sum(s.num_examples for s in splits) == 6


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("ant/00.png", ["ant/00.png"]),
        ("bee", ["bee/00.png", "bee/01.png"]),
        ("", ["ant/00.png", "ant/01.png", "bee/00.png", "bee/01.png"]),
        ("*/01.png", ["ant/01.png", "bee/01.png"]),
        ("**/0?.png", ["ant/00.png", "ant/01.png", "bee/00.png", "bee/01.png"]),
    ],
)
def test_images_by_file_folder_and_glob(tmp_path, pattern, names):
    make_folder(tmp_path, num_each=2, size=(6, 9))
    images = load_files(f"{tmp_path}/{pattern}", (4, 4, 3)).train
    assert images.names == tuple(str(tmp_path / name) for name in names)
    assert images.labels is None
    assert images.read(range(len(names))).shape == (len(names), 4, 4, 3)


def test_images_are_resized_to_a_shape_that_is_not_square(tmp_path):
    make_folder(tmp_path, num_each=2, size=(12, 18))
    images = load_files(str(tmp_path), (6, 8, 3)).train.read([0])
    with Image.open(tmp_path / "ant" / "00.png") as image:
        expected = ImageOps.fit(image, (8, 6), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(images[0], np.asarray(expected))


@pytest.mark.parametrize("name", ["[set] 1", "a*", "photo[1].png"])
def test_brackets_in_names_are_no_globs(tmp_path, name):
    folder = tmp_path / name if not name.endswith(".png") else tmp_path
    make_folder(folder, num_each=1)
    (folder / "ant" / "00.png").rename(folder / "photo[1].png")
    pattern = name if name.endswith(".png") else f"{name}/*.png"
    expected = [folder / "photo[1].png"]
    assert matching_paths(f"{tmp_path}/{pattern}") == expected
    assert load_files(f"{tmp_path}/{pattern}", (4, 4, 3)).train.num_examples == 1


def test_all_unreadable_user_files_are_named_at_once_or_left_out(tmp_path):
    make_folder(tmp_path, num_each=10)
    whole = (tmp_path / "ant" / "00.png").read_bytes()
    (tmp_path / "bee" / "cut.png").write_bytes(whole[:-30])
    (tmp_path / "ant" / "text.png").write_text("text")
    with pytest.raises(
        ValueError, match="2 of 22 unreadable: ant/text.png .*bee/cut.png .*skip"
    ):
        load_files(str(tmp_path), (4, 4, 3))
    options = DataOptions(unreadable="skip")
    source = load_files(f"{tmp_path}/*/*.png", (4, 4, 3), options=options)
    assert source.train.num_examples == len(source.train.names) == 20
    assert source.left_out[0].startswith("2 unreadable: ant/text.png (")


def test_no_image_and_broken_images(tmp_path):
    with pytest.raises(ValueError, match="a glob that matches.*Received: .*nowhere"):
        load_files(str(tmp_path / "nowhere"), (4, 4, 3))
    with pytest.raises(ValueError, match="folder with images.*with none"):
        load_files(str(tmp_path), (4, 4, 3))
    (tmp_path / "bad.png").write_text("text")
    with pytest.raises(ValueError, match="readable JPEG, PNG.*bad.png"):
        load_files(str(tmp_path / "bad.png"), (4, 4, 3))


@pytest.mark.parametrize("split", ["", "train"])
def test_a_class_without_a_readable_image(tmp_path, split):
    """It is no class, unless another split has it."""
    options = DataOptions(dataset=f"folder:{tmp_path}", unreadable="skip")
    make_folder(tmp_path / split)
    make_folder(tmp_path / "test") if split else None
    save_image(tmp_path / split / "cat" / "0.png").write_bytes(b"cut")
    source = folders.load_folder(options)
    assert source.class_names == ("ant", "bee")
    assert source.left_out[-1] == "cat/ (no readable images)"
    if split:
        save_image(tmp_path / "test" / "cat" / "0.png")
        source = folders.load_folder(options)
        assert source.notes == ("no training example of 'cat' can be read",)
        assert source.class_names[2] == "cat" and source.test.labels[-1] == 2


def test_one_readable_class_is_no_label(tmp_path):
    make_folder(tmp_path, ("ant",))
    save_image(tmp_path / "bee" / "0.png").write_bytes(b"cut")
    (tmp_path / "cat").mkdir()
    options = DataOptions(dataset=f"folder:{tmp_path}", unreadable="skip")
    source = folders.load_folder(options)
    assert source.class_names is None and source.train.labels is None
    assert source.notes == ("no labels, as no two classes can be read",)
    assert source.left_out[0] == "cat/ (no images)"
