"""Brings what `run_packed.py` trained into the run that was packed.

    python -m benchmarks.gpu.unpack --workdir=RUN --state=OUT

The run then has a checkpoint, a record of each epoch and an encoder, and all modes
know it: `python main.py --mode=linear_eval --workdir=RUN`. Where the projector and the
optimizer had to be left out for the transfer, it has no checkpoint: it can be
evaluated, but not be continued.
"""

import argparse
import pathlib

import numpy as np
import tensorflow as tf

from benchmarks.gpu import packed_files
from benchmarks.gpu.pack import (
    PACKED_FILE,
    Run,
    TracedStep,
    open_run,
    plain_convolutions,
)
from vicreg_keras.errors import InputError
from vicreg_keras.evaluate.records import PretrainRecord, read_records, to_json
from vicreg_keras.figures.run_figures import draw_run
from vicreg_keras.training.finite import check_weights
from vicreg_keras.training.pretrain import (
    export_encoder,
    steps_per_epoch,
    validation_batches,
)
from vicreg_keras.training.scores import make_scorer
from vicreg_keras.workdir.files import read_json


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workdir", required=True, metavar="RUN")
    parser.add_argument("--state", required=True, type=pathlib.Path, metavar="OUT")
    options = parser.parse_args()
    path = pathlib.Path(options.workdir)
    if not (path / "flags.flags").is_file():
        raise InputError(f"Expected the workdir that was packed. Received: {path}.")
    flag = f"--flagfile={path}/flags.flags"
    with plain_convolutions(), open_run(["unpack", flag, f"--workdir={path}"]) as run:
        unpack(run, options.state)


def unpack(run: Run, folder: pathlib.Path) -> None:
    """Gives a run the state, the records and the encoder of a packed training."""
    model, settings, dataset = run.model, run.settings, run.dataset
    state, records = read(run, folder)
    examples = dataset.pretraining.read(np.arange(settings.batch_size))
    step = TracedStep(model, tf.TensorSpec(examples.shape, examples.dtype))
    values = step.values()
    for key, value in state.arrays.items():
        values[int(key)] = value
    step.assign(values)
    check_weights(model, state.step)
    if state.left_out:
        print("Without projector and optimizer: the run can't be continued.")
    else:
        stopwatch = run.manager.checkpoint.stopwatch
        stopwatch.saved.assign_add(state.seconds / 60)
        run.manager.save(state.step)
        if records:
            records[-1].metrics.update(scores(run))
    for record in records:
        run.folder.append_metrics(to_json(record))
    draw_run(run.folder)
    encoder = export_encoder(model, settings, run.card, run.folder)
    print(
        f"The encoder is in {encoder}. Next:\n"
        f"  python main.py --mode=evaluate --workdir={run.folder.path}"
    )


def read(
    run: Run, folder: pathlib.Path
) -> tuple[packed_files.State, list[PretrainRecord]]:
    """Reads what training left, and checks that it is of the run."""
    path = run.folder.path / PACKED_FILE
    if not path.exists():
        raise InputError(f"Expected the workdir that was packed. Received: no {path}.")
    facts = read_json(path)
    if facts["data"] != run.card.fingerprint:
        raise InputError("Expected the data that was packed. Received: other data.")
    state = packed_files.read_state(folder, facts["id"])
    if state is None:
        raise InputError(f"Expected state.json of run_packed.py. Received: {folder}.")
    if state.step <= int(run.model.step.numpy()):
        raise InputError(
            f"Expected a state after step {int(run.model.step.numpy())} of the run. "
            f"Received: step {state.step}."
        )
    num_steps = steps_per_epoch(run.settings, run.dataset)
    minutes = float(run.manager.checkpoint.stopwatch.saved.numpy())
    epochs = [one.epoch for one in read_records(run.folder, PretrainRecord)]
    records = []
    for record in packed_files.read_records(folder):
        step = record.pop("step")
        # Others are of a part of an epoch, or known already.
        if step % num_steps or step > state.step or record["epoch"] in epochs:
            continue
        records.append(
            PretrainRecord(
                dataset=run.dataset.name,
                seed=run.settings.seed,
                data_fingerprint=run.dataset.fingerprint,
                epoch=record.pop("epoch"),
                step=step,
                minutes=minutes + record.pop("seconds") / 60,
                metrics=record,
            )
        )
    return state, records


def scores(run: Run) -> dict[str, float]:
    """Returns validation losses and scores, as `--mode=pretrain` records them."""
    found = {}
    batches = validation_batches(run.settings, run.dataset)
    if batches is not None:
        losses = run.model.evaluate(batches, return_dict=True, verbose=0)
        found = {f"val_{name}": value for name, value in losses.items()}
    if run.settings.score_every:
        found |= make_scorer(run.model, run.dataset, run.settings.seed)()
    return found


if __name__ == "__main__":
    try:
        main()
    except (InputError, OSError) as error:
        raise SystemExit(f"unpack: {error}") from None
