"""Images per second through the whole training step, beside PyTorch.

    python -m benchmarks.step
    python -m benchmarks.step --torch ~/torch/bin/python --log LOG.md

One image is one pair of views: both are made, both go through encoder and projector,
then loss, gradient and AdamW. Every contender is a process of its own that trains the
same ResNet on the same random images, on the CPU. In every round each trains the same
number of steps, in turn, while the others wait; the table has the median round. The
first steps, in which TensorFlow traces and compiles, are not counted. The package
reads, shuffles and fits as `--mode=pretrain` does, without its callbacks.

PyTorch, where `--torch` names a Python that has it, runs a plain loop
(`benchmarks/step_torch.py`) from the same weights; nothing is compiled there. That both
have the same loss and gradient on the same two views, in float32, is checked first. Its
views (`benchmarks/step_torch_views.py`) do all that the package's do. Elsewhere it does
a little less: its learning rate is constant, it keeps no means of the loss's terms and
does not compute the embeddings' deviation, and its views' seed is not the step's.

Threads of PyTorch wait for each other inside a gradient by kernel, so other jobs on the
machine cost it most: the numbers of a busy machine say nothing.
"""

import argparse
import json
import os
import pathlib
import statistics
import sys
import tempfile

import numpy as np

from benchmarks import log
from benchmarks.contender import Contender, check_same_work
from vicreg_keras.settings.recipe import ENCODERS

PRECISIONS = ("float32", "bfloat16")
IMAGE_SIDE = 32
WARM_UP_STEPS = 2


def main():
    parser = make_parser()
    options = parser.parse_args()
    # PyTorch's loop knows the CPU alone.
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    with tempfile.TemporaryDirectory() as folder:
        write_task(pathlib.Path(folder), options)
        contenders = start_contenders(folder, options)
        setting = describe(contenders, options)
        print(setting, flush=True)
        seconds = measure(contenders, options)
        for contender in contenders.values():
            contender.stop()
    table = log.markdown_table(table_lines(contenders, *seconds, options))
    print(f"\n{table}")
    if options.log:
        question = (
            f"how fast is a step of {options.encoder} with the {options.stem} stem?"
        )
        log.append_entry(
            options.log, question, command(parser, options), setting, table
        )


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batch_size", type=int, default=256)
    parser.add_argument("--projector", default="1024-1024-1024")
    parser.add_argument("--encoder", choices=ENCODERS, default="resnet18")
    parser.add_argument("--stem", choices=["cifar", "imagenet"], default="cifar")
    parser.add_argument("--crop_size", type=int, help="pixels a side of a view")
    parser.add_argument("--steps", type=int, default=5, help="per round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precisions", type=known_precisions, default=PRECISIONS)
    parser.add_argument("--torch", metavar="PYTHON", help="a Python that has torch")
    parser.add_argument(
        "--contiguous", action="store_true", help="PyTorch in its own layout as well"
    )
    parser.add_argument("--log", metavar="LOG.md", help="the table becomes an entry")
    return parser


def known_precisions(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if not set(names) <= set(PRECISIONS):
        raise argparse.ArgumentTypeError(
            f"Expected float32, bfloat16 or both with a comma. Received: {text!r}."
        )
    return names


def write_task(folder: pathlib.Path, options: argparse.Namespace):
    """Writes the images, and what is trained on them."""
    # Two batches or more are left when a tenth is held out.
    count = max(10_000, 3 * options.batch_size)
    shape = (count, IMAGE_SIDE, IMAGE_SIDE, 3)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    np.savez(folder / "images.npz", images=images)
    settings = {
        "encoder": options.encoder,
        "stem": options.stem,
        "projector": options.projector,
        "views": "cifar",
        "crop_size": options.crop_size,
        "batch_size": options.batch_size,
    }
    (folder / "settings.json").write_text(json.dumps(settings))


def start_contenders(folder: str, options: argparse.Namespace) -> dict[str, Contender]:
    """Returns all that train, and ends where they do not do the same work."""
    contenders = {}
    # Float32 comes first, wanted or not: in it work is compared.
    precisions = [p for p in PRECISIONS if p in ("float32", *options.precisions)]
    for precision in precisions:
        contenders[f"vicreg_keras, {precision}"] = Contender(
            sys.executable, "benchmarks.step_keras", folder, precision
        )
    if options.torch:
        layouts = [(precision, "channels_last") for precision in precisions]
        if options.contiguous:
            layouts.append(("float32", "contiguous_format"))
        for precision, layout in layouts:
            name = f"PyTorch, {precision}"
            name += ", contiguous" if layout == "contiguous_format" else ""
            contenders[name] = Contender(
                options.torch, "benchmarks.step_torch", folder, precision, layout
            )
            if precision == "float32":
                ours = contenders["vicreg_keras, float32"]
                check_same_work(ours.greeting, contenders[name].greeting)
    for name in list(contenders):
        if name.split(", ")[1] not in options.precisions:
            contenders.pop(name).stop()
    return contenders


def describe(contenders: dict[str, Contender], options: argparse.Namespace) -> str:
    """Returns the setting, in one paragraph."""
    versions = dict.fromkeys(x.greeting["version"] for x in contenders.values())
    crop = options.crop_size or IMAGE_SIDE
    return (
        f"{log.machine()}, {', '.join(versions)}, commit {log.commit()}; "
        f"{options.encoder}, {options.stem} stem, projector {options.projector}, "
        f"views of {crop} pixels, batches of {options.batch_size} made images (one "
        f"image is one pair of views), AdamW, seed 0; medians of {options.rounds} "
        f"rounds of {options.steps} steps"
    )


def measure(
    contenders: dict[str, Contender], options: argparse.Namespace
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Returns every round's seconds per step, and those of its views alone."""
    steps = {name: [] for name in contenders}
    views = {name: [] for name in contenders}
    for contender in contenders.values():
        contender.ask("train", WARM_UP_STEPS)
        contender.ask("views", WARM_UP_STEPS)
    for _ in range(options.rounds):
        for name, contender in contenders.items():
            for what, times in (("train", steps), ("views", views)):
                seconds = contender.ask(what, options.steps)["seconds"]
                times[name].append(seconds / options.steps)
    return steps, views


def table_lines(
    contenders: dict[str, Contender],
    steps: dict[str, list[float]],
    views: dict[str, list[float]],
    options: argparse.Namespace,
) -> list[tuple[str, ...]]:
    """Returns the header and one line per contender."""
    baselines = [
        statistics.median(steps[name]) if name in steps else None
        for name in ("PyTorch, float32", "PyTorch, bfloat16")
    ]
    lines = [
        ("", "images/s", "lowest", "highest", "ms/step", "to PyTorch float32")
        + ("to PyTorch bfloat16", "views' share", "peak GiB")
    ]
    for name, seconds in steps.items():
        median = statistics.median(seconds)
        rates = [options.batch_size / x for x in (median, max(seconds), min(seconds))]
        ratios = [f"{x / median:.2f}" if x else "-" for x in baselines]
        share = statistics.median(views[name]) / median
        gib = contenders[name].peak_bytes / 2**30
        cells = (name, *(f"{rate:,.1f}" for rate in rates), f"{1000 * median:,.0f}")
        lines.append((*cells, *ratios, f"{share:.1%}", f"{gib:.2f}"))
    return lines


def command(parser: argparse.ArgumentParser, options: argparse.Namespace) -> str:
    """Returns what repeats this run, on any machine."""
    words = ["python -m benchmarks.step"]
    for name, value in vars(options).items():
        if value == parser.get_default(name) or name == "log":
            continue
        if name == "torch":
            value = "PYTHON"
        if isinstance(value, tuple):
            value = ",".join(value)
        words.append(f"--{name}" if value is True else f"--{name} {value}")
    return " ".join(words)


if __name__ == "__main__":
    main()
