"""Eigenvalues of the representations' covariance by index."""

from collections.abc import Mapping

from matplotlib.figure import Figure

from vicreg_keras.evaluate.spectrum import SpectrumMetrics
from vicreg_keras.figures.style import (
    RAW,
    TRAINING,
    UNTRAINED,
    add_legend,
    new_figure,
    run_style,
    shorten,
)

_KNOWN = {
    "encoder": ("trained encoder", {"color": TRAINING, "linestyle": "-"}),
    "untrained": ("untrained encoder", {"color": UNTRAINED, "linestyle": "--"}),
    "raw_input": ("raw input", {"color": RAW, "linestyle": "-."}),
}
# Lower eigenvalues are rounding errors, and would squeeze the others.
_MIN_SHARE = 1e-8


def eigenvalue_decay(spectra: Mapping[str, SpectrumMetrics]) -> Figure:
    """Draws eigenvalues over their index, both logarithmic, and the power laws.

    The dotted line is the power law over the indices that it was fitted to. Shares of
    the variance under 1e-8 are left out.

    Args:
        spectra: By name: `encoder`, `untrained` and `raw_input`, which have colors of
            their own, or any others, such as runs.

    Raises:
        ValueError: If there is no spectrum.
    """
    if not spectra:
        raise ValueError("Expected at least one spectrum. Received: none.")
    figure, axes = new_figure(6, 4.5)
    drawn = {
        name: [share for share in spectrum.eigenvalues if share >= _MIN_SHARE]
        for name, spectrum in spectra.items()
    }
    for number, (name, spectrum) in enumerate(spectra.items()):
        label, style = _KNOWN.get(name, (shorten(name), run_style(number)))
        shares = drawn[name]
        axes.plot(
            range(1, len(shares) + 1),
            shares,
            marker="" if len(shares) > 1 else "o",
            label=f"{label}: {_decay(spectrum)}",
            **style,
        )
        if spectrum.alpha is not None:
            ends = spectrum.alpha_range
            fitted = [spectrum.alpha_scale * end**-spectrum.alpha for end in ends]
            axes.plot(ends, fitted, ":", color=style["color"], linewidth=1)
    # Set, since a logarithmic axis finds no limits where nothing is drawn.
    axes.set_xlim(0.9, 1.1 * max(10, *map(len, drawn.values())))
    lowest = min([0.1, *(share for shares in drawn.values() for share in shares)])
    axes.set_ylim(lowest / 2, 2)
    axes.set(xscale="log", yscale="log")
    axes.set(xlabel="index of the eigenvalue", ylabel="share of the variance")
    axes.grid(alpha=0.3)
    add_legend(axes, loc="lower left")
    return figure


def _decay(spectrum: SpectrumMetrics) -> str:
    if not any(spectrum.eigenvalues):
        return "no variance"
    if spectrum.alpha is None:
        return "too few for a power law"
    return f"α = {spectrum.alpha:.2f}"
