"""The page as a browser shows it: drawn, readable, and alone with itself."""

import base64

import numpy as np
import pytest

from vicreg_keras.report.page import build_report

NUM_POINTS = 14
PRINTED_WIDTH = 718  # Pixels: A4 without its margins.


@pytest.fixture
def page(tmp_path, make_run, draw_examples, make_map):
    """A report with every section, whose map has an image of one color a point."""
    images = np.empty((NUM_POINTS, 32, 32, 3), np.uint8)
    images[:] = colors()[:, np.newaxis, np.newaxis]
    path = tmp_path / "report.html"
    cluster_map = make_map(NUM_POINTS, images=images)
    build_report([draw_examples(make_run())], path, cluster_map)
    return path


@pytest.fixture
def wide_page(tmp_path, make_run, draw_examples, make_map):
    """A report of several runs, some of whose tables are wider than a telephone."""
    names = [f"kind {number} of things" for number in range(20)]
    runs = [make_run(f"a-run-with-a-long-name-{number}") for number in range(4)]
    path = tmp_path / "wide.html"
    build_report([draw_examples(run, names) for run in runs], path, make_map())
    return path


def colors():
    """Of the images, far from each other."""
    levels = np.array([20, 90, 160, 230])
    grid = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(-1, 3)
    return grid[:: len(grid) // NUM_POINTS][:NUM_POINTS]


def place(browser, number, panel=0):
    """Where a point of a panel of the map is in the window."""
    return browser.run(
        """
        const map = document.getElementById("map");
        map.scrollIntoView({block: "center"});
        const box = map.getBoundingClientRect();
        const data = JSON.parse(document.getElementById("map-data").textContent);
        const [x, y] = data.places[arguments[1]][arguments[0]];
        const scale = box.width / map.viewBox.baseVal.width;
        return [box.left + x * scale, box.top + y * scale];
        """,
        number,
        panel,
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
@pytest.mark.parametrize("width", [390, 1280])
def test_every_figure_is_drawn_in_its_proportions(browser, page, width, scheme):
    browser.open(page.as_uri(), width=width, scheme=scheme)
    figures = browser.run(
        """
        return [...document.querySelectorAll("figure img")]
          .map(image => [image, image.getBoundingClientRect()])
          .filter(([image, box]) => box.width > 0)
          .map(([image, box]) =>
            [image.naturalWidth / image.naturalHeight, box.width / box.height]);
        """
    )
    assert len(figures) == 10
    for natural, seen in figures:
        assert seen == pytest.approx(natural, rel=0.02)


def test_a_point_that_is_pointed_at_shows_its_image(browser, page):
    browser.open(page.as_uri())
    for number, panel in ((3, 0), (9, 1)):
        x, y = place(browser, number, panel)
        browser.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        wait_for_image(browser, number)
        words = browser.run("return document.getElementById('map-words').textContent")
        assert words == f"cluster: {(number - 1) % 7}"
    rings = browser.run(
        """
        return [...document.querySelectorAll(".ring")].map(ring => {
          const box = ring.getBoundingClientRect();
          return [box.left + box.width / 2, box.top + box.height / 2];
        });
        """
    )
    assert len(rings) == 2
    assert rings[1] == pytest.approx([x, y], abs=1)
    assert rings[0] == pytest.approx(place(browser, 9), abs=1)


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
        "return JSON.parse(document.getElementById('map-data').textContent).places[0]"
    )
    where = "return +document.querySelector('.ring').getAttribute('cx')"
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


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_the_window(browser, wide_page, width, scheme):
    browser.open(wide_page.as_uri(), width=width, scheme=scheme)
    found = browser.run(
        """
        const wide = [...document.querySelectorAll("body *")].filter(element =>
          !element.closest(".scroll table, .scroll img")
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
