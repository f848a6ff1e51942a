"""The mode `export`: files for other programs, and what each of them costs."""

import dataclasses
import functools
import json
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from vicreg_keras.errors import InputError
from vicreg_keras.evaluate.accuracy import top_k_accuracy
from vicreg_keras.evaluate.features import SPLITS, Features, concatenate_features
from vicreg_keras.evaluate.knn import knn_accuracy, knn_eval
from vicreg_keras.evaluate.records import ExportedFile, ExportRecord, to_json
from vicreg_keras.export import onnx, savedmodel, tflite
from vicreg_keras.export.compare import Comparison, FileEncoder, Variant, represent
from vicreg_keras.figures.bars import exported_files
from vicreg_keras.modes.context import Context
from vicreg_keras.modes.options import ExportOptions
from vicreg_keras.workdir.recipe import encoder_recipe
from vicreg_keras.workdir.versions import write_version


class _Format(NamedTuple):
    """A format of files: its variants by name, what converts, and what runs a file."""

    variants: Mapping[str, Variant]
    convert: Callable[..., bytes]
    encoder: Callable[[bytes], FileEncoder]


_FORMATS = {
    "tflite": _Format(tflite.VARIANTS, tflite.convert, tflite.TFLiteEncoder),
    "onnx": _Format(
        onnx.VARIANTS,
        lambda encoder, shape, *_: onnx.convert(encoder, shape),
        onnx.OnnxEncoder,
    ),
}
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
    read_out = getattr(context.encoder, "read_out", None)
    if read_out is not None and options.output is None:
        raise InputError(
            "Expected output=FOLDER for an encoder that is read out in another way: "
            "the run's own stays as it was trained. Received: output=None, "
            f"representation {read_out}."
        )
    folder = context.output(options.output, "")
    paths: dict[str, str] = {}
    if "savedmodel" in options.format:
        version = _export_savedmodel(context, folder / "encoder", options)
        paths["savedmodel"] = str(version)
    formats = [name for name in _FORMATS if name in options.format]
    if not formats:
        return context.record(ExportRecord, paths=paths)
    comparison = Comparison(context.encoder, context.dataset)
    files: list[_File] = []
    for name in formats:
        converted = list(_convert(context, options, comparison, name))
        write = functools.partial(_write_files, converted)
        paths[name] = str(write_version(folder / name, write))
        print(f"Compared with the encoder, and written: {paths[name]}")
        files += converted
    evaluated = _add_accuracies(context, comparison.own, files)
    record = context.record(ExportRecord, paths=paths, files=tuple(evaluated))
    context.log_metrics(record)
    print(f"Times are of {os.cpu_count()} threads.")
    figure, title = exported_files(evaluated), "Size, time and accuracy of each file"
    context.save_figure(figure, "export", title)
    return record


def _export_savedmodel(
    context: Context, folder: pathlib.Path, options: ExportOptions
) -> pathlib.Path:
    # What was saved beside the encoder is saved again.
    source = pathlib.Path(getattr(context.encoder, "folder", ""))
    names = source / "assets" / savedmodel.CLASS_NAMES_FILE
    recipe = encoder_recipe(source)
    class_names: Sequence[str] = ()
    if options.head:
        class_names = context.class_names
    elif context.card is not None:
        class_names = context.card.class_names or ()
    elif names.is_file():
        class_names = names.read_text("utf-8").splitlines()
    version = savedmodel.export_savedmodel(
        context.encoder,
        folder,
        context.dataset.example_shape,
        class_names=class_names,
        recipe=recipe.text if recipe else None,
        head=context.head if options.head else None,
        card=context.card,
    )
    print(f"A SavedModel for TensorFlow Serving, which watches {folder}: {version}")
    return version


class _File(NamedTuple):
    """A converted file: its content, what runs it, and what is known of it."""

    content: bytes
    encoder: FileEncoder
    facts: ExportedFile


def _convert(
    context: Context, options: ExportOptions, comparison: Comparison, name: str
) -> Iterator[_File]:
    """Converts to each variant of a format that is asked for."""
    format = _FORMATS[name]
    chosen = tuple(format.variants)
    if name == "tflite" and options.quantization is not None:
        chosen = options.quantization
    elif name == "tflite" and context.dataset.columns is not None:
        chosen = _TABLE_VARIANTS
    for variant_name in chosen:
        file, variant = f"{variant_name}.{name}", format.variants[variant_name]
        print(f"Writing {file}...", flush=True)
        examples = None
        if variant.calibrated:
            train, size = context.dataset.train, _NUM_CALIBRATION_EXAMPLES
            examples = train.sample(size, context.seed).read()
        shape = context.dataset.example_shape
        content = format.convert(context.encoder, shape, variant, examples)
        encoder = format.encoder(content)
        facts = comparison.measure(file, len(content), encoder, variant)
        yield _File(content, encoder, facts)


def _write_files(files: Sequence[_File], version: pathlib.Path) -> None:
    """Writes these files and what is known of them into the folder of a version."""
    for file in files:
        (version / file.facts.file).write_bytes(file.content)
    facts = json.dumps([to_json(file.facts) for file in files], indent=2)
    (version / "files.json").write_text(f"{facts}\n")


def _add_accuracies(
    context: Context, own: ExportedFile, files: Sequence[_File]
) -> list[ExportedFile]:
    """Returns the encoder itself and then the files, with accuracies if labeled.

    Only test examples go through a file. Linear head and neighbors remain the
    encoder's, as an index that a computer built may be searched from a telephone.
    """
    dataset = context.dataset
    facts = [own, *(file.facts for file in files)]
    if dataset.num_classes is None or dataset.test is None:
        return facts
    splits = [context.features[name] for name in SPLITS]
    bank, test = concatenate_features(splits[:2]), splits[2]
    chosen = knn_eval(*splits, num_classes=dataset.num_classes).settings
    representations = [test.representations]
    for file in files:
        print(f"{file.facts.file}: test examples through it...", flush=True)
        representations.append(represent(file.encoder, dataset.test))
    evaluated = []
    for one, vectors in zip(facts, representations, strict=True):
        knn = knn_accuracy(
            bank,
            Features(vectors, test.labels),
            num_classes=dataset.num_classes,
            k=chosen.k,
            temperature=chosen.temperature,
        )
        scores = context.head.scores(vectors)
        evaluated.append(
            dataclasses.replace(
                one,
                linear_top1=top_k_accuracy(scores, dataset.test.labels, 1),
                knn_top1=knn.metrics.top1,
                num_test=len(vectors),
            )
        )
    return evaluated
