"""Line charts: each point where it belongs, whatever the values are."""

import math
import re

import pytest

from vicreg_keras.report.charts import DASHED, Series, line_chart, run_series

COLOR = "#123456"


def draw(points, parse, **look):
    """A chart of one line, and the pixels of its points."""
    text = line_chart("loss", [Series("a", points, COLOR)], x_label="epoch", **look)
    page = parse(text)
    dots = [
        (float(dot.at["cx"]), float(dot.at["cy"]), dot.text)
        for dot in page.all("circle")
    ]
    return text, page, dots


def line_of(page):
    """The corners of the drawn line."""
    (line,) = (e for e in page.all("path") if e.at.get("class") == "line")
    return [tuple(map(float, p.split())) for p in line.at["d"][1:].split("L")]


def labels(page):
    """Texts on the axes, with their places."""
    return {
        element.text: (float(element.at["x"]), float(element.at["y"]))
        for element in page.all("text")
    }


def test_points_lie_where_the_axes_say(parse):
    _, page, dots = draw([(1, 10), (2, 30), (3, 20)], parse)
    assert [dot[2] for dot in dots] == ["a, 1: 10", "a, 2: 30", "a, 3: 20"]
    assert line_of(page) == [dot[:2] for dot in dots]
    places = labels(page)
    for (x, y, _), (value_x, value_y) in zip(
        dots, [("1", "10"), ("2", "30"), ("3", "20")], strict=True
    ):
        assert places[value_x][0] == pytest.approx(x, abs=0.1)
        # Letters stand 4 pixels below the line that they name.
        assert places[value_y][1] - 4 == pytest.approx(y, abs=0.1)
    assert dots[1][1] < dots[2][1] < dots[0][1]  # Upwards is less.
    (picture,) = (e for e in page.all("svg") if e.at.get("role") == "img")
    assert picture.at["aria-label"] == "loss by epoch. a: 10 at 1, 20 at 3."


def test_logarithmic_axes(parse):
    points = [(1, 1), (10, 0.1), (100, 0.01), (0, 5), (5, 0), (7, -1)]
    _, page, dots = draw(points, parse, logarithmic_x=True, logarithmic_y=True)
    assert len(dots) == 3  # The others have no place on such axes.
    (x0, y0, _), (x1, y1, _), (x2, y2, _) = dots
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert y1 - y0 == pytest.approx(y2 - y1, abs=0.2)
    places = labels(page)
    assert places["10"][0] == pytest.approx(x1, abs=0.1)
    assert {"1", "10", "100", "0.1", "0.01"} <= set(places)


def test_a_logarithmic_axis_within_a_decade_has_values(parse):
    _, page, _ = draw([(450, 1)], parse, logarithmic_x=True)
    assert {"500", "1"} <= set(labels(page))


@pytest.mark.parametrize(
    "points",
    [
        [(1, 0.5)],
        [(1, 0.0), (2, 0.0)],
        [(1, 1e-12), (2, 3e-12)],
        [(1, -5e6), (1000, 5e6)],
        [(1, 7.0), (2, 7.0 + 1e-9)],
    ],
)
def test_any_values_stay_on_the_picture(parse, points):
    _, page, dots = draw(points, parse)
    assert len(dots) == len(points)
    for x, y, _ in dots:
        assert 0 < x <= 360 and 0 <= y <= 220
    assert 2 <= len(labels(page)) <= 17
    for x, y in labels(page).values():
        assert 0 <= x <= 360 and 0 <= y <= 220


def test_what_is_no_number_is_left_out(parse):
    points = [(1, 1.0), (2, math.nan), (3, math.inf), (4, 2.0)]
    text, _, dots = draw(points, parse)
    assert len(dots) == 2
    assert not re.search(r"\b(nan|inf)\b", text)


def test_nothing_to_draw_is_no_chart(parse):
    assert draw([], parse)[0] == ""
    assert draw([(1, math.nan)], parse)[0] == ""


def test_a_level_is_drawn_and_named_within_the_axes(parse):
    _, page, dots = draw([(1, 0.2), (2, 0.4)], parse, level=(1.0, "goal"))
    level = next(e for e in page.all("path") if e.at.get("class") == "level")
    height = float(level.at["d"].split()[1].split("H")[0])
    assert 0 < height < dots[1][1]
    assert [element.text.strip() for element in page.all("li")] == ["a", "goal"]


def test_an_axis_from_zero(parse):
    _, page, dots = draw([(1, 0.5), (2, 0.6)], parse, from_zero=True)
    assert labels(page)["0"][1] - 4 == pytest.approx(220 - 42)
    assert dots[0][1] < 110


def test_long_lines_have_no_dots(parse):
    _, page, dots = draw([(i, i % 7) for i in range(1, 301)], parse)
    assert not dots
    assert len(line_of(page)) == 300


def test_no_two_of_many_runs_look_alike(parse):
    series = [run_series(i, f"run {i}", [(1, i), (2, i)]) for i in range(12)]
    assert len({(one.color, one.dash) for one in series}) == 12
    page = parse(line_chart("loss", series, x_label="epoch"))
    lines = [e for e in page.all("path") if e.at.get("class") == "line"]
    assert len(lines) == 12
    dashes = [e.at.get("stroke-dasharray", "") for e in lines]
    assert dashes == [""] * 6 + [DASHED] * 6


def test_names_are_only_text(parse):
    text = line_chart(
        "<b>", [Series('"<i>', [(1, 1)], COLOR)], x_label="&", level=(2, "<u>")
    )
    page = parse(text)
    assert not {"b", "i", "u"} & {element.tag for element in page.elements}
    assert page.all("figcaption")[0].text == "<b>"
