"""The program of both clients: reads photos, asks, and prints neighbors or classes.

It needs numpy, faiss and Pillow. Copy it to a client's machine with neighbor_index.py
and with rest_client.py or grpc_client.py.
"""

import argparse
import io
import math
import pathlib
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

# In a checkout it is one folder up.
sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent))

from neighbor_index import PILLOW_ERRORS, Index, OneLineParser  # noqa: E402

MODEL = "encoder"  # Its name in models.config.

# Asks the server: a signature and the bytes of a photo in, outputs by name out.
Ask = Callable[[str, bytes], Mapping[str, Sequence[Any]]]


def run(description: str, port: int, connect: Callable[[str, float], Ask]) -> None:
    """Runs a client's command line.

    Args:
        description: The program's, for `--help`.
        port: Default port of the server.
        connect: Function of the server's address and seconds to wait; returns a
            function that asks it.
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
                row = _output(answer, "unit_representation")
                row = np.asarray(row, np.float32)
                table = [("rank", "name", "class", "distance")]
                for rank, *texts, distance in index.nearest(row, options.neighbors):
                    table.append((str(rank), *texts, f"{distance:.4f}"))
            print(f"{photo}\n{_format(table)}")
    except (ValueError, OSError) as error:
        parser.error(" ".join(str(error).split()))


def read_photo(path: str) -> bytes:
    """Returns the bytes of a JPEG or PNG file, which the server turns upright.

    Args:
        path: Path of the file.

    Raises:
        ValueError: If it cannot be read, or is of another format.
    """
    try:
        content = pathlib.Path(path).read_bytes()
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            Image.open(io.BytesIO(content), formats=("JPEG", "PNG"))
        return content
    except Image.UnidentifiedImageError:
        reason = "it is neither"
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        reason = "it has too many pixels"
    except PILLOW_ERRORS as error:
        reason = getattr(error, "strerror", None) or error
    raise ValueError(
        f"Expected a JPEG or PNG file. Received: {path} ({reason}). Check the file."
    )


def _make_parser(description, port):
    parser = OneLineParser(description=description)
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
