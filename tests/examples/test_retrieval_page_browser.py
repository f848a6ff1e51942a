"""The retrieval page as a browser shows it: sent, drawn, searched from, readable."""

import threading
import urllib.parse

import numpy as np
import pytest
from PIL import Image
from werkzeug.serving import make_server

COUNT = 6


@pytest.fixture(scope="module")
def address(search):
    """Of a server on a port of its own."""
    from retrieval_page.server import Handler, create_app

    app = create_app(search, num_neighbors=COUNT, trusted_hosts=["127.0.0.1"])
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.port}/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def photo(tmp_path):
    """A file of smooth made-up colors."""
    path = tmp_path / "holiday.jpg"
    small = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)
    Image.fromarray(small).resize((900, 600)).save(path)
    return path


def choose(browser, path):
    browser.driver.find_element("id", "photo").send_keys(str(path))


def wait_for_pictures(browser, heading, count=COUNT):
    """Waits until a search is shown and every picture of it is drawn."""
    browser.wait(
        """
        const pictures = [...document.querySelectorAll("#results img")]
          .filter(picture => picture.offsetParent);
        const found = document.querySelectorAll("#neighbors button img").length;
        return document.getElementById("heading").textContent === arguments[0]
          && found === arguments[1] && pictures.length > found
          && pictures.every(picture => picture.complete && picture.naturalWidth > 0);
        """,
        heading,
        count,
    )


def wait_for_error(browser, words):
    script = (
        "return document.getElementById('error').textContent.includes(arguments[0])"
    )
    browser.wait(script, words)


def text_of(browser, name):
    return browser.run("return document.getElementById(arguments[0]).innerText", name)


def found(browser):
    """The rows that are shown, in order."""
    return browser.run(
        """
        return [...document.querySelectorAll("#neighbors img")]
          .map(picture => Number(picture.src.split("/").pop()));
        """
    )


def errors_but_refusals(lines):
    """Console lines, but those that Chromium writes of every status above 399."""
    return [line for line in lines if "Failed to load resource" not in line]


def test_a_photo_and_its_neighbors_are_shown(browser, address, photo, search):
    from retrieval_page.photos import decode_photo

    browser.open(address)
    choose(browser, photo)
    wait_for_pictures(browser, "Your photo")
    image = decode_photo(photo.read_bytes(), (8, 8, 3))
    neighbors = search.near_image(image, COUNT)
    assert found(browser) == [neighbor.row for neighbor in neighbors]
    captions = text_of(browser, "neighbors").split()
    expected = [
        words
        for n in neighbors
        for words in (n.class_name, n.name, f"{n.distance:.2f}")
    ]
    assert captions == expected
    counts = text_of(browser, "bars")
    names = [neighbor.class_name for neighbor in neighbors]
    for name in set(names):
        assert f"{name}\n{names.count(name)} of {COUNT}" in counts
    assert text_of(browser, "status").startswith("6 nearest images of holiday.jpg; ")
    assert browser.run("return document.activeElement.id") == "heading"
    size = browser.run(
        "const {naturalWidth: w, naturalHeight: h} = document.getElementById('query');"
        "return [w, h]"
    )
    assert size == [900, 600]

    lines, addresses = browser.logs()
    assert lines == []
    hosts = {urllib.parse.urlsplit(a).netloc for a in addresses if a.startswith("http")}
    assert hosts == {urllib.parse.urlsplit(address).netloc}
    kinds = {urllib.parse.urlsplit(a).scheme for a in addresses}
    assert kinds <= {"http", "data", "blob"}


def test_what_is_no_photo_is_said_to_be_none(browser, address, photo, tmp_path):
    browser.open(address)
    text = tmp_path / "notes.txt"
    text.write_text("hello")
    large = tmp_path / "large.jpg"
    large.write_bytes(bytes(17 * 2**20))
    for path, words in (
        (text, "Expected a JPEG or PNG file."),
        (large, "Expected a photo of at most 16 MiB. Received: 17 MiB."),
    ):
        choose(browser, path)
        wait_for_error(browser, words)
        assert text_of(browser, "status") == ""
        assert not browser.run("return document.getElementById('results').offsetHeight")
        choose(browser, photo)
        wait_for_pictures(browser, "Your photo")
        assert text_of(browser, "error") == ""
        browser.driver.refresh()
    lines, addresses = browser.logs()
    assert errors_but_refusals(lines) == []
    # What is too large was not sent.
    assert sum(a.endswith("/search") for a in addresses) == 3


def test_a_neighbor_is_searched_from_and_there_is_a_way_back(
    browser, address, photo, search
):
    browser.open(address)
    choose(browser, photo)
    wait_for_pictures(browser, "Your photo")
    first = found(browser)
    browser.driver.find_elements("css selector", "#neighbors button")[2].click()
    wait_for_pictures(browser, "From the index")
    expected = [neighbor.row for neighbor in search.near_row(first[2], COUNT)]
    assert found(browser) == expected
    assert browser.run("return document.getElementById('query').src").endswith(
        f"/images/{first[2]}"
    )
    from selenium.webdriver.common.keys import Keys

    # With keys alone.
    button = browser.driver.find_element("css selector", "#neighbors button")
    button.send_keys(Keys.ENTER)
    browser.wait(
        "return document.getElementById('query').src.endsWith(arguments[0])",
        f"/images/{expected[0]}",
    )
    browser.driver.back()
    browser.driver.back()
    wait_for_pictures(browser, "Your photo")
    assert found(browser) == first
    browser.driver.forward()
    wait_for_pictures(browser, "From the index")
    assert found(browser) == expected
    lines, _ = browser.logs()
    assert lines == []


def test_another_number_of_neighbors(browser, address, photo):
    from selenium.webdriver.common.keys import Keys

    browser.open(address)
    choose(browser, photo)
    wait_for_pictures(browser, "Your photo")
    count = browser.driver.find_element("id", "count")
    count.send_keys(Keys.CONTROL, "a")
    count.send_keys("9", Keys.TAB)
    wait_for_pictures(browser, "Your photo", 9)
    count.send_keys(Keys.CONTROL, "a")
    count.send_keys("999", Keys.TAB)
    assert browser.run("return document.getElementById('count').matches(':invalid')")
    assert len(found(browser)) == 9


@pytest.mark.parametrize("how", ["drop", "paste"])
def test_a_photo_is_dropped_or_pasted(browser, address, photo, how):
    browser.open(address)
    give = """
        const [how, count] = arguments;
        const canvas = document.createElement("canvas");
        canvas.getContext("2d").fillRect(0, 0, 40, 40);
        canvas.toBlob(blob => {
          const data = new DataTransfer();
          for (let i = 0; i < count; i++) data.items.add(new File([blob], "new.png"));
          const about = {bubbles: true, cancelable: true};
          document.querySelector("footer").dispatchEvent(how === "drop"
            ? new DragEvent("drop", {...about, dataTransfer: data})
            : new ClipboardEvent("paste", {...about, clipboardData: data}));
        });
    """
    browser.run(give, how, 2)
    wait_for_error(browser, "2 files")
    browser.run(give, how, 1)
    wait_for_pictures(browser, "Your photo")
    assert text_of(browser, "status").startswith("6 nearest images of new.png")


def test_a_file_name_is_text(browser, address, photo):
    name = "<img src=x onerror=alert(1)>&amp;.jpg"
    named = photo.rename(photo.with_name(name))
    browser.open(address)
    choose(browser, named)
    wait_for_pictures(browser, "Your photo")
    assert text_of(browser, "caption") == name
    lines, addresses = browser.logs()
    assert lines == []
    assert not any(a.endswith("/x") for a in addresses)


def test_a_server_that_is_gone_is_said_to_be(browser, address, photo):
    browser.open(address)
    browser.run("window.fetch = () => Promise.reject(new TypeError('gone'))")
    choose(browser, photo)
    wait_for_error(browser, "Is it still running?")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_and_can_be_read(browser, address, tmp_path, width, scheme):
    photo = tmp_path / ("a_name_without_any_gap_" * 8 + ".png")
    Image.new("RGB", (40, 400), "red").save(photo)
    browser.open(address, width=width, scheme=scheme)
    choose(browser, photo)
    wait_for_pictures(browser, "Your photo")
    browser.run("document.getElementById('error').textContent = 'Expected a photo.'")
    inner, scrolled, wide, seen, small = browser.run(
        """
        const elements = [...document.querySelectorAll("body *")]
          .filter(element => element.offsetParent);
        const channels = color => color.match(/[\\d.]+/g).map(Number);
        const behind = element => {
          for (let at = element; at; at = at.parentElement) {
            const color = channels(getComputedStyle(at).backgroundColor);
            if (color.length < 4 || color[3] === 1) return color.slice(0, 3);
          }
        };
        const fills = [...document.querySelectorAll(".fill")];
        const seen = [];
        for (const element of elements) {
          const own = [...element.childNodes].some(
            node => node.nodeType === Node.TEXT_NODE && node.data.trim());
          if (!own) continue;
          const ink = channels(getComputedStyle(element).color);
          seen.push([element.tagName, ink, behind(element)]);
          if (element.closest(".bars")) seen.push(["bar", ink, behind(fills[0])]);
        }
        const targets = elements.filter(element =>
          element.matches("button, .button, #count"));
        return [
          innerWidth,
          document.documentElement.scrollWidth,
          elements.filter(e => e.getBoundingClientRect().right > innerWidth + 0.5)
            .map(element => element.outerHTML.slice(0, 80)),
          seen,
          targets.map(e => e.getBoundingClientRect())
            .filter(box => Math.min(box.width, box.height) < 32).length,
        ];
        """
    )
    assert inner == width
    assert scrolled <= width
    assert wide == []
    assert small == 0
    assert len(seen) > 30 and {"P", "H1", "LABEL", "bar"} <= {tag for tag, *_ in seen}
    for tag, ink, paper in seen:
        assert contrast(ink, paper) >= 4.5, (tag, ink, paper)
    paper = browser.run("return getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") == (scheme == "light")


def contrast(first, second):
    """Of two colors, as WCAG 2 counts it, from 1 to 21."""
    lights = []
    for color in (first, second):
        values = np.array(color[:3]) / 255
        linear = np.where(
            values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4
        )
        lights.append(linear @ (0.2126, 0.7152, 0.0722) + 0.05)
    return max(lights) / min(lights)


def test_contrast_is_counted_as_it_is_defined():
    assert contrast((0, 0, 0), (255, 255, 255)) == pytest.approx(21)
    assert contrast((119, 119, 119), (255, 255, 255)) == pytest.approx(4.48, abs=0.01)
