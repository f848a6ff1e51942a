"""Packs a run's training step, state and images, to train it where TensorFlow is not.

    python -m benchmarks.gpu.pack --flagfile=flags/cifar10_adam500.flags \\
        --workdir=RUN --output=DIR

All flags of `--mode=pretrain` are taken, and the run's folder is begun as it begins it.
`DIR` then holds `step.stablehlo`, the whole `train_step` as XLA receives it, with
plain convolutions; `packed-*.npz`, the run's state and its training images in parts of
at most 50 MiB; and `manifest.json`. `run_packed.py` and `packed_files.py`, which are
copied there, train it with jax and numpy alone; `python -m benchmarks.gpu.unpack`
brings the result back.

Precision is bfloat16 unless `--precision` says otherwise.
"""

import contextlib
import json
import pathlib
import re
import shutil
import sys
import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple
from unittest import mock

import keras
import numpy as np
import tensorflow as tf
from absl import flags

from benchmarks.gpu import packed_files
from vicreg_keras import cli
from vicreg_keras.cli import Request
from vicreg_keras.data.card import DataCard
from vicreg_keras.data.dataset import Dataset, open_dataset
from vicreg_keras.errors import InputError
from vicreg_keras.hardware.precision import apply_precision
from vicreg_keras.model import VICReg
from vicreg_keras.settings import Settings
from vicreg_keras.training import identity
from vicreg_keras.training.pretrain import begin, steps_per_epoch
from vicreg_keras.workdir.files import write_json
from vicreg_keras.workdir.run_folder import RunFolder

PACKED_FILE = "packed.json"
_PART_BYTES = 50 * 2**20


class Run(NamedTuple):
    """A run, opened as `--mode=pretrain` opens it."""

    settings: Settings
    dataset: Dataset
    folder: RunFolder
    card: DataCard
    model: VICReg
    manager: tf.train.CheckpointManager


def main():
    output, argv = take_output(sys.argv)
    argv.insert(1, "--precision=bfloat16")  # Before the given flags, which win.
    with plain_convolutions(), open_run(argv) as run:
        pack(run, output)
    for path in sorted(output.iterdir()):
        print(f"{path.stat().st_size / 2**20:8.2f} MiB  {path}")
    size = run.settings.batch_size
    print(
        f"{run.settings.epochs} epochs of "
        f"{run.dataset.pretraining.num_examples // size:,} steps of {size} images. "
        "Next, on the other machine:\n"
        f"  python {output}/run_packed.py {output} --minutes=8 --output=OUT"
    )


def take_output(argv: list[str]) -> tuple[pathlib.Path, list[str]]:
    """Returns the folder of `--output=`, and the other arguments."""
    outputs = [text for text in argv if re.match("--output=.", text)]
    if len(outputs) != 1:
        raise InputError("Expected --output=DIR, once, and flags of --mode=pretrain.")
    rest = [text for text in argv if not text.startswith("--output=")]
    return pathlib.Path(outputs[0].partition("=")[2]), rest


@contextlib.contextmanager
def open_run(argv: list[str]) -> Iterator[Run]:
    """Begins or continues a run as `--mode=pretrain` does, without training it.

    Args:
        argv: The program's name and flags of `--mode=pretrain`.

    Yields:
        The run, which is locked.
    """
    request = cli.parse([argv[0], "--mode=pretrain", *argv[1:]])
    if not request.workdir:
        raise InputError("Expected --workdir=RUN, the run's folder. Received: none.")
    settings = apply_precision(request.settings)
    folder = RunFolder(request.workdir)
    folder.create()
    with folder.lock():
        yield _open(request, settings, folder)


def _open(request: Request, settings: Settings, folder: RunFolder) -> Run:
    texts = identity.check_recipe(folder, settings, request.data)
    first = identity.first_card(folder, settings)
    known = first.schema.known if first else None
    dataset = open_dataset(request.data, settings.seed, known)
    settings = settings.for_examples(dataset.example_shape)
    if settings.positives == "neighbors":
        raise InputError(
            "Expected a recipe whose two views are of one image. Received: "
            "positives=neighbors. Train it by --mode=pretrain."
        )
    steps_per_epoch(settings, dataset)  # At least one.
    changed = request.options.on_changed_data
    found = identity.identify(settings, dataset, folder, changed)
    folder.write_flags(texts)
    model, manager = begin(settings, dataset, folder, found)
    return Run(settings, dataset, folder, found.card, model, manager)


@contextlib.contextmanager
def plain_convolutions() -> Iterator[None]:
    """Builds and traces layers with TensorFlow's convolution, not the CPU's kernels."""

    def convolve(inputs, kernel, stride):
        padding = "SAME" if stride == 1 else "VALID"
        return tf.nn.conv2d(inputs, kernel, stride, padding)

    with mock.patch("vicreg_keras.models.layers.convolve", convolve):
        yield


class TracedStep:
    """A model's `train_step`, as a function of images and of the variables it uses.

    Args:
        model: The compiled model.
        spec: Shape and type of a batch.

    Attributes:
        function: The `tf.function`, compiled by XLA where it is called.
        logs: Names of the step's first results, in order; the others are variables.
    """

    def __init__(self, model: VICReg, spec: tf.TensorSpec):
        model.jit_compile = True  # As on a GPU: the step has no branch.
        self.function = tf.function(
            lambda images: model.train_step(images),
            jit_compile=True,
            input_signature=[spec],
        )
        concrete = self.function.get_concrete_function()
        known = [*concrete.variables, *(v.value for v in model.optimizer.variables)]
        by_handle = {variable.handle.ref(): variable for variable in known}
        self._captured = [
            by_handle[tensor.ref()] if tensor.dtype == tf.resource else tensor
            for tensor in concrete.captured_inputs
        ]
        self.logs = sorted(concrete.structured_outputs)

    def values(self) -> list[np.ndarray]:
        """Returns the values of what the step takes beside the images, in order."""
        return [value.numpy() for value in self._captured]

    def assign(self, values: Sequence[np.ndarray]) -> None:
        """Assigns such values to the variables."""
        for variable, value in zip(self._captured, values, strict=True):
            if isinstance(variable, tf.Variable):
                variable.assign(value)

    def positions(self, variables: Iterable[keras.Variable]) -> list[int]:
        """Returns where variables are among `values`, of those that are."""
        handles = {variable.value.handle.ref() for variable in variables}
        return [
            i
            for i, value in enumerate(self._captured)
            if isinstance(value, tf.Variable) and value.handle.ref() in handles
        ]

    def kinds(self, model: VICReg) -> list[str]:
        """Returns what each value is of: encoder, projector, optimizer or counters."""
        kinds = ["counters"] * len(self._captured)
        counters = self.positions([model.optimizer.iterations])
        for kind in ("encoder", "projector", "optimizer"):
            for i in self.positions(getattr(model, kind).variables):
                kinds[i] = kind if i not in counters else "counters"
        return kinds


def pack(run: Run, output: pathlib.Path) -> None:
    """Writes a run's step, state, images and manifest to a folder."""
    model, split = run.model, run.dataset.pretraining
    size = run.settings.batch_size
    images = split.read(np.arange(split.num_examples))
    spec = tf.TensorSpec((size, *images.shape[1:]), images.dtype)
    step = TracedStep(model, spec)
    identifier = uuid.uuid4().hex
    compiler_ir = step.function.experimental_get_compiler_ir(images[:size])
    manifest = {
        "id": identifier,
        "batch_size": size,
        "epochs": run.settings.epochs,
        "seed": run.settings.seed,
        "logs": step.logs,
        "updated": updated_values(compiler_ir(stage="stablehlo"), len(step.logs)),
        "reset": step.positions(v for m in model.metrics for v in m.variables),
        "step": step.positions([model.step])[0],
        "kinds": step.kinds(model),
    }
    output.mkdir(parents=True, exist_ok=True)
    code = compiler_ir(stage="stablehlo_serialized")
    step_path = output / packed_files.STEP_FILE
    step_path.write_bytes(code)
    arrays = {f"{i:05d}": value for i, value in enumerate(step.values())}
    parts = packed_files.split({**arrays, "images": images}, _PART_BYTES)
    for old in output.glob("packed-*.npz"):
        old.unlink()
    files = packed_files.write_parts(output, "packed", parts, np.savez_compressed)
    manifest["files"] = {**files, step_path.name: packed_files.digest(step_path)}
    (output / "manifest.json").write_text(json.dumps(manifest, indent=1))
    # What is unpacked has to be of this.
    facts = {"id": identifier, "data": run.card.fingerprint}
    write_json(run.folder.path / PACKED_FILE, facts)
    for name in ("run_packed.py", "packed_files.py"):
        shutil.copy(pathlib.Path(__file__).with_name(name), output)


def updated_values(code: str, num_logs: int) -> list[int]:
    """Returns which values a step's results after the logs are the next values of.

    Args:
        code: StableHLO as text; it says which parameter's place a result may take, and
            the images are the first parameter.
        num_logs: Number of results that are logs.
    """
    signature = re.search(r"func.func @main\(.*?\) -> \((.*?)\) \{", code, re.S)
    num_results = signature[1].count("tensor<")
    aliases = re.findall(
        r"parameter_number = (\d+) : i64\}, output_index = array<i64: (\d+)>", code
    )
    parameters = {int(result): int(parameter) for parameter, result in aliases}
    if sorted(parameters) != [*range(num_logs, num_results)]:
        raise RuntimeError(
            f"Expected a parameter for each of {num_results} results but the first "
            f"{num_logs}. Received: {parameters}."
        )
    return [parameters[i] - 1 for i in range(num_logs, num_results)]


if __name__ == "__main__":
    try:
        main()
    except (InputError, flags.Error, OSError) as error:
        raise SystemExit(f"pack: {error}") from None
