"""The retrieval page as it is started: what belongs together, and what is refused."""

import concurrent.futures
import http.client
import io
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys

import pytest
from PIL import Image

APP = pathlib.Path(__file__).resolve().parents[2] / "examples/retrieval_page/app.py"


def test_what_does_not_belong_together_is_refused(make_run, run, tmp_path):
    from retrieval_page.search import open_search

    with pytest.raises(ValueError, match="Expected the folder of a run"):
        open_search(tmp_path)
    command = "python main.py --mode=retrieve --workdir="
    with pytest.raises(ValueError, match=f"Run `{command}.*` first"):
        open_search(make_run(with_index=False).path)
    with pytest.raises(ValueError, match="Run `.* --dataset=cifar10` first"):
        open_search(run.path, dataset="cifar10")
    for other in ({"seed": 4}, {"validation_fraction": 0.3}):
        with pytest.raises(ValueError, match="an index of the .* training images"):
            open_search(run.path, **other)
    with pytest.raises(ValueError, match="image_size=8"):
        open_search(run.path, image_size=16)


def test_an_index_of_another_encoder_is_refused(make_run, run):
    from retrieval_page.search import open_search

    retrained = make_run(weights_seed=1, with_index=False)
    shutil.copytree(run.index, retrained.index)
    with pytest.raises(ValueError, match="of 16 of its own images are found"):
        open_search(retrained.path)


def test_a_bad_start_is_one_line(tmp_path, run, make_run, capfd):
    from retrieval_page.app import main

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for workdir, address, words in (
            (
                run.path,
                [f"--port={port}"],
                f"port={port} .*Choose another --host or --port",
            ),
            (run.path, ["--host=no.such.host.invalid"], "host=no.such.host.invalid"),
            (tmp_path, ["--port=0"], "Expected the folder of a run"),
            (tmp_path / "none", ["--port=0"], "Expected the folder of a run"),
            (run.path, ["--port=0", "--seed=4"], "Give the run's own"),
            (run.path, ["--port=0", "--dataset=cifar10"], "Run `python main.py"),
        ):
            assert main([f"--workdir={workdir}", *address]) == 1
            output, errors = capfd.readouterr()
            assert output == ""
            assert re.fullmatch(rf"app\.py: .*{words}.*\n", errors), errors
    for option in ("--neighbors=0", "--neighbors=101", "--port=65536", "--port=x"):
        with pytest.raises(SystemExit):
            main([f"--workdir={run.path}", option])
        assert f"argument {option.partition('=')[0]}: " in capfd.readouterr().err


@pytest.fixture
def interruptible():
    """Lets processes that a test starts be interrupted.

    Where tests run in the background, SIGINT is ignored, and processes inherit that; a
    handler, which they can't inherit, becomes the default for them.
    """
    earlier = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, earlier)


def first_line(process, seconds=120):
    """The first line that a process writes; fails with its errors if there is none."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        line = pool.submit(process.stdout.readline)
        try:
            text = line.result(seconds)
        except TimeoutError:
            process.kill()
            raise
    if not text:
        pytest.fail(f"ended with {process.wait()}: {process.stderr.read()}")
    return text


def test_it_serves_until_it_is_interrupted(interruptible, run, dataset):
    process = subprocess.Popen(
        [sys.executable, APP, f"--workdir={run.path}", "--port=0", "--neighbors=3"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=run.path,
        env=os.environ | {"PYTHONPATH": "", "PYTHONUNBUFFERED": "1"},
        start_new_session=True,
    )
    try:
        line = first_line(process)
        port = int(re.search(r"http://127\.0\.0\.1:(\d+)/", line)[1])
        assert "not for the internet" in process.stdout.readline()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        file = io.BytesIO()
        Image.fromarray(dataset.train.read([5])[0]).save(file, "PNG")
        body = (
            b"--b\r\nContent-Disposition: form-data; name=image; filename=a.png\r\n\r\n"
            + file.getvalue()
            + b"\r\n--b--\r\n"
        )
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        connection.request("POST", "/search", body, headers)
        answer = json.load(connection.getresponse())
        if "neighbors" not in answer:
            process.send_signal(signal.SIGINT)
            pytest.fail(f"{answer}: {process.communicate(timeout=20)[1]}")
        assert [n["row"] for n in answer["neighbors"]][0] == 5
        assert len(answer["neighbors"]) == 3
        connection.request("GET", "/", headers={"Host": "rebound.example"})
        assert connection.getresponse().status == 400
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=20)
    finally:
        process.kill()
    assert (output, errors) == ("", "")
    assert process.returncode in (0, 130)
