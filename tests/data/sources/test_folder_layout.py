"""Which folders are splits, which are classes, and what is left out: paths alone."""

import pytest

from vicreg_keras.data.sources.folder_layout import lay_out
from vicreg_keras.errors import InputError


def images(*folders, num=10):
    """Paths of images: ten in each folder, or as many as `folder:number` says."""
    paths = []
    for folder in folders:
        name, _, count = folder.partition(":")
        parts = tuple(part for part in name.split("/") if part)
        paths += [(*parts, f"{i:03d}.png") for i in range(int(count or num))]
    return sorted(paths)


def read(*folders, **options):
    """Number of images of each split, its classes, left out, notes."""
    layout = lay_out(images(*folders), **options)
    sizes = {split: len(paths) for split, paths in layout.splits.items()}
    for split, names in layout.classes.items():
        assert len(names) == sizes[split]
    classes = {split: sorted(set(names)) for split, names in layout.classes.items()}
    return sizes, classes, layout.left_out, layout.notes


AB = {"train": ["a", "b"]}


@pytest.mark.parametrize(
    "train", ["train", "Training", "train_set", "trainset", "TRAIN", "training-images"]
)
@pytest.mark.parametrize(
    ("other", "split"),
    [
        *[(name, "test") for name in ("test", "testing", "test_set", "Test Images")],
        *[(name, "test") for name in ("holdout", "hold_out", "Hold-out set", "test1")],
        *[(name, "validation") for name in ("val", "valid", "Validation", "dev")],
        *[
            (name, "validation")
            for name in ("eval", "evaluation", "val_data", "val2017")
        ],
    ],
)
def test_split_folders(train, other, split):
    found = read(f"{train}/a", f"{train}/b", f"{other}/a", f"{other}/b")
    classes = {"train": ["a", "b"], split: ["a", "b"]}
    assert found == ({"train": 20, split: 20}, classes, [], [])


@pytest.mark.parametrize("name", ["unlabeled", "Unlabelled", "unsup", "unlabeled_data"])
def test_unlabeled_images(name):
    sizes, classes, left_out, notes = read("train/a", "train/b", f"{name}/x/y:7", name)
    assert sizes == {"train": 20, "unlabeled": 17} and classes == AB
    assert read("a", "b", f"{name}:30")[:2] == ({"train": 20, "unlabeled": 30}, AB)
    found = read("train/a", "train/b", f"train/{name}:5", "test/a", "test/b")
    assert found[0] == {"train": 20, "test": 20, "unlabeled": 5}
    assert found[1]["train"] == ["a", "b"] and not found[2]
    sizes, classes, *_ = read("labeled/a", "labeled/b", name)
    assert sizes == {"train": 20, "unlabeled": 10} and classes == AB


def test_two_folders_for_one_split():
    for one, other in (("test", "testing"), ("val", "dev"), ("train", "training_set")):
        folders = {"train", "test", one, other}
        with pytest.raises(
            InputError, match=f"one folder of .*{one}/, {other}/|{other}"
        ):
            read(*[f"{name}/{c}" for name in folders for c in "ab"])


def test_splits_without_a_training_split():
    with pytest.raises(InputError, match="train/.*Received: test/, val/ alone"):
        read("test/a", "test/b", "val/a", "val/b")


@pytest.mark.parametrize(
    "folders",
    [("bus", "train"), ("train/x", "train/y", "bus/x", "bus/y"), ("car", "test")],
)
def test_splits_may_be_classes(folders):
    sizes, classes, left_out, (note, *_) = read(*folders)
    names = sorted({name.split("/")[0] for name in folders})
    assert classes == {"train": names} and not left_out
    assert "is read as a class" in note


def test_classes_beside_a_test_split():
    sizes, classes, *_ = read("a", "b", "test/a:2", "test/b:3")
    assert sizes == {"train": 20, "test": 5}
    assert classes == {"train": ["a", "b"], "test": ["a", "b"]}


def test_folders_that_are_no_split():
    sizes, classes, left_out, _ = read(
        "train/a", "train/b", "test/a", "test/b", "masks"
    )
    assert sizes == {"train": 20, "test": 20}
    assert left_out == ["10 images of masks/, which is no split"]
    # Also beside train/ alone, where that has class folders and its neighbor has none.
    sizes, classes, left_out, _ = read("train/a", "train/b", "samples:3")
    assert classes == AB and left_out == ["3 images of samples/, which is no split"]


@pytest.mark.parametrize("wrapper", ["imagenette2", "x/y/z", "train"])
def test_a_folder_in_a_folder(wrapper):
    assert read(f"{wrapper}/a", f"{wrapper}/b") == ({"train": 20}, AB, [], [])
    sizes, classes, *_ = read(
        *[f"{wrapper}/{s}/{c}" for s in ("train", "val") for c in "ab"]
    )
    assert sizes == {"train": 20, "validation": 20} and classes["train"] == ["a", "b"]


def test_an_image_beside_the_folder_of_an_archive():
    for inner in ("", "train/", "more/"):
        found = read(":1", f"photos/{inner}a", f"photos/{inner}b")
        assert found == (
            {"train": 20},
            AB,
            ["1 image beside class folders: 000.png"],
            [],
        )
    sizes, classes, left_out, _ = read(":1", "x/train/a", "x/train/b", "x/test/a")
    assert sizes == {"train": 20, "test": 10} and len(left_out) == 1
    assert read(":1", "all:20")[0] == {"train": 21}
    # Also in that folder, beside its splits or classes.
    sizes, classes, left_out, _ = read("x:1", "x/train/a", "x/train/b", "x/test/a")
    assert sizes == {"train": 20, "test": 10} and "x/000.png" in left_out[0]
    assert read("x:1", "x/a", "x/b")[:2] == ({"train": 20}, AB)


def test_splits_in_class_folders():
    sizes, classes, _, (note,) = read("a/train", "a/test", "b/train", "b/test")
    assert sizes == {"train": 40} and classes == AB and "a/test/ is part of" in note


def test_a_folder_in_each_split():
    sizes, classes, left_out, _ = read("train/train/a", "train/train/b", "test/test/a")
    assert sizes == {"train": 20, "test": 10} and not left_out
    assert classes == {"train": ["a", "b"], "test": ["a"]}
    # As Kaggle's dogs and cats: no class folders anywhere.
    assert read("train/train", "test1/test1")[:2] == ({"train": 10, "test": 10}, {})


def test_one_class_is_no_label():
    for folders in (("all",), ("train/good", "test/good", "test/bad")):
        sizes, classes, _, (note,) = read(*folders)
        assert not classes and "no labels, as there is one class" in note
    assert read("", "deep/er")[1] == {}


@pytest.mark.parametrize("test", ["test", "test/test1", "test/unknown", "test/x/y"])
def test_a_flat_test_split_beside_labeled_training(test):
    sizes, classes, (entry,), _ = read("train/a", "train/b", f"{test}:2000")
    assert sizes == {"train": 20} and classes == AB
    assert entry.startswith("2,000 images of test/, which has no class folders")


def test_other_classes_than_those_of_train():
    for folders in (("test/a", "test/c"), ("test/A", "test/B"), ("test/a", "test:10")):
        with pytest.raises(InputError, match="in test the class folders of train"):
            read("train/a", "train/b", *folders)
    with pytest.raises(InputError, match="without class folders in both"):
        read("train", "test/a", "test/b")


def test_images_beside_class_folders():
    sizes, classes, left_out, _ = read(":2", "a", "b")
    assert sizes == {"train": 20} and classes == AB
    assert left_out == ["2 images beside class folders: 000.png, 001.png"]
    sizes, classes, left_out, (note,) = read(":3", "a", "b")
    assert sizes == {"train": 23} and not classes and not left_out
    assert note == "no labels, as 3 of 23 images here are in no class folder"
    sizes, classes, left_out, _ = read(":1", "train/a", "train/b", "test/a", "test/b")
    assert sizes == {"train": 20, "test": 20} and "beside splits" in left_out[0]
    sizes, classes, left_out, _ = read(
        "train/a", "train/b", "test/a:20", "test/b", "test:1"
    )
    assert sizes == {"train": 20, "test": 30} and "test/000.png" in left_out[0]


def test_without_labels():
    found = read(":3", "a", "b", has_labels=False)
    assert found == ({"train": 23}, {}, [], [])
    found = read("train/a", "train:9", "test/c", "unsup", has_labels=False)
    assert found == ({"train": 19, "test": 10, "unlabeled": 10}, {}, [], [])


def test_names_of_any_bytes():
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    assert read(name, "a\nb")[1] == {"train": ["a\\nb", "caf\\xe9"]}


def test_a_name_in_two_encodings_is_one_class():
    folders = ("caf\u00e9", "cafe\u0301", "bar")
    assert read(*folders)[:2] == ({"train": 30}, {"train": ["bar", "caf\u00e9"]})
    assert (
        read("train/cafe\u0301", "train/b", "test/caf\u00e9", "test/b")[0]["test"] == 20
    )


@pytest.mark.parametrize(
    ("train", "other", "split"),
    [
        *(("mnist_train", "mnist_test", "test"), ("train_v1", "test_v1", "test")),
        *(("01_train", "02_test", "test"), ("train_full", "val_full", "validation")),
        *(("animals_train", "animals_valid", "validation"), ("tr", "te", "test")),
        *(("myTrain", "other-test", "test"), ("train", "test_v1", "test")),
    ],
)
def test_splits_by_a_word_of_their_names(train, other, split):
    found = read(f"{train}/a", f"{train}/b", f"{other}/a", f"{other}/b")
    classes = {"train": ["a", "b"], split: ["a", "b"]}
    assert found == ({"train": 20, split: 20}, classes, [], [])
    if split == "test" and "my" not in train:
        assert (
            read(train, other)[:2] == ({"train": 10, "test": 10}, {})
            or train == "train"
        )


def test_splits_beside_what_is_none():
    folders = [f"seg_{s}/seg_{s}/{c}" for s in ("train", "test") for c in "ab"]
    sizes, classes, left_out, _ = read(*folders, "seg_pred/seg_pred")
    assert sizes == {"train": 20, "test": 20} and classes["test"] == ["a", "b"]
    assert left_out == ["10 images of seg_pred/, which is no split"]
    # Words of classes, which have nothing in common.
    sizes, classes, _, notes = read("freight train", "test tube")
    assert classes == {"train": ["freight train", "test tube"]} and len(notes) == 2
    with pytest.raises(InputError, match="one folder of the test split"):
        read("trainA", "trainB", "testA", "testB")


@pytest.mark.parametrize(
    ("folders", "sizes", "entries"),
    [
        (["images", "masks"], {"train": 10}, ["10 images of masks/ beside images/"]),
        (["images", "annotations", "labels"], {"train": 10}, ["annotations", "labels"]),
        (["train/image", "train/mask"], {"train": 10}, ["10 images of mask/"]),
        (["train", "train_masks", "test"], {"train": 10, "test": 10}, ["train_masks"]),
        (["images/a", "images/b", "masks/a", "masks/b"], {"train": 20}, ["20 images"]),
        (["a/images", "a/masks", "b/images", "b/masks"], {"train": 20}, ["20 images"]),
    ],
)
def test_masks_beside_images_are_left_out(folders, sizes, entries):
    for has_labels in (True, False):
        found, _, left_out, _ = read(*folders, has_labels=has_labels)
        assert found == sizes and len(left_out) == len(entries)
        for entry, one in zip(entries, left_out, strict=True):
            assert entry in one and "taken for masks" in one


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("JPEGImages", ["SegmentationClass", "SegmentationObject"]),
        ("Images", ["GroundTruth"]),
        ("original", ["Ground Truth", "masks"]),
        ("leftImg8bit/val", ["gtFine/val", "gtCoarse/val"]),
        ("ISIC_Task1-2_Training_Input", ["ISIC_Task1_Training_GroundTruth"]),
        ("images", ["mask", "1st_manual", "image_labels"]),
    ],
)
def test_names_of_masks(images, masks):
    sizes, classes, left_out, _ = read(images, *masks)
    assert sizes in ({"train": 10}, {"validation": 10}) and not classes
    assert len(left_out) == len(masks)
    for name, one in zip(sorted(masks), sorted(left_out), strict=True):
        assert f"of {name.split('/')[0]}/ beside" in one and "taken for masks" in one


@pytest.mark.parametrize(
    ("folders", "name"),
    [
        (["a", "b", "photos/a", "photos/b"], "photos"),
        (["photos/a", "photos/b", "photos/photos/A", "photos/photos/B"], "photos"),
        (["a", "b", "c", "all/train/a", "all/test/b"], "all"),
        (["train/a", "train/b", "test/a", "test/b", "test/test/a", "test/x/b"], None),
    ],
)
def test_class_folders_beside_a_copy_of_them(folders, name):
    if name is None:  # A part of the copy is another class.
        with pytest.raises(InputError, match="in test the class folders of train"):
            read(*folders)
        return
    _, classes, (one,), notes = read(*folders)
    assert name not in classes["train"] and f"20 images of {name}/, which holds" in one
    assert read("a", "b", "old/a")[3] == ["old/ is read as a class, with a/ in it"]
    assert read(":30", "a", "b", "c/a", "c/b")[2] == []  # No labels: all are read.
    _, classes, left_out, _ = read("a/b", "a/c", "b/a", "b/c", "c/a", "c/b")
    assert classes["train"] == ["a", "b", "c"] and not left_out


@pytest.mark.parametrize(
    "parents", [("color", "gray", "segmented"), ("fold1", "fold2"), ("treino", "teste")]
)
def test_parents_of_the_same_folders(parents):
    _, classes, _, (note,) = read(*[f"{one}/{c}" for one in parents for c in "ab"])
    assert classes["train"] == sorted(parents) and ", not a/, b/ in them" in note
    assert ", not 0/, 1/ in them" in read("p1/0", "p2/1", "p3/0", "p4/0", "p5/1")[3][0]
    folders = ["learn/a", "learn/b", "test/a", "test/b"]
    sizes, classes, _, notes = read(*folders)
    assert sizes == {"train": 20, "test": 20} and classes["test"] == ["a", "b"]
    assert notes == ["learn/ is read as the train split"]


def test_names_that_differ_in_case():
    assert read("Cat", "cat", "dog")[3] == ["Cat/, cat/ are classes of their own"]


def test_classes_with_and_without_a_mask():
    for names in (["mask", "no_mask"], ["face", "face_mask"], ["label", "price"]):
        assert read(*names)[1] == {"train": names}
    # It is said where names are hardly those of classes.
    assert read("A", "B", "label")[3] == ["label/ is read as a class"]
    assert read("images", "masks", "depth")[3] == ["images/ is read as a class"]
    assert read("face_images", "mask_images")[1] == {
        "train": ["face_images", "mask_images"]
    }


def test_masks_beside_each_image_are_left_out():
    names = ["1.png", "1_mask.png", "2.JPG", "2-Mask.png", "2_mask_1.png", "3_mask.png"]
    pairs = [("image_1.png", "mask_1.png"), ("1_img.png", "1_GT.png")]
    for image, mask in pairs:
        layout = lay_out([("a", image), ("a", mask), ("b", mask)])
        assert layout.splits["train"] == [("a", image), ("b", mask)]
    layout = lay_out([(folder, name) for folder in "ab" for name in names])
    assert sorted(name for _, name in layout.splits["train"]) == sorted(
        ["1.png", "2.JPG", "3_mask.png"] * 2
    )
    assert layout.left_out == [
        "6 images such as a/1_mask.png, taken for masks of others"
    ]
