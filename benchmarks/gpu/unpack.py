"""Brings what `run_packed.py` trained into the run that was packed.

    python -m benchmarks.gpu.unpack --workdir=RUN --state=OUT

The run then has a checkpoint, a record of each epoch and an encoder, and all modes
know it: `python main.py --mode=linear_eval --workdir=RUN`. Where the optimizer's state
had to be left out for the transfer, the run can be evaluated, but not be continued.
"""

import argparse
import json
import pathlib

import numpy as np
import tensorflow as tf

from benchmarks.gpu import run_packed
from benchmarks.gpu.pack import Run, TracedStep, open_run, plain_convolutions
from vicreg_keras.errors import InputError
from vicreg_keras.evaluate.records import PretrainRecord, to_json
from vicreg_keras.figures.run_figures import draw_run
from vicreg_keras.training.pretrain import export_encoder


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workdir", required=True, metavar="RUN")
    parser.add_argument("--state", required=True, type=pathlib.Path, metavar="OUT")
    options = parser.parse_args()
    flags = f"--flagfile={options.workdir}/flags.flags"
    with plain_convolutions():
        run = open_run(["unpack", flags, f"--workdir={options.workdir}"])
        unpack(run, options.state)


def unpack(run: Run, state: pathlib.Path) -> None:
    """Gives a run the state, the records and the encoder of a packed training."""
    model, settings, dataset = run.model, run.settings, run.dataset
    examples = dataset.pretraining.read(np.arange(settings.batch_size))
    step = TracedStep(model, tf.TensorSpec(examples.shape, examples.dtype))
    values, found = step.values(), run_packed.read_parts(state, "state")
    if not found:
        raise SystemExit(f"Expected state-*.npz of run_packed.py. Received: {state}.")
    for key, value in found.items():
        expected = values[int(key)]
        if (value.shape, value.dtype) != (expected.shape, expected.dtype):
            raise SystemExit(
                f"Expected {expected.dtype} of shape {expected.shape} at {key}. "
                f"Received: {value.dtype} of {value.shape}, of another recipe."
            )
        values[int(key)] = value
    step.assign(values)
    lines = (state / "metrics.jsonl").read_text().splitlines()
    minutes = 0.0
    for record in map(json.loads, lines):
        minutes = record.pop("seconds") / 60
        run.folder.append_metrics(
            to_json(
                PretrainRecord(
                    dataset=dataset.name,
                    seed=settings.seed,
                    data_fingerprint=dataset.fingerprint,
                    epoch=record.pop("epoch"),
                    step=record.pop("step"),
                    minutes=minutes,
                    metrics=record,
                )
            )
        )
    run.manager.checkpoint.stopwatch.saved.assign(minutes)
    run.manager.save(int(model.step.numpy()))
    draw_run(run.folder)
    card = run.card
    encoder = export_encoder(model, settings, card, run.folder)
    print(
        f"The encoder is in {encoder}. Next:\n"
        f"  python main.py --mode=evaluate --workdir={run.folder.path}"
    )


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        raise SystemExit(f"unpack: {error}") from None
