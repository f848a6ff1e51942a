"""Tests of decoding: every kind of image file becomes uint8 RGB of one size."""

import io
import sys

import numpy as np
import pytest
from PIL import Image

from vicreg_keras.data.sources.base import at_a_time, progress_bar
from vicreg_keras.data.sources.images import decode_image


def save_image(path, value=100, size=(8, 8), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    color = value if mode in ("L", "P") else (value,) * len(mode)
    Image.new(mode, size, color).save(path)
    return path


def noise(seed, height=8, width=8):
    shape = (height, width, 3)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize(
    ("mode", "suffix", "expected"),
    [
        ("L", "png", (80, 80, 80)),
        ("RGBA", "png", (200, 200, 200)),  # 80 of alpha, over white.
        ("LA", "png", (200, 200, 200)),
        ("CMYK", "jpg", (120, 120, 120)),
    ],
)
def test_every_kind_of_image_becomes_rgb(tmp_path, mode, suffix, expected):
    path = save_image(tmp_path / f"a.{suffix}", 80, mode=mode)
    image = decode_image(path, path)
    assert image.shape == (8, 8, 3) and image.dtype == np.uint8
    assert np.abs(image.astype(int) - expected).max() <= 2


def test_palette_and_16_bit(tmp_path):
    palette = Image.fromarray(noise(0)).quantize(16)
    palette.save(tmp_path / "p.png")
    expected = np.asarray(palette.convert("RGB"))
    image = decode_image(tmp_path / "p.png", "p")
    np.testing.assert_array_equal(image, expected)
    gray = np.linspace(0, 65535, 64).reshape(8, 8).astype(np.uint16)
    Image.fromarray(gray).save(tmp_path / "g.png")
    image = decode_image(tmp_path / "g.png", "g")
    np.testing.assert_array_equal(image[..., 1], np.rint(gray / 257))


def test_resize_keeps_the_center_of_the_longer_side(tmp_path):
    image = np.zeros((4, 12, 3), np.uint8)
    image[:, 4:8] = 200
    Image.fromarray(image).save(tmp_path / "a.png")
    decoded = decode_image(tmp_path / "a.png", "a", image_size=4)
    np.testing.assert_array_equal(decoded, np.full((4, 4, 3), 200))


def test_resize_is_antialiased(tmp_path):
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    Image.fromarray(stripes).save(tmp_path / "a.png")
    decoded = decode_image(tmp_path / "a.png", "a", image_size=8)
    assert np.abs(decoded.astype(int) - 127).max() <= 8


def test_a_broken_png(tmp_path):
    Image.fromarray(noise(0, 64, 64)).save(tmp_path / "a.png")
    content = bytearray((tmp_path / "a.png").read_bytes())
    content[200:400] = bytes(200)
    with pytest.raises(ValueError, match="readable JPEG, PNG, .* image. Received: a"):
        decode_image(io.BytesIO(bytes(content)), "a")


def test_progress_is_shown_on_a_terminal_after_three_seconds(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress_bar("Decoding cifar10 train", " images", 3000) as progress:
        progress.update(1000)
        assert "cifar10" not in capsys.readouterr().err
        progress.start_t -= 4
        progress.last_print_t -= 4
        progress.update(500)
        captured = capsys.readouterr()
    assert captured.out == ""
    assert "Decoding cifar10 train" in captured.err
    assert "1.50k/3.00k" in captured.err


@pytest.mark.filterwarnings("ignore")
def test_broken_exif(tmp_path):
    """Pillow raises exceptions of many classes."""
    pixels = np.random.default_rng(0).integers(0, 256, (24, 20, 3)).astype("uint8")
    exif = Image.Exif()
    exif[274], exif[305] = 6, "x" * 20
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", exif=exif)
    content, random = file.getvalue(), np.random.default_rng(0)
    refused = 0
    for _ in range(3000):
        broken = bytearray(content)
        for position in random.integers(0, 100, random.integers(1, 5)):
            broken[position] = random.integers(256)
        try:
            decode_image(io.BytesIO(bytes(broken)), "photo.jpg")
        except ValueError as error:
            assert "Received: photo.jpg (" in str(error)
            refused += 1
    assert 500 < refused < 3000


def test_few_large_examples_are_in_memory_at_a_time():
    assert at_a_time(256, (224, 224, 3)) == 256
    assert at_a_time(256, (2000, 3000, 3)) == 3
    assert at_a_time(256, (20_000, 20_000, 3)) == at_a_time(1, (8,)) == 1
