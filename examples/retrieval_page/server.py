"""The page over HTTP: what may be asked, how much of it, and what is answered.

Errors of `/search` and of all else are JSON, `{"error": "..."}`, to be shown as they
are.
"""

import base64
import collections
import contextlib
import io
import pathlib
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import flask
import numpy as np
from PIL import Image
from retrieval_page.photos import BadPhoto, decode_photo
from werkzeug.exceptions import HTTPException
from werkzeug.serving import WSGIRequestHandler

if TYPE_CHECKING:  # It starts TensorFlow.
    from retrieval_page.search import ImageSearch, Neighbor

MAX_BYTES = 16 * 2**20  # Of a request.
MAX_NEIGHBORS = 100
MAX_AT_ONCE = 4  # Searches: a large photo takes half a gigabyte while it is decoded.

_HERE = pathlib.Path(__file__).resolve().parent
_MAX_PARTS = 8  # Of a form.
_SMALL_SIDE = 96  # Pixels: smaller images are drawn with visible pixels.
_HEADERS = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' blob: data:",  # A photo before and after it is sent.
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Another run may be served from the same address tomorrow.
    "Cache-Control": "no-store",
}


class _Request(flask.Request):
    def _get_file_stream(self, *args: Any, **kwargs: Any) -> io.BytesIO:
        """Keeps an upload in memory: werkzeug would put a large one on the disk."""
        del args, kwargs
        return io.BytesIO()


class _App(flask.Flask):
    request_class = _Request


class Handler(WSGIRequestHandler):
    """One connection: silent, and not kept for who sends nothing."""

    timeout = 60  # Seconds.

    def log_request(self, *args: Any) -> None:
        del args


def create_app(
    search: "ImageSearch",
    *,
    num_neighbors: int = 12,
    trusted_hosts: list[str] | None = None,
) -> flask.Flask:
    """The application: one page, and what its script asks for.

    - `GET /`: the page.
    - `POST /search`: a form with one file `image`, and perhaps `neighbors`.
    - `GET /images/ROW`: an image of the index, PNG.
    - `GET /images/ROW/neighbors`: as `/search`, for an image of the index.

    Args:
        search: What answers.
        num_neighbors: That the page asks for at first.
        trusted_hosts: Names this server may be asked by; `None` for all. Without
            them another site could have its name lead here, and read what it gets.
    """
    app = _App(__name__, template_folder=str(_HERE), static_folder=None)
    app.config.update(
        MAX_CONTENT_LENGTH=MAX_BYTES,
        MAX_FORM_PARTS=_MAX_PARTS,
        TRUSTED_HOSTS=trusted_hosts,
    )
    slots = threading.BoundedSemaphore(MAX_AT_ONCE)

    @app.get("/")
    def page():
        height, width, _ = search.dataset.example_shape
        return flask.render_template(
            "page.html",
            dataset=search.dataset.name,
            num_images=search.num_images,
            height=height,
            width=width,
            is_small=max(height, width) <= _SMALL_SIDE,
            num_neighbors=num_neighbors,
            max_neighbors=MAX_NEIGHBORS,
            max_bytes=MAX_BYTES,
        )

    @app.get("/page.css")
    @app.get("/page.js")
    def part_of_page():
        return flask.send_from_directory(_HERE, flask.request.path[1:])

    @app.post("/search")
    def search_for_photo():
        content, name = _uploaded()
        count = _num_neighbors(flask.request.form, num_neighbors)
        with _slot(slots):
            image = decode_photo(content, search.dataset.example_shape)
            neighbors = search.near_image(image, count)
        encoded = base64.b64encode(_png(image)).decode()
        query = {"name": name, "image": f"data:image/png;base64,{encoded}"}
        return _answer(query, neighbors)

    @app.get("/images/<int:row>")
    def image(row):
        _check_row(row, search)
        return flask.Response(_png(search.image(row)), mimetype="image/png")

    @app.get("/images/<int:row>/neighbors")
    def search_for_row(row):
        _check_row(row, search)
        count = _num_neighbors(flask.request.args, num_neighbors)
        with _slot(slots):
            neighbors = search.near_row(row, count)
        return _answer(_as_json(search.describe(row)), neighbors)

    @app.after_request
    def add_headers(response):
        response.headers.update(_HEADERS)
        return response

    app.register_error_handler(BadPhoto, _refuse)
    app.register_error_handler(HTTPException, _explain)
    return app


def _refuse(error):
    return {"error": str(error)}, error.status


def _explain(error):
    response = error.get_response()
    response.data = flask.json.dumps({"error": _words(error)})
    response.content_type = "application/json"
    return response


def _words(error):
    if error.code == 413:
        return (
            f"Expected one photo of at most {MAX_BYTES // 2**20} MiB. Received: more. "
            "Send a smaller copy."
        )
    return error.description


def _uploaded() -> tuple[bytes, str]:
    """Content and name of the one file that a request must have."""
    files = list(flask.request.files.items(multi=True))
    if [field for field, _ in files] != ["image"]:
        flask.abort(
            400,
            "Expected a form with one file, named image. Received: "
            f"{len(files)} files. Send one photo at a time.",
        )
    file = files[0][1]
    return file.read(), file.filename or "photo"


def _num_neighbors(given, otherwise):
    text = given.get("neighbors", str(otherwise))
    # No sign and no more than needed: `int` also takes " +1_0 ".
    if text.isascii() and text.isdecimal() and len(text) < 9:
        if 1 <= int(text) <= MAX_NEIGHBORS:
            return int(text)
    flask.abort(
        400,
        f"Expected neighbors from 1 to {MAX_NEIGHBORS}. Received: {text[:20]!r}.",
    )


def _check_row(row, search):
    if row >= search.num_images:
        flask.abort(
            404,
            f"Expected an image from 0 to {search.num_images - 1}. Received: {row}.",
        )


@contextlib.contextmanager
def _slot(slots: threading.Semaphore) -> Iterator[None]:
    """Holds one of the searches that may run at a time, or refuses at once."""
    if not slots.acquire(blocking=False):
        flask.abort(
            503,
            f"Expected at most {MAX_AT_ONCE} searches at a time. Received: one more. "
            "Try again in a second.",
            retry_after=1,
        )
    try:
        yield
    finally:
        slots.release()


def _answer(query: dict, neighbors: "list[Neighbor]") -> dict:
    return {
        "query": query,
        "neighbors": [
            _as_json(neighbor) | {"distance": neighbor.distance}
            for neighbor in neighbors
        ],
        "votes": [
            {"class_name": name, "count": count} for name, count in _votes(neighbors)
        ],
    }


def _votes(neighbors):
    """Classes with their numbers, the most first; of equals that of the nearer."""
    names = [neighbor.class_name for neighbor in neighbors]
    return collections.Counter(name for name in names if name is not None).most_common()


def _as_json(neighbor: "Neighbor") -> dict:
    return {
        "row": neighbor.row,
        "name": neighbor.name,
        "class_name": neighbor.class_name,
        "image": f"images/{neighbor.row}",
    }


def _png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()
