"""Eigenvalues of the representations' covariance by index."""

from collections.abc import Mapping

from matplotlib.figure import Figure

from vicreg_keras.evaluate.spectrum import SpectrumMetrics
from vicreg_keras.figures import style

_KNOWN = {
    "encoder": ("trained encoder", {"color": style.TRAINING, "linestyle": "-"}),
    "untrained": ("untrained encoder", {"color": style.UNTRAINED, "linestyle": "--"}),
    "raw_input": ("raw input", {"color": style.RAW, "linestyle": "-."}),
}
# Lower eigenvalues are rounding errors, and would squeeze the others.
_MIN_SHARE = 1e-8


def eigenvalue_decay(spectra: Mapping[str, SpectrumMetrics]) -> Figure:
    """Draws eigenvalues over their index, both logarithmic, and the power laws.

    The dotted line is the power law over the indices that it was fitted to. Shares of
    the variance under 1e-8 are left out.

    Args:
        spectra: By name, at least one: `encoder`, `untrained` and `raw_input`, which
            have colors of their own, or any others, such as runs.
    """
    figure, axes = style.new_figure(6, 4.5)
    for number, (name, spectrum) in enumerate(spectra.items()):
        others = style.shorten(name), style.run_style(number)
        label, look = _KNOWN.get(name, others)
        shares = [share for share in spectrum.eigenvalues if share >= _MIN_SHARE]
        axes.plot(
            range(1, len(shares) + 1),
            shares,
            marker="" if len(shares) > 1 else "o",
            label=f"{label}: {_decay(spectrum)}",
            **look,
        )
        if spectrum.alpha is not None:
            ends = spectrum.alpha_range
            fitted = [spectrum.alpha_scale * end**-spectrum.alpha for end in ends]
            axes.plot(ends, fitted, ":", color=look["color"], linewidth=1)
    # Set, since a logarithmic axis finds no limits where nothing is drawn.
    drawn = [line.get_ydata() for line in axes.lines]
    axes.set_xlim(0.9, 1.1 * max(10, *map(len, drawn)))
    axes.set_ylim(min([0.1, *(min(one) for one in drawn if len(one))]) / 2, 2)
    axes.set(xscale="log", yscale="log")
    axes.set(xlabel="index of the eigenvalue", ylabel="share of the variance")
    axes.grid(alpha=0.3)
    style.add_legend(axes, loc="lower left")
    return figure


def _decay(spectrum: SpectrumMetrics) -> str:
    if not any(spectrum.eigenvalues):
        return "no variance"
    if spectrum.alpha is None:
        return "too few for a power law"
    return f"α = {spectrum.alpha:.2f}"
