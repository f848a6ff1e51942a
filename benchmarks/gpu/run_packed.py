"""Trains a packed run with JAX: needs jax and numpy alone.

    python run_packed.py DIR --minutes=8 --output=OUT

`DIR` is what `python -m benchmarks.gpu.pack` wrote. The step is the package's own
`train_step`, views included, compiled by XLA for the device that JAX finds. Images
stay on the device; every epoch has the order that `--mode=pretrain` gives it, so a run
is the same here and there but for rounding.

After the last epoch, at Ctrl-C, or when the minutes are over, the state is written to
`OUT` in parts that fit a transfer, beside `metrics.jsonl`, a line per epoch, and
`state.json`, which names the parts. If `OUT` has a state already, training goes on from
it. `python -m benchmarks.gpu.unpack` brings it into the run's folder.
"""

import argparse
import dataclasses
import math
import pathlib
import signal
import time

import numpy as np

# Beside this file, wherever that is.
from packed_files import (
    STEP_FILE,
    Log,
    check_parts,
    read_json,
    read_parts,
    read_state,
    write_state,
)

# JAX is imported where it is used: what packs and unpacks has none.

_MANIFEST = "manifest.json"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=pathlib.Path, metavar="DIR")
    parser.add_argument(
        "--minutes", type=positive(float), default=8, help="of training, at most"
    )
    parser.add_argument(
        "--steps", type=positive(int), help="stop after so many, for timing"
    )
    parser.add_argument(
        "--log_every", type=positive(int), help="steps; by default an epoch's"
    )
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("out"))
    parser.add_argument(
        "--parts",
        type=int,
        choices=range(100),
        metavar="N",
        help="files of 15 MiB for the state, at most: if need be the encoder alone; 0 "
        "writes nothing; by default all of the state is written",
    )
    train(parser.parse_args())


def positive(kind):
    """Returns a parser of numbers above 0."""

    def parse(text):
        value = kind(text)
        if not (value > 0 and math.isfinite(value)):
            raise argparse.ArgumentTypeError(f"expected more than 0: {text}")
        return value

    return parse


class Packed:
    """What was packed.

    Attributes:
        manifest: See `benchmarks.gpu.pack`.
        arrays: The variables' values, in the order of the step's arguments.
        images: `(num_examples, ...)`, the training split.
    """

    def __init__(self, folder: pathlib.Path):
        self.manifest = read_json(folder / _MANIFEST)
        packed = read_parts(folder, self.manifest["files"])
        self._step = (folder / STEP_FILE).read_bytes()
        self.images = packed.pop("images")
        self.arrays = [packed[f"{i:05d}"] for i in range(len(packed))]

    @property
    def position(self):
        """The step that the variables are of."""
        return int(self.arrays[self.manifest["step"]])

    def go_on(self, output):
        """Takes the state in a folder, if there is one; returns its seconds."""
        state = read_state(output, self.manifest["id"])
        if state is None:
            return 0.0
        if state.left_out:
            raise SystemExit(
                f"Expected a whole state in {output}, to go on from it. Received: one "
                "of the encoder alone. Begin anew with another output folder."
            )
        self.arrays = [state.arrays[key] for key in sorted(state.arrays)]
        return state.seconds

    def function(self):
        """Returns a function from images, indices and variables to logs and variables.

        The variables' buffers are donated: those that the step writes are reused.
        """
        import jax
        import jax.export

        manifest = self.manifest
        batch = jax.ShapeDtypeStruct(
            (manifest["batch_size"], *self.images.shape[1:]), self.images.dtype
        )
        variables = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in self.arrays]
        updated, num_logs = manifest["updated"], len(manifest["logs"])

        def like_the_step(batch, *variables):
            # Results of the step's types, made of all arguments, so that none is left
            # out of the signature.
            kept = sum(x.ravel()[0].astype(np.float32) for x in (batch, *variables))
            logs = [kept.astype(np.float32)] * num_logs
            return [*logs, *(variables[i] * 1 for i in updated)]

        platform = jax.devices()[0].platform
        platform = {"gpu": "cuda"}.get(platform, platform)
        exported = jax.export.export(jax.jit(like_the_step), platforms=[platform])(
            batch, *variables
        )
        exported = dataclasses.replace(exported, mlir_module_serialized=self._step)

        def step(variables, images, order, position):
            size = manifest["batch_size"]
            indices = jax.lax.dynamic_slice(order, (position * size,), (size,))
            results = exported.call(images[indices], *variables)
            variables = list(variables)
            for i, value in zip(updated, results[num_logs:], strict=True):
                variables[i] = value
            return results[:num_logs], variables

        return jax.jit(step, donate_argnums=0)


def train(options):
    """Trains until the last epoch, or the last minute, and writes the state."""
    import jax

    jax.config.update("jax_enable_x64", True)  # Steps are counted in int64.
    packed = Packed(options.folder)
    check_parts(packed, options.parts)
    seconds_before = packed.go_on(options.output)
    manifest, device = packed.manifest, jax.devices()[0]
    num_examples, size = len(packed.images), manifest["batch_size"]
    steps_per_epoch = num_examples // size
    variables = [jax.device_put(array, device) for array in packed.arrays]
    images = jax.device_put(packed.images, device)
    step_number = packed.position
    log = Log(options, step_number)
    log_every = options.log_every or steps_per_epoch
    last = manifest["epochs"] * steps_per_epoch
    if options.steps is not None:
        last = min(last, step_number + options.steps)
    order = device_order(manifest["seed"], 0, num_examples, device)
    compiled, flops = compile_step(packed, variables, images, order)
    began = timed = time.monotonic()
    logs, values, done = [], {}, 0
    stopped, failed = stop_at_signals(), None
    ends = began + 60 * options.minutes
    while step_number < last and not stopped and time.monotonic() < ends:
        epoch, position = divmod(step_number, steps_per_epoch)
        if position == 0 or done == 0:
            order = device_order(manifest["seed"], epoch, num_examples, device)
        if position == 0:
            for i in manifest["reset"]:
                variables[i] = jax.device_put(np.zeros_like(packed.arrays[i]), device)
        logs, variables = compiled(variables, images, order, np.int64(position))
        step_number, done = step_number + 1, done + 1
        if done == 1:  # The first step is not timed: it may load kernels.
            jax.block_until_ready(logs)
            timed = time.monotonic()
        if done % 50 == 0:  # No more steps are sent ahead than the clock can stop.
            jax.block_until_ready(logs)
        if step_number % log_every == 0 or step_number == last:
            values = dict(zip(manifest["logs"], map(float, logs), strict=True))
            if not np.isfinite(values["loss"]):  # The step has changed nothing.
                failed = values
                break
            now = time.monotonic()
            rate = (done - 1) / (now - timed) if done > 1 else 0.0
            log.write(
                {
                    "epoch": epoch + 1,
                    "step": step_number,
                    "seconds": round(seconds_before + now - began, 2),
                    "images_per_second": round(rate * size, 1),
                    "teraflops_per_second": round(rate * flops / 1e12, 3),
                    **values,
                }
            )
    jax.block_until_ready(variables)
    seconds = seconds_before + time.monotonic() - began
    finish(options, packed, variables, seconds, failed)


def finish(options, packed, variables, seconds, failed):
    """Writes the state, and says where training ended."""
    manifest = packed.manifest
    arrays = [np.asarray(variable) for variable in variables]
    step = int(arrays[manifest["step"]])
    if options.parts != 0:
        write_state(options, manifest, arrays, step, seconds)
    if failed:
        raise SystemExit(f"Expected a finite loss. Received: {failed}.")
    last = manifest["epochs"] * (len(packed.images) // manifest["batch_size"])
    print(f"Step {step:,} of {last:,}, {seconds / 60:.2f} minutes: {options.output}")


def stop_at_signals():
    """Returns a list that is empty until SIGINT or SIGTERM."""
    stopped = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.append(True))
    return stopped


def compile_step(packed, *arguments):
    """Compiles the step for its arguments' device; returns it and its FLOP."""
    import jax

    start = time.monotonic()
    lowered = packed.function().lower(*arguments, 0)
    # Of the program as it was packed: a compiled one may hide them in calls.
    flops = (lowered.cost_analysis() or {}).get("flops", 0)
    compiled = lowered.compile()
    print(
        f"Compiled in {time.monotonic() - start:.1f} s for "
        f"{jax.devices()[0].device_kind}, JAX {jax.__version__}: {flops / 1e9:,.1f} "
        "GFLOP per step, as XLA counts.",
        flush=True,
    )
    return compiled, flops


def device_order(seed, epoch, num_examples, device):
    """The order of an epoch, as `vicreg_keras.data.split` draws it."""
    import jax

    order = np.random.RandomState([seed, epoch]).permutation(num_examples)
    return jax.device_put(order.astype(np.int32), device)


if __name__ == "__main__":
    main()
