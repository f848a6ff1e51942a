"""The mode `export`: files for other programs, and what each of them costs."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from vicreg_keras.evaluate.accuracy import top_k_accuracy
from vicreg_keras.evaluate.features import (
    SPLITS,
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
from vicreg_keras.figures.text_table import format_table, percent
from vicreg_keras.modes.context import Context
from vicreg_keras.modes.options import ExportOptions
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
    if "onnx" in options.format:
        onnx.check_packages()
    folder = context.output(options.output, "")
    paths, files = {}, []
    if "savedmodel" in options.format:
        paths["savedmodel"] = _export_savedmodel(context, folder / "encoder", options)
    if "tflite" in options.format:
        converted = _convert_tflite(context, options.quantization)
        paths["tflite"] = _write_files(converted, folder / "tflite", files)
        print(f"TFLite files, compared with the encoder: {paths['tflite']}")
    if "onnx" in options.format:
        paths["onnx"] = _write_files(_convert_onnx(context), folder / "onnx", files)
        print(f"An ONNX file, compared with the encoder: {paths['onnx']}")
    paths = {name: str(path) for name, path in paths.items()}
    if not files:
        return ExportRecord(**context.record_fields, paths=paths)
    evaluated = _add_accuracies(context, files)
    _print_table(context, evaluated)
    figure_path = context.figure("export")
    if figure_path is not None:
        save(exported_files(evaluated), figure_path)
        print(f"Size, time and accuracy of each file: {figure_path}")
    record = ExportRecord(**context.record_fields, paths=paths, files=tuple(evaluated))
    context.log_metrics(record)
    return record


def _export_savedmodel(context, folder, options):
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


def _assets(encoder):
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
    encoder: Any
    facts: ExportedFile


def _convert_tflite(context, names) -> Iterator[_File]:
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


def _convert_onnx(context) -> Iterator[_File]:
    print("Writing encoder.onnx...", flush=True)
    content = onnx.convert(context.encoder, context.dataset.example_shape)
    encoder = onnx.OnnxEncoder(content)
    facts = compare.Comparison(context.encoder, context.dataset).measure(
        "encoder.onnx",
        encoder,
        tolerance=onnx.TOLERANCE,
        num_bytes=len(content),
        description="ONNX",
    )
    yield _File(content, encoder, facts)


def _calibration_examples(context):
    train = context.dataset.train
    random = np.random.default_rng(context.seed)
    count = min(_NUM_CALIBRATION_EXAMPLES, train.num_examples)
    return train.read(np.sort(random.permutation(train.num_examples)[:count]))


def _write_files(converted, folder, files: list[_File]) -> pathlib.Path:
    """Writes a version of these files and of what is known of them; adds to `files`."""

    def write(version):
        written = list(converted)
        for file in written:
            (version / file.facts.file).write_bytes(file.content)
        facts = json.dumps([to_json(file.facts) for file in written], indent=2)
        (version / "files.json").write_text(f"{facts}\n")
        files.extend(written)

    return write_version(folder, write)


def _add_accuracies(context: Context, files: Sequence[_File]) -> list[ExportedFile]:
    """Returns the encoder itself and then the files, with accuracies if labeled."""
    own = compare.measure_encoder(context.encoder, context.dataset)
    evaluate = _make_evaluate(context)
    evaluated = [dataclasses.replace(own, **evaluate(None))]
    for file in files:
        print(f"{file.facts.file}: test examples through it...", flush=True)
        accuracies = evaluate(file.encoder)
        evaluated.append(dataclasses.replace(file.facts, **accuracies))
    return evaluated


def _make_evaluate(context: Context) -> Callable[[Any], dict]:
    """Returns what gives test accuracies of an exported file, or nothing unlabeled.

    Only test examples go through the file. Linear head and neighbors remain the
    encoder's, as an index that a computer built may be searched from a telephone.
    """
    dataset = context.dataset
    if dataset.num_classes is None or dataset.test is None:
        return lambda encoder: {}
    splits = [context.features[name] for name in SPLITS]
    test = splits[-1]
    chosen = knn_eval(*splits, num_classes=dataset.num_classes).settings
    bank = concatenate_features(splits[:2])

    def evaluate(encoder):
        features = test
        if encoder is not None:
            features = Features(compare.represent(encoder, dataset.test), test.labels)
        scores = context.head.scores(features.representations)
        knn = knn_accuracy(
            bank,
            features,
            num_classes=dataset.num_classes,
            k=chosen.k,
            temperature=chosen.temperature,
        )
        return {
            "linear_top1": top_k_accuracy(scores, features.labels, 1),
            "knn_top1": knn.metrics.top1,
            "num_test": len(features.labels),
        }

    return evaluate


def _print_table(context: Context, files: Sequence[ExportedFile]) -> None:
    own, first = files[:2]
    print(
        f"Differences from the encoder on {first.differences.num_examples} validation "
        f"examples of {context.dataset.name}, where its largest value is "
        f"{first.differences.max_value:.3g}; milliseconds per example, one by one, "
        f"median of {compare.NUM_TIMED_CALLS}, {os.cpu_count()} threads."
    )
    if own.linear_top1 is not None:
        print(
            f"Top-1 accuracy in percent on {own.num_test:,} test examples, which alone "
            "go through the file: linear head and neighbors are the encoder's."
        )
    lines = [("", "KiB", "max", "mean", "min cosine", "linear", "kNN", "ms", "")]
    for file in files:
        cells = ("-", "-", "-")
        if file.differences is not None:
            cells = (
                f"{file.differences.max_difference:.2g}",
                f"{file.differences.mean_difference:.2g}",
                f"{file.differences.min_cosine:.6f}",
            )
        lines.append(
            (
                file.file,
                f"{file.num_bytes / 1024:,.0f}",
                *cells,
                percent(file.linear_top1),
                percent(file.knn_top1),
                f"{file.milliseconds:.2f}",
                file.description or "its weights",
            )
        )
    print(format_table(lines))
