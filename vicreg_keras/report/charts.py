"""How does a number change along an axis? Line charts as SVG.

Letters and axes take the page's colors, light or dark, which a picture made by
matplotlib could not.
"""

import dataclasses
import math
from collections.abc import Sequence

from vicreg_keras.figures.style import BLUE, GREEN, ORANGE, PINK, SKY, TRAIN, VERMILION
from vicreg_keras.report.elements import Html, join, markup

RUN_COLORS = (BLUE, VERMILION, GREEN, ORANGE, PINK, SKY)
DASHED, DOTTED = "6 3", "2 3"
_DASHES = ("", DASHED, DOTTED)  # For runs beyond the colors.

# In pixels. As wide as a telephone, where letters are seen at their size.
_WIDTH, _HEIGHT = 360, 220
_TOP, _RIGHT, _BOTTOM = 10, 18, 42
_LETTER = 7.0  # Width of one.
_MAX_DOTS = 60  # Points of a line that are marked, and tell their value.


@dataclasses.dataclass(frozen=True)
class Series:
    """A line of a chart.

    Attributes:
        name: what it is of.
        points: x and y of each, x ascending. Those that are no finite numbers, or on
            a logarithmic axis not above 0, are left out.
        color: as hexadecimal digits.
        dash: as SVG's `stroke-dasharray`.
    """

    name: str
    points: Sequence[tuple[float, float]]
    color: str = TRAIN
    dash: str = ""


@dataclasses.dataclass(frozen=True)
class Axis:
    """How values become pixels.

    Attributes:
        low: value at its start.
        high: value at its end.
        start: pixel of `low`.
        end: pixel of `high`.
        logarithmic: whether equal ratios are equally long.
    """

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        """The pixel of a value."""
        low, high = self.low, self.high
        if self.logarithmic:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return self.start + (self.end - self.start) * (value - low) / (high - low)


def run_series(number: int, name: str, points: Sequence[tuple[float, float]]) -> Series:
    """A line of one run of several.

    Args:
        number: of the run, counted from 0.
        name: of the run.
        points: of the line.
    """
    dash, color = divmod(number, len(RUN_COLORS))
    return Series(name, points, RUN_COLORS[color], _DASHES[dash % len(_DASHES)])


def line_chart(
    title: str,
    series: Sequence[Series],
    *,
    x_label: str,
    level: tuple[float, str] | None = None,
    from_zero: bool = False,
    logarithmic_x: bool = False,
    logarithmic_y: bool = False,
) -> Html:
    """A chart with its title above and what its lines are below.

    Args:
        title: what is drawn, with its unit.
        series: the lines; those without a point are left out.
        x_label: of the axis along the bottom.
        level: a value to be compared with, drawn across, and its name.
        from_zero: whether the upright axis starts at 0.
        logarithmic_x: whether the axis along the bottom is.
        logarithmic_y: whether the upright one is.

    Returns:
        A figure; empty where no line has a point.
    """
    logarithmic = logarithmic_x, logarithmic_y
    series = [_drawable(one, *logarithmic) for one in series]
    series = [one for one in series if one.points]
    if not series:
        return Html("")
    xs = [x for one in series for x, _ in one.points]
    ys = [y for one in series for _, y in one.points]
    ys += [level[0]] if level else []
    ys += [0.0] if from_zero else []
    x_low, x_high = _range(xs, logarithmic_x, 0.0)
    y_low, y_high = _range(ys, logarithmic_y, 0.06)
    y_low = 0.0 if from_zero and min(ys) == 0 else y_low
    y_ticks = _ticks(y_low, y_high, logarithmic_y)
    left = 14 + _LETTER * max((len(f"{tick:g}") for tick in y_ticks), default=0)
    x_axis = Axis(x_low, x_high, left, _WIDTH - _RIGHT, logarithmic_x)
    y_axis = Axis(y_low, y_high, _HEIGHT - _BOTTOM, _TOP, logarithmic_y)

    parts = [_grid(x_axis, y_axis, y_ticks, x_label)]
    if level:
        height = f"{y_axis(level[0]):.1f}"
        parts.append(
            f'<path class="level" d="M{left:.1f} {height}H{_WIDTH - _RIGHT}"/>'
        )
    parts += [_line(one, x_axis, y_axis) for one in series]
    words = f"{title} by {x_label}. " + " ".join(map(_in_words, series))
    return Html(
        f'<figure class="chart"><figcaption>{markup(title)}</figcaption>\n'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{markup(words)}">\n{"".join(parts)}</svg>\n'
        f"{_legend(series, level)}</figure>\n"
    )


def _drawable(series, logarithmic_x, logarithmic_y):
    """A line without the points that have no place on these axes."""
    points = [
        (x, y)
        for x, y in series.points
        if math.isfinite(x)
        and math.isfinite(y)
        and (x > 0 or not logarithmic_x)
        and (y > 0 or not logarithmic_y)
    ]
    return dataclasses.replace(series, points=points)


def _range(values, logarithmic, margin):
    """Ends of an axis, never the same."""
    low, high = min(values), max(values)
    if logarithmic:
        return (low, high) if high > low else (low / 2, 2 * high)
    if high == low:
        wide = 0.1 * abs(low) or 1.0
        return low - wide, high + wide
    return low - margin * (high - low), high + margin * (high - low)


def _ticks(low, high, logarithmic, whole=False):
    """Round values on an axis, three to seven of them where that can be."""
    if logarithmic:
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        step = max(1, -(-(last - first) // 6))
        by = (1, 2, 5) if last - first <= 2 else (1,)
        ticks = [m * 10.0**p for p in range(first, last + 1, step) for m in by]
        return [tick for tick in ticks if 0.999 * low <= tick <= 1.001 * high]
    power = 10.0 ** math.floor(math.log10((high - low) / 3))
    step = next(power * by for by in (1, 2, 5, 10) if (high - low) / (power * by) <= 6)
    step = max(1.0, step) if whole else step
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def _grid(x_axis, y_axis, y_ticks, x_label):
    """Lines at round values, and the values."""
    bottom, left, right = y_axis.start, x_axis.start, x_axis.end
    marks = []
    for tick in y_ticks:
        y = y_axis(tick)
        marks.append(f'<path class="grid" d="M{left:.1f} {y:.1f}H{right}"/>')
        marks.append(
            f'<text x="{left - 6:.1f}" y="{y + 4:.1f}" text-anchor="end">{tick:g}'
            "</text>"
        )
    for tick in _ticks(x_axis.low, x_axis.high, x_axis.logarithmic, whole=True):
        x = x_axis(tick)
        marks.append(f'<path class="grid" d="M{x:.1f} {bottom}V{_TOP}"/>')
        marks.append(
            f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{tick:g}</text>'
        )
    marks.append(
        f'<text x="{(left + right) / 2:.1f}" y="{_HEIGHT - 6}" '
        f'text-anchor="middle">{markup(x_label)}</text>\n'
    )
    return "".join(marks)


def _line(series, x_axis, y_axis):
    """The line, and its points where they are few."""
    pixels = [f"{x_axis(x):.1f} {y_axis(y):.1f}" for x, y in series.points]
    dash = f' stroke-dasharray="{series.dash}"' if series.dash else ""
    parts = [
        f'<path class="line" stroke="{series.color}"{dash} d="M{"L".join(pixels)}"/>\n'
    ]
    if len(pixels) <= _MAX_DOTS:
        for (x, y), pixel in zip(series.points, pixels, strict=True):
            across, down = pixel.split()
            parts.append(
                f'<circle cx="{across}" cy="{down}" r="3" fill="{series.color}">'
                f"<title>{markup(series.name)}, {x:g}: {y:.5g}</title></circle>\n"
            )
    return "".join(parts)


def _in_words(series):
    """Where a line starts and ends, for those who do not see it."""
    (first_x, first_y), (last_x, last_y) = series.points[0], series.points[-1]
    return f"{series.name}: {first_y:.4g} at {first_x:g}, {last_y:.4g} at {last_x:g}."


def _legend(series, level):
    entries = [(one.name, f'stroke="{one.color}"', one.dash) for one in series]
    entries += [(level[1], 'class="level"', "")] if level else []
    items = []
    for name, look, dash in entries:
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        items.append(
            Html(
                '<li><svg viewBox="0 0 24 8" width="24" height="8" aria-hidden="true">'
                f'<path {look}{dashed} stroke-width="2.5" d="M0 4H24"/></svg> '
                f"{markup(name)}</li>"
            )
        )
    return join([Html('<ul class="legend">'), *items, Html("</ul>\n")])
