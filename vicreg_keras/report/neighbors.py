"""What lies near what? Queries beside their nearest images, and precision at k."""

from collections.abc import Sequence

from vicreg_keras.report.elements import Html, join, markup, paragraph, picture, small
from vicreg_keras.report.pictures import Pictures
from vicreg_keras.report.records import Record, missing
from vicreg_keras.report.results import retrieval_table


def retrieval_numbers(records: Sequence[Record]) -> Html:
    """Precision, recall and hit rate of each run.

    Args:
        records: the runs.
    """
    parts = []
    for record in records:
        if "retrieve" in record.last:
            if len(records) > 1:
                parts.append(Html(f"<h3>{markup(record.name)}</h3>\n"))
            parts.append(retrieval_table(record))
    return join([*parts, missing(records, "retrieve")])


def retrieval_pictures(pictures: Pictures) -> Html:
    """Test images, each beside its nearest training images.

    Args:
        pictures: with retrieval rows, or without.
    """
    if not pictures.retrieval:
        text = "Pictures left out: they need a labeled dataset with a test split."
        return paragraph(text, "missing")
    rows = []
    for query, neighbors in pictures.retrieval:
        tiles = [_tile(query, f"query: {query.name}", "query")]
        for tile in neighbors:
            distance = "" if tile.distance is None else f"{tile.distance:.2f}"
            rightness = ", of another class" if tile.wrong else ""
            words = f"near {query.name}: {tile.name}{rightness}"
            tiles.append(_tile(tile, words, distance))
        rows.append(
            join([Html('<div class="tiles query">\n'), *tiles, Html("</div>\n")])
        )
    text = (
        f"Left: a query, {pictures.dataset}, test split, one image of each class drawn "
        f"at random (seed {pictures.seed}). Beside it: the nearest training images, "
        "by distance between representations of length 1 (0: the same direction, 2: "
        "opposite). Framed and crossed: of another class than the query."
    )
    return join([paragraph(text), *rows])


def _tile(tile, words, note):
    kind = "tile wrong" if tile.wrong else "tile"
    return Html(
        f'<figure class="{kind}">{picture(tile.image, words)}<figcaption>'
        f"{markup(tile.name)}<br>{small(note)}</figcaption></figure>\n"
    )
