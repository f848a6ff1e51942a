"""The mode `export`: files for other programs, and what each of them costs."""

import dataclasses
import functools
import json
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from vicreg_keras.evaluate.accuracy import top_k_accuracy
from vicreg_keras.evaluate.features import (
    SPLITS,
    Encoder,
    Features,
    concatenate_features,
    require_class_names,
)
from vicreg_keras.evaluate.knn import knn_accuracy, knn_eval
from vicreg_keras.evaluate.records import ExportedFile, ExportRecord, to_json
from vicreg_keras.export import compare, onnx, tflite
from vicreg_keras.export.savedmodel import (
    CLASS_NAMES_FILE,
    RECIPE_FILE,
    export_savedmodel,
)
from vicreg_keras.figures.export import exported_files
from vicreg_keras.figures.style import save
from vicreg_keras.figures.text_table import format_table
from vicreg_keras.modes.context import Context
from vicreg_keras.modes.options import ExportOptions
from vicreg_keras.report.tables import describe_files
from vicreg_keras.workdir.versions import write_version

# Half precision and 8 bits are too coarse for the values of a table.
_TABLE_VARIANTS = ("float32", "dynamic_range")
_NUM_CALIBRATION_EXAMPLES = 300


def run(context: Context, options: ExportOptions) -> ExportRecord:
    """Writes the encoder in other formats, each compared with it before it counts.

    A format's files appear as the next numbered version of `encoder/`, `tflite/` or
    `onnx/`; where one differs from the encoder by more than it may, none of them does.

    Args:
        context: The encoder. Training examples calibrate int8 files, validation
            examples are compared, test examples give accuracies.
        options: Options of the mode.

    Returns:
        The record, which was logged if there are TFLite or ONNX files.

    Raises:
        InputError: If a file differs by more than it may or can't be written, a
            package is missing, or a head is to be added without labels.
    """
    if options.head:
        require_class_names(context.dataset)
    folder = context.output(options.output, "")
    paths: dict[str, str] = {}
    files: list[_File] = []
    if "savedmodel" in options.format:
        version = _export_savedmodel(context, folder / "encoder", options)
        paths["savedmodel"] = str(version)
    for name, convert in (("tflite", _convert_tflite), ("onnx", _convert_onnx)):
        if name in options.format:
            converted = list(convert(context, options))
            write = functools.partial(_write_files, converted)
            paths[name] = str(write_version(folder / name, write))
            print(f"Compared with the encoder, and written: {paths[name]}")
            files += converted
    if not files:
        return ExportRecord(**context.record_fields, paths=paths)
    evaluated = _add_accuracies(context, files)
    record = ExportRecord(**context.record_fields, paths=paths, files=tuple(evaluated))
    caption, lines = describe_files(record)
    print(f"{caption} {os.cpu_count()} threads.\n{format_table(lines)}")
    figure_path = context.figure("export")
    if figure_path is not None:
        save(exported_files(evaluated), figure_path)
        print(f"Size, time and accuracy of each file: {figure_path}")
    context.log_metrics(record)
    return record


def _export_savedmodel(
    context: Context, folder: pathlib.Path, options: ExportOptions
) -> pathlib.Path:
    class_names, recipe = _assets(context.encoder)
    if options.head:
        class_names = context.dataset.class_names
    version = export_savedmodel(
        context.encoder,
        folder,
        context.dataset.example_shape,
        class_names=class_names,
        recipe=recipe,
        head=context.head if options.head else None,
        columns=context.dataset.columns,
    )
    print(f"A SavedModel for TensorFlow Serving, which watches {folder}: {version}")
    return version


def _assets(encoder: Encoder) -> tuple[Sequence[str] | None, str | None]:
    """Class names and recipe that are saved beside the encoder, each or `None`."""
    folder = pathlib.Path(getattr(encoder, "folder", "")) / "assets"
    names, recipe = folder / CLASS_NAMES_FILE, folder / RECIPE_FILE
    return (
        names.read_text("utf-8").splitlines() if names.is_file() else None,
        recipe.read_text("utf-8") if recipe.is_file() else None,
    )


class _File(NamedTuple):
    """A converted file: its content, what runs it, and what is known of it."""

    content: bytes
    encoder: compare.FileEncoder
    facts: ExportedFile


def _convert_tflite(context: Context, options: ExportOptions) -> Iterator[_File]:
    names = options.quantization
    if names is None:
        is_table = context.dataset.columns is not None
        names = _TABLE_VARIANTS if is_table else tuple(tflite.VARIANTS)
    comparison = compare.Comparison(context.encoder, context.dataset)
    for name in names:
        print(f"Writing {name}.tflite...", flush=True)
        variant = tflite.VARIANTS[name]
        examples = _calibration_examples(context) if variant.calibrated else None
        content = tflite.convert(
            context.encoder, context.dataset.example_shape, variant, examples
        )
        encoder = tflite.TFLiteEncoder(content)
        facts = comparison.measure(
            f"{name}.tflite",
            encoder,
            tolerance=variant.tolerance,
            min_cosine=variant.min_cosine,
            num_bytes=len(content),
            description=variant.description,
            input_dtype=encoder.input_dtype,
            output_dtype=encoder.output_dtype,
        )
        yield _File(content, encoder, facts)


def _convert_onnx(context: Context, options: ExportOptions) -> Iterator[_File]:
    print("Writing encoder.onnx...", flush=True)
    content = onnx.convert(context.encoder, context.dataset.example_shape)
    encoder = onnx.OnnxEncoder(content)
    facts = compare.Comparison(context.encoder, context.dataset).measure(
        "encoder.onnx",
        encoder,
        tolerance=onnx.TOLERANCE,
        min_cosine=onnx.MIN_COSINE,
        num_bytes=len(content),
        description="ONNX",
    )
    yield _File(content, encoder, facts)


def _calibration_examples(context: Context) -> np.ndarray:
    train = context.dataset.train
    order = np.random.default_rng(context.seed).permutation(train.num_examples)
    return train.read(np.sort(order[:_NUM_CALIBRATION_EXAMPLES]))


def _write_files(files: Sequence[_File], version: pathlib.Path) -> None:
    """Writes these files and what is known of them into the folder of a version."""
    for file in files:
        (version / file.facts.file).write_bytes(file.content)
    facts = json.dumps([to_json(file.facts) for file in files], indent=2)
    (version / "files.json").write_text(f"{facts}\n")


def _add_accuracies(context: Context, files: Sequence[_File]) -> list[ExportedFile]:
    """Returns the encoder itself and then the files, with accuracies if labeled.

    Only test examples go through a file. Linear head and neighbors remain the
    encoder's, as an index that a computer built may be searched from a telephone.
    """
    dataset = context.dataset
    own = compare.measure_encoder(context.encoder, dataset)
    evaluated = [own, *(file.facts for file in files)]
    if dataset.num_classes is None or dataset.test is None:
        return evaluated
    splits = [context.features[name] for name in SPLITS]
    bank, test = concatenate_features(splits[:2]), splits[2]
    chosen = knn_eval(*splits, num_classes=dataset.num_classes).settings
    for number, one in enumerate(evaluated):
        features = test
        if number > 0:
            print(f"{one.file}: test examples through it...", flush=True)
            encoder = files[number - 1].encoder
            features = Features(compare.represent(encoder, dataset.test), test.labels)
        scores = context.head.scores(features.representations)
        knn = knn_accuracy(
            bank,
            features,
            num_classes=dataset.num_classes,
            k=chosen.k,
            temperature=chosen.temperature,
        )
        evaluated[number] = dataclasses.replace(
            one,
            linear_top1=top_k_accuracy(scores, test.labels, 1),
            knn_top1=knn.metrics.top1,
            num_test=len(test.labels),
        )
    return evaluated
