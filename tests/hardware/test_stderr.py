"""Warnings of libraries on the command line: one line each, or none."""

import logging
import warnings

import numpy as np

from vicreg_keras.hardware.stderr import one_line_warnings


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
