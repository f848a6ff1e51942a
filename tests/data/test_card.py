"""The card of a dataset, and what it tells of changes."""

import csv
import dataclasses

import numpy as np
import pytest

from vicreg_keras.data.card import (
    DataCard,
    changes,
    describe,
    make_card,
    save_examples,
)
from vicreg_keras.data.dataset import Dataset, load_dataset
from vicreg_keras.data.split import Split
from vicreg_keras.errors import InputError
from vicreg_keras.settings import DataOptions, Settings
from vicreg_keras.training.build import make_schema


def make_dataset(num_examples=20, **values):
    images = np.random.default_rng(0).integers(0, 256, (30, 12, 12, 3), np.uint8)
    labels = np.arange(30) % 2

    def split(start, stop):
        names = [f"{i}.png" for i in range(start, stop)]
        return Split(images[start:stop], labels[start:stop], names)

    return Dataset(
        options=DataOptions(dataset="folder:photos"),
        train=split(0, num_examples),
        validation=split(20, 24),
        test=split(24, 30),
        class_names=("ant", "bee"),
        **values,
    )


def card_of(dataset, **settings):
    settings = Settings(**settings)
    return make_card(dataset, make_schema(settings, dataset))


@pytest.fixture
def saved(tmp_path):
    """A dataset's card, and a function that says what differs in another one."""
    dataset, path = make_dataset(), tmp_path / "examples.npz"
    with open(path, "wb") as file:
        save_examples(dataset, file)
    card = card_of(dataset)
    return dataset, lambda other: changes(card, other, path)


@pytest.mark.parametrize("encoder", ["tiny", "whitened4"])
def test_a_card_of_images_survives_json(encoder):
    card = card_of(make_dataset(left_out=("3 .gif",)), encoder=encoder)
    again = DataCard.from_json(card.to_json(), "here")
    assert again.to_json() == card.to_json()
    statistics = again.schema.statistics
    np.testing.assert_array_equal(statistics.mean, card.schema.statistics.mean)
    whitening = statistics.whitening
    if encoder == "tiny":
        assert whitening is None
    else:
        np.testing.assert_array_equal(whitening, card.schema.statistics.whitening)
        assert whitening.dtype == np.float32


def test_a_card_of_a_table_survives_json(tmp_path):
    path = tmp_path / "a.csv"
    lines = [f"{i / 7:.3f},{'red' if i % 3 else 'blue'},{i % 2}" for i in range(30)]
    path.write_text("\n".join(["age,color,y", *lines, ",red,1"]))
    card = card_of(load_dataset(f"csv:{path}", label_column="y"))
    again = DataCard.from_json(card.to_json(), "here")
    assert again.to_json() == card.to_json()
    assert again.schema.columns == card.schema.columns
    assert again.schema.columns[1].categories == ("blue", "red")
    assert again.schema.statistics.missing.tolist() == [True, False]


def test_names_survive_json_as_they_are(tmp_path):
    names = ["a [cm  x]", "b {1}", 'c "d"', "e\tf", "[1,  2]"]
    categories = ["[x  y]", "{}"]
    with (tmp_path / "a.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        writer.writerows(
            [[categories[i % 2], *range(i % 3, i % 3 + 4)] for i in range(20)]
        )
    dataset = load_dataset(f"csv:{tmp_path}/a.csv", categorical_columns=["[1,  2]"])
    card = card_of(dataset)
    again = DataCard.from_json(card.to_json(), "here")
    assert again.schema.columns == dataset.columns
    assert again.schema.columns[0].categories == ("[x  y]", "{}")


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"dataset": "digits"}'])
def test_another_text_is_no_card(text):
    with pytest.raises(InputError, match="a run. Received: RUN|Expected RUN as it"):
        DataCard.from_json(text, "RUN")


def test_what_was_read_is_one_line():
    dataset = make_dataset(
        held_out=("test",), left_out=("1,204 .webp", "3 .gif"), notes=("16 bits",)
    )
    assert describe(dataset) == (
        "Read 30 images of 2 classes (ant, bee), 12 x 12: 20 to train on, 4 for "
        "validation, 6 held out for test; left out: 1,204 .webp, 3 .gif.\n  16 bits"
    )
    assert describe(load_dataset("iris")).startswith(
        "Read 150 rows of 3 classes (setosa, versicolor, virginica), 4 columns "
        "(sepal length (cm), sepal width (cm), petal length (cm), ...): 108 to train"
    )
    unlabeled = dataclasses.replace(
        dataset, unlabeled=dataset.test, test=None, class_names=None
    )
    assert "without labels, 12 x 12: 20 to" in describe(unlabeled)
    assert "6 more to train on, unlabeled" in describe(unlabeled)


def test_the_same_data_has_not_changed(saved):
    _, difference = saved
    assert difference(make_dataset()) == ()


def replaced(dataset, split="train", **values):
    old = getattr(dataset, split)
    values = {"examples": old.read(), "labels": old.labels, "names": old.names} | values
    return dataclasses.replace(dataset, **{split: Split(**values)})


def test_each_change_is_named(saved):
    dataset, difference = saved
    assert difference(make_dataset(19)) == ("1 is removed ('19.png')",)
    pixels = dataset.test.read().copy()
    pixels[2, 0, 0, 0] ^= 1
    assert difference(replaced(dataset, "test", examples=pixels)) == (
        "1 is changed ('26.png')",
    )
    labels = dataset.train.labels.copy()
    labels[[3, 5]] = 0
    assert difference(replaced(dataset, labels=labels)) == (
        "2 are of another class ('3.png', '5.png')",
    )
    names = ["new.png", *dataset.train.names[1:]]
    assert difference(replaced(dataset, names=names)) == (
        "1 is added ('new.png')",
        "1 is removed ('0.png')",
    )
    gone = dataclasses.replace(dataset, class_names=("ant", "wasp"))
    assert difference(gone)[:2] == (
        "of its classes 'bee' are gone",
        "of its classes 'wasp' are new",
    )
    order = np.arange(20)[::-1]
    shuffled = dataclasses.replace(dataset, train=dataset.train.take(order))
    assert difference(shuffled) == ("the same examples are split otherwise",)


def test_without_the_names_numbers_are_told(tmp_path):
    card = card_of(make_dataset())
    path = tmp_path / "none.npz"
    assert changes(card, make_dataset(19), path) == (
        "train has 19 examples instead of 20",
    )


def test_contents_and_files_are_not_compared(saved, monkeypatch):
    # As where the memory limit was changed: the same names in either way.
    dataset, difference = saved
    monkeypatch.setattr(Split, "is_in_memory", False)
    pixels = dataset.test.read() ^ 1
    assert difference(replaced(dataset, "test", examples=pixels)) == ()
    assert difference(make_dataset(19)) == ("1 is removed ('19.png')",)
