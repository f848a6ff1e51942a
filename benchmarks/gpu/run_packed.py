"""Trains a packed run with JAX: needs jax and numpy alone.

    python run_packed.py DIR --minutes=8 --output=OUT

`DIR` is what `python -m benchmarks.gpu.pack` wrote. The step is the package's own
`train_step`, views included, compiled by XLA for the device that JAX finds. Images
stay on the device; every epoch has the order that `--mode=pretrain` gives it, so a run
is the same here and there but for rounding.

After the last epoch, or when the minutes are over, the state is written to `OUT` in
parts that fit a transfer, beside `metrics.jsonl`, a line per epoch. If `OUT` has a
state already, training goes on from it. `python -m benchmarks.gpu.unpack` brings it
into the run's folder.
"""

import argparse
import dataclasses
import json
import pathlib
import time

import numpy as np

# JAX is imported where it is used: what packs and unpacks has none.

# Kinds of variables; if not all fit, the last are left out.
_KINDS = ("encoder", "projector", "optimizer")
_PART_BYTES = 15 * 2**20
_METRICS = "metrics.jsonl"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=pathlib.Path, metavar="DIR")
    parser.add_argument("--minutes", type=float, default=8, help="of training, at most")
    parser.add_argument("--steps", type=int, help="stop after so many, for timing")
    parser.add_argument("--log_every", type=int, help="steps; by default an epoch's")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("out"))
    parser.add_argument(
        "--parts",
        type=int,
        default=4,
        help="files of 15 MiB for the state, at most; 0 writes none",
    )
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    train(options)


class Packed:
    """What was packed.

    Attributes:
        manifest: See `benchmarks.gpu.pack`.
        arrays: The variables' values, in the order of the step's arguments.
        images: `(num_examples, ...)`, the training split.
    """

    def __init__(self, folder: pathlib.Path, state: pathlib.Path):
        self.manifest = json.loads((folder / "manifest.json").read_text())
        self._step = (folder / "step.stablehlo").read_bytes()
        packed = read_parts(folder, "packed")
        self.images = packed.pop("images")
        self.arrays = [packed[f"{i:05d}"] for i in range(len(packed))]
        if later := read_parts(state, "state"):
            if later.keys() != packed.keys():
                raise SystemExit(
                    f"Expected a whole state in {state}, to go on from it. Received: "
                    f"{len(later)} of {len(packed)} variables; the others were left "
                    "out for want of parts. Begin anew with another output folder."
                )
            self.arrays = [later[key] for key in sorted(later)]

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
    packed = Packed(options.folder, options.output)
    manifest, device = packed.manifest, jax.devices()[0]
    num_examples, size = len(packed.images), manifest["batch_size"]
    steps_per_epoch = num_examples // size
    variables = [jax.device_put(array, device) for array in packed.arrays]
    images = jax.device_put(packed.images, device)
    step_number = int(packed.arrays[manifest["step"]])
    log_every = options.log_every or steps_per_epoch
    last = manifest["epochs"] * steps_per_epoch
    if options.steps:
        last = min(last, step_number + options.steps)
    order = device_order(manifest["seed"], 0, num_examples, device)
    compiled, flops = compile_step(packed, variables, images, order)
    began = timed = time.monotonic()
    logs, values, done = [], {}, 0
    while step_number < last and time.monotonic() - began < 60 * options.minutes:
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
            if not np.isfinite(values["loss"]):
                raise SystemExit(f"Expected a finite loss. Received: {values}.")
            seconds = time.monotonic() - timed
            rate = (done - 1) / seconds if done > 1 else 0.0
            record = {
                "epoch": epoch + 1,
                "step": step_number,
                "seconds": round(time.monotonic() - began, 2),
                "images_per_second": round(rate * size, 1),
                "teraflops_per_second": round(rate * flops / 1e12, 3),
                **values,
            }
            write_record(options.output, record)
    jax.block_until_ready(variables)
    if options.parts:
        write_state(options, packed, variables)
    minutes = (time.monotonic() - began) / 60
    print(
        f"Step {step_number:,} of {manifest['epochs'] * steps_per_epoch:,}, "
        f"{minutes:.2f} minutes: {options.output}"
    )


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


def write_record(output, record):
    with (output / _METRICS).open("a") as file:
        file.write(json.dumps(record) + "\n")
    print(
        f"epoch {record['epoch']}, step {record['step']:,}: loss {record['loss']:.5f}, "
        f"{record['images_per_second']:,.0f} images and "
        f"{record['teraflops_per_second']:.2f} TFLOP per second",
        flush=True,
    )


def write_state(options, packed, variables):
    """Writes what fits: all variables, or without the optimizer's, or the encoder's."""
    kinds = packed.manifest["kinds"]
    for count in range(len(_KINDS), 0, -1):
        chosen = {
            f"{i:05d}": np.asarray(variable)
            for i, variable in enumerate(variables)
            if kinds[i] not in _KINDS[count:]
        }
        parts = split(chosen, _PART_BYTES)
        if len(parts) <= options.parts:
            break
    else:
        raise SystemExit(f"Expected a state of {options.parts} parts at most.")
    if count < len(_KINDS):
        print(f"Left out, so that the rest fits: {', '.join(_KINDS[count:])}.")
    write_parts(options.output, "state", parts)


def split(arrays, max_bytes):
    """Distributes arrays over parts of at most so many bytes; large ones are cut."""
    parts, room = [{}], max_bytes
    for key, array in arrays.items():
        flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        first = 0
        while True:
            piece = flat[first : first + room]
            name = f"{key}:{first}:{array.dtype}:{','.join(map(str, array.shape))}"
            parts[-1][name] = piece
            first, room = first + len(piece), room - len(piece)
            if first == len(flat):
                break
            parts.append({})
            room = max_bytes
    return parts


def write_parts(folder, name, parts, save=np.savez):
    for old in folder.glob(f"{name}-*.npz"):
        old.unlink()
    for i, part in enumerate(parts):
        save(folder / f"{name}-{i:02d}.npz", **part)


def read_parts(folder, name):
    """Reads what `write_parts` wrote of what `split` returned."""
    pieces = {}
    for path in sorted(folder.glob(f"{name}-*.npz")):
        with np.load(path) as part:
            for full_name in part.files:
                key, first, dtype, shape = full_name.split(":")
                pieces.setdefault((key, dtype, shape), []).append(
                    (int(first), part[full_name])
                )
    arrays = {}
    for (key, dtype, shape), found in pieces.items():
        flat = np.concatenate([piece for _, piece in sorted(found, key=lambda x: x[0])])
        sizes = [int(size) for size in shape.split(",") if size]
        arrays[key] = flat.view(np.dtype(dtype)).reshape(sizes)
    return arrays


if __name__ == "__main__":
    main()
