"""What is read out of a trained encoder, without a step of training.

    python -m benchmarks.readout RUN [--data_dir DIR] [--log benchmarks/LOG.md]

For each `--representation` and `--average` of the evaluations: accuracies of the run's
encoder, of the same encoder untrained, and of a dictionary of patches of as many
numbers. All are of the validation split, with heads that are fitted on the training
split and kNN of the published 20 neighbors and temperature 0.07: no test image is read.
"""

import argparse
import itertools
import time

from benchmarks.log import commit, machine, markdown_table, report
from vicreg_keras import cli
from vicreg_keras.evaluate.feature_cache import FeatureCache
from vicreg_keras.evaluate.knn import knn_accuracy
from vicreg_keras.evaluate.linear_probe import fit_head
from vicreg_keras.models.readout import AVERAGES, REPRESENTATIONS
from vicreg_keras.modes.context import Context
from vicreg_keras.modes.open_context import open_context
from vicreg_keras.modes.options import EncoderOptions
from vicreg_keras.workdir.run_folder import RunFolder

_HEADER = ("representation", "average", "encoder", "numbers")
_NAMES = {"encoder": "trained", "untrained": "untrained", "patches": "patches"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", help="folder of a run on labeled images")
    parser.add_argument("--data_dir", help="as main.py's")
    parser.add_argument("--representations", default=",".join(REPRESENTATIONS))
    parser.add_argument("--averages", default=",".join(AVERAGES))
    parser.add_argument("--log", metavar="LOG.md", help="the table becomes an entry")
    options = parser.parse_args()
    data = [f"--data_dir={options.data_dir}"] if options.data_dir else []
    flags = ["main.py", "--mode=knn_eval", f"--workdir={options.run}", *data]
    lines = [(*_HEADER, "linear, %", "kNN, %", "seconds for 1,000 images")]
    for chosen in itertools.product(
        options.representations.split(","), options.averages.split(",")
    ):
        which = EncoderOptions(representation=chosen[0], average=chosen[1])
        request = cli.parse(flags)
        run = RunFolder(options.run)
        context = open_context(request.settings, request.data, run, which)
        for name, cache in context.feature_caches.items():
            if name in _NAMES:
                lines.append((*chosen, _NAMES[name], *measure(context, cache)))
                print("  ".join(lines[-1]), flush=True)
    setting = f"{machine()}; commit {commit()}; {options.run}"
    question = "what is gained by reading an encoder out in another way?"
    report(options.log, "readout", question, setting, markdown_table(lines))


def measure(context: Context, cache: FeatureCache) -> list[str]:
    """Returns numbers, accuracies and seconds of a line."""
    start = time.monotonic()
    train, validation = cache["train"], cache["validation"]
    seconds = time.monotonic() - start
    num_classes = context.num_classes
    linear = fit_head(train, validation, num_classes=num_classes).validation_top1
    nearest = knn_accuracy(train, validation, num_classes=num_classes).metrics.top1
    count = len(train.labels) + len(validation.labels)
    width = train.representations.shape[1]
    values = (100 * linear, 100 * nearest, 1000 * seconds / count)
    return [f"{width}", *(f"{value:.2f}" for value in values)]


if __name__ == "__main__":
    main()
