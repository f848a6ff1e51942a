"""Queries beside their neighbors, mistakes, and confused classes."""

import warnings

import numpy as np
import pytest

from vicreg_keras.figures.examples import (
    Tile,
    confusion,
    mistake_grid,
    neighbor_grid,
)

VERMILION = "#D55E00"


def images(num_images, shape=(32, 32, 3), seed=0):
    random = np.random.default_rng(seed)
    return random.integers(0, 100, (num_images, *shape)).astype(np.uint8)


def rows(num_queries, k, wrong=(), shape=(32, 32, 3)):
    """Queries and neighbors, those at the places in `wrong` of a wrong class."""
    pixels = iter(images(num_queries * (k + 1), shape))
    queries = [Tile(next(pixels), "cat") for _ in range(num_queries)]
    neighbors = [
        [
            Tile(
                next(pixels), "a name", f"{0.1 * number:.2f}", (query, number) in wrong
            )
            for number in range(k)
        ]
        for query in range(num_queries)
    ]
    return queries, neighbors


def texts(figure):
    """The caption, and the texts above and below each tile."""
    names = [axes.get_title() for axes in tiles(figure)]
    notes = [axes.get_xlabel() for axes in tiles(figure)]
    return [*figure.get_suptitle().splitlines(), *names, *notes]


def tiles(figure):
    return [axes for axes in figure.axes if axes.get_visible()]


def test_wrong_classes_have_a_frame_and_a_cross(pixels, count):
    marks = []
    for wrong in ((), {(0, 1)}, {(0, 1), (1, 2)}):
        figure = neighbor_grid(*rows(2, 3, wrong))
        marks.append(count(pixels(figure), VERMILION))
    assert marks[0] == 0
    assert marks[1] > 1000
    assert marks[2] == pytest.approx(2 * marks[1], rel=0.1)


def test_crosses_are_drawn_and_explained():
    figure = neighbor_grid(*rows(2, 3, {(1, 2)}))
    crossed = [axis for axis in figure.axes if any(t.get_text() for t in axis.texts)]
    assert crossed == [tiles(figure)[-1]]
    assert "crossed" in " ".join(texts(figure))
    figure = neighbor_grid(*rows(2, 3))
    assert "crossed" not in " ".join(texts(figure))


def test_every_name_and_distance_is_written():
    queries, neighbors = rows(2, 7)
    queries[1] = queries[1]._replace(name="dog")
    figure = neighbor_grid(queries, neighbors)
    words = texts(figure)
    assert words.count("query") == 2
    assert words.count("cat") == words.count("dog") == 1
    assert words.count("a name") == 14
    assert words.count("0.60") == 2
    assert len(tiles(figure)) == 2 * 8


def inside(figure):
    """Whether all that is drawn lies in the picture, and nothing on anything else."""
    figure.draw_without_rendering()
    width, height = figure.get_size_inches() * figure.dpi
    titles = [t for axes in tiles(figure) for t in (axes.title, axes.xaxis.label)]
    artists = [*figure.texts, *titles, *tiles(figure)]
    boxes = [artist.get_window_extent() for artist in artists]
    boxes = [box for box in boxes if box.width > 0]
    for box in boxes:
        assert box.x0 >= 0 and box.y0 >= 0
        assert box.x1 <= width + 1 and box.y1 <= height + 1
    return not any(
        min(a.x1, b.x1) - max(a.x0, b.x0) > 1 and min(a.y1, b.y1) - max(a.y0, b.y0) > 1
        for number, a in enumerate(boxes)
        for b in boxes[:number]
    )


@pytest.mark.parametrize(("num_queries", "k"), [(1, 1), (6, 5), (2, 12)])
def test_nothing_is_cut_off_or_covered(num_queries, k):
    queries, neighbors = rows(num_queries, k)
    long = "a photograph with quite a long name from the summer of 2019, 0041.jpg"
    neighbors[0][0] = neighbors[0][0]._replace(name=long)
    figure = neighbor_grid(queries, neighbors)
    assert inside(figure)


def test_long_names_keep_both_ends():
    queries, neighbors = rows(1, 1)
    queries = [queries[0]._replace(name="holiday_photographs_of_2019_0041.jpg")]
    figure = neighbor_grid(queries, neighbors)
    (name,) = [text for text in texts(figure) if text.startswith("holi")]
    assert name.endswith(".jpg") and "\u2026" in name and len(name) < 20


def test_names_that_are_no_plain_text(pixels):
    names = ["$x_1$ ^^ $", "bad \udc80 byte", "two\nlines", "", "W" * 300]
    queries, neighbors = rows(1, 5)
    neighbors = [
        [
            tile._replace(name=name)
            for tile, name in zip(neighbors[0], names, strict=True)
        ]
    ]
    figure = neighbor_grid(queries, neighbors)
    assert {"$x_1$ ^^ $", "bad ? byte", "two lines"} <= set(texts(figure))
    pixels(figure)


def test_tiny_gray_large_and_oblong_images(pixels, count):
    queries = [Tile(images(1, (8, 8))[0], "gray")]
    neighbors = [
        [
            Tile(images(1, (8, 8, 1))[0], "gray", "0.00"),
            Tile(images(1, (1500, 2100, 3))[0], "large", "0.50", wrong=True),
            Tile(images(1, (20, 90, 3))[0], "wide", "1.00"),
            Tile(images(1, (1, 1, 3))[0], "one pixel", "2.00"),
        ]
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        array = pixels(neighbor_grid(queries, neighbors))
    assert count(array, VERMILION) > 500


def test_pixels_keep_their_values(pixels, count):
    # Grays are not stretched to the range that an image happens to have.
    tiles = [
        Tile(np.full(shape, 180, np.uint8), "even")
        for shape in ((8, 8), (8, 8, 1), (8, 8, 3))
    ]
    array = pixels(neighbor_grid(tiles[:1], [tiles[1:]]))
    assert count(array, "#b4b4b4") > 3 * 130**2


def test_lists_of_different_lengths():
    queries, neighbors = rows(3, 5)
    neighbors[0], neighbors[1] = neighbors[0][:2], []
    figure = neighbor_grid(queries, neighbors)
    assert len(tiles(figure)) == 3 + 2 + 5
    assert inside(figure)


@pytest.mark.parametrize("num_mistakes", [1, 6, 20])
def test_every_mistake_is_drawn(num_mistakes):
    pixels = images(num_mistakes)
    mistakes = [Tile(image, "cat", "as dog, 98.77 %") for image in pixels]
    figure = mistake_grid(mistakes, "Wrong.")
    assert len(tiles(figure)) == num_mistakes
    assert texts(figure).count("as dog, 98.77 %") == num_mistakes
    assert inside(figure)


def test_there_may_be_no_mistakes(pixels):
    figure = mistake_grid([], "Wrong.")
    assert " ".join(texts(figure)) == "Wrong. There are none."
    pixels(figure)


COUNTS = np.array([[8, 2, 0], [1, 3, 0], [0, 6, 0]])


def numbers(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_counts_and_what_they_come_to(pixels):
    figure = confusion(COUNTS, ("cat", "dog $", "fish\udcff"), "pets, test")
    assert numbers(figure) == list(map(str, COUNTS.ravel()))
    caption = " ".join(figure.get_suptitle().split())
    assert caption == (
        "pets, test: 55.00 percent of 20 are right. Most often confused: "
        "fish? as dog $: 6 (100.00 %); cat as dog $: 2 (20.00 %); "
        "dog $ as cat: 1 (25.00 %)."
    )
    pixels(figure)


def test_the_larger_count_has_the_stronger_color():
    (image,) = confusion(COUNTS, "abc", "x").axes[0].images
    brightness = image.to_rgba(COUNTS)[..., :3].sum(axis=-1)
    assert (np.argsort(-brightness, axis=None) == np.argsort(COUNTS, axis=None)).all()


def test_a_class_without_an_image_and_nothing_wrong(pixels):
    figure = confusion(np.diag([5, 5, 0]), "abc", "x")
    assert figure.get_suptitle() == "x: 100.00 percent of 10 are right."
    pixels(figure)


def test_many_classes_have_colors_only(pixels):
    counts = np.zeros((70, 70), int)
    counts[0, 0] = counts[2, 1] = 5
    figure = confusion(counts, [f"class {i}" for i in range(70)], "many")
    assert numbers(figure) == []
    assert "class 2 as class 1: 5 (100.00 %)." in " ".join(
        figure.get_suptitle().split()
    )
    pixels(figure)
