"""The clients of examples/serving, against a double of TensorFlow Serving."""

import os
import pathlib
import re
import runpy
import shutil
import socket
import subprocess
import sys

import faiss
import numpy as np
import pytest
import yaml
from google.protobuf import text_format
from PIL import Image
from tensorflow_serving.config import model_server_config_pb2

from tests.examples.double import ServingDouble
from tests.examples.run_folder import (
    CLASSES,
    NAMES,
    make_head,
    small,
)
from vicreg_keras.evaluate.index import NeighborIndex

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "examples" / "serving"
CLIENTS = ("rest", "grpc")
clients = pytest.mark.parametrize("client", CLIENTS)


@pytest.fixture(autouse=True)
def _direct(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def call(monkeypatch, capsys):
    """Runs a client in this process, as Python runs a script.

    Returns its exit status, lines of output and lines of errors. A process of its own
    would take a second each time.
    """

    def call(client, *arguments):
        script = FOLDER / f"{client}_client.py"
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", [str(script), *map(str, arguments)])
            patch.syspath_prepend(FOLDER)
            patch.delitem(sys.modules, "neighbors", raising=False)
            try:
                runpy.run_path(str(script), run_name="__main__")
                status = 0
            except SystemExit as stopped:
                status = stopped.code
            sys.modules.pop("neighbors", None)
        output, errors = capsys.readouterr()
        return status, output.splitlines(), errors.splitlines()

    return call


@pytest.fixture
def refuse(call):
    """Runs a client that must fail, and returns its only line."""

    def refuse(client, *arguments):
        status, output, errors = call(client, *arguments)
        assert status == 1
        assert output == []
        (line,) = errors
        assert line.startswith(f"{client}_client.py: ")
        return line

    return refuse


@pytest.fixture
def photo(tmp_path):
    """The path of a small PNG file."""
    path = tmp_path / "photo.png"
    Image.new("RGB", (9, 7), (200, 30, 30)).save(path)
    return path


def at(server, client):
    return f"--server={getattr(server, client)}"


def rows(lines):
    """A table's rows below its heading, as lists of words."""
    return [re.split(r"\s{2,}", line.strip()) for line in lines[2:]]


@clients
def test_as_a_program_of_its_own(photo_run, server, tmp_path, client):
    small_photo = tmp_path / "small.png"
    Image.fromarray(small(photo_run.photos["flower"])).save(small_photo)
    big = photo_run.save_photo("china", tmp_path / "big.jpg", quality=95)
    # Copied elsewhere: nothing of this project is needed beside three files.
    for name in (f"{client}_client.py", "neighbors.py", "../neighbor_index.py"):
        shutil.copy(FOLDER / name, tmp_path)
    command = [sys.executable, tmp_path / f"{client}_client.py", small_photo, big]
    command += [f"--index={photo_run.index}", at(server, client), "--neighbors=2"]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=tmp_path
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == str(small_photo)
    assert lines[1].split() == ["rank", "name", "class", "distance"]
    first, second = rows(lines[:4])
    assert first[:3] == ["1", "flower", "plant"]
    assert float(first[3]) < 0.002 < float(second[3])
    assert lines[4] == big
    assert rows(lines[4:])[0][:3] == ["1", "china", "house"]


@clients
def test_finds_what_the_index_finds_in_python(
    photo_run, server, tmp_path, call, client
):
    photo = photo_run.save_photo("flower turned", tmp_path / "photo.png")
    _, output, _ = call(client, photo, f"--index={photo_run.index}", at(server, client))
    row = np.asarray(
        photo_run.encoder(small(photo_run.photos["flower turned"])[np.newaxis])
    )
    distances, found = NeighborIndex.load(photo_run.index).search(row, 5)
    assert [row[1] for row in rows(output)] == [NAMES[i] for i in found[0]]
    # serving_bytes rounds as it resizes, and may differ by one gray level.
    received = [float(row[3]) for row in rows(output)]
    np.testing.assert_allclose(received, distances[0], atol=0.01)


@clients
@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_a_photo_on_its_side_is_turned(
    photo_run, server, tmp_path, call, client, ending
):
    arguments = (f"--index={photo_run.index}", at(server, client))
    options = {"quality": 95} if ending == "jpg" else {}
    upright = photo_run.save_photo("flower", tmp_path / f"upright.{ending}", **options)
    turned = photo_run.save_photo(
        "flower", tmp_path / f"turned.{ending}", True, **options
    )
    _, output, _ = call(client, upright, *arguments)
    expected = rows(output)
    _, output, _ = call(client, turned, *arguments)
    received = rows(output)
    assert received[0][:3] == ["1", "flower", "plant"]
    assert [row[:3] for row in received] == [row[:3] for row in expected]
    if ending == "png":  # Turned without loss.
        assert received == expected


@clients
def test_classes(photo_run, server_with_head, tmp_path, call, client):
    photo = tmp_path / "photo.png"
    Image.fromarray(small(photo_run.photos["china"])).save(photo)
    status, output, _ = call(client, photo, "--classify", at(server_with_head, client))
    row = np.asarray(photo_run.encoder(small(photo_run.photos["china"])[np.newaxis]))
    powers = np.exp(make_head(row.shape[1]).scores(row)[0])
    probabilities = powers / powers.sum()
    assert status == 0
    assert output[0] == str(photo)
    order = np.argsort(-probabilities)
    expected = [
        [str(rank), CLASSES[i], f"{probabilities[i]:.4f}"]
        for rank, i in enumerate(order, 1)
    ]
    assert rows(output) == expected


@clients
def test_classes_of_an_encoder_without_a_head(server, photo, refuse, client):
    line = refuse(client, photo, "--classify", at(server, client))
    assert "classify_bytes" in line and "not found" in line


@clients
def test_photos_that_cannot_be_read(photo_run, server, tmp_path, refuse, client):
    options = (f"--index={photo_run.index}", at(server, client))
    missing, text, gif = (tmp_path / f"photo.{e}" for e in ("png", "txt", "gif"))
    text.write_text("no photo")
    Image.new("RGB", (4, 4)).save(gif)
    for photo, reason in (
        (missing, "No such file"),
        (text, "it is neither"),
        (gif, "it is neither"),
    ):
        line = refuse(client, photo, *options)
        assert f"Received: {photo} ({reason}" in line
    # Its header is whole, so that the server is asked, whose words come through.
    cut = tmp_path / "cut.jpg"
    photo_run.save_photo("china", cut)
    cut.write_bytes(cut.read_bytes()[:5000])
    assert re.search(
        r"Received: .*(400|INVALID_ARGUMENT), ", refuse(client, cut, *options)
    )


@clients
def test_a_photo_with_too_many_pixels_for_the_server(
    photo_run, server, tmp_path, refuse, client
):
    photo = tmp_path / "huge.png"
    Image.new("1", (8200, 8200)).save(photo)
    line = refuse(client, photo, f"--index={photo_run.index}", at(server, client))
    assert "Expected image_bytes to hold an image of 1 to 67108864 pixels" in line


@clients
def test_servers_that_do_not_answer(photo_run, photo, refuse, client):
    # gRPC remembers for a second that a port refused it: each has one of its own.
    with socket.socket() as closed, socket.socket() as silent:
        for listener in (closed, silent):
            listener.bind(("127.0.0.1", 0))
        silent.listen()  # And never answers.
        for listener, reason in (
            (closed, "refused"),
            (silent, "timed out|DEADLINE_EXCEEDED"),
        ):
            address = f"127.0.0.1:{listener.getsockname()[1]}"
            arguments = (photo, f"--index={photo_run.index}", f"--server={address}")
            line = refuse(client, *arguments, "--timeout=0.3")
            assert f"at {address}. Received: " in line and re.search(reason, line)


def test_the_other_interfaces_port(photo_run, server, photo, refuse):
    arguments = (photo, f"--index={photo_run.index}", "--timeout=2")
    line = refuse("rest", *arguments, f"--server={server.grpc}")
    assert f"REST interface at {server.grpc}" in line
    line = refuse("grpc", *arguments, f"--server={server.rest}")
    assert f"gRPC interface at {server.rest}" in line


@clients
def test_another_model_is_served(photo_run, photo, refuse, client):
    with ServingDouble(photo_run.folder / "encoder", name="another") as double:
        line = refuse(client, photo, f"--index={photo_run.index}", at(double, client))
    assert "Servable not found for request: Latest(encoder)" in line
    assert re.search("404|NOT_FOUND", line)


def test_indexes_that_cannot_be_used(photo_run, server, photo, tmp_path, refuse):
    server = at(server, "rest")
    line = refuse("rest", photo, f"--index={tmp_path}", server)
    assert f"Received: {tmp_path}, which has no numbered folder" in line
    assert "Expected --index=RUN/index/DATASET" in refuse("rest", photo, server)
    other = shutil.copytree(photo_run.index, tmp_path / "index")
    faiss.write_index(faiss.IndexFlatL2(5), str(other / "1" / "index.faiss"))
    line = refuse("rest", photo, f"--index={other}", server)
    assert "Expected a representation 5 wide" in line and "shape=(32,)" in line
    (other / "1" / "index.faiss").write_bytes(b"no index")
    assert f"Received: {other / '1'} (" in refuse(
        "rest", photo, f"--index={other}", server
    )


def test_an_index_without_labels_and_with_fewer_rows(photo_run, server, tmp_path, call):
    photo = photo_run.save_photo("china", tmp_path / "photo.png")
    rows_of_length_1 = NeighborIndex.load(photo_run.index).faiss_index.reconstruct_n(
        0, 2
    )
    folder = tmp_path / "index"
    NeighborIndex.build(rows_of_length_1[1:], names=["old"]).save(folder)
    (folder / "1").rename(folder / "9")
    older = shutil.copytree(folder / "9", tmp_path / "older")
    NeighborIndex.build(rows_of_length_1, names=["a", "b"]).save(folder)
    shutil.copytree(older, folder / "9")  # 10 is newer, whatever the alphabet says.
    assert sorted(path.name for path in folder.iterdir()) == ["10", "9"]
    _, output, _ = call("rest", photo, f"--index={folder}", at(server, "rest"))
    assert [row[:3] for row in rows(output)] == [["1", "a", "-"], ["2", "b", "-"]]


def test_arguments_that_cannot_be(photo_run, refuse):
    for argument, words in (
        ("--server=http://127.0.0.1:8501", "HOST:PORT"),
        ("--server=localhost", "HOST:PORT"),
        ("--neighbors=0", "1 or more"),
        ("--timeout=nan", "seconds above 0"),
        ("--nothing", "unrecognized"),
    ):
        line = refuse("rest", "photo.png", f"--index={photo_run.index}", argument)
        assert words in line


@clients
def test_a_new_version_answers_as_soon_as_it_is_there(
    photo_run, tmp_path, call, client
):
    photo = photo_run.save_photo("china", tmp_path / "photo.png")
    folder = shutil.copytree(photo_run.folder / "encoder", tmp_path / "encoder")
    with ServingDouble(folder) as double:
        arguments = (photo, at(double, client))
        assert call(client, *arguments, "--classify")[0] == 1
        shutil.copytree(photo_run.folder / "with_head" / "1", folder / "2")
        assert call(client, *arguments, "--classify")[0] == 0
        shutil.rmtree(folder / "2")  # Back to the one before.
        assert call(client, *arguments, f"--index={photo_run.index}")[0] == 0
        assert call(client, *arguments, "--classify")[0] == 1


def test_compose_and_models_config_agree_with_the_clients():
    config = text_format.Parse(
        (FOLDER / "models.config").read_text(),
        model_server_config_pb2.ModelServerConfig(),
    )
    (model,) = config.model_config_list.config
    compose = yaml.safe_load((FOLDER / "compose.yaml").read_text())
    (service,) = compose["services"].values()
    volumes = {volume["target"]: volume for volume in service["volumes"]}
    assert all(volume["read_only"] for volume in volumes.values())
    encoder = volumes.pop(model.base_path)
    assert re.fullmatch(r"\$\{RUN:\?[^}]+\}/encoder", encoder["source"])
    (path, mounted) = volumes.popitem()
    assert (FOLDER / mounted["source"]).samefile(FOLDER / "models.config")
    assert service["command"] == [f"--model_config_file={path}"]
    ports = [port.rpartition(":")[2] for port in service["ports"]]
    for client, port in zip(CLIENTS[::-1], ports, strict=True):
        assert f", {port}, connect)" in (FOLDER / f"{client}_client.py").read_text()
    assert f'MODEL = "{model.name}"' in (FOLDER / "neighbors.py").read_text()
    assert re.fullmatch(r"tensorflow/serving:\d+\.\d+\.\d+", service["image"])
