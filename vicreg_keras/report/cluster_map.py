"""Section with a map of images, each of which is shown when it is pointed at."""

import dataclasses
import json
import math

import numpy as np
from PIL import Image, ImageOps

from vicreg_keras.figures.clusters import cluster_styles, projection_method
from vicreg_keras.figures.style import MAX_GROUPS, group_style
from vicreg_keras.report import elements
from vicreg_keras.report.elements import Html, element, join, paragraph
from vicreg_keras.report.pictures import ClusterMap, Pictures

_SHAPES = {
    "o": "m-2.7 0a2.7 2.7 0 1 0 5.4 0a2.7 2.7 0 1 0-5.4 0z",
    "^": "m0-3.4l3.3 5.8h-6.6z",
    "s": "m-2.5-2.5h5v5h-5z",
}

_SIDE = 400  # Of the map, in pixels of its own.
# Of an image in the sheet: multiples of JPEG's blocks, so that none bleeds over. With
# colors at half the resolution, which is the default, they would all the same.
_TILE_SIDES = (16, 32, 48)
_JPEG = {"quality": 75, "subsampling": 0}


@dataclasses.dataclass(frozen=True)
class _Coloring:
    """Groups of the points, and name and style of each group by its number."""

    kind: str
    groups: np.ndarray
    names: dict[int, str]
    styles: dict[int, int]


def map_section(pictures: Pictures) -> Html:
    """Returns points by class and by cluster, and the data that `map.js` shows.

    Args:
        pictures: With a map, or without.
    """
    given = pictures.cluster_map
    if given is None:
        return paragraph("Left out: there is no map of this run.", kind="missing")
    places = _places(given.points)
    colorings = _colorings(given, pictures.class_names)
    sheet, tile, columns = _sheet(given.images)
    groups = {one.kind: [one.names[i] for i in one.groups] for one in colorings}
    data = {"tile": tile, "columns": columns, "groups": groups}
    data["places"] = np.round(places, 1).tolist()
    # No text may end the element that it stands in.
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    words = f"Map of {len(places)} images. Arrow keys go from one to the next."
    svg = element(
        "svg",
        *(_marks(one, places) for one in colorings),
        element("circle", id="map-ring", r=7, hidden="hidden"),
        id="map",
        viewBox=f"0 0 {_SIDE} {_SIDE}",
        tabindex=0,
        role="application",
        aria_label=words,
        aria_describedby="map-words",
    )
    legends = map(_legend, colorings)
    image = element("img", id="map-sheet", src=sheet, alt="", hidden="hidden")
    script = element("script", Html(text), type="application/json", id="map-data")
    parts = [_choice(colorings), svg, _CARD, *legends, image, script]
    caption = paragraph(_caption(pictures, given))
    return join([caption, element("figure", *parts, class_="map")])


_CARD = Html(
    '<div class="card"><canvas id="map-image" width="144" height="144" role="img" '
    'aria-label="the image of a point"></canvas>'
    '<p id="map-words" aria-live="polite">Point at a dot, tap it, or go from dot to '
    "dot with the arrow keys.</p></div>\n"
)


def _places(points: np.ndarray) -> np.ndarray:
    """Points in pixels; the same distance looks the same in both directions."""
    low, high = points.min(axis=0), points.max(axis=0)
    # Points that are all the same lie in the middle.
    half = 0.53 * (high - low).max() or 1.0
    places = (points - (low + high) / 2) / half  # (N, 2) in (-1, 1)
    return _SIDE / 2 * (1 + places * (1, -1))  # Upwards is less.


def _colorings(given: ClusterMap, class_names) -> list[_Coloring]:
    """By class, where there are classes, and by cluster."""
    colorings = []
    classes = [] if given.labels is None else np.unique(given.labels).tolist()
    if classes:
        names = {label: str(class_names[label]) for label in classes}
        styles = {label: label for label in classes}
        colorings.append(_Coloring("class", given.labels, names, styles))
    names, matched = {}, given.cluster_to_class
    for cluster in np.unique(given.assignments).tolist():
        names[cluster] = f"cluster {cluster}"
        if matched is not None and class_names and matched[cluster] is not None:
            names[cluster] += f" ({class_names[matched[cluster]]})"
    styles = cluster_styles(max(names) + 1, classes, matched)
    return [*colorings, _Coloring("cluster", given.assignments, names, styles)]


def _look(style):
    """Color and shape; beyond `MAX_GROUPS` all begin again."""
    color, marker, _ = group_style(style % MAX_GROUPS)
    return color, _SHAPES[marker]


def _marks(coloring, places):
    """One path per group."""
    paths = []
    for group in coloring.names:
        color, shape = _look(coloring.styles[group])
        members = places[coloring.groups == group].tolist()
        dots = "".join(f"M{x:.1f} {y:.1f}{shape}" for x, y in members)
        paths.append(element("path", fill=color, d=dots))
    return element("g", *paths, class_=f"by-{coloring.kind}")


def _legend(coloring):
    """Marks and what they stand for, where each stands for one group."""
    if max(coloring.styles[group] for group in coloring.names) >= MAX_GROUPS:
        return Html("")
    items = []
    box = {"viewBox": "-4 -4 8 8", "width": 12, "height": 12, "aria_hidden": "true"}
    for group, name in coloring.names.items():
        color, shape = _look(coloring.styles[group])
        mark = element("svg", element("path", fill=color, d=f"M0 0{shape}"), **box)
        items.append(element("li", mark, " ", name))
    return element("ul", *items, class_=f"legend by-{coloring.kind}")


def _choice(colorings):
    """By class or by cluster; without classes there is nothing to choose."""
    if len(colorings) == 1:
        return Html("")
    labels = []
    for coloring, checked in zip(colorings, ({"checked": "checked"}, {}), strict=True):
        radio = element(
            "input", type="radio", name="color", value=coloring.kind, **checked
        )
        labels.append(element("label", radio, f" by {coloring.kind}"))
    return element("fieldset", element("legend", "Color"), *labels)


def _sheet(images: np.ndarray) -> tuple[str, int, int]:
    """All images in one, the pixels a side of each, and how many lie side by side."""
    longest = max(images.shape[1:3])
    side = next((side for side in _TILE_SIDES if longest <= side), _TILE_SIDES[-1])
    columns = math.ceil(math.sqrt(len(images)))
    sheet = Image.new("RGB", (side * columns, side * -(-len(images) // columns)))
    # Pixels that are few are part of what an image shows.
    smooth = Image.Resampling.LANCZOS
    resampling = Image.Resampling.NEAREST if longest < side else smooth
    for number, image in enumerate(images):
        tile = ImageOps.pad(elements.rgb_image(image), (side, side), resampling)
        row, column = divmod(number, columns)
        sheet.paste(tile, (column * side, row * side))
    return elements.data_uri(sheet, "jpeg", **_JPEG), side, columns


def _caption(pictures: Pictures, given: ClusterMap) -> str:
    return (
        f"{projection_method(given.settings)} of the representations of "
        f"{len(given.points):,} images, {pictures.dataset}, {given.split} split; "
        "clusters by k-means among the representations, not on the map; seed "
        f"{given.settings.seed}. Neighborhoods mean something; sizes of groups and "
        "gaps between them do not."
    )
