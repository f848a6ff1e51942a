"""The page as a browser shows it: drawn, readable, and alone with itself."""

import base64
import dataclasses

import numpy as np
import pytest

from vicreg_keras.report.page import build_report

NUM_POINTS = 14
PRINTED_WIDTH = 718  # Pixels: A4 without its margins.


@pytest.fixture
def page(tmp_path, make_run, make_pictures):
    """A report with every section, whose map has an image of one color a point."""
    pictures = make_pictures(num_points=NUM_POINTS)
    images = np.empty((NUM_POINTS, 32, 32, 3), np.uint8)
    images[:] = colors()[:, np.newaxis, np.newaxis]
    cluster_map = dataclasses.replace(pictures.cluster_map, images=images)
    path = tmp_path / "report.html"
    pictures = dataclasses.replace(pictures, cluster_map=cluster_map)
    build_report([make_run()], path, pictures)
    return path


@pytest.fixture
def wide_page(tmp_path, make_run, make_pictures):
    """A report of several runs, some of whose tables are wider than a telephone."""
    names = tuple(f"kind {number} of things" for number in range(20))
    runs = [make_run(f"a-run-with-a-long-name-{number}") for number in range(4)]
    path = tmp_path / "wide.html"
    build_report(runs, path, make_pictures(names))
    return path


def colors():
    """Of the images, far from each other."""
    levels = np.array([20, 90, 160, 230])
    grid = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(-1, 3)
    return grid[:: len(grid) // NUM_POINTS][:NUM_POINTS]


def place(browser, number):
    """Where a point of the map is in the window."""
    return browser.run(
        """
        const map = document.getElementById("map");
        map.scrollIntoView({block: "center"});
        const box = map.getBoundingClientRect();
        const data = JSON.parse(document.getElementById("map-data").textContent);
        const [x, y] = data.places[arguments[0]];
        const scale = box.width / map.viewBox.baseVal.width;
        return [box.left + x * scale, box.top + y * scale];
        """,
        number,
    )


def wait_for_image(browser, number):
    """Waits until the canvas is full of a point's color."""
    browser.wait(
        """
        const canvas = document.getElementById("map-image");
        const {data} = canvas.getContext("2d").getImageData(0, 0, 144, 144);
        for (let i = 0; i < data.length; i += 4) {
          for (let channel = 0; channel < 3; channel++) {
            const expected = arguments[0][channel];
            if (Math.abs(data[i + channel] - expected) > 12) return false;
          }
        }
        return true;
        """,
        colors()[number].tolist(),
    )


def test_nothing_is_asked_for_and_nothing_goes_wrong(browser, page):
    browser.open(page.as_uri())
    x, y = place(browser, 0)
    browser.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    wait_for_image(browser, 0)
    lines, addresses = browser.logs()
    assert not lines
    assert page.as_uri() in addresses
    strangers = {address for address in addresses if not address.startswith("data:")}
    assert strangers == {page.as_uri()}
    assert browser.run("return performance.getEntriesByType('resource').length") == 0


def test_what_is_smuggled_in_does_not_run(browser, page):
    smuggled = (
        "<script>document.title = 'smuggled'</script>"
        '<img id="x" src="x:" onerror="document.title = \'smuggled\'">'
        '<img src="http://127.0.0.1:9/x.png">'
        '<link rel="stylesheet" href="http://127.0.0.1:9/x.css">'
    )
    page.write_text(page.read_text().replace("<main>", f"<main>{smuggled}"))
    browser.open(page.as_uri())
    assert browser.driver.title == "VICReg: sevens"
    lines, _ = browser.logs()
    assert all("Content Security Policy" in line for line in lines)
    for what in ("inline script", "inline event handler", "x.png", "x.css"):
        assert any(what in line for line in lines), what


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_figure_has_lines_and_dark_text_on_white(browser, page, scheme):
    browser.open(page.as_uri(), scheme=scheme)
    figures = browser.run(
        """
        return [...document.querySelectorAll("figure.scroll > svg")].map(svg => {
          const frame = svg.getBoundingClientRect();
          const inside = element => {
            const box = element.getBoundingClientRect();
            return box.left >= frame.left && box.right <= frame.right
              && box.top >= frame.top && box.bottom <= frame.bottom;
          };
          const lines = [...svg.querySelectorAll("[id*=line2d_] > path")].filter(
            line => line.getBoundingClientRect().width > 100);
          const texts = [...svg.querySelectorAll("text")];
          return [
            lines.length > 2 && lines.every(inside),
            texts.length > 5 && texts.every(inside),
            getComputedStyle(svg).backgroundColor,
            getComputedStyle(texts[0]).fill,
          ];
        });
        """
    )
    assert len(figures) == 5
    for lines, texts, paper, ink in figures:
        assert lines and texts
        assert (paper, ink) == ("rgb(255, 255, 255)", "rgb(0, 0, 0)")
    dots = browser.run("return document.querySelectorAll('#map g path').length")
    assert dots == 14  # Seven classes and seven clusters.


def test_a_point_that_is_pointed_at_shows_its_image(browser, page):
    browser.open(page.as_uri())
    for number in (3, 9):
        x, y = place(browser, number)
        browser.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        wait_for_image(browser, number)
        words = browser.run("return document.getElementById('map-words').textContent")
        names = ("plane", "car", "bird", "cat", "deer", "dog", "frog")
        cluster = (number - 1) % 7
        assert words == f"class: {names[number % 7]}; cluster {cluster}"
    ring = browser.run(
        "const box = document.getElementById('map-ring').getBoundingClientRect();"
        "return [box.left + box.width / 2, box.top + box.height / 2];"
    )
    assert ring == pytest.approx([x, y], abs=1)


def test_a_point_that_is_tapped_shows_its_image(browser, page):
    browser.open(page.as_uri(), width=390)
    browser.send("Emulation.setTouchEmulationEnabled", enabled=True)
    try:
        x, y = place(browser, 5)
        # A finger does not hit the very middle.
        points = [{"x": x + 2, "y": y - 2}]
        browser.send("Input.dispatchTouchEvent", type="touchStart", touchPoints=points)
        browser.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
        wait_for_image(browser, 5)
    finally:
        browser.send("Emulation.setTouchEmulationEnabled", enabled=False)


def test_arrow_keys_go_from_point_to_point(browser, page):
    from selenium.webdriver.common.keys import Keys

    browser.open(page.as_uri())
    focused = browser.run(
        "document.getElementById('map').focus(); return document.activeElement.id"
    )
    assert focused == "map"
    places = browser.run(
        "return JSON.parse(document.getElementById('map-data').textContent).places"
    )
    where = "return +document.getElementById('map-ring').getAttribute('cx')"
    map_element = browser.driver.find_element("id", "map")
    map_element.send_keys(Keys.ARROW_RIGHT)
    wait_for_image(browser, 0)
    assert browser.run(where) == places[0][0]
    before = browser.run(where)
    map_element.send_keys(Keys.ARROW_LEFT)
    assert browser.run(where) < before
    for _ in range(NUM_POINTS):
        map_element.send_keys(Keys.ARROW_LEFT)
    assert browser.run(where) < 100  # The left edge, and no further.


def test_colors_are_by_class_or_by_cluster(browser, page):
    seen = """
        return ["class", "cluster"].map(kind => {
          const shown = [...document.querySelectorAll(`.by-${kind}`)]
            .filter(element => getComputedStyle(element).display !== "none");
          return shown.length;
        });
    """
    browser.open(page.as_uri())
    assert browser.run(seen) == [2, 0]  # Dots and legend.
    browser.run("document.querySelector('input[value=cluster]').click()")
    assert browser.run(seen) == [0, 2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_the_window(browser, wide_page, width, scheme):
    browser.open(wide_page.as_uri(), width=width, scheme=scheme)
    found = browser.run(
        """
        const wide = [...document.querySelectorAll("body *")].filter(element =>
          !element.closest(".scroll table, .scroll svg")
          && element.getBoundingClientRect().right > innerWidth + 0.5);
        const look = getComputedStyle(document.body);
        const boxes = [...document.querySelectorAll(".scroll")];
        return [
          innerWidth,
          document.documentElement.scrollWidth,
          wide.map(element => element.outerHTML.slice(0, 80)),
          [look.backgroundColor, look.color].map(color => color.match(/\\d+/g)[0]),
          boxes.length,
          boxes.filter(box => box.scrollWidth > box.clientWidth).length,
        ];
        """
    )
    inner, scrolled, wide, (paper, ink), num_boxes, num_wide_tables = found
    assert inner == width
    assert scrolled <= width
    assert wide == []
    assert num_boxes > 6 and num_wide_tables >= (width < 700)
    paper, ink = int(paper), int(ink)
    assert (paper > 240 and ink < 60) if scheme == "light" else paper < 40 < 200 < ink


def test_paper_is_white_and_no_table_is_cut(browser, wide_page):
    browser.open(wide_page.as_uri(), width=PRINTED_WIDTH, scheme="dark", media="print")
    paper, right, hidden = browser.run(
        """
        const tables = [...document.querySelectorAll("table")];
        return [
          getComputedStyle(document.body).backgroundColor,
          Math.max(...tables.map(table => table.getBoundingClientRect().right)),
          tables.filter(t => getComputedStyle(t.parentElement).overflowX !== "visible")
            .length,
        ];
        """
    )
    assert paper == "rgb(255, 255, 255)"
    assert right <= PRINTED_WIDTH
    assert hidden == 0
    browser.send("Emulation.setEmulatedMedia", media="")
    pdf = base64.b64decode(browser.send("Page.printToPDF")["data"])
    assert pdf.startswith(b"%PDF") and len(pdf) > 20_000
