"""The confusion matrix, as numbers or as colors, and the mistakes."""

import base64
import dataclasses
import io
import re

import numpy as np
import pytest
from PIL import Image

from vicreg_keras.report.examples import confusion_section, mistakes_section
from vicreg_keras.report.pictures import Mistake, Pictures

CONFUSION = np.array([[8, 2, 0], [1, 3, 0], [0, 6, 0]])
PICTURES = Pictures("pets", ("cat", "dog", "fish"), confusion=CONFUSION)


@pytest.fixture
def see(parse):
    """The parsed section of these pictures."""

    def see(pictures, section=confusion_section):
        return parse(f'<section id="s">{section(pictures)}</section>')

    return see


def test_counts_and_what_they_come_to(see):
    page = see(PICTURES)
    assert page.table("s") == [
        ["", "cat", "dog", "fish"],
        ["cat", "8", "2", "0"],
        ["dog", "1", "3", "0"],
        ["fish", "0", "6", "0"],
    ]
    assert "20 images: 55.00 percent right" in page.all("caption")[0].text
    assert "pets, test split" in page.all("caption")[0].text
    assert page.table("s", 1)[1:] == [
        ["fish", "dog", "6", "100.00"],
        ["cat", "dog", "2", "20.00"],
        ["dog", "cat", "1", "25.00"],
    ]


def test_the_larger_share_has_the_stronger_color(see):
    cells = [e for e in see(PICTURES).all("td") if "style" in e.at]
    assert len(cells) == 9
    looks = [
        re.search(r"rgba\((\d+,\d+,\d+),([\d.]+)\)", cell.at["style"]).groups()
        for cell in cells
    ]
    colors = np.array([look[0] for look in looks]).reshape(3, 3)
    strength = np.array([float(look[1]) for look in looks]).reshape(3, 3)
    shares = CONFUSION / CONFUSION.sum(axis=1, keepdims=True)
    assert (np.argsort(strength, axis=None) == np.argsort(shares, axis=None)).all()
    assert strength.max() <= 0.6
    assert set(np.diag(colors)) == {"0,114,178"}
    assert set(colors[~np.eye(3, dtype=bool)]) == {"213,94,0"}


def test_a_class_without_an_image(see):
    confusion = CONFUSION * [[1], [1], [0]]
    page = see(dataclasses.replace(PICTURES, confusion=confusion))
    assert page.table("s")[3] == ["fish", "0", "0", "0"]


def test_nothing_is_wrong(see):
    page = see(dataclasses.replace(PICTURES, confusion=np.eye(3, dtype=int)))
    assert len(page.all("table")) == 1
    assert "100.00 percent right" in page.all("caption")[0].text


def test_many_classes_are_a_picture(see):
    confusion = np.zeros((50, 50), int)
    confusion[0, 0] = confusion[2, 1] = 5
    names = tuple(f"class {i}" for i in range(50))
    page = see(Pictures("many", names, confusion=confusion))
    (image,) = page.all("img")
    content = base64.b64decode(image.at["src"].split(",")[1])
    pixels = np.asarray(Image.open(io.BytesIO(content)))
    scale = len(pixels) // 50
    assert tuple(pixels[0, 0]) == (0, 114, 178)
    assert tuple(pixels[2 * scale, 1 * scale]) == (213, 94, 0)
    assert tuple(pixels[-1, -1]) == (255, 255, 255)
    assert page.table("s")[1:] == [["class 2", "class 1", "5", "100.00"]]


@pytest.mark.parametrize(
    ("shape", "kind", "size"),
    [
        ((32, 32, 3), "png", (32, 32)),
        ((8, 8, 1), "png", (8, 8)),
        ((8, 8), "png", (8, 8)),
        ((200, 400, 3), "jpeg", (96, 48)),
    ],
)
def test_a_mistake_is_seen(see, shape, kind, size):
    image = np.full(shape, 77, np.uint8)
    mistakes = [Mistake(image, "cat", "dog", 0.98765)]
    page = see(dataclasses.replace(PICTURES, mistakes=mistakes), mistakes_section)
    (element,) = page.all("img")
    prefix, content = element.at["src"].split(",")
    assert prefix == f"data:image/{kind};base64"
    seen = Image.open(io.BytesIO(base64.b64decode(content)))
    assert seen.size == size == (int(element.at["width"]), int(element.at["height"]))
    assert np.abs(np.asarray(seen).astype(int) - 77).max() <= 2
    assert element.at["alt"] == "cat, predicted as dog"
    assert "98.77 %" in page.all("figcaption")[0].text


def test_no_mistakes_and_no_labels_are_told_apart(see):
    assert "there are none" in see(PICTURES, mistakes_section).all("p")[0].text
    without = Pictures("pets")
    assert "it needs a labeled" in see(without, mistakes_section).all("p")[0].text
    assert "it needs a labeled" in see(without).all("p")[0].text
