"""Tests of npz files whose images or labels are of several ranges, or of none."""

import numpy as np
import pytest

from vicreg_keras.data.sources.base import Known
from vicreg_keras.data.sources.npz import load_npz
from vicreg_keras.errors import InputError
from vicreg_keras.settings import DataOptions

UNIT = np.random.default_rng(0).random((40, 8, 8, 3)).astype(np.float32)
BYTES = np.rint(UNIT * 255).astype(np.uint8)
LABELS = np.arange(40) % 4


@pytest.fixture
def load(tmp_path):
    def load(**arrays):
        path = tmp_path / "t.npz"
        np.savez(path, **arrays)
        return load_npz(DataOptions(dataset=f"npz:{path}"))

    return load


@pytest.mark.parametrize("layout", [(0, 1, 2, 3), (0, 3, 1, 2)])
def test_images_of_two_ranges(load, layout):
    images = UNIT.copy()
    images[7] *= 255
    with pytest.raises(InputError, match="39 of 40 images with fractions up to 1 and"):
        load(images=images.transpose(layout))
    images[:] *= 255
    images[3] = 0  # All black, and nearly: whole numbers.
    images[4] = BYTES[4] > 200
    images[7] /= 255
    assert load(images=images.transpose(layout)).max_pixel == 255


@pytest.mark.parametrize(
    ("colors", "alpha"),
    [
        (UNIT * 255, UNIT),
        (UNIT, UNIT * 255),
        (BYTES, BYTES > 100),
        (BYTES, BYTES * 0),
        (BYTES.astype(np.uint16) * 256, BYTES),
    ],
)
def test_transparency_of_another_range(load, colors, alpha):
    images = np.concatenate([colors, alpha[..., :1].astype(colors.dtype)], axis=-1)
    with pytest.raises(InputError, match="transparency has the range of their colors"):
        load(images=images)


def test_images_of_one_color(load):
    images = np.concatenate([np.full_like(BYTES, 255), BYTES[..., :1]], axis=-1)
    source = load(images=images)
    assert "40 images looked at are all of one color (255, 255, 255)" in source.notes
    assert not any("one color" in note for note in load(images=BYTES).notes)


@pytest.mark.parametrize(
    ("low", "high", "advice"),
    [
        (-0.00098, 0.999, "Clip them at 0"),
        (-1, 1, r"\(images \+ 1\)"),
        (-3, 2, "Scale"),
    ],
)
def test_advice_about_values_below_0(load, low, high, advice):
    with pytest.raises(InputError, match=f"values from -.* {advice}"):
        load(images=UNIT * (high - low) + np.float32(low))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e30])
def test_labels_that_are_no_whole_numbers(load, value):
    labels = LABELS.astype(np.float64)
    labels[3] = value
    with pytest.raises(InputError, match="write NaN for a missing label"):
        load(images=BYTES, labels=labels)
    with pytest.raises(InputError, match="dtype uint64"):
        load(images=BYTES, labels=np.where(LABELS == 1, np.uint64(2**63), np.uint64(0)))
    texts = np.where(LABELS == 1, "9" * 30, "1")
    assert load(images=BYTES, labels=texts).class_names == ("1", "9" * 30)


def test_labels_in_two_encodings_are_one_class(load):
    labels = np.array(["caf\u00e9", "cafe\u0301", "bar", "bar"] * 10)
    assert load(images=BYTES, labels=labels).class_names == ("bar", "caf\u00e9")


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_names_and_labels_as_bytes_are_texts(load, encoding):
    names = ["caf\u00e9", " bar "]
    encoded = np.array([name.encode(encoding) for name in names])
    cafe = "caf\u00e9" if encoding == "utf-8" else "caf\\xe9"
    named = load(images=BYTES, labels=LABELS % 2, class_names=encoded)
    assert named.class_names == (cafe, "bar")
    texts = load(images=BYTES, labels=encoded[LABELS % 2])
    assert texts.class_names == ("bar", cafe)
    table = load(x=UNIT[:, :2, 0, 0], column_names=encoded)
    assert [column.name for column in table.columns] == [cafe, "bar"]


@pytest.mark.parametrize("dtype", [np.int64, np.float32, np.uint16])
def test_8_bits_for_an_encoder_of_12_bits_are_said_to_be_dark(tmp_path, dtype):
    path = tmp_path / "t.npz"
    np.savez(path, images=BYTES.astype(dtype))
    source = load_npz(DataOptions(dataset=f"npz:{path}"), Known(max_pixel=4095))
    assert "of 4095: multiply them if 255 is their white" in source.notes[-1]
