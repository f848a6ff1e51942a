"""The C program gives Python's numbers, and says in one line what is wrong."""

import os
import pathlib
import re
import shutil
import subprocess

import numpy as np
import pytest
import tensorflow as tf

from tests.examples.run_folder import SHAPE

SOURCE = pathlib.Path(__file__).resolve().parents[2] / "examples/c_api/encode.c"
# More than the program takes at once.
IMAGES = np.random.default_rng(4).integers(0, 256, (70, *SHAPE)).astype("uint8")

pytestmark = pytest.mark.skipif(not shutil.which("gcc"), reason="there is no gcc")


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """Built by the command that its source gives, and stricter."""
    path = tmp_path_factory.mktemp("c_api") / "encode"
    comment = SOURCE.read_text().partition("*/")[0]
    command = re.search(r"gcc .*?\$TF$", comment, re.M | re.S)[0]
    command = re.sub(r"\\\n \*", "", command).replace("$TF", tf.sysconfig.get_lib())
    command = command.replace("-o encode", f"-o {path}")
    subprocess.run(
        [*command.split(), "-Werror"], cwd=SOURCE.parent, check=True, timeout=120
    )
    return path


@pytest.fixture
def encode(program):
    def encode(pixels, *arguments):
        """Exit status, what was written, and the program's own lines of errors."""
        done = subprocess.run(
            [program, *map(str, arguments)],
            input=pixels,
            capture_output=True,
            env=dict(os.environ, TF_CPP_MIN_LOG_LEVEL="3"),
            timeout=60,
        )
        lines = done.stderr.decode().splitlines()
        own = [line for line in lines if line.startswith(("encode: ", "usage: "))]
        assert own == lines[len(lines) - len(own) :]
        return done.returncode, done.stdout, own

    return encode


@pytest.fixture(scope="module")
def loaded(photo_run):
    return tf.saved_model.load(str(photo_run.folder / "encoder" / "1"))


@pytest.mark.parametrize(
    "batch_size, output",
    [(1, "representation"), (3, "unit_representation"), (70, "representation")],
)
def test_gives_pythons_numbers(photo_run, loaded, encode, output, batch_size):
    images = IMAGES[:batch_size]
    folder = photo_run.folder / "encoder" / "1"
    status, written, errors = encode(
        images.tobytes(), folder, "serving_default", "image", output
    )
    assert (status, errors) == (0, [])
    received = np.frombuffer(written, np.float32).reshape(batch_size, -1)
    expected = loaded.signatures["serving_default"](image=tf.constant(images))[output]
    np.testing.assert_allclose(
        received, expected, rtol=0, atol=1e-4 * np.abs(expected).max()
    )


def test_says_what_is_wrong_in_one_line(photo_run, encode, tmp_path):
    folder = photo_run.folder / "encoder" / "1"
    names = ("serving_default", "image", "representation")
    whole, short = IMAGES[0].tobytes(), IMAGES[0].tobytes()[:-1]
    for pixels, arguments, words in (
        (whole, (tmp_path, *names), "folder of a SavedModel"),
        (whole, (folder, "no", *names[1:]), "a signature of the SavedModel"),
        (whole, (folder, names[0], "picture", names[2]), "Received: picture"),
        (whole, (folder, *names[:2], "embedding"), "Received: embedding"),
        (whole, (folder, "serving_bytes", "image_bytes", names[2]), "of numbers"),
        (short, (folder, *names), "Received: 191 bytes, where one has 192"),
        (b"", (folder, *names), "Received: 0 bytes"),
        (whole, (folder,), "usage: encode FOLDER SIGNATURE INPUT OUTPUT"),
    ):
        status, written, (line,) = encode(pixels, *arguments)
        assert (status, written) == (1, b"")
        assert words in line
    # Images before one that is cut off are written.
    status, written, (line,) = encode(IMAGES.tobytes()[:-1], folder, *names)
    assert status == 1 and "bytes, where one has 192" in line
    assert len(written) == 64 * 32 * 4
