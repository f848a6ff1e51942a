"""The mode `verify`: the numbers of a run, computed again from what it keeps.

Evaluations are repeated from the encoder, the recipe and the data, without anything
that an earlier one has kept; of pretraining, what the last checkpoint tells.
"""

import contextlib
import dataclasses
import importlib
import io
import os
import pathlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from vicreg_keras.data.card import DataCard, changes
from vicreg_keras.data.dataset import open_dataset
from vicreg_keras.errors import InputError
from vicreg_keras.evaluate.records import (
    PretrainRecord,
    Record,
    from_json,
)
from vicreg_keras.figures.text_table import Table
from vicreg_keras.modes import MODES
from vicreg_keras.modes.baselines import CACHE_VARIABLE
from vicreg_keras.modes.findings import (
    Finding,
    check_files,
    check_report,
    compare,
)
from vicreg_keras.modes.open_context import open_context
from vicreg_keras.modes.options import EncoderOptions, VerifyOptions
from vicreg_keras.modes.verify_training import check_encoder, check_pretraining
from vicreg_keras.settings import DataOptions, Settings
from vicreg_keras.settings.options import fields, free_names
from vicreg_keras.training.checkpoints import (
    newest_checkpoint,
)
from vicreg_keras.workdir.run_folder import RunFolder

T = TypeVar("T")


def run(
    settings: Settings, data: DataOptions, folder: RunFolder, options: VerifyOptions
) -> int:
    """Computes the numbers of a run again, and prints which are the same.

    Args:
        settings: Recipe of the run.
        data: Where its data is.
        folder: Folder of the run, which is only read.
        options: None are needed.

    Returns:
        The exit status: 1 if something differs, else 0.

    Raises:
        InputError: If there is no checkpoint, or the data can't be read.
    """
    del options
    findings = []
    for finding in _findings(settings, data, folder):
        findings.append(finding)
        print(f"{finding.name}: {finding.state}. {finding.detail}".rstrip(" ."))
    lines = [("", "values", "result", "what")]
    lines += [(f.name, f"{f.num_values}", f.state, f.detail) for f in findings]
    print(f"\n{Table(f'{folder.path}, computed again', lines)}")
    num_values = sum(f.num_values for f in findings if f.state == "same")
    different = [f.name for f in findings if f.state == "differs"]
    if different:
        print(f"Different: {', '.join(different)}.")
        return 1
    missing = sum(f.state == "cannot" for f in findings)
    rest = f"; {missing} lines of the table say what could not" if missing else ""
    print(f"All {num_values:,} values that could be computed again are the same{rest}.")
    return 0


def _findings(
    settings: Settings, data: DataOptions, folder: RunFolder
) -> Iterator[Finding]:
    yield check_files(folder)
    newest = newest_checkpoint(folder)
    if newest is None:
        raise InputError(
            "Expected a run with a checkpoint. Received: "
            f"workdir={folder.path}. Restore its "
            "checkpoints, or train it: mode=pretrain."
        )
    free = free_names(data, settings) | {"mode", "workdir"}
    flags = [
        {k: v for k, v in one.items() if k not in free}
        for one in (folder.read_flags(), newest.recipe.flags)
    ]
    yield compare("recipe and checkpoint", *flags)
    card = DataCard.from_json(newest.card, str(newest.path))
    dataset = open_dataset(data, settings.seed, card.schema.known)
    found = changes(card, dataset, folder.examples)
    yield Finding("data", "differs" if found else "same", "; ".join(found), 1)
    if found:  # Its numbers would be others, too.
        return
    steps = divmod(newest.step, card.steps_per_epoch(settings.batch_size))
    yield from check_pretraining(settings, dataset, folder, card, *steps)
    has_ended = steps[0] >= settings.epochs
    yield from check_encoder(settings, dataset, folder, card, has_ended=has_ended)
    yield from _evaluations(settings, data, folder)
    yield check_report(folder)


def _evaluations(
    settings: Settings, data: DataOptions, folder: RunFolder
) -> Iterator[Finding]:
    """Repeats each evaluation once, and compares all its records with it."""
    repeated: dict[str, Mapping[str, Any] | str] = {}
    epochs = []
    for number, values in enumerate(folder.read_metrics(), start=1):
        mode = values.get("mode")
        if mode in (PretrainRecord.mode, "data_change"):
            epochs.append(values)
            continue
        name = f"record {number}, {mode}"
        if mode not in MODES or MODES[mode].needs != "encoder":
            trains = "it trains encoders that are not kept"
            reason = trains if mode in MODES else "it is part of training"
            yield Finding(name, "cannot", reason)
            continue
        record = from_json(Record, values)
        key = repr((mode, record.encoder, record.seed, record.options))
        if key not in repeated:
            print(f"Computing {mode} again...", flush=True)
            repeated[key] = _repeat(settings, data, folder, record, mode, epochs)
        now = repeated[key]
        if isinstance(now, str):
            yield Finding(name, "cannot", now)
        else:
            yield compare(name, *(_without_places(one) for one in (values, now)))


def _without_places(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record without where things were when it was written."""
    places = ("dataset", "encoder", "options", "paths")
    return {name: value for name, value in record.items() if name not in places}


def _repeat(
    settings: Settings,
    data: DataOptions,
    folder: RunFolder,
    record: Record,
    mode: str,
    epochs: Sequence[Mapping[str, Any]],
) -> Mapping[str, Any] | str:
    """Returns the record that a mode gives now, or why there is none."""
    if record.options is None:
        return "an earlier version has not recorded its options"
    given = dict(record.options)
    which = _options(EncoderOptions, given)
    saved_model = which.saved_model
    own = folder.encoder / pathlib.Path(record.encoder or "").name
    if not pathlib.Path(saved_model or own).exists():
        return f"{saved_model or own} is no longer there"
    chosen = _options(DataOptions, given)
    options: Any = _options(MODES[mode].options, given)
    trained_on = folder.read_flags().get("dataset", DataOptions().dataset)
    if chosen.dataset == trained_on:  # It may be elsewhere now.
        places = {name: getattr(data, name) for name in ("dataset", "data_dir")}
        chosen = dataclasses.replace(chosen, **places)
    module = importlib.import_module(f"vicreg_keras.modes.{mode}")
    with _copy(folder, own) as copy:
        for epoch in epochs:
            copy.append_metrics(epoch)
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                context = open_context(
                    settings.replace({"seed": record.seed}),
                    chosen,
                    copy,
                    which,
                    needs_labels=MODES[mode].needs_labels,
                )
                module.run(context, options)
        except InputError as error:
            return str(error)
        return copy.read_metrics(mode)[-1]


def _options(kind: type[T], given: Mapping[str, Any]) -> T:
    return from_json(kind, {k: v for k, v in given.items() if k in fields(kind)})


@contextlib.contextmanager
def _copy(run: RunFolder, encoder: pathlib.Path) -> Iterator[RunFolder]:
    """A run's folder with one encoder, and nothing that evaluations have kept."""
    with tempfile.TemporaryDirectory() as folder, _environment(folder):
        copy = RunFolder(pathlib.Path(folder) / "run")
        copy.encoder.mkdir(parents=True)
        for path in (run.flags, run.examples, run.data_card, run.checkpoints):
            if path.exists():
                (copy.path / path.name).symlink_to(path.resolve())
        if encoder.exists():
            (copy.encoder / encoder.name).symlink_to(encoder.resolve())
        yield copy


@contextlib.contextmanager
def _environment(folder: str) -> Iterator[None]:
    """Keeps results of the raw input in a folder of their own."""
    earlier = os.environ.get(CACHE_VARIABLE)
    os.environ[CACHE_VARIABLE] = folder
    try:
        yield
    finally:
        os.environ.pop(CACHE_VARIABLE)
        if earlier is not None:
            os.environ[CACHE_VARIABLE] = earlier
