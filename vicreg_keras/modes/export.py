"""The mode `export`: files for other programs, and what each of them costs."""

import json
import pathlib
from collections.abc import Sequence

import numpy as np

from vicreg_keras.export import onnx, tflite
from vicreg_keras.export.savedmodel import (
    CLASS_NAMES_FILE,
    RECIPE_FILE,
    export_savedmodel,
)
from vicreg_keras.modes.context import Context
from vicreg_keras.modes.export_costs import Comparison, show_costs
from vicreg_keras.workdir.versions import write_version

FORMATS = ("savedmodel", "tflite", "onnx")

# Half precision and 8 bits are too coarse for numbers as they were measured.
_ROW_FILES = ("float32", "dynamic_range")
_CALIBRATION_EXAMPLES = 300


def run_export(
    context: Context,
    *,
    format: Sequence[str] = ("savedmodel",),
    head: str | None = None,
    quantization: Sequence[str] | None = None,
    output: str | None = None,
) -> dict:
    """Writes the encoder in other formats, each run and compared before it counts.

    A format's files appear as the next numbered version of `encoder/`, `tflite/` or
    `onnx/`; where one differs from the encoder by more than it may, none of them does.

    Args:
        context: whose encoder it is. Its training examples calibrate int8 files, its
            held-out ones are compared, its test ones show what a file costs.
        format: of `FORMATS`.
        head: `"linear"` adds the linear head to the SavedModel.
        quantization: names of `tflite.VARIANTS`: the TFLite files; `None` takes all,
            and of an encoder of rows those whose scaling stays in float32.
        output: a folder for the versions; by default the run's.

    Returns:
        `paths` by format and, under `files`, what `show_costs` says of TFLite and ONNX
        files. Where there are such, it is kept in the run.

    Raises:
        ValueError: for an unknown format or file, a head without labels or without
            `"savedmodel"`, or a package that is missing.
        FloatingPointError: if a file differs by more than it may.
    """
    _check_choice("format", format, FORMATS)
    if quantization is None:
        are_rows = context.dataset.columns is not None
        quantization = _ROW_FILES if are_rows else tuple(tflite.VARIANTS)
    _check_choice("quantization", quantization, tuple(tflite.VARIANTS))
    if head and "savedmodel" not in format:
        raise ValueError(
            "Expected --format=savedmodel with --head=linear: no other holds the head. "
            f"Received: --format={','.join(format)}."
        )
    if head:
        context.require("--head=linear", labels=True)
    if "onnx" in format:
        onnx.check_packages()
    folder = context.output(output, "")
    paths, files = {}, []
    if "savedmodel" in format:
        paths["savedmodel"] = _export_savedmodel(context, folder / "encoder", head)
    if "tflite" in format:
        paths["tflite"], measured = _export_tflite(
            context, folder / "tflite", quantization
        )
        files += measured
    if "onnx" in format:
        paths["onnx"], measured = _export_onnx(context, folder / "onnx")
        files += measured
    numbers = {"paths": {name: str(path) for name, path in paths.items()}, "files": []}
    if not files:
        return numbers
    return context.keep("export", numbers | {"files": show_costs(context, files)})


def _check_choice(name, chosen, known):
    unknown = [one for one in chosen if one not in known]
    if unknown or not chosen:
        raise ValueError(
            f"Expected --{name} to be some of {', '.join(known)}, with commas. "
            f"Received: --{name}={','.join(chosen)}."
        )


def _export_savedmodel(context, folder, head):
    class_names, recipe = _assets(context)
    if head:
        class_names = context.dataset.class_names
    version = export_savedmodel(
        context.encoder,
        folder,
        context.dataset.example_shape,
        class_names=class_names,
        recipe=recipe,
        head=context.head if head else None,
        columns=context.dataset.columns,
    )
    print(f"A SavedModel for TensorFlow Serving, which watches {folder}: {version}")
    return version


def _assets(context):
    """Class names and recipe that lie beside the encoder, `None` for what does not."""
    folder = pathlib.Path(getattr(context.encoder, "folder", "")) / "assets"
    names, recipe = folder / CLASS_NAMES_FILE, folder / RECIPE_FILE
    return (
        names.read_text("utf-8").splitlines() if names.is_file() else None,
        recipe.read_text("utf-8") if recipe.is_file() else None,
    )


def _export_tflite(context, folder, names):
    files = []

    def write(aside):
        compared = Comparison(context)
        for name in names:
            print(f"Writing {name}.tflite...", flush=True)
            variant = tflite.VARIANTS[name]
            examples = _calibration(context) if variant.calibrated else None
            content = tflite.convert(
                context.encoder, context.dataset.example_shape, variant, examples
            )
            encoder = tflite.TFLiteEncoder(content)
            limits = {"min_cosine": variant.min_cosine}
            if variant.tolerance is not None:
                limits["tolerance"] = variant.tolerance
            numbers = compared.numbers(f"{name}.tflite", encoder, **limits)
            details = {"input": encoder.dtypes[0], "output": encoder.dtypes[1]}
            facts = {"what": variant.text, **details, "bytes": len(content), **numbers}
            (aside / f"{name}.tflite").write_bytes(content)
            files.append(({"file": f"{name}.tflite", **facts}, encoder))
        _write_facts(aside, files)

    version = write_version(folder, write)
    print(f"TFLite files, compared with the encoder: {version}")
    return version, files


def _export_onnx(context, folder):
    files = []

    def write(aside):
        print("Writing encoder.onnx...", flush=True)
        content = onnx.convert(context.encoder, context.dataset.example_shape)
        encoder = onnx.OnnxEncoder(content)
        compared = Comparison(context)
        numbers = compared.numbers("encoder.onnx", encoder, tolerance=onnx.TOLERANCE)
        (aside / "encoder.onnx").write_bytes(content)
        facts = {"file": "encoder.onnx", "what": "ONNX", "bytes": len(content)}
        files.append(({**facts, **numbers}, encoder))
        _write_facts(aside, files)

    version = write_version(folder, write)
    print(f"An ONNX file, compared with the encoder: {version}")
    return version, files


def _write_facts(aside, files):
    facts = json.dumps([facts for facts, _ in files], indent=2)
    (aside / "files.json").write_text(facts + "\n")


def _calibration(context):
    train = context.dataset.train
    random = np.random.default_rng(context.seed)
    count = min(_CALIBRATION_EXAMPLES, train.num_examples)
    return train.read(np.sort(random.permutation(train.num_examples)[:count]))
