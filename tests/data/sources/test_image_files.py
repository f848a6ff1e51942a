"""Files of a folder: formats, depths, names, and what can't be read."""

import os
import pathlib
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from vicreg_keras.data.sources.base import Known
from vicreg_keras.data.sources.folders import load_files, load_folder
from vicreg_keras.errors import InputError
from vicreg_keras.settings import DataOptions

RANDOM = np.random.default_rng(0)


def noise(height=8, width=8, channels=3, dtype=np.uint8, high=256):
    return RANDOM.integers(0, high, (height, width, channels)).astype(dtype).squeeze()


def save(path, pixels=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise() if pixels is None else pixels).save(path, **options)
    return path


def load(folder, known=None, **options):
    options = DataOptions(dataset=f"folder:{folder}", **options)
    return load_folder(options, known or Known())


def read(source):
    return dict(zip(source.train.names, source.train.read(), strict=True))


SUFFIXES = ("jpg", "JPEG", "jfif", "jpe", "png", "webp", "bmp", "gif", "tif", "tiff")


def test_formats(tmp_path):
    for suffix in SUFFIXES:
        kind = {"jfif": "JPEG", "jpe": "JPEG"}.get(suffix)
        save(tmp_path / f"a.{suffix}", format=kind)
    save(tmp_path / "b.jpg", np.full((8, 8, 3), 7, np.uint8), format="PNG")
    save(
        tmp_path / "b.png",
        np.full((8, 8, 3), 9, np.uint8),
        format="WEBP",
        lossless=True,
    )
    source = load(tmp_path)
    assert len(source.train) == len(SUFFIXES) + 2
    assert (read(source)["b.jpg"] == 7).all() and (read(source)["b.png"] == 9).all()


def test_what_is_left_out_is_said(tmp_path):
    for name in ("ant/1", "ant/2", "bee/1"):
        save(tmp_path / f"{name}.png")
        (tmp_path / f"{name}.txt").touch()
    (tmp_path / "README").touch()
    (tmp_path / "bee" / "clip.MP4").touch()
    for junk in (".DS_Store", "Thumbs.db", "desktop.ini", "__MACOSX/ant/._1.png"):
        path = tmp_path / junk
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for name in ("annotations/1.xml", "cat/deep/photo.heic"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    (tmp_path / "empty").mkdir()
    source = load(tmp_path)
    assert source.class_names == ("ant", "bee")
    assert source.left_out == (
        *("3 .txt", "1 .heic", "1 .mp4", "1 .xml", "1 without a suffix"),
        *("annotations/ (no images)", "cat/ (no images)", "empty/ (no images)"),
    )


def test_an_archive_beside_its_folder(tmp_path):
    for name in ("ant", "bee"):
        save(tmp_path / "photos" / name / "1.png")
    (tmp_path / "photos.zip").touch()
    (tmp_path / "@eaDir" / "ant").mkdir(parents=True)
    source = load(tmp_path)
    assert source.class_names == ("ant", "bee") and source.left_out == ("1 .zip",)
    assert source.train.names[0] == "photos/ant/1.png"


def test_links(tmp_path):
    save(tmp_path / "ant" / "1.png")
    save(tmp_path / "bee" / "1.png")
    (tmp_path / "aaa").symlink_to(tmp_path / "bee")
    (tmp_path / "bee" / "loop").symlink_to(tmp_path)
    (tmp_path / "ant" / "link").symlink_to(tmp_path / "bee")
    os.mkfifo(tmp_path / "ant" / "pipe.png")
    source = load(tmp_path)
    assert source.class_names == ("ant", "bee") and len(source.train) == 2
    assert "aaa/ (a link to what is read)" in source.left_out


@pytest.mark.parametrize("limit", [0, 4])
def test_16_bits(tmp_path, limit):
    values = noise(8, 8, 2, np.uint16, 4000)
    values[0, 0] = 3999
    save(tmp_path / "a.png", values[..., 0])
    save(tmp_path / "b.tif", values[..., 1])
    save(tmp_path / "c.png", np.full((8, 8), 100, np.uint8))
    source = load(tmp_path, memory_limit_gib=limit)
    assert source.max_pixel == 4095
    assert source.notes == ("2 images of 16 bits: 4095 is white (255)",)
    pixels = read(source)
    for i, name in enumerate(("a.png", "b.tif")):
        expected = np.rint(values[..., i] * 255.0 / 4095)
        np.testing.assert_array_equal(pixels[name][..., 2], expected)
    assert (pixels["c.png"] == 100).all()
    # Other files for the same encoder are read as these.
    known = load(tmp_path, Known(max_pixel=65535), memory_limit_gib=limit)
    assert known.max_pixel == 65535 and read(known)["a.png"].max() <= 16
    if limit:
        expected = r"\[0, 1023\], as the encoder's.* up to 3999.*a.png"
        with pytest.raises(InputError, match=expected):
            load(tmp_path, Known(max_pixel=1023), unreadable="skip")
    query = load_files(str(tmp_path / "a.png"), (8, 8, 3), Known(max_pixel=4095))
    np.testing.assert_array_equal(query.train.read([0])[0], pixels["a.png"])


@pytest.mark.parametrize(
    ("high", "max_pixel"),
    [(200, 255), (256, 1023), (1024, 4095), (16383, 16383), (16384, 65535)],
)
def test_the_range_of_16_bits(tmp_path, high, max_pixel):
    values = np.array([[0, high], [0, 5]], np.uint16)
    for kind in ("png", "tif"):
        save(tmp_path / f"a.{kind}", values)
        save(tmp_path / f"b.{kind}", values // 2)
    source = load(tmp_path)
    assert source.max_pixel == max_pixel
    assert read(source)["a.png"].max() == round(high * 255 / max_pixel)


def test_colors_of_16_bits(tmp_path):
    values = noise(4, 5, 3, np.uint16, 1023).astype(">u2")

    def chunk(name, data):
        body = name + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    start = chunk(b"IHDR", struct.pack(">IIBBBBB", 5, 4, 16, 2, 0, 0, 0))
    rows = zlib.compress(b"".join(b"\0" + row.tobytes() for row in values))
    content = start + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    source = load(tmp_path)
    assert source.max_pixel == 1023
    expected = np.rint(values * 255.0 / 1023)
    np.testing.assert_array_equal(read(source)["a.png"], expected)


def test_a_broken_image_of_16_bits(tmp_path):
    for i in range(3):
        path = save(tmp_path / f"{i}.png", noise(40, 40, 1, np.uint16, 4000))
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(InputError, match=r"2.png \(ValueError: broken PNG data\)"):
        load(tmp_path)


def test_floats(tmp_path):
    values = RANDOM.random((8, 8)).astype(np.float32)
    for i in range(2):
        save(tmp_path / f"{i}.tif", values / (i + 1))
    source = load(tmp_path)
    assert source.max_pixel == 1
    np.testing.assert_array_equal(read(source)["0.tif"][..., 0], np.rint(values * 255))
    save(tmp_path / "2.tif", values * 200)
    # One scale for all: what would be dark by it is named.
    with pytest.raises(InputError, match="2 of 3 unreadable: 0.tif .*, 255 is white"):
        load(tmp_path)
    save(tmp_path / "3.tif", values * 5000)
    save(tmp_path / "4.tif", values - 0.5)
    save(tmp_path / "5.tif", np.full((8, 8), np.nan, np.float32))
    with pytest.raises(InputError, match="5 of 6 .*3.tif .*of 0 to 255"):
        load(tmp_path)


def test_animated_images_are_noted(tmp_path):
    frames = [Image.fromarray(noise()) for _ in range(3)]
    for kind in ("gif", "webp", "tif"):
        options = {"save_all": True, "append_images": frames[1:]}
        frames[0].save(tmp_path / f"a.{kind}", **options)
        frames[0].save(tmp_path / f"b.{kind}")
    source = load(tmp_path)
    assert source.notes == ("3 animated or of several pages: the first is read",)
    pixels = read(source)
    np.testing.assert_array_equal(pixels["a.tif"], pixels["b.tif"])
    np.testing.assert_array_equal(pixels["a.gif"], pixels["b.gif"])


@pytest.mark.parametrize("kind", ["png", "jpg", "tif", "webp"])
def test_sizes_are_of_turned_images(tmp_path, kind):
    exif = Image.Exif()
    exif[0x0112] = 6
    save(tmp_path / f"a.{kind}", noise(8, 12), exif=exif)
    save(tmp_path / f"b.{kind}", noise(12, 8))
    if kind == "png":  # What some cameras write after the pixels.
        late = (tmp_path / "a.png").read_bytes()
        start = late.index(b"eXIf") - 4
        end = start + 12 + int.from_bytes(late[start : start + 4], "big")
        content = late[:start] + late[end:-12] + late[start:end] + late[-12:]
        (tmp_path / "c.png").write_bytes(content)
    source = load(tmp_path)
    assert source.train.example_shape == (12, 8, 3)
    if kind == "png":
        np.testing.assert_array_equal(read(source)["a.png"], read(source)["c.png"])


def test_names_of_any_bytes(tmp_path):
    names = [b"caf\xe9.png", b"a\nb.png", b"100%.png", b"a[1].png", b"*.png"]
    folder = os.fsencode(tmp_path) + b"/x[1]\xff"
    os.mkdir(folder)
    for value, name in enumerate(names):
        path = pathlib.Path(os.fsdecode(folder + b"/" + name))
        save(path, np.full((8, 8, 3), value, np.uint8))
    source = load(tmp_path)
    shown = {"caf\\xe9.png", "a\\nb.png", "100%.png", "a[1].png", "*.png"}
    assert set(source.train.names) == {f"x[1]\\xff/{name}" for name in shown}
    source.train.names[0].encode()
    for pattern, count in (
        (b"*.png", 5),
        (b"c*.png", 1),
        (b"?[[]1].png", 1),
        (b"a*", 2),
    ):
        files = load_files(os.fsdecode(folder + b"/" + pattern), (8, 8, 3)).train
        assert len(files) == count, pattern
        assert files.read([0]).shape == (1, 8, 8, 3)


def broken_folder(tmp_path, num_broken, num_files=30):
    """Files with sound headers and without."""
    for i in range(num_files):
        path = save(tmp_path / "ab"[i % 2] / f"{i:02d}.jpg", noise(64, 64))
        if i < num_broken:
            content = path.read_bytes()
            kinds = (content[:900], b"", b"<html>not found</html>", content[:150])
            path.write_bytes(kinds[i % 4])
    return tmp_path


@pytest.mark.parametrize("limit", [0, 4])
def test_all_unreadable_files_are_listed(tmp_path, limit):
    broken_folder(tmp_path, 25)
    with pytest.raises(InputError, match="unreadable: a/") as error:
        load(tmp_path, memory_limit_gib=limit)
    message = str(error.value)
    assert "\n" not in message and str(tmp_path) not in message
    assert message.count(".jpg (") == (20 if limit else 18)
    # A cut file is found where all are decoded.
    assert f"{25 if limit else 18} of 30 unreadable" in message


@pytest.mark.parametrize("limit", [0, 4])
def test_unreadable_files_are_skipped(tmp_path, limit):
    broken_folder(tmp_path, 3)
    source = load(tmp_path, unreadable="skip", memory_limit_gib=limit)
    assert len(source.train) == 27 and np.bincount(source.train.labels).tolist() == [
        13,
        14,
    ]
    assert source.train.read().shape == (27, 64, 64, 3)
    (entry,) = source.left_out
    assert entry.startswith("3 unreadable: a/00.jpg (") and "b/01.jpg (" in entry
    for i, name in enumerate(source.train.names):
        expected = np.asarray(Image.open(tmp_path / name))
        np.testing.assert_array_equal(source.train.read([i])[0], expected)
        assert "ab"[source.train.labels[i]] == name[0]


def test_no_more_than_a_tenth_is_skipped(tmp_path):
    broken_folder(tmp_path, 4)
    with pytest.raises(InputError, match="but for up to 3. Received: 4 of 30"):
        load(tmp_path, unreadable="skip")


def test_a_decompression_bomb_is_one_of_the_unreadable(tmp_path, monkeypatch):
    for i in range(3):
        save(tmp_path / f"{i}.png", noise(20, 20))
    save(tmp_path / "large.png", noise(40, 40))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InputError, match=r"1 of 4 .* large.png \(Decompression"):
            load(tmp_path, image_size=8)


def test_pillow_does_not_warn(tmp_path, monkeypatch):
    """Of broken EXIF data, palettes with alpha, and images that are large."""
    palette = Image.fromarray(noise(30, 30)).quantize(4)
    palette.save(tmp_path / "a.png", transparency=bytes([1, 2, 3]))
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x05broken"
    save(tmp_path / "b.jpg", noise(30, 30), exif=exif)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert len(load(tmp_path).train) == 2
    assert not caught


def test_sizes_that_differ(tmp_path):
    for height, width in ((300, 200), (240, 320), (64, 500), (900, 700)):
        save(tmp_path / f"{height}.png", noise(height, width))
    expected = "4 images of 4 sizes, 64x500 to 900x700 .*Use image_size=192"
    with pytest.raises(InputError, match=expected):
        load(tmp_path)


@pytest.mark.parametrize("mode", ["L", "RGB", "I;16"])
def test_a_tiff_is_turned_also_when_it_could_be_mapped_into_memory(tmp_path, mode):
    for i in range(3):
        pixels = noise(4, 10, 3 if mode == "RGB" else 1)
        pixels[0, 0] = 255
        deep = pixels.astype(np.uint16) * 257 if mode == "I;16" else pixels
        save(tmp_path / f"{i}.tif", deep, tiffinfo={0x0112: 6})
    (found,) = [load(tmp_path).train.read([2])]
    expected = np.rot90(pixels, -1).reshape(10, 4, -1)
    np.testing.assert_array_equal(found[0], np.broadcast_to(expected, (10, 4, 3)))
