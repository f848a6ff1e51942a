"""Images per second that tf.data hands to training, without views or steps.

    python -m benchmarks.input --data_dir DIR

CIFAR-10 from memory, and a folder of images (random ones of 256 x 256 pixels, JPEG and
PNG, resized to 128): held in memory, and decoded anew at every read, as
datasets over `--memory_limit_gib` are. Every round reads from each in turn; the table
has the median round. Opening a dataset, which decodes it, is timed apart, and so is its
fingerprint, by which changed data is noticed.
"""

import argparse
import pathlib
import statistics
import tempfile
import time

import numpy as np
from PIL import Image

from benchmarks.log import commit, machine, markdown_table, report
from vicreg_keras import load_dataset


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dataset", default="cifar10", help="as main.py's")
    parser.add_argument("--data_dir", help="as main.py's")
    parser.add_argument("--batch_size", type=int, default=256)
    parser.add_argument("--files", type=int, default=2000, help="of the made folder")
    parser.add_argument("--side", type=int, default=256, help="of its images")
    parser.add_argument("--seconds", type=float, default=2, help="per round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--log", metavar="LOG.md", help="the table becomes an entry")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make_files(pathlib.Path(folder), options.files, options.side)
        made = {"name": f"folder:{folder}", "image_size": options.side // 2}
        sources = {
            options.dataset: {"name": options.dataset, "data_dir": options.data_dir},
            "files, in memory": made,
            "files, decoded as read": {**made, "memory_limit_gib": 1e-6},
        }
        rates, first, fingerprints = measure(sources, options)
    lines = [("", "images/s", "lowest", "highest", "seconds to open", "to fingerprint")]
    for name, values in rates.items():
        numbers = (statistics.median(values), min(values), max(values))
        rate = (f"{number:,.0f}" for number in numbers)
        lines.append((name, *rate, f"{first[name]:.1f}", f"{fingerprints[name]:.2f}"))
    table = markdown_table(lines)
    setting = f"{machine()}; commit {commit()}; batches of {options.batch_size}"
    question = "how many images per second does tf.data hand over?"
    report(options.log, "input", question, setting, table)


def measure(sources: dict[str, dict], options) -> tuple[dict, dict, dict]:
    """Measures each source.

    Returns:
        Each by the source's name: every round's images per second, and the seconds to
        open it and for its fingerprint.
    """
    batches, first, fingerprints = {}, {}, {}
    for name, settings in sources.items():
        start = time.monotonic()
        dataset = load_dataset(**settings)
        opened = time.monotonic()
        dataset.fingerprint  # noqa: B018  Computed when it is first asked for.
        fingerprints[name] = time.monotonic() - opened
        start += fingerprints[name]
        train = dataset.train
        size = min(options.batch_size, train.num_examples)
        batches[name] = iter(train.training_batches(size, seed=0))
        next(batches[name])
        first[name] = time.monotonic() - start
    rates = {name: [] for name in sources}
    for _ in range(options.rounds):
        for name, iterator in batches.items():
            # What was read ahead while others were measured is not counted.
            for _ in range(4):
                next(iterator)
            rates[name].append(images_per_second(iterator, options.seconds))
    return rates, first, fingerprints


def images_per_second(iterator, seconds: float) -> float:
    start, number = time.monotonic(), 0
    while (passed := time.monotonic() - start) < seconds or not number:
        number += len(next(iterator))
    return number / passed


def make_files(folder: pathlib.Path, number: int, side: int):
    """Writes images of smooth noise, every second one as PNG."""
    random = np.random.default_rng(0)
    for i in range(number):
        small = random.integers(0, 256, (16, 16, 3)).astype(np.uint8)
        image = Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC)
        image.save(folder / f"{i}.{'png' if i % 2 else 'jpg'}")


if __name__ == "__main__":
    main()
