"""Compares steps of a packed run under JAX with those of TensorFlow, on this CPU.

    python -m benchmarks.gpu.verify --jax=PYTHON_WITH_JAX
    python -m benchmarks.gpu.verify --jax=... --encoders=tiny --precisions=float32

Both train the same 20 steps on the same images, XLA compiles both, and JAX once more
with a stop in between. The table has the loss of the last step on either side, and as
relative differences: how far all weights together have moved, the largest difference
of any step's loss, that of all weights after one step from the same state (the largest
of three states), and after all steps. "own kernels" is the last one between the same
TensorFlow program with XLA and without: what another order of the same sums comes to,
which training multiplies from step to step.
"""

import argparse
import json
import os
import pathlib
import subprocess
import tempfile
from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from benchmarks import log
from benchmarks.gpu import pack, packed_files

_NUM_STEPS = 20
_BATCH_SIZE = 16
_SINGLE_STEPS = (0, 10, 19)  # Those that are compared by themselves.
# As in recipes: with what LARS has by default, weights would hardly move.
_OPTIMIZERS = {
    "adamw": ("--learning_rate=0.001",),
    "lars": ("--learning_rate=0.03", "--eta=0.02", "--clip"),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--jax", required=True, help="a Python that has jax and numpy")
    parser.add_argument("--encoders", default="tiny,whitened6,resnet18")
    parser.add_argument("--optimizers", default=",".join(_OPTIMIZERS))
    parser.add_argument("--precisions", default="float32,bfloat16")
    options = parser.parse_args()
    lines = []
    for encoder in options.encoders.split(","):
        for optimizer in options.optimizers.split(","):
            for precision in options.precisions.split(","):
                recipe = (encoder, optimizer, precision)
                with tempfile.TemporaryDirectory() as folder:
                    lines.append(compare(pathlib.Path(folder), options.jax, *recipe))
                print(lines[-1], flush=True)
    print(log.markdown_table([[*lines[0]], *([*line.values()] for line in lines)]))


def compare(folder: pathlib.Path, python: str, *recipe: str) -> dict[str, str]:
    """Trains one recipe on both sides; returns a line of the table."""
    encoder, optimizer, precision = recipe
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (600, 32, 32, 3), dtype=np.uint8)
    np.savez(folder / "data.npz", images=images)
    argv = [
        *("verify", f"--dataset=npz:{folder / 'data.npz'}", f"--encoder={encoder}"),
        *(f"--optimizer={optimizer}", f"--precision={precision}", "--epochs=1"),
        *(f"--batch_size={_BATCH_SIZE}", "--projector=64-64", "--warmup_epochs=0"),
        f"--workdir={folder / 'run'}",
        *_OPTIMIZERS[optimizer],
    ]
    with pack.plain_convolutions(), pack.open_run(argv) as run:
        pack.pack(run, folder / "packed")
        theirs, states = train(run, jit_compile=True)
        _, own = train(run, jit_compile=False)
    ours = run_jax(python, folder, "whole", [_NUM_STEPS])
    stopped = run_jax(python, folder, "stopped", [_NUM_STEPS // 2] * 2)
    manifest = json.loads((folder / "packed" / "manifest.json").read_text())
    weights = [
        i
        for i, kind in enumerate(manifest["kinds"])
        if kind in ("encoder", "projector")
    ]

    def differ(values, others):
        return difference(
            *(flat(each[i] for i in weights) for each in (values, others))
        )

    whole, after_stop = (
        read_state(folder / name, manifest) for name in ("whole", "stopped")
    )
    same = all(map(np.array_equal, whole, after_stop)) and stopped == ours
    steps = []
    for i in _SINGLE_STEPS:
        name = f"after-{i}"
        write_state(folder / name, manifest, states[i], i)
        run_jax(python, folder, name, [1])
        steps.append(differ(read_state(folder / name, manifest), states[i + 1]))
    losses = np.array([theirs, ours])
    return {
        "encoder": encoder,
        "optimizer": optimizer,
        "precision": precision,
        "TensorFlow": f"{theirs[-1]:.5f}",
        "JAX": f"{ours[-1]:.5f}",
        "weights move": f"{differ(states[0], states[-1]):.1e}",
        "losses": f"{np.abs(losses[0] / losses[1] - 1).max():.1e}",
        "one step": f"{max(steps):.1e}",
        f"{_NUM_STEPS} steps": f"{differ(whole, states[-1]):.1e}",
        "own kernels": f"{differ(own[-1], states[-1]):.1e}",
        "after a stop": "the same" if same else "others",
    }


def train(
    run: pack.Run, *, jit_compile: bool
) -> tuple[list[float], list[list[np.ndarray]]]:
    """Trains in TensorFlow; returns the mean losses so far, and all states.

    The run is afterwards as it was before.
    """
    split, size = run.dataset.pretraining, run.settings.batch_size
    order = np.random.RandomState([run.settings.seed, 0]).permutation(
        split.num_examples
    )
    spec = tf.TensorSpec((size, *split.example_shape), tf.uint8)
    step, losses = pack.TracedStep(run.model, spec), []
    function = step.function if jit_compile else tf.function(run.model.train_step)
    states = [step.values()]
    for i in range(_NUM_STEPS):
        images = split.read(order[i * size : (i + 1) * size])
        losses.append(float(function(tf.constant(images))["loss"]))
        states.append(step.values())
    step.assign(states[0])
    return losses, states


def run_jax(python: str, folder: pathlib.Path, name: str, steps: list[int]):
    """Trains in JAX, in as many processes as there are numbers of steps."""
    program = str(folder / "packed" / "run_packed.py")
    for count in steps:
        command = [python, program, str(folder / "packed"), f"--steps={count}"]
        command += ["--log_every=1", f"--output={folder / name}", "--minutes=30"]
        # Compiled once for all.
        cache = {
            "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        quiet = {"check": True, "stdout": subprocess.DEVNULL}
        subprocess.run(command, env=os.environ | cache, **quiet)
    lines = (folder / name / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def write_state(folder: pathlib.Path, manifest: dict, values: list, step: int) -> None:
    """Writes a state from which run_packed.py goes on."""
    options = argparse.Namespace(output=folder, parts=None)
    packed_files.write_state(options, manifest, values, step, 0.0)


def read_state(folder: pathlib.Path, manifest: dict) -> list[np.ndarray]:
    """Reads a state that run_packed.py wrote."""
    arrays = packed_files.read_state(folder, manifest["id"]).arrays
    return [arrays[key] for key in sorted(arrays)]


def flat(arrays: Iterable[np.ndarray]) -> np.ndarray:
    return np.concatenate([array.ravel() for array in arrays])


def difference(array: np.ndarray, reference: np.ndarray) -> float:
    """Returns the norm of the difference, relative to the reference's."""
    array, reference = array.astype(np.float64), reference.astype(np.float64)
    return float(
        np.linalg.norm(array - reference) / max(np.linalg.norm(reference), 1e-12)
    )


if __name__ == "__main__":
    main()
