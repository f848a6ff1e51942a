"""The picture of what files cost: a bar a file, in as many panels as are known."""

import numpy as np
import pytest
from matplotlib import pyplot as plt
from PIL import Image

from vicreg_keras.figures.export import exported_files

ROWS = [
    {"file": "the encoder", "bytes": 4 * 2**20, "milliseconds": 2.0},
    {"file": "float32.tflite", "bytes": 4 * 2**20, "milliseconds": 1.0},
    {"file": "int8.tflite", "bytes": 2**20, "milliseconds": 0.5},
]
LABELED = [
    {**row, "linear_top1": top1, "knn_top1": top1 - 0.1}
    for row, top1 in zip(ROWS, (0.8, 0.8, 0.4), strict=True)
]
ORANGE, GREEN, BLUE, VERMILION = "#E69F00", "#009E73", "#0072B2", "#D55E00"


def pixels_of(color, image):
    wanted = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    return (np.abs(image - np.array(wanted)).max(axis=-1) <= 2).sum(axis=1)


@pytest.mark.parametrize("rows", [ROWS, LABELED], ids=["bare", "labeled"])
def test_a_panel_for_each_number(rows, tmp_path):
    path = tmp_path / "export.png"
    exported_files(rows, path)
    assert list(tmp_path.iterdir()) == [path] and plt.get_fignums() == []
    with Image.open(path) as file:
        image = np.asarray(file.convert("RGB")).astype(int)
    widths = {}
    for color in (ORANGE, GREEN, BLUE, VERMILION):
        found = pixels_of(color, image)
        widths[color] = found[found > 0]
    assert (widths[BLUE].size > 0) == (rows is LABELED)
    assert (widths[VERMILION].size > 0) == (rows is LABELED)
    # Of the two files, the smaller has a quarter of the size, and half of the time.
    for color, share in ((ORANGE, 4), (GREEN, 2)):
        assert widths[color].max() / widths[color].min() == pytest.approx(share, 0.1)
