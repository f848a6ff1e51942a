"""Tests of npz files: names, layouts and ranges of their arrays."""

import re
import zipfile

import numpy as np
import pytest

from vicreg_keras.data.sources.base import Known
from vicreg_keras.data.sources.npz import load_npz
from vicreg_keras.errors import InputError
from vicreg_keras.settings import DataOptions

N = 40
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(2, 256, (N, 8, 8, 3), dtype=np.uint8)
IMAGES[0, 0, 0, 0] = 255
CODES = np.arange(N) % 4
TEXTS = np.array(["ant", "bee", "cat", "dog"])
NAN_CODES = np.where(np.arange(N) < 6, np.nan, CODES)


def gray(*shape):
    return RANDOM.integers(2, 256, shape, dtype=np.uint8)


def said(source):
    return " | ".join([*source.notes, *source.left_out])


@pytest.mark.parametrize(
    ("examples", "labels"),
    [
        *(("images", name) for name in ("labels", "label", "y", "target", "targets")),
        *(("images", name) for name in ("Y", "classes", "class")),
        *((name, "y") for name in ("x", "X", "data", "imgs", "examples", "arr_0")),
        *(("x_train", "y_train"), ("train_images", "train_labels"), ("Xtrain", "ytr")),
        *(
            ("train_set_x_orig", "train_set_y"),
            ("arr_0", "arr_1"),
            ("train_X", "labels"),
        ),
    ],
)
def test_examples_and_labels_are_found_by_what_people_call_them(load, examples, labels):
    source = load(**{examples: IMAGES, labels: CODES})
    np.testing.assert_array_equal(source.train.read(), IMAGES)
    np.testing.assert_array_equal(source.train.labels, CODES)
    assert f"train is '{examples}', labels '{labels}'" in source.notes
    assert source.class_names == ("0", "1", "2", "3")


def test_splits_by_name(load):
    source = load(
        X_train=IMAGES, y_train=CODES, X_dev=IMAGES[:9], y_dev=CODES[:9],
        test_images=IMAGES[:5], test_labels=CODES[:5], unlabeled_X=IMAGES[:7],
    )  # fmt: skip
    sizes = [len(s) for s in (source.train, source.validation, source.test)]
    assert sizes == [N, 9, 5]
    assert source.unlabeled.names == tuple(f"unlabeled/{i}" for i in range(7))
    assert source.unlabeled.labels is None


def test_what_is_not_read_is_named_that_of_each_example_first(load):
    meta = np.array({"a": 1}, dtype=object)
    source = load(images=IMAGES, weights=np.zeros(3), digit=CODES, y=CODES, meta=meta)
    starts = ["array 'digit'", "array 'weight", "array 'meta' "]
    assert [text[:13] for text in source.left_out] == starts
    assert "one per example" in source.left_out[0]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": IMAGES, "b": IMAGES, "c": CODES}, "'a' (40, 8, 8, 3), 'b'"),
        ({"x_test": IMAGES, "y_test": CODES}, "an array images, examples or x_train"),
        ({"images": IMAGES, "y": TEXTS.astype(object)}, "objects in 'y'"),
        ({"images": IMAGES, "y": CODES[1:]}, "with y of 39 and images of shape"),
        ({"x_train": IMAGES, "x_test": IMAGES, "y_test": CODES}, "in y_test alone"),
        ({"x_train": IMAGES, "x_test": gray(9, 4, 4, 3)}, "one size in every split"),
    ],
)
def test_arrays_that_are_not_plain(load, arrays, message):
    with pytest.raises(InputError, match=re.escape(message)):
        load(**arrays)


def test_an_npy_file(tmp_path):
    np.save(tmp_path / "x.npy", IMAGES)
    with pytest.raises(InputError, match=r"a single array as numpy\.save writes it"):
        load_npz(DataOptions(dataset=f"npz:{tmp_path / 'x.npy'}"))


@pytest.mark.parametrize(
    ("arrays", "class_names"),
    [
        ({"classes": TEXTS[:3], "class": CODES % 3}, "ant bee cat"),  # As many as RGB.
        ({"classes": np.array(["2", "1"])[CODES % 2]}, "1 2"),
        ({"classes": np.eye(4)[CODES]}, "0 1 2 3"),
    ],
)
def test_classes_are_labels_or_names(load, arrays, class_names):
    source = load(images=IMAGES, **arrays)
    assert source.class_names == tuple(class_names.split())
    assert load(arr_0=IMAGES, arr_1=np.eye(4)[CODES]).class_names == tuple("0123")


def test_other_files_in_the_archive(tmp_path, load):
    load(images=IMAGES)
    with zipfile.ZipFile(tmp_path / "t.npz", "a") as archive:
        archive.writestr("readme.txt", "about")
    source = load_npz(DataOptions(dataset=f"npz:{tmp_path / 't.npz'}"))
    assert source.left_out == ("'readme.txt' (no array)",)


def test_splits_without_labels_are_laid_out_as_those_with_them(load):
    images = IMAGES[:, :, :7].transpose(1, 2, 3, 0)
    source = load(x_train=images, y_train=CODES, x_unlabeled=images[..., :9])
    np.testing.assert_array_equal(source.unlabeled.read(), IMAGES[:9, :, :7])
    # Without any, several splits are at least no single image.
    assert len(load(x_train=gray(6, 4, 4), x_val=gray(2, 4, 4)).train) == 6


@pytest.mark.parametrize(
    ("labels", "names", "class_names", "note"),
    [
        (CODES + 1, None, "1 2 3 4", "classes by the labels' values, '1', '2'"),
        (CODES * 10, None, "0 10 20 30", "classes by the labels' values"),
        (CODES[:, None], None, "0 1 2 3", ""),
        (CODES[None], None, "0 1 2 3", ""),
        (np.eye(4)[CODES], None, "0 1 2 3", "one-hot labels"),
        (CODES.astype(np.float32), None, "0 1 2 3", "whole floats"),
        (TEXTS[CODES], None, "ant bee cat dog", ""),
        (TEXTS[CODES].astype("S"), None, "ant bee cat dog", ""),
        (np.array(["1", "2", "3", "10"])[CODES], None, "1 2 3 10", ""),
        (CODES % 2 * 2 - 1, None, "-1 1", "classes by"),
        (CODES % 2 == 1, None, "0 1", ""),
        (CODES, TEXTS, "ant bee cat dog", ""),
        (
            CODES + 1,
            TEXTS,
            "ant bee cat dog",
            "in the order of the labels' values (1 =",
        ),
        (CODES * 3, TEXTS, "ant bee cat dog", "3 = bee"),
        (CODES + 1, np.array(list("abcde")), "b c d e", "values from 0 (1 = b"),
        (TEXTS[CODES], TEXTS, "ant bee cat dog", "texts themselves"),
    ],
)
def test_labels_are_mapped_by_value(load, labels, names, class_names, note):
    own = {} if names is None else {"class_names": names}
    source = load(images=IMAGES, labels=labels, **own)
    assert source.class_names == tuple(class_names.split())
    expected = CODES % 2 if len(source.class_names) == 2 else CODES
    np.testing.assert_array_equal(source.train.labels, expected)
    assert note in said(source)


@pytest.mark.parametrize(
    "labels",
    [
        NAN_CODES,
        np.where(np.isnan(NAN_CODES), -1, CODES),
        np.where(np.isnan(NAN_CODES), -100, CODES + 1),
        np.where(np.isnan(NAN_CODES), "", TEXTS[CODES]),
    ],
)
def test_examples_without_a_label_are_trained_on(load, labels):
    source = load(x_train=IMAGES, y_train=labels, x_test=IMAGES, y_test=labels)
    assert source.unlabeled.names == tuple(f"train/{i}" for i in range(6))
    np.testing.assert_array_equal(source.train.labels, CODES[6:])
    assert source.train.names[0] == "train/6"
    assert len(source.class_names) == 4 and len(source.test) == N - 6
    assert "12 labels of" in said(source)
    assert "6 examples of test without a label" in source.left_out


def test_a_test_split_without_labels_is_left_out(load):
    source = load(x_train=IMAGES, y_train=CODES, x_test=IMAGES)
    assert not source.test and "40 examples of test without a label" in source.left_out


def test_all_splits_share_the_classes(load):
    source = load(
        x_train=IMAGES, y_train=CODES % 3 + 5, x_test=IMAGES, y_test=CODES + 5
    )
    assert source.class_names == ("5", "6", "7", "8")
    np.testing.assert_array_equal(source.test.labels, CODES)
    assert "no training example of '8', which test has" in said(source)


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        (CODES * 0, "labels that are all '0'"),
        (np.arange(N), "never repeat in 40 examples"),
        (np.array([f"id{i}" for i in range(N)]), "never repeat"),
        *((np.full(N, missing), "all missing") for missing in (-1, np.nan, "NA")),
    ],
)
def test_labels_that_tell_nothing_are_left_out(load, labels, text):
    source = load(images=IMAGES, labels=labels)
    assert source.class_names is source.train.labels is None and text in said(source)


def test_labels_that_look_like_a_regression_target_are_said(load):
    assert "20 classes in 40" in said(load(images=IMAGES, labels=np.arange(N) // 2))


def test_labels_none(load):
    source = load(options={"labels": "none"}, images=IMAGES, y=RANDOM.normal(size=N))
    assert source.class_names is source.train.labels is None
    assert "labels in 'y'" in source.left_out and "labels 'y'" not in said(source)


@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [
        (RANDOM.normal(size=N), None, "a regression target"),
        (CODES % 3 - 1, None, "-1, 0 and 1"),
        (np.ones((N, 3), int), None, "of shape (40, 3)"),
        (np.full(N, "2020-01-01", "M8[D]"), None, "dtype datetime64"),
        (CODES, TEXTS[:3], "3 names, 'ant'"),
        (CODES, np.array(["a", "a", "b", "c"]), "no two alike"),
        (CODES, np.array(["a", " ", "b", "c"]), "none empty"),
    ],
)
def test_bad_labels(load, labels, names, message):
    own = {} if names is None else {"class_names": names}
    with pytest.raises(InputError, match=re.escape(message)):
        load(images=IMAGES, labels=labels, **own)


# Images.

GRAY = gray(N, 9, 9)


@pytest.mark.parametrize(
    ("array", "labeled", "expected", "note"),
    [
        (GRAY, False, GRAY[..., None], ""),
        (GRAY[..., None], False, GRAY[..., None], ""),
        (GRAY[:, None], False, GRAY[..., None], "(N, C, H, W)"),
        (IMAGES.transpose(0, 3, 1, 2), False, IMAGES, "(N, C, H, W)"),
        (IMAGES.transpose(1, 2, 3, 0), False, IMAGES, "(H, W, C, N)"),
        (IMAGES.transpose(3, 1, 2, 0), True, IMAGES, "(C, H, W, N)"),
        (GRAY.transpose(1, 2, 0), True, GRAY[..., None], "(9, 9, 40) as (H, W, N)"),
        (GRAY.transpose(1, 2, 0), False, GRAY[..., None], "(H, W, N)"),
        (IMAGES > 128, False, (IMAGES > 128) * 255, "0 and 1 only: multiplied by 255"),
        ((IMAGES > 128) * 1, False, (IMAGES > 128) * 255, "0 and 1 only"),
        (IMAGES / 255, False, IMAGES, "between 0 and 1: multiplied by 255"),
        (
            (IMAGES / 255 * (1 + 1e-6)).astype(np.float32),
            False,
            IMAGES,
            "between 0 and 1",
        ),
        (IMAGES.astype(np.float32) + 0.2, False, IMAGES, "rounded"),
        (IMAGES.astype(np.int64), False, IMAGES, ""),
        (IMAGES.astype(np.uint16) * 257, False, IMAGES, "scaled by 255 / 65535"),
        (
            IMAGES.astype(np.int32) * 16,
            False,
            np.rint(IMAGES * (16 * 255 / 4095)),
            "/ 4095",
        ),
        (
            IMAGES.astype(int) * 64,
            False,
            np.rint(IMAGES * (64 * 255 / 16383)),
            "/ 16383",
        ),
        (IMAGES.astype(float) * 257, False, IMAGES, "scaled by 255 / 65535"),
        (IMAGES // 16, False, IMAGES // 16, "values from 0 to 15, of 255"),
    ],
)
def test_images_of_other_layouts_and_ranges(load, array, labeled, expected, note):
    labels = {"labels": CODES} if labeled else {}
    source = load(images=array, **labels)
    images = np.broadcast_to(expected, (*expected.shape[:3], 3))
    np.testing.assert_array_equal(source.train.read(), images)
    assert source.train.read().dtype == np.uint8
    assert note in said(source)
    if not note:
        assert source.notes == ("train is 'images'",)


def test_transparency_is_put_on_white(load):
    alpha = gray(N, 8, 8, 1)
    source = load(images=np.concatenate([IMAGES, alpha], axis=3))
    expected = np.rint(IMAGES * (alpha / 255.0) + 255 - alpha)
    assert np.abs(source.train.read() - expected).max() <= 1
    assert "transparency on white" in said(source)


def test_all_splits_have_one_scale(load):
    dark = (IMAGES.astype(np.uint16) * 4) // 8
    source = load(x_train=IMAGES.astype(np.uint16) * 4, x_test=dark)
    assert source.max_pixel == 1023
    np.testing.assert_array_equal(source.test.read(), np.rint(dark * (255 / 1023)))
    again = load(images=dark, known=Known(max_pixel=1023))
    np.testing.assert_array_equal(again.train.read(), source.test.read())


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": IMAGES / 127.5 - 1}, "Save (images + 1) * 127.5"),
        ({"images": IMAGES / 100}, "fractions from 0"),
        ({"images": IMAGES * np.nan}, "7,680 values that are NaN"),
        ({"images": IMAGES.astype(int) * 1000}, "values from 2000 to 255000"),
        ({"images": (IMAGES - 128.0).astype(np.int8)}, "Save images + 128"),
        ({"images": IMAGES + 0j}, "of dtype complex128"),
        ({"images": gray(N, 1, 28, 1)}, "(40, 1, 28, 1)"),
        ({"images": gray(N, 28, 1)}, "(40, 28, 1)"),
        ({"images": gray(28, 28, 40)}, "numpy.moveaxis"),
        ({"images": gray(N, 2, 8, 8, 3)}, "(40, 2, 8, 8, 3)"),
        ({"images": gray(8, 8, 3)}, "(8, 8, 3)"),
        ({"images": gray(6, 9, 40)}, "(6, 9, 40)"),
        ({"images": gray(N, 784)}, "Reshape flattened images"),
        ({"images": gray(0, 8, 8, 3)}, "(0, 8, 8, 3)"),
        ({"x_train": IMAGES / 255, "x_test": IMAGES * 1.0}, "one range of values"),
        ({"x_train": IMAGES, "x_test": IMAGES // 200}, "one range of values"),
    ],
)
def test_bad_images(load, arrays, message):
    with pytest.raises(InputError, match=re.escape(message)):
        load(**arrays)


def test_image_size(load):
    assert load(images=IMAGES, options={"image_size": 4}).train.example_shape == (
        4,
        4,
        3,
    )
