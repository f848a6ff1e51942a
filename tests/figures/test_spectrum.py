"""Eigenvalues over their index, in the colors of what they are of."""

from types import SimpleNamespace

import numpy as np

from vicreg_keras.figures.run_figures import eigenvalue_decay

TRAINED, UNTRAINED = "#0072B2", "#CC79A7"
ORANGE, SKY = "#E69F00", "#56B4E9"


def decaying(alpha, width=200):
    eigenvalues = np.arange(1.0, width + 1) ** -alpha
    eigenvalues /= eigenvalues.sum()
    return SimpleNamespace(
        eigenvalues=eigenvalues.tolist(),
        alpha=alpha,
        alpha_scale=float(eigenvalues[0]),
        alpha_range=[4, 100],
    )


def without_fit(eigenvalues):
    return SimpleNamespace(eigenvalues=eigenvalues, alpha=None, alpha_range=None)


def draw(**results):
    return eigenvalue_decay({"run": SimpleNamespace(results=results)})


def test_spectra_have_their_colors(pixels, count):
    array = pixels(draw(encoder=decaying(1.0), untrained=decaying(1.6)))
    assert array.shape == (540, 720, 3)
    for color in (TRAINED, UNTRAINED):
        assert count(array, color) > 150, color
    for color in (ORANGE, SKY):
        assert count(array, color) == 0, color


def test_spectra_of_runs_have_lines_of_their_own():
    runs = {
        f"run {i}": SimpleNamespace(results={"encoder": decaying(0.5 + i / 9)})
        for i in range(8)
    }
    (axes,) = eigenvalue_decay(runs).axes
    named = [line for line in axes.lines if not line.get_label().startswith("_")]
    looks = {(line.get_color(), line.get_linestyle()) for line in named}
    assert len(named) == len(looks) == 8


def test_legend_has_the_exponent(texts):
    found = texts(draw(encoder=decaying(1.234), untrained=without_fit([0.7, 0.3])))
    expected = {
        "trained encoder: α = 1.23",
        "untrained encoder: too few for a power law",
    }
    assert expected <= set(found)
    assert "trained encoder: no variance" in texts(draw(encoder=without_fit([0.0, 0])))


def test_one_eigenvalue_is_a_dot(pixels, count):
    array = pixels(draw(encoder=without_fit([1.0, 1e-12])))
    # The legend has a dot, too.
    assert count(array, TRAINED) > 50


def test_full_collapse_can_be_drawn(pixels):
    assert pixels(draw(encoder=without_fit([0.0] * 9))).shape == (540, 720, 3)
