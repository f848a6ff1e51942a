"""What checkpoints cost in training, and what checking files costs at the start.

    python -m benchmarks.checkpoints flags/cifar10_cpu.flags [--data_dir DIR]

Times of each recipe: a training step; writing the whole state, checks of all its values
included; reading the newest checkpoint with its checksums, as every command does that
that needs one; and comparing the files of the exported encoder with theirs. The share
is that of writing, once per epoch and every `checkpoint_minutes` within one.
"""

import argparse
import functools
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from benchmarks.gpu.pack import Run, open_run
from benchmarks.log import commit, machine, markdown_table, report
from vicreg_keras.training import checkpoints, finite
from vicreg_keras.training.pretrain import export_encoder
from vicreg_keras.workdir.versions import check_version

_ROUNDS = 5
_STEPS = 3


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("recipes", nargs="+", help="flag files")
    parser.add_argument("--data_dir", help="as main.py's")
    parser.add_argument("--log", metavar="LOG.md", help="the table becomes an entry")
    options = parser.parse_args()
    header = ("recipe", "step, ms", "epoch, s", "write, s", "share, %")
    lines = [(*header, "MiB", "read, s", "encoder, s")]
    more = [f"--data_dir={options.data_dir}"] if options.data_dir else []
    for recipe in options.recipes:
        with tempfile.TemporaryDirectory() as folder:
            flags = [f"--flagfile={recipe}", f"--workdir={folder}", *more]
            lines.append((pathlib.Path(recipe).stem, *measure(flags)))
        print("  ".join(lines[-1]), flush=True)
    question = "what do checkpoints and the checks of files cost?"
    setting = f"{machine()}; commit {commit()}; medians of {_ROUNDS}"
    report(options.log, "checkpoints", question, setting, markdown_table(lines))


def measure(flags: list[str]) -> list[str]:
    """Returns a line of the table, for the flags of a run."""
    with open_run(["checkpoints", *flags]) as run:
        return times(run)


def times(run: Run) -> list[str]:
    """See `measure`."""
    settings, split, model = run.settings, run.dataset.pretraining, run.model
    images = tf.constant(split.read(np.arange(settings.batch_size)))
    step = tf.function(model.train_step)
    step(images)

    def train():
        for _ in range(_STEPS):
            step(images)

    def write():
        finite.check_weights(model, 0)
        run.manager.save()

    def read():
        checkpoints._read_whole.cache_clear()
        checkpoints.newest_checkpoint(run.folder)

    step_seconds = seconds(train) / _STEPS
    epoch = step_seconds * (split.num_examples // settings.batch_size)
    write_seconds, read_seconds = seconds(write), seconds(read)
    files = run.folder.checkpoints.glob(
        f"{pathlib.Path(run.manager.latest_checkpoint).name}.*"
    )
    size = sum(path.stat().st_size for path in files) / 2**20
    encoder = export_encoder(model, settings, run.card, run.folder)
    check = seconds(functools.partial(check_version, encoder))
    share = write_seconds / min(epoch, 60 * settings.checkpoint_minutes)
    values = (1000 * step_seconds, epoch, write_seconds, 100 * share, size)
    return [f"{value:.3g}" for value in (*values, read_seconds, check)]


def seconds(function: Callable[[], object]) -> float:
    """Returns the median time of a call."""
    times = []
    for _ in range(_ROUNDS):
        start = time.monotonic()
        function()
        times.append(time.monotonic() - start)
    return statistics.median(times)


if __name__ == "__main__":
    main()
