"""In how many directions do the rows vary? Eigenvalues by index, ranks by epoch."""

import pathlib
from collections.abc import Mapping, Sequence

from vicreg_keras.figures.style import (
    BLUE,
    CHANCE,
    ORANGE,
    RAW,
    SKY,
    TRAIN,
    UNTRAINED,
    VERMILION,
    plt,
    save,
)

# Names that evaluations use, as a reader knows them, with line style and color.
_KNOWN = {
    "encoder": ("trained encoder", "-", TRAIN),
    "untrained": ("untrained encoder", "--", UNTRAINED),
    "raw_input": ("raw input", "-.", RAW),
}
_OTHERS = (ORANGE, SKY, VERMILION)
# What lies lower is of no account, and would squeeze what is.
_LOWEST_SHARE = 1e-8


def eigenvalue_decay(spectra: Mapping[str, dict], path: pathlib.Path) -> None:
    """Draws eigenvalues over their index, both logarithmic, and the power laws.

    The dotted line is the power law over the indices that it was fitted to. Shares of
    the variance under 1e-8 are left out.

    Args:
        spectra: results of `spectrum` by name, at most three besides `encoder`,
            `untrained` and `raw_input`, which have colors of their own.
        path: of the PNG.

    Raises:
        ValueError: If there is no spectrum, or more than there are colors.
    """
    others = [name for name in spectra if name not in _KNOWN]
    if not spectra or len(others) > len(_OTHERS):
        raise ValueError(
            f"Expected at least one spectrum, and at most {len(_OTHERS)} besides "
            f"{sorted(_KNOWN)}. Received: {sorted(spectra)}"
        )
    looks = _KNOWN | {
        name: (name, "-", color) for name, color in zip(others, _OTHERS, strict=False)
    }
    figure, axis = plt.subplots(figsize=(6, 4.5), layout="constrained")
    drawn = {
        name: [share for share in numbers["eigenvalues"] if share >= _LOWEST_SHARE]
        for name, numbers in spectra.items()
    }
    for name, numbers in spectra.items():
        label, style, color = looks[name]
        shares = drawn[name]
        axis.plot(
            range(1, len(shares) + 1),
            shares,
            style if len(shares) > 1 else "o",
            color=color,
            label=f"{label}: {_decay(numbers)}",
        )
        if numbers["alpha"] is not None:
            ends = numbers["alpha_range"]
            fitted = [
                numbers["alpha_scale"] * index ** -numbers["alpha"] for index in ends
            ]
            axis.plot(ends, fitted, ":", color=color, linewidth=1)
    # Set, since a logarithmic axis finds no limits where nothing is drawn.
    axis.set_xlim(0.9, 1.1 * max(10, *map(len, drawn.values())))
    lowest = min([0.1, *(share for shares in drawn.values() for share in shares)])
    axis.set_ylim(lowest / 2, 2)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel("index of the eigenvalue")
    axis.set_ylabel("share of the variance")
    axis.grid(alpha=0.3)
    axis.legend(loc="lower left")
    save(figure, path)


def collapse_curves(rows: Sequence[dict], path: pathlib.Path) -> None:
    """Draws ranks and the embeddings' standard deviation over epochs.

    The dotted line at 1 is where the variance term wants the standard deviation.

    Args:
        rows: lines of `metrics.jsonl`, one an epoch: `epoch` and `embedding_std`, and
            `rankme`, `effective_rank` and `embedding_effective_rank` where they were
            measured.
        path: of the PNG.

    Raises:
        ValueError: If no line has ranks.
    """
    measured = [row for row in rows if "rankme" in row]
    if not measured:
        raise ValueError(
            "Expected lines with rankme and effective_rank. Received: "
            f"{len(rows)} lines, none of them with ranks."
        )
    figure, (above, below) = plt.subplots(
        2, 1, figsize=(6, 5.4), sharex=True, layout="constrained"
    )
    epochs = [row["epoch"] for row in measured]
    for name, label, style, color in (
        ("rankme", "RankMe, representations", "o-", BLUE),
        ("effective_rank", "effective rank, representations", "s--", ORANGE),
        ("embedding_effective_rank", "effective rank, embeddings", "^:", VERMILION),
    ):
        values = [row[name] for row in measured]
        above.plot(epochs, values, style, color=color, markersize=4, label=label)
    above.set_ylabel("directions")
    above.set_ylim(bottom=0)
    above.legend()
    stds = [row["embedding_std"] for row in rows]
    below.plot([row["epoch"] for row in rows], stds, ".-", color=TRAIN)
    below.axhline(1, color=CHANCE, linewidth=1, linestyle=":")
    below.set_ylabel("embeddings' standard deviation")
    below.set_ylim(bottom=0)
    below.set_xlabel("epoch")
    below.xaxis.get_major_locator().set_params(integer=True)
    for axis in (above, below):
        axis.grid(alpha=0.3)
    save(figure, path)


def _decay(numbers):
    if not any(numbers["eigenvalues"]):
        return "no variance"
    if numbers["alpha"] is None:
        return "too few for a power law"
    return rf"$\alpha$ = {numbers['alpha']:.2f}"
