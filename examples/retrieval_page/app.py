"""A page that shows the nearest images of a run to any photo. For the desk only.

    python main.py --mode=retrieve --workdir=runs/fast
    python examples/retrieval_page/app.py --workdir=runs/fast

The first command makes the index, the second serves http://127.0.0.1:8000 until
Ctrl-C. What was uploaded is searched in memory and forgotten. There are no accounts,
there is no encryption: this is for one's own desk, not for the internet. Needs Flask
(pip install flask).

`photos` turns a file into pixels, `search` pixels into neighbors, `server` answers
requests; `page.html`, `page.css` and `page.js` are what a browser gets.
"""

import argparse
import contextlib
import os
import pathlib
import socket
import sys

# Before TensorFlow is imported: its start-up notes are not about the user's run.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

_EXAMPLES = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(_EXAMPLES), str(_EXAMPLES.parent)]

from retrieval_page.server import (  # noqa: E402
    MAX_NEIGHBORS,
    Handler,
    create_app,
)
from werkzeug.serving import make_server  # noqa: E402

_DATA_OPTIONS = ("dataset", "data_dir", "image_size", "seed", "validation_fraction")
_EVERY_HOST = "0.0.0.0"


def main(arguments: list[str] | None = None) -> int:
    """Serves a run until it is interrupted.

    Args:
        arguments: As typed; `None` takes the process's own.

    Returns:
        The process's exit status.
    """
    options = _parse(arguments)
    try:
        # First, as reading the run takes longer.
        with _listen(options.host, options.port) as listener:
            with _silent_stderr():
                from retrieval_page.search import open_search
            data = {name: getattr(options, name) for name in _DATA_OPTIONS}
            search = open_search(options.workdir, **data)
            _serve(listener, search, options)
    except (ValueError, OSError) as error:
        print(f"app.py: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parse(arguments):
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0],
        epilog="What is not given of the data is read from the run's flags.flags.",
    )
    parser.add_argument("--workdir", required=True, help="the run's folder")
    parser.add_argument("--dataset", help="whose index is searched")
    parser.add_argument("--data_dir", help="where tensorflow-datasets keeps its sets")
    parser.add_argument("--image_size", type=int, help="pixels a side")
    parser.add_argument("--seed", type=int, help="which images were held out")
    parser.add_argument("--validation_fraction", type=float, help="how many were")
    parser.add_argument(
        "--neighbors",
        type=_integer(1, MAX_NEIGHBORS),
        default=12,
        help="shown at first (default: 12)",
    )
    parser.add_argument(
        "--port", type=_integer(0, 65535), default=8000, help="default: 8000; 0: any"
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to be reached at (default: 127.0.0.1, from this machine only)",
    )
    return parser.parse_args(arguments)


def _integer(minimum, maximum):
    """A type for argparse."""

    def integer(text):
        number = int(text)
        if not minimum <= number <= maximum:
            raise argparse.ArgumentTypeError(
                f"Expected {minimum} to {maximum}. Received: {number}."
            )
        return number

    return integer


def _listen(host, port):
    try:
        return socket.create_server((host, port))
    except OSError as error:
        raise ValueError(
            f"Expected an address that is free. Received: host={host}, port={port} "
            f"({error.strerror}). Choose another --host or --port."
        ) from error


def _serve(listener, search, options):
    host, port = listener.getsockname()
    known = None if host == _EVERY_HOST else [host, options.host, "localhost"]
    app = create_app(search, num_neighbors=options.neighbors, trusted_hosts=known)
    server = make_server(
        host,
        port,
        app,
        threaded=True,
        request_handler=Handler,
        fd=listener.fileno(),
    )
    print(
        f"{search.num_images:,} images of {search.dataset.name}: "
        f"http://{host}:{port}/ (Ctrl-C ends it).\n"
        "For your desk, not for the internet: no accounts, no encryption.",
        flush=True,
    )
    server.serve_forever()


@contextlib.contextmanager
def _silent_stderr():
    """Drops what C++ writes to stderr, past every log level, as TensorFlow starts."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


if __name__ == "__main__":
    sys.exit(main())
