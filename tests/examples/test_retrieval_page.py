"""The retrieval page over HTTP: neighbors, limits, and what cannot be searched for."""

import base64
import io
import re
import struct
import tempfile
import threading
import zlib

import numpy as np
import pytest
from PIL import Image

from vicreg_keras import load_encoder
from vicreg_keras.data.sources.folders import load_files
from vicreg_keras.evaluate.index import NeighborIndex

ORIENTATION = 0x0112


@pytest.fixture
def client(search):
    from retrieval_page.server import create_app

    app = create_app(search, num_neighbors=5, trusted_hosts=["127.0.0.1", "localhost"])
    return app.test_client()


def encoded(image, kind="PNG", **options):
    """The bytes of a file."""
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def send(client, content, name="photo.png", **fields):
    form = {"image": (io.BytesIO(content), name), **fields}
    return client.post("/search", data=form)


def photo(height=300, width=400, seed=0):
    """A smooth made-up photo, the same nowhere in it."""
    random = np.random.default_rng(seed)
    small = Image.fromarray(random.integers(0, 256, (6, 8, 3), np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC)


def png_header(width, height):
    """The start of a PNG file that says it has so many pixels."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    crc = struct.pack(">I", zlib.crc32(body))
    data = zlib.compress(b"\0" * 100)
    chunk = b"IDAT" + data
    end = struct.pack(">I", len(data)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + crc + end


def test_neighbors_are_those_of_the_index(client, run, dataset, search):
    index = NeighborIndex.load(run.index / "digits")
    encoder = load_encoder(run.path)
    for number in (0, 7, 100):
        image = dataset.test.read([number])
        distances, rows = index.search(encoder(image, training=False).numpy(), 9)
        response = send(client, encoded(image[0]), "seven.png", neighbors="9")
        assert response.status_code == 200
        answer = response.json
        found = answer["neighbors"]
        assert [neighbor["row"] for neighbor in found] == rows[0].tolist()
        np.testing.assert_allclose([n["distance"] for n in found], distances[0])
        labels = index.labels[rows[0]]
        names = [index.class_names[label] for label in labels]
        assert [neighbor["class_name"] for neighbor in found] == names
        assert [n["name"] for n in found] == [index.names[row] for row in rows[0]]
        votes = answer["votes"]
        assert {v["class_name"]: v["count"] for v in votes} == {
            name: names.count(name) for name in names
        }
        counts = [vote["count"] for vote in votes]
        assert counts == sorted(counts, reverse=True)
        assert answer["query"]["name"] == "seven.png"


def test_an_image_of_the_index_finds_itself_and_is_shown(client, dataset):
    last = dataset.train.num_examples - 1
    for row, split, number in (
        (0, dataset.train, 0),
        (last, dataset.train, last),
        (last + 1, dataset.validation, 0),
    ):
        image = split.read([number])[0]
        first = send(client, encoded(image)).json["neighbors"][0]
        assert (first["row"], first["name"]) == (row, split.names[number])
        assert first["distance"] < 0.01
        assert first["class_name"] == dataset.class_names[split.labels[number]]
        response = client.get("/" + first["image"])
        assert response.mimetype == "image/png"
        with Image.open(io.BytesIO(response.data)) as shown:
            np.testing.assert_array_equal(np.asarray(shown), image)


def test_an_image_of_the_index_is_not_its_own_neighbor(client, search):
    answer = client.get("/images/12/neighbors?neighbors=6").json
    expected = [n.row for n in search.near_image(search.image(12), 7) if n.row != 12]
    assert [n["row"] for n in answer["neighbors"]] == expected
    assert len(expected) == 6
    assert answer["query"]["image"] == "images/12"
    assert answer["query"]["class_name"] == search.describe(12).class_name


def test_more_neighbors_than_are_asked_for_are_not_given(client):
    image = encoded(photo())
    assert len(send(client, image).json["neighbors"]) == 5
    assert len(send(client, image, neighbors="1").json["neighbors"]) == 1
    assert len(send(client, image, neighbors="100").json["neighbors"]) == 100
    for bad in ("0", "101", "-1", "+5", "1e2", "5.0", "", " 5", "٣", "9" * 5000):
        response = send(client, image, neighbors=bad)
        assert response.status_code == 400, bad
        assert "neighbors from 1 to 100" in response.json["error"]
        assert len(response.json["error"]) < 100
        address = "/images/0/neighbors"
        assert client.get(address, query_string={"neighbors": bad}).status_code == 400


@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_turned_photo_is_turned_back(client, orientation):
    upright = photo()
    back = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }[orientation]
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    turned = encoded(upright, "JPEG", quality=95, exif=exif)
    with Image.open(io.BytesIO(turned)) as stored:
        expected = encoded(stored.transpose(back))
    answers = [send(client, content).json for content in (turned, expected)]
    assert answers[0] == answers[1]
    untold = encoded(upright, "JPEG", quality=95)
    assert send(client, untold).json != answers[0]


def test_photos_are_read_as_the_data_sets_are(client, tmp_path):
    for name, image, kind in (
        ("wide.jpg", photo(), "JPEG"),
        ("tall.png", photo(310, 97), "PNG"),
        ("tiny.png", photo(5, 3), "PNG"),
        ("gray.jpg", photo().convert("L"), "JPEG"),
        ("inks.jpg", photo().convert("CMYK"), "JPEG"),
        ("table.png", photo().convert("P"), "PNG"),
        ("clear.png", photo().convert("RGBA"), "PNG"),
        ("bits.png", photo().convert("1"), "PNG"),
        (
            "deep.png",
            Image.fromarray((np.arange(900, dtype=np.uint16) * 70).reshape(30, 30)),
            "PNG",
        ),
    ):
        content = encoded(image, kind)
        (tmp_path / name).write_bytes(content)
        expected = load_files(str(tmp_path / name), example_shape=(8, 8, 3))
        expected = expected.train.read([0])[0]
        answer = send(client, content, name).json
        seen = base64.b64decode(answer["query"]["image"].partition(",")[2])
        with Image.open(io.BytesIO(seen)) as shown:
            np.testing.assert_array_equal(np.asarray(shown), expected, name)


def broken_uploads():
    """Bytes that are no photo, and the statuses that may be answered."""
    jpeg = encoded(photo(), "JPEG")
    png = encoded(photo())
    random = np.random.default_rng(0)
    yield b"", 400, "empty"
    yield b"hello", 415, "JPEG or PNG"
    yield encoded(photo(), "GIF"), 415, "JPEG or PNG"
    yield encoded(photo(), "WEBP"), 415, "JPEG or PNG"
    yield encoded(photo(), "BMP"), 415, "JPEG or PNG"
    yield b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "JPEG or PNG"
    yield png_header(30_000, 30_000), 413, "67,108,864 pixels"
    yield png_header(9_000, 9_000), 413, "9000 x 9000"
    yield png_header(2**31 - 1, 2**31 - 1), 413, "pixels"
    yield png_header(0, 10), (400, 415), "JPEG or PNG"
    for whole in (jpeg, png):
        for end in random.integers(1, len(whole) * 9 // 10, 60):
            yield whole[:end], (400, 415), "JPEG or PNG"
    for _ in range(70):
        size = int(random.integers(1, 300))
        start = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")[size % 2]
        yield start + random.bytes(size), (400, 413, 415), ""


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_no_malformed_upload_is_answered_or_does_harm(client):
    good = encoded(photo(30, 40))
    expected = send(client, good).json
    count = 0
    for content, status, words in broken_uploads():
        response = send(client, content)
        known = status if isinstance(status, tuple) else (status,)
        assert response.status_code in known, (count, response.text)
        error = response.json["error"]
        assert words in error and "\n" not in error
        assert error.startswith("Expected ") and "Received: " in error
        assert send(client, good).json == expected
        count += 1
    assert count == 200


def test_a_request_has_one_file(client):
    good = encoded(photo())
    for form in (
        {},
        {"neighbors": "3"},
        {"image": "no file"},
        {"picture": (io.BytesIO(good), "a.png")},
        {"image": [(io.BytesIO(good), "a.png"), (io.BytesIO(good), "b.png")]},
        {"image": (io.BytesIO(good), "a.png"), "more": (io.BytesIO(good), "b.png")},
    ):
        response = client.post("/search", data=form)
        assert response.status_code == 400
        assert "one file, named image" in response.json["error"]
    plain = client.post("/search", data=good, content_type="image/png")
    assert plain.status_code == 400
    assert send(client, good).status_code == 200


def test_a_request_has_so_many_bytes(client):
    good = encoded(photo())
    response = send(client, good + bytes(16 * 2**20))
    assert response.status_code == 413
    assert "16 MiB" in response.json["error"]
    # Just below it, what follows the picture is as of no interest as elsewhere.
    response = send(client, good + bytes(16 * 2**20 - len(good) - 2000))
    assert response.status_code == 200
    many = {f"field{number}": "x" for number in range(20)}
    assert send(client, good, **many).status_code == 413
    assert send(client, good, neighbors="5" * 600_000).status_code == 413


def test_nothing_is_written_to_the_disk(client, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a temporary file")

    for name in ("TemporaryFile", "SpooledTemporaryFile", "NamedTemporaryFile"):
        monkeypatch.setattr(tempfile, name, refuse)
    noise = np.random.default_rng(0).integers(0, 256, (1000, 1000, 3), np.uint8)
    content = encoded(noise)
    assert len(content) > 2**21
    assert send(client, content).status_code == 200


def test_few_searches_run_at_a_time(search, monkeypatch):
    from retrieval_page import server

    started, go_on = threading.Semaphore(0), threading.Event()

    def near_image(image, num_neighbors):
        started.release()
        assert go_on.wait(20)
        return []

    monkeypatch.setattr(search, "near_image", near_image)
    app = server.create_app(search)
    good, statuses = encoded(photo()), []

    def ask():
        statuses.append(send(app.test_client(), good).status_code)

    threads = [threading.Thread(target=ask) for _ in range(server.MAX_AT_ONCE)]
    for thread in threads:
        thread.start()
    try:
        for _ in threads:
            assert started.acquire(timeout=20)
        for response in (
            send(app.test_client(), good),
            app.test_client().get("/images/0/neighbors"),
        ):
            assert response.status_code == 503
            assert response.headers["Retry-After"] == "1"
            assert "at most 4 searches" in response.json["error"]
        # The page and its pictures need no search.
        assert app.test_client().get("/").status_code == 200
        assert app.test_client().get("/images/0").status_code == 200
    finally:
        go_on.set()
        for thread in threads:
            thread.join()
    assert statuses == [200] * server.MAX_AT_ONCE
    # Each has given back its place, and so has one that was refused.
    for _ in range(2 * server.MAX_AT_ONCE):
        assert send(app.test_client(), b"no photo").status_code == 415
    assert send(app.test_client(), good).status_code == 200


def test_what_is_not_there(client, search):
    for address, status in (
        (f"/images/{search.num_images}", 404),
        (f"/images/{search.num_images}/neighbors", 404),
        (f"/images/{10**30}", 404),
        ("/images/-1", 404),
        ("/images/one", 404),
        ("/app.py", 404),
        ("/page.html", 404),
        ("/../server.py", 404),
        ("/search", 405),
    ):
        response = client.get(address)
        assert response.status_code == status, address
        assert response.json["error"]
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]


def test_other_names_of_this_host_are_refused(client):
    assert client.get("/", headers={"Host": "localhost:8000"}).status_code == 200
    response = client.get("/", headers={"Host": "rebound.example"})
    assert response.status_code == 400
    assert client.get("/images/0", headers={"Host": "10.0.0.1"}).status_code == 400


def test_the_page_asks_for_nothing_from_elsewhere(client):
    kinds = {"/": "text/html", "/page.css": "text/css", "/page.js": "text/javascript"}
    for address, kind in kinds.items():
        response = client.get(address)
        assert response.status_code == 200
        assert response.mimetype == kind
        assert not re.search(r"(https?:)?//[a-z]", response.text)
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
    page = client.get("/").text
    assert "1,438 images of" in page and "not for the internet" in page
    assert not re.search(r"\bstyle=|<style|\bon\w+=|<script>", page)
