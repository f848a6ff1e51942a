"""What every test shares: quiet TensorFlow, seeds, and the command line's parser."""

import os
import pathlib

# Before the first import of TensorFlow, here or in a process that a test starts.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _seeds():
    import keras

    keras.utils.set_random_seed(0)


@pytest.fixture
def parse_flags(monkeypatch):
    """A function that parses main.py's arguments as main.py would, and forgets them."""
    from absl import flags
    from absl.testing import flagsaver

    import main  # noqa: F401  Defines the flags.

    def parse(arguments):
        with flagsaver.flagsaver():
            flags.FLAGS(["main.py", *arguments])

    # A flag file names others relative to the working directory.
    monkeypatch.chdir(ROOT)
    return parse
