"""Opens what a mode evaluates: an encoder, how it is read out, and a dataset."""

import dataclasses
import functools
import pathlib
import warnings
from typing import Any

import keras

from vicreg_keras.data.card import DataCard, changes, describe
from vicreg_keras.data.dataset import Dataset, open_dataset
from vicreg_keras.errors import InputError
from vicreg_keras.evaluate.features import check_example_shape
from vicreg_keras.models.encoders import check_side
from vicreg_keras.models.readout import ReadOut, crop_size
from vicreg_keras.models.saved_encoder import (
    SavedEncoder,
    known_of,
    load_encoder,
    variables_of,
)
from vicreg_keras.modes.context import Context
from vicreg_keras.modes.options import EncoderOptions
from vicreg_keras.settings import DataOptions, Settings
from vicreg_keras.training.build import build_encoder
from vicreg_keras.workdir.run_folder import RunFolder, check_owner, outdated


def open_context(
    settings: Settings,
    data: DataOptions,
    run: RunFolder | None,
    which: EncoderOptions = EncoderOptions(),  # noqa: B008
    *,
    needs_labels: bool = True,
    options: dict[str, Any] | None = None,
) -> Context:
    """Returns the context of a run's encoder, or of one that is elsewhere.

    Args:
        settings: Recipe of the run.
        data: The dataset to evaluate on.
        run: The run whose encoder it is, and where results go.
        which: Another encoder, if it is not the run's, and what is read out of it.
        needs_labels: See `Known`.
        options: See `Record`.

    Raises:
        InputError: If neither is given, or encoder and dataset don't match.
    """
    if which.saved_model:
        encoder = load_encoder(which.saved_model)
    elif run is not None:
        encoder = load_encoder(run.path)
    else:
        raise InputError(
            "Expected workdir=RUN or saved_model=PATH, the encoder to evaluate. "
            "Received: workdir=None, saved_model=None."
        )
    known = known_of(encoder)
    if known is not None:
        known = dataclasses.replace(known, needs_labels=needs_labels)
    make_encoder = None
    # Only a run's settings tell what its encoder was before training.
    if run is not None and not which.saved_model:
        version = pathlib.Path(encoder.folder)
        check_owner(version, run)
        if text := outdated(version, run):
            warnings.warn(
                f"{text}: mode=pretrain with workdir={run.path} writes a newer one.",
                stacklevel=2,
            )
        if encoder.card is not None:
            make_encoder = functools.partial(
                _make_encoder, settings, encoder, which.representation
            )
    dataset = open_dataset(data, settings.seed, known)
    check_example_shape(encoder, dataset.example_shape)
    _print_differences(getattr(encoder, "card", None), dataset, run)
    context = Context(
        encoder, dataset, run, make_encoder, seed=settings.seed, options=options
    )
    return _read_out(context, settings, which)


def _read_out(context: Context, settings: Settings, which: EncoderOptions) -> Context:
    """Returns a context whose encoders are read out as the options say."""
    given = {name: getattr(which, name) for name in ("representation", "average")}
    if given == {"representation": "pool", "average": "none"}:
        return context
    saved, make_encoder = context.encoder, context.make_encoder
    text = ", ".join(f"{name}={value}" for name, value in given.items())
    if context.dataset.columns is not None or not isinstance(saved, SavedEncoder):
        raise InputError(
            "Expected an encoder of images from mode=pretrain to read out in another "
            f"way. Received: {text} for other data or another encoder."
        )
    if make_encoder is None and given != {"representation": "pool", "average": "flip"}:
        raise InputError(
            "Expected workdir=RUN to read its encoder out in another way: of a "
            f"SavedModel, average=flip alone is possible. Received: {text}."
        )
    if which.average == "bag":
        check_side(settings.encoder, *crop_size(context.dataset.example_shape))
    encoder = make_encoder(True) if make_encoder else saved
    return dataclasses.replace(context, encoder=ReadOut(encoder, saved, **given))


def _make_encoder(
    settings: Settings, saved: SavedEncoder, representation: str, trained: bool
) -> keras.Model:
    """Returns an encoder as a run builds it, with or without the saved weights."""
    encoder = build_encoder(settings, saved.card.schema, representation)
    if trained:
        values = variables_of(saved)
        for variable, value in zip(encoder.variables, values, strict=True):
            variable.assign(value)
    return encoder


def _print_differences(
    card: DataCard | None, dataset: Dataset, run: RunFolder | None
) -> None:
    """Prints what is evaluated where it is not what the encoder was trained on."""
    if card is not None and card.fingerprint == dataset.fingerprint:
        return
    print(describe(dataset))
    if card is not None and run is not None and card.dataset == dataset.name:
        found = changes(card, dataset, run.examples)
        print(f"It is not what the encoder was trained on: {'; '.join(found)}.")
