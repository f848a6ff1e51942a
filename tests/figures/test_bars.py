"""The figure of exported files: a bar per file, in as many panels as are known."""

from types import SimpleNamespace

import numpy as np
import pytest

from vicreg_keras.figures.bars import exported_files

ORANGE, GREEN, BLUE, VERMILION = "#E69F00", "#009E73", "#0072B2", "#D55E00"


def make_files(labeled):
    return [
        SimpleNamespace(
            file=file,
            num_bytes=num_bytes,
            milliseconds=milliseconds,
            linear_top1=top1 if labeled else None,
            knn_top1=top1 - 0.1 if labeled else None,
        )
        for file, num_bytes, milliseconds, top1 in (
            ("the encoder", 4 * 2**20, 2.0, 0.8),
            ("float32.tflite", 4 * 2**20, 1.0, 0.8),
            ("int8.tflite", 2**20, 0.5, 0.4),
        )
    ]


@pytest.mark.parametrize("labeled", [False, True])
def test_exported_files_have_a_panel_for_each_number(labeled, pixels, mask):
    array = pixels(exported_files(make_files(labeled)))
    widths = {}
    for color in (ORANGE, GREEN, BLUE, VERMILION):
        found = mask(array, color).sum(axis=1)
        widths[color] = found[found > 0]
    assert (widths[BLUE].size > 0) == labeled
    assert (widths[VERMILION].size > 0) == labeled
    # Of the two files, the smaller has a quarter of the size, and half of the time.
    for color, share in ((ORANGE, 4), (GREEN, 2)):
        bars = widths[color][widths[color] > 0.1 * np.max(widths[color])]
        assert bars.max() / bars.min() == pytest.approx(share, 0.1)
