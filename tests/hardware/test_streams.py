"""The standard streams: a line for each warning or none, and readers that end."""

import logging
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest

from vicreg_keras.hardware.streams import one_line_warnings


class OwnDeprecation(FutureWarning):
    """A library's, about its code."""


def test_each_warning_is_one_line(capfd):
    with one_line_warnings():
        for _ in range(2):
            warnings.warn("two\n  lines", UserWarning, stacklevel=1)
        warnings.warn("about code", OwnDeprecation, stacklevel=1)
        np.log(np.zeros(1))
        logging.getLogger("tensorflow").warning("5 calls triggered retracing")
    lines = capfd.readouterr().err.splitlines()
    assert lines == [
        "main.py: warning: two lines",
        "main.py: warning: divide by zero encountered in log",
    ]


def test_characters_without_a_font_are_named_together(capfd):
    shown = warnings.showwarning
    with one_line_warnings():
        for character in "犬猫犬":
            text = f"Glyph {ord(character)} (CJK) missing from font(s) DejaVu Sans."
            warnings.warn(text, UserWarning, stacklevel=1)
    (line,) = capfd.readouterr().err.splitlines()
    assert "no installed font has the characters 犬猫: figures show boxes" in line
    assert warnings.showwarning is shown


PRINTS = """
import sys
from vicreg_keras.hardware import interrupts  # Opens what is closed.
from vicreg_keras.hardware.streams import outlive_readers
with outlive_readers(), open(sys.argv[1], "w") as file:
    for number in range(3):
        print(number, flush=True)
        print(number, file=sys.stderr, flush=True)
        file.write(f"{number}")
"""


@pytest.mark.parametrize("end", ["closed before", "pipe", "terminal"])
def test_the_program_works_on_when_nobody_reads(end, tmp_path):
    ours, theirs = os.openpty() if end == "terminal" else os.pipe()
    os.close(ours)

    path = tmp_path / "written.txt"
    closing = ">&- 2>&-" if end == "closed before" else ""
    status = subprocess.call(
        ["sh", "-c", f'exec "$0" "$@" {closing}', sys.executable, "-c", PRINTS, path],
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    assert (status, path.read_text()) == (0, "012")
