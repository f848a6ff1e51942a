"""What the two clients share: a photo, the index of neighbors, and what is printed.

It needs numpy, faiss and Pillow, and nothing else of this project: copy it to a
client's machine together with rest_client.py or grpc_client.py.
"""

import argparse
import io
import json
import math
import pathlib
import struct
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import faiss
import numpy as np
from PIL import ExifTags, Image, ImageOps

MODEL = "encoder"  # Its name in models.config.

# What Pillow raises for damaged files, the last two for damaged EXIF.
_PILLOW_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, TypeError)

# Asks the server: a signature and the bytes of a photo in, outputs by name out.
Ask = Callable[[str, bytes], Mapping[str, Sequence[Any]]]


def run(description: str, port: int, connect: Callable[[str, float], Ask]) -> None:
    """Does what the command line asks for; a client's whole program.

    Args:
        description: Of the program, for `--help`.
        port: The server's, unless the command line says otherwise.
        connect: From the server's address and seconds to wait, a way to ask it.
    """
    parser = _make_parser(description, port)
    options = parser.parse_args()
    if options.index is None and not options.classify:
        parser.error("Expected --index=RUN/index/DATASET, or --classify.")
    try:
        ask = connect(options.server, options.timeout)
        index = None if options.classify else Index(options.index)
        for photo in options.photos:
            content = read_photo(photo)
            if options.classify:
                table = _classes(ask("classify_bytes", content), options.neighbors)
            else:
                answer = ask("serving_bytes", content)
                row = np.asarray(_output(answer, "unit_representation"), np.float32)
                table = index.nearest(row, options.neighbors)
            print(f"{photo}\n{_format(table)}")
    except (ValueError, OSError) as error:
        parser.error(" ".join(str(error).split()))


def read_photo(path: str) -> bytes:
    """The bytes of a JPEG or PNG file, upright.

    The server does not look at a photo's EXIF orientation, so a photo that lies on
    its side is turned here, and encoded again in its own format.

    Args:
        path: Of the file.

    Returns:
        The file as it is, or a turned one.

    Raises:
        ValueError: If it cannot be read, or is of another format.
    """
    try:
        content = pathlib.Path(path).read_bytes()
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(content), formats=("JPEG", "PNG"))
        if image.getexif().get(ExifTags.Base.Orientation, 1) == 1:
            return content
        turned = io.BytesIO()
        kind = "PNG" if image.format == "PNG" else "JPEG"
        ImageOps.exif_transpose(image).save(turned, kind, quality=95, subsampling=0)
        return turned.getvalue()
    except Image.UnidentifiedImageError:
        reason = "it is neither"
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        reason = "it has too many pixels"
    except _PILLOW_ERRORS as error:
        reason = getattr(error, "strerror", None) or error
    raise ValueError(
        f"Expected a JPEG or PNG file. Received: {path} ({reason}). Check the file."
    )


class Index:
    """The representations that a run's `index/DATASET` holds, searched by distance.

    Args:
        folder: `RUN/index/DATASET`, whose largest number is the newest version.

    Raises:
        ValueError: If there is no index in the folder, or it cannot be read.
    """

    def __init__(self, folder: str):
        children = pathlib.Path(folder).glob("*")
        numbers = [int(child.name) for child in children if child.name.isdecimal()]
        if not numbers:
            raise ValueError(
                f"Expected an index such as RUN/index/cifar10. Received: {folder}, "
                "which has no numbered folder. Build one: main.py --mode=retrieve."
            )
        version = pathlib.Path(folder) / str(max(numbers))
        try:
            entries = json.loads((version / "entries.json").read_text("utf-8"))
            self._names = entries["names"]
            self._labels, self._class_names = entries["labels"], entries["class_names"]
            self._index = faiss.read_index(str(version / "index.faiss"))
        except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"Expected an index that can be read. Received: {version} ({error}). "
                "Build it anew: main.py --mode=retrieve."
            ) from error

    def nearest(self, row: np.ndarray, count: int) -> list[Sequence[str]]:
        """A table of the nearest neighbors, the nearest first, below its heading.

        Args:
            row: `(D,)` float32, of length 1.
            count: How many; fewer come back where the index has fewer.

        Raises:
            ValueError: If the row is of another width than the index's.
        """
        if row.shape != (self._index.d,):
            raise ValueError(
                f"Expected a representation {self._index.d} wide, as in the index. "
                f"Received: shape={row.shape}. Take the index of the encoder that is "
                "served."
            )
        count = min(count, self._index.ntotal)
        squares, found = self._index.search(row[np.newaxis], count)
        table = [("rank", "name", "class", "distance")]
        for square, number in zip(squares[0], found[0], strict=True):
            if number >= 0:  # An approximate index may come up short.
                distance = math.sqrt(max(square, 0.0))  # Rounding: below 0.
                texts = (self._names[number], self._class_of(number))
                table.append((str(len(table)), *texts, f"{distance:.4f}"))
        return table

    def _class_of(self, number):
        if self._labels is None:
            return "-"
        label = self._labels[number]
        return str(label) if self._class_names is None else self._class_names[label]


class _Parser(argparse.ArgumentParser):
    """One whose errors are one line."""

    def error(self, message):
        self.exit(1, f"{self.prog}: {message}\n")


def _make_parser(description, port):
    parser = _Parser(description=description)
    parser.add_argument("photos", nargs="+", metavar="PHOTO", help="JPEG or PNG files")
    parser.add_argument("--index", metavar="RUN/index/DATASET", help="where to search")
    parser.add_argument(
        "--server",
        type=_address,
        default=f"127.0.0.1:{port}",
        metavar="HOST:PORT",
        help="TensorFlow Serving's (%(default)s)",
    )
    parser.add_argument(
        "--neighbors",
        type=_count,
        default=5,
        metavar="N",
        help="of each photo, or classes (%(default)s)",
    )
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=10.0,
        metavar="SECONDS",
        help="for the answer to one photo (%(default)s)",
    )
    parser.add_argument(
        "--classify", action="store_true", help="ask for classes, not neighbors"
    )
    return parser


def _address(text):
    host, _, port = text.rpartition(":")
    if not host or "/" in host or not (port.isdecimal() and 0 < int(port) < 2**16):
        raise argparse.ArgumentTypeError(f"Expected HOST:PORT. Received: {text}")
    return text


def _count(text):
    if not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"Expected 1 or more. Received: {text}")
    return int(text)


def _seconds(text):
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < 1e6:
        raise argparse.ArgumentTypeError(f"Expected seconds above 0. Received: {text}")
    return seconds


def _classes(answer, count):
    """A table of the most probable classes, below its heading."""
    names = _output(answer, "class_names")
    probabilities = _output(answer, "probabilities")
    rows = list(zip(names, probabilities, strict=True))[:count]
    ranked = [(str(i), name, f"{p:.4f}") for i, (name, p) in enumerate(rows, 1)]
    return [("rank", "class", "probability"), *ranked]


def _output(answer, name):
    if name not in answer:
        raise ValueError(
            f"Expected an answer with {name}. Received: {', '.join(answer)}. Is it an "
            "encoder that is served?"
        )
    return answer[name]


def _format(table):
    """Lines of a table: text to the left, the first and last column to the right."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for first, *texts, last in table:
        cells = [
            text.ljust(width) for text, width in zip(texts, widths[1:], strict=False)
        ]
        lines.append(
            "  ".join([first.rjust(widths[0]), *cells, last.rjust(widths[-1])])
        )
    return "\n".join(f"  {line}" for line in lines)
