"""An export that is killed anywhere: whoever reads finds a whole version."""

import collections
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from vicreg_keras import load_encoder
from vicreg_keras.workdir.versions import newest_version, version_numbers

NUM_KILLS = 6
SHAPE = (8, 8, 3)
IMAGES = np.random.default_rng(1).integers(0, 256, (3, *SHAPE)).astype("uint8")

# Exports over and over, once its input says so: what was imported by then is not waited
# for.
SCRIPT = """
import sys
import keras
from vicreg_keras import make_encoder
from vicreg_keras.export.savedmodel import export_savedmodel
keras.utils.set_random_seed(0)
encoder = make_encoder("tiny", (8, 8, 3))
sys.stdin.readline()
while True:
    export_savedmodel(encoder, sys.argv[1], (8, 8, 3), class_names=["a", "b"])
"""


@pytest.fixture
def exporters(tmp_path):
    """Processes that wait to export; the next ones start while one works."""
    waiting = collections.deque()

    def start():
        while len(waiting) < 2:
            waiting.append(
                subprocess.Popen(
                    [sys.executable, "-c", SCRIPT, str(tmp_path)],
                    stdin=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                    env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
                )
            )
        process = waiting.popleft()
        process.stdin.write("\n")
        process.stdin.flush()
        return process

    yield start
    for process in waiting:
        process.kill()
        process.communicate()


def test_a_reader_always_finds_a_whole_version(exporters, tmp_path):
    begun = begin(exporters, tmp_path)
    start = time.monotonic()
    wait_for(lambda: newest_version(tmp_path))
    seconds = time.monotonic() - start  # That a version takes.
    expected = load_encoder(tmp_path)(IMAGES).numpy()
    kill(begun)

    random = np.random.default_rng(0)
    unfinished, reads, before = 0, 0, len(version_numbers(tmp_path))
    for kill_number in range(NUM_KILLS):
        process = begin(exporters, tmp_path)
        if kill_number % 2:
            earlier = version_numbers(tmp_path)
            wait_for(lambda earlier=earlier: version_numbers(tmp_path) != earlier)
        deadline = time.monotonic() + random.uniform(0, seconds)
        while time.monotonic() < deadline:
            np.testing.assert_array_equal(load_encoder(tmp_path)(IMAGES), expected)
            reads += 1
            time.sleep(0.3)
        kill(process)
        unfinished += any(tmp_path.glob(".unfinished-*"))
        np.testing.assert_array_equal(load_encoder(tmp_path)(IMAGES), expected)
    numbers = version_numbers(tmp_path)
    for number in numbers:
        version = tmp_path / str(number)
        np.testing.assert_array_equal(load_encoder(version)(IMAGES), expected)
        assert (version / "assets" / "class_names.txt").read_text() == "a\nb\n"
    # Most were killed in the middle of a version; others had written one before.
    written = len(numbers) - before
    print(f"{unfinished} killed in a version, {written} versions, {reads} reads")
    assert unfinished >= NUM_KILLS // 2 and written >= NUM_KILLS // 2 and reads


def begin(exporters, folder):
    """Starts a process, and waits until it writes a version."""
    left = set(folder.glob(".unfinished-*"))
    process = exporters()
    wait_for(lambda: set(folder.glob(".unfinished-*")) - left)
    return process


def kill(process):
    process.kill()
    process.communicate()


def wait_for(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
