"""The picture of the README: `python docs/figure.py` writes docs/cifar10_cpu.png.

The numbers are those of benchmarks/LOG.md, 2026-11-24, cifar10_cpu on two cores.
"""

import pathlib

import matplotlib.pyplot as plt

EPOCHS = range(2, 31, 2)
KNN = (
    *(65.3, 69.8, 71.3, 73.2, 72.9, 75.1, 76.4, 76.0),
    *(76.8, 76.9, 77.4, 77.7, 77.5, 77.3, 77.4),
)
# Linear top-1 in percent with all labels, and with 10 per class (mean, deviation).
LINEAR = {
    "raw pixels": (41.75, 23.88, 2.33),
    "untrained encoder": (60.10, 27.86, 1.51),
    "trained by VICReg": (83.44, 64.29, 2.09),
}
COLORS = ("#9aa5b1", "#d8a15d", "#1f6fb4")


def main() -> None:
    """Draws accuracy over epochs, and accuracy beside the baselines."""
    plt.rcParams.update({"font.size": 10, "axes.spines.top": False})
    figure, (curve, bars) = plt.subplots(
        1, 2, figsize=(9.6, 3.6), width_ratios=(1, 1.1)
    )
    curve.plot(EPOCHS, KNN, marker="o", color=COLORS[2])
    curve.set(xlabel="epochs (30 take 83 minutes on two CPU cores)", ylabel="percent")
    curve.set(title="kNN accuracy while training\n(validation split)", ylim=(0, 100))
    for offset, ((name, (top1, few, std)), color) in enumerate(
        zip(LINEAR.items(), COLORS, strict=True)
    ):
        positions = [group + 0.27 * (offset - 1) for group in (0, 1)]
        errors = [0, std]
        drawn = bars.bar(positions, (top1, few), 0.25, yerr=errors, color=color)
        drawn.set_label(name)
        bars.bar_label(drawn, fmt="%.1f", padding=2, fontsize=9)
    bars.set_xticks((0, 1), ("all 45,000 labels", "10 labels per class"))
    bars.set(title="Linear top-1 of the frozen encoder\n(test split)", ylim=(0, 100))
    bars.legend(frameon=False, loc="upper right", fontsize=9)
    for axes in (curve, bars):
        axes.spines["right"].set_visible(False)
        axes.grid(axis="y", alpha=0.25)
        axes.set_axisbelow(True)
    figure.tight_layout()
    figure.savefig(pathlib.Path(__file__).with_name("cifar10_cpu.png"), dpi=110)


if __name__ == "__main__":
    main()
