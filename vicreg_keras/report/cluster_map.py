"""Section with a map of images, each of which is shown when it is pointed at."""

import json
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageOps

from vicreg_keras.figures.clusters import cluster_styles, projection_method
from vicreg_keras.figures.style import MAX_GROUPS, group_style
from vicreg_keras.report.elements import (
    Html,
    data_uri,
    join,
    markup,
    paragraph,
    rgb_image,
)
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


def map_section(pictures: Pictures) -> Html:
    """Returns points by class and by cluster, and the data that `map.js` shows.

    Args:
        pictures: With a map, or without.
    """
    given = pictures.cluster_map
    if given is None:
        return paragraph("Left out: there is no map of this run.", "missing")
    places = _places(np.asarray(given.points, np.float64))
    clusters = np.asarray(given.assignments)
    colorings = {}
    if given.labels is not None:
        labels = np.asarray(given.labels)
        names = {int(label): str(pictures.class_names[label]) for label in set(labels)}
        styles = {label: label for label in names}
        colorings["class"] = (labels, names, styles)
    names = _cluster_names(given, pictures.class_names)
    classes = [] if given.labels is None else list(map(int, given.labels))
    styles = cluster_styles(max(names) + 1, classes, given.cluster_to_class)
    styles = {cluster: styles[cluster] for cluster in names}
    colorings["cluster"] = (clusters, names, styles)

    marks, legends = [], []
    for kind, (groups, names, styles) in colorings.items():
        marks.append(_marks(kind, places, groups, styles))
        legends.append(_legend(kind, names, styles))
    sheet, tile, columns = _sheet(given.images)
    data = {
        "places": np.round(places, 1).tolist(),
        "tile": tile,
        "columns": columns,
        "groups": {
            kind: [names[int(group)] for group in groups]
            for kind, (groups, names, _) in colorings.items()
        },
    }
    # No text may end the element that it stands in.
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    words = f"Map of {len(places)} images. Arrow keys go from one to the next."
    return join(
        [
            paragraph(_caption(pictures, given)),
            Html('<figure class="map">\n'),
            _choice(colorings),
            Html(
                f'<svg id="map" viewBox="0 0 {_SIDE} {_SIDE}" tabindex="0" '
                f'role="application" aria-label="{markup(words)}" '
                'aria-describedby="map-words">\n'
            ),
            *marks,
            Html('<circle id="map-ring" r="7" hidden="hidden"/></svg>\n'),
            _CARD,
            *legends,
            Html(
                f'<img id="map-sheet" src="{sheet}" alt="" hidden>\n'
                f'<script type="application/json" id="map-data">{text}</script>\n'
                "</figure>\n"
            ),
        ]
    )


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


def _cluster_names(given: ClusterMap, class_names: Sequence[str] | None) -> dict:
    """What each cluster that is seen is called."""
    matched = given.cluster_to_class
    names = {}
    for cluster in sorted(set(map(int, given.assignments))):
        names[cluster] = f"cluster {cluster}"
        if matched is not None and class_names and matched[cluster] is not None:
            names[cluster] += f" ({class_names[matched[cluster]]})"
    return names


def _look(style):
    """Color and shape; beyond `MAX_GROUPS` all begin again."""
    color, marker, _ = group_style(style % MAX_GROUPS)
    return color, _SHAPES[marker]


def _marks(kind, places, groups, styles):
    """One path per group."""
    paths = []
    for group, style in styles.items():
        color, shape = _look(style)
        dots = "".join(
            f"M{x:.1f} {y:.1f}{shape}" for x, y in places[groups == group].tolist()
        )
        paths.append(f'<path fill="{color}" d="{dots}"/>\n')
    return Html(f'<g class="by-{kind}">\n{"".join(paths)}</g>\n')


def _legend(kind, names, styles):
    """Marks and what they stand for, where each stands for one group."""
    if max(styles.values()) >= MAX_GROUPS:
        return Html("")
    items = []
    for group, name in names.items():
        color, shape = _look(styles[group])
        items.append(
            '<li><svg viewBox="-4 -4 8 8" width="12" height="12" aria-hidden="true">'
            f'<path fill="{color}" d="M0 0{shape}"/></svg> {markup(name)}</li>\n'
        )
    return Html(f'<ul class="legend by-{kind}">\n{"".join(items)}</ul>\n')


def _choice(colorings):
    """By class or by cluster; without classes there is nothing to choose."""
    if len(colorings) == 1:
        return Html("")
    inputs = []
    for number, kind in enumerate(colorings):
        checked = " checked" if number == 0 else ""
        inputs.append(
            f'<label><input type="radio" name="color" value="{kind}"{checked}> '
            f"by {kind}</label>\n"
        )
    return Html(
        f"<fieldset><legend>Color</legend>\n{''.join(inputs)}</fieldset>\n",
    )


def _sheet(images: np.ndarray) -> tuple[str, int, int]:
    """All images in one, the pixels a side of each, and how many lie side by side."""
    longest = max(images.shape[1:3])
    side = next((side for side in _TILE_SIDES if longest <= side), _TILE_SIDES[-1])
    columns = math.ceil(math.sqrt(len(images)))
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (side * columns, side * rows))
    # Pixels that are few are part of what an image shows.
    resampling = (
        Image.Resampling.NEAREST if longest < side else Image.Resampling.LANCZOS
    )
    for number, image in enumerate(images):
        tile = ImageOps.contain(rgb_image(image), (side, side), resampling)
        row, column = divmod(number, columns)
        left = column * side + (side - tile.width) // 2
        sheet.paste(tile, (left, row * side + (side - tile.height) // 2))
    return data_uri(sheet, "jpeg", **_JPEG), side, columns


def _caption(pictures: Pictures, given: ClusterMap) -> str:
    return (
        f"{projection_method(given.settings)} of the representations of "
        f"{len(given.points):,} images, {pictures.dataset}, {given.split} split; "
        "clusters by k-means among the representations, not on the map; seed "
        f"{given.settings.seed}. Neighborhoods mean something; sizes of groups and "
        "gaps between them do not."
    )
