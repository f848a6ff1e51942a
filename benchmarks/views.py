"""Views per second: the named pairs, beside keras-cv's own layers for the same pair.

    python -m benchmarks.views --rounds=5

Every round runs each contender once, in turn; the table has the median round. The
compilation is not counted. keras-cv's
layers are given the `cifar` pair's settings as far as they can express them, each
under a mask instead of `RandomApply`, which is slower and fails in a graph; they run
in the map of a `tf.data.Dataset`, where they are meant to run, two calls at a time.
They do less: no order of the jitter, no antialiasing, no bicubic filter.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import keras_cv
import numpy as np
import tensorflow as tf

from benchmarks.log import commit, machine, markdown_table, report
from vicreg_keras.views import named_views
from vicreg_keras.views.view import View


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batch_size", type=int, default=256)
    parser.add_argument("--image_size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=20, help="batches per round")
    parser.add_argument("--log", metavar="LOG.md", help="the table becomes an entry")
    options = parser.parse_args()
    shape = (options.batch_size, options.image_size, options.image_size, 3)
    images = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    images = tf.constant(images)

    contenders = {name: seeded_pair(name, images) for name in named_views.VIEWS}
    contenders["cifar, 16 pixels"] = seeded_pair("cifar", images, crop_size=16)
    contenders["cifar, in tf.data"] = in_dataset(
        images, named_views.make_views("cifar")
    )
    contenders["keras-cv, in tf.data"] = in_dataset(
        images, keras_cv_pair(options.image_size)
    )
    rates = measure(contenders, options.rounds, options.batches, options.batch_size)
    table = markdown_table(table_lines(rates, "keras-cv, in tf.data"))
    setting = (
        f"{machine()}; TensorFlow {tf.__version__}, keras-cv {keras_cv.__version__}; "
        f"commit {commit()}; {options.image_size} pixels, batches of "
        f"{options.batch_size}, {options.rounds} rounds of {options.batches} batches"
    )
    report(options.log, "views", "how many views per second?", setting, table)


def seeded_pair(name: str, images: tf.Tensor, **overrides) -> Callable[[int], None]:
    """Returns a function that makes both views of a number of batches, one by one."""
    first, second = named_views.make_views(name, **overrides)

    def run(num_batches: int):
        for step in range(num_batches):
            views = first(images, seed=(0, step)), second(images, seed=(1, step))
        for view in views:
            view.numpy()  # waits until all is done

    return run


def in_dataset(images: tf.Tensor, pair: tuple) -> Callable[[int], None]:
    """Returns the same for layers called inside a dataset's map."""

    def views(step):
        return [
            layer(images, seed=tf.stack([k, step]))
            if isinstance(layer, View)
            else layer(tf.cast(images, tf.float32))
            for k, layer in enumerate(pair)
        ]

    steps = tf.data.Dataset.counter()
    # One iterator for all rounds: a new one costs a fifth of a second.
    batches = iter(steps.map(lambda s: tuple(views(s)), num_parallel_calls=2))

    def run(num_batches: int):
        for _ in range(num_batches):
            next(batches)

    return run


def keras_cv_pair(image_size: int) -> tuple[Callable, Callable]:
    """Returns keras-cv's layers for the `cifar` pair, twice."""
    layers = keras_cv.layers
    steps = [
        (
            1.0,
            layers.RandomCropAndResize(
                target_size=(image_size, image_size),
                crop_area_factor=(0.2, 1.0),
                aspect_ratio_factor=(3 / 4, 4 / 3),
            ),
        ),
        (1.0, layers.RandomFlip("horizontal")),
        (
            0.8,
            layers.RandomColorJitter(
                value_range=(0, 255),
                brightness_factor=0.4,
                contrast_factor=0.4,
                saturation_factor=(0.45, 0.55),
                hue_factor=0.2,
            ),
        ),
        (0.2, layers.Grayscale(output_channels=3)),
        (0.1, layers.Solarization((0, 255), threshold_factor=(0.5, 0.5))),
    ]

    def view(images):
        for probability, layer in steps:
            changed = layer(images)
            if probability < 1.0:
                chosen = tf.random.uniform([tf.shape(images)[0], 1, 1, 1]) < probability
                changed = tf.where(chosen, changed, images)
            images = changed
        return images

    return view, view


def measure(
    contenders: dict[str, Callable[[int], None]],
    rounds: int,
    batches: int,
    batch_size: int,
) -> dict[str, list[float]]:
    """Returns every round's views per second, by contender."""
    rates = {name: [] for name in contenders}
    for run in contenders.values():
        run(1)  # traces and compiles
    for _ in range(rounds):
        for name, run in contenders.items():
            start = time.perf_counter()
            run(batches)
            rates[name].append(2 * batches * batch_size / (time.perf_counter() - start))
    return rates


def table_lines(rates: dict[str, list[float]], baseline: str) -> list[tuple[str, ...]]:
    """Returns the header, then medians, spread, and ratios to the baseline."""
    lines = [("", "views/s", "lowest", "highest", "ratio")]
    for name, values in rates.items():
        numbers = (statistics.median(values), min(values), max(values))
        ratio = numbers[0] / statistics.median(rates[baseline])
        lines.append((name, *(f"{x:,.0f}" for x in numbers), f"{ratio:.1f}"))
    return lines


if __name__ == "__main__":
    main()
