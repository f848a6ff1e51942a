"""What do all pictures share? The backend, the colors, and how a file is written."""

import pathlib

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402  (the backend comes first)

# Okabe and Ito's colors, told apart by color-blind readers too.
BLUE, ORANGE, GREEN, PINK, YELLOW, SKY, VERMILION = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#F0E442",
    "#56B4E9",
    "#D55E00",
)
GRAY = "#999999"
# What a color stands for, the same in every picture.
TRAIN, HELD_OUT, CHANCE, RAW, UNTRAINED = BLUE, VERMILION, GRAY, GREEN, PINK


def save(figure: plt.Figure, path: pathlib.Path) -> None:
    """Writes a figure as a PNG, aside and then renamed, and closes it.

    Args:
        figure: what `plt.subplots` gave.
        path: of the PNG; its folder is made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}")
    figure.savefig(aside, dpi=120, format="png")
    plt.close(figure)
    aside.replace(path)
