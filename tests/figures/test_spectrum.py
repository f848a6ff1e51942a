"""Pictures of spectra: written whole, with the curves that they should have."""

import numpy as np
import pytest
from matplotlib import pyplot as plt
from PIL import Image, ImageColor

from vicreg_keras.figures import spectrum

TRAIN, UNTRAINED, RAW = "#0072B2", "#CC79A7", "#009E73"
ORANGE, SKY, GRAY, VERMILION = "#E69F00", "#56B4E9", "#999999", "#D55E00"


def decaying(alpha, width=200):
    eigenvalues = np.arange(1.0, width + 1) ** -alpha
    eigenvalues /= eigenvalues.sum()
    return {
        "eigenvalues": eigenvalues.tolist(),
        "alpha": alpha,
        "alpha_scale": float(eigenvalues[0]),
        "alpha_range": [4, 100],
    }


def without_fit(eigenvalues):
    return {"eigenvalues": eigenvalues, "alpha": None, "alpha_range": None}


def make_rows(num_epochs=20, every=2):
    rows = []
    for epoch in range(1, num_epochs + 1):
        row = {"epoch": epoch, "embedding_std": 1 - 0.5 / epoch}
        if epoch % every == 0:
            row |= {"rankme": 300.0 - 200 / epoch, "effective_rank": 90 - 60 / epoch}
            row["embedding_effective_rank"] = 160 - 90 / epoch
        rows.append(row)
    return rows


def read(path):
    """The pixels of a PNG, after checking that there is something on it."""
    with Image.open(path) as image:
        assert image.format == "PNG"
        pixels = np.asarray(image.convert("RGB"))
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 10
    assert list(path.parent.iterdir()) == [path]  # Nothing unfinished beside it.
    assert plt.get_fignums() == []
    return pixels


def count(pixels, color):
    """How many pixels are of a color."""
    difference = pixels.astype(int) - np.array(ImageColor.getrgb(color))
    return int((np.abs(difference).max(axis=-1) <= 2).sum())


def legend_of(monkeypatch, draw, *arguments):
    """What the legends of a figure say."""
    texts = []

    def look(figure, path):
        for axis in figure.axes:
            legend = axis.get_legend()
            texts.extend(text.get_text() for text in legend.get_texts())
        plt.close(figure)

    monkeypatch.setattr(spectrum, "save", look)
    draw(*arguments)
    return texts


def test_eigenvalues_of_several_spectra_in_their_colors(tmp_path):
    path = tmp_path / "figures" / "eigenvalues.png"
    known = {"encoder": decaying(1.0), "untrained": decaying(1.6)}
    spectrum.eigenvalue_decay(known, path)
    pixels = read(path)
    assert pixels.shape == (540, 720, 3)
    for color in (TRAIN, UNTRAINED):
        assert count(pixels, color) > 150, color
    for color in (RAW, ORANGE, SKY):
        assert count(pixels, color) == 0, color

    spectrum.eigenvalue_decay(
        known | {"raw_input": decaying(2.0), "a": decaying(0.5), "b": decaying(0.7)},
        path,
    )
    pixels = read(path)
    for color in (TRAIN, UNTRAINED, RAW, ORANGE, SKY):
        assert count(pixels, color) > 150, color


def test_legend_tells_the_exponent(monkeypatch, tmp_path):
    spectra = {
        "encoder": decaying(1.234),
        "raw_input": decaying(2.0),
        "embedding": without_fit([0.7, 0.3]),
        "collapsed": without_fit([0.0, 0.0]),
    }
    path = tmp_path / "eigenvalues.png"
    assert legend_of(monkeypatch, spectrum.eigenvalue_decay, spectra, path) == [
        r"trained encoder: $\alpha$ = 1.23",
        r"raw input: $\alpha$ = 2.00",
        "embedding: too few for a power law",
        "collapsed: no variance",
    ]


def test_one_eigenvalue_is_a_dot(tmp_path):
    path = tmp_path / "figures" / "eigenvalues.png"
    spectrum.eigenvalue_decay({"encoder": without_fit([1.0, 1e-12])}, path)
    # The legend has a dot, too.
    assert count(read(path), TRAIN) > 50


def test_full_collapse_can_be_drawn(tmp_path):
    path = tmp_path / "figures" / "eigenvalues.png"
    spectrum.eigenvalue_decay({"encoder": without_fit([0.0] * 9)}, path)
    assert read(path).shape == (540, 720, 3)


def test_spectra_that_cannot_be_told_apart_are_refused(tmp_path):
    path = tmp_path / "eigenvalues.png"
    with pytest.raises(ValueError, match="at least one spectrum"):
        spectrum.eigenvalue_decay({}, path)
    with pytest.raises(ValueError, match=r"at most 3 .*'a', 'b', 'c', 'd'"):
        spectrum.eigenvalue_decay({name: decaying(1.0) for name in "abcd"}, path)
    assert not path.exists()


def test_dials_over_epochs(tmp_path):
    path = tmp_path / "figures" / "collapse_curves.png"
    spectrum.collapse_curves(make_rows(), path)
    pixels = read(path)
    assert pixels.shape == (648, 720, 3)
    top, bottom = np.split(pixels, [324])
    assert count(top, TRAIN) > 300
    assert count(top, ORANGE) > 200
    assert count(top, VERMILION) > 100
    assert count(bottom, TRAIN) > 300
    assert count(bottom, ORANGE) == 0
    assert count(bottom, GRAY) > 50


def test_dials_of_one_epoch(tmp_path):
    path = tmp_path / "figures" / "collapse_curves.png"
    spectrum.collapse_curves(make_rows(1, every=1), path)
    assert read(path).shape == (648, 720, 3)


def test_dials_need_ranks(tmp_path):
    path = tmp_path / "collapse_curves.png"
    with pytest.raises(ValueError, match="3 lines, none of them with ranks"):
        spectrum.collapse_curves(make_rows(3, every=5), path)
    assert not path.exists()
