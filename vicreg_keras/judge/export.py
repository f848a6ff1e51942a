"""The mode `export`: files for other programs, and what each of them costs."""

import json
import os
import pathlib
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vicreg_keras import tables
from vicreg_keras.evaluate.accuracy import top_k_accuracy
from vicreg_keras.evaluate.knn import knn_accuracy, knn_eval
from vicreg_keras.export import onnx, tflite
from vicreg_keras.export.savedmodel import (
    CLASS_NAMES_FILE,
    RECIPE_FILE,
    export_savedmodel,
)
from vicreg_keras.features import Features, compile_encoder, extract_features
from vicreg_keras.figures.export import exported_files
from vicreg_keras.judge.subject import Subject
from vicreg_keras.saved_encoder import variables_of
from vicreg_keras.versions import write_version

FORMATS = ("savedmodel", "tflite", "onnx")

_CALIBRATION_EXAMPLES = 300
_COMPARED_EXAMPLES = 256
_BATCH_SIZE = 32
_WARM_UP_CALLS, _TIMED_CALLS = 10, 100


def run_export(
    subject: Subject,
    *,
    format: Sequence[str] = ("savedmodel",),
    head: str | None = None,
    quantization: Sequence[str] = tuple(tflite.VARIANTS),
    output: str | None = None,
) -> dict:
    """Writes the encoder in other formats, each run and compared before it counts.

    A format's files appear as the next numbered version of `encoder/`, `tflite/` or
    `onnx/`; where one differs from the encoder by more than it may, none of them does.

    Args:
        subject: whose encoder it is. Its training examples calibrate int8 files, its
            held-out ones are compared, its test ones show what a file costs.
        format: of `FORMATS`.
        head: `"linear"` adds the linear head to the SavedModel.
        quantization: names of `tflite.VARIANTS`: the TFLite files.
        output: a folder for the versions; by default the run's.

    Returns:
        The row that was kept: `paths` by format, and under `files` one dict for each
        TFLite and ONNX file.

    Raises:
        ValueError: for an unknown format or file, a head without labels or without
            `"savedmodel"`, or a package that is missing.
        FloatingPointError: if a file differs by more than it may.
    """
    _check_choice("format", format, FORMATS)
    _check_choice("quantization", quantization, tuple(tflite.VARIANTS))
    if head and "savedmodel" not in format:
        raise ValueError(
            "Expected --format=savedmodel with --head=linear: no other holds the head. "
            f"Received: --format={','.join(format)}."
        )
    if head:
        subject.require("--head=linear", labels=True)
    if "onnx" in format:
        onnx.check_packages()
    folder = subject.output(output, "")
    paths, files = {}, []
    if "savedmodel" in format:
        paths["savedmodel"] = _export_savedmodel(subject, folder / "encoder", head)
    if "tflite" in format:
        paths["tflite"], measured = _export_tflite(
            subject, folder / "tflite", quantization
        )
        files += measured
    if "onnx" in format:
        paths["onnx"], measured = _export_onnx(subject, folder / "onnx")
        files += measured
    numbers = {
        "paths": {name: str(path) for name, path in paths.items()},
        "files": _with_costs(subject, files) if files else [],
    }
    return subject.keep("export", numbers)


def _check_choice(name, chosen, known):
    unknown = [one for one in chosen if one not in known]
    if unknown or not chosen:
        raise ValueError(
            f"Expected --{name} to be some of {', '.join(known)}, with commas. "
            f"Received: --{name}={','.join(chosen)}."
        )


def _export_savedmodel(subject, folder, head):
    class_names, recipe = _assets(subject)
    if head:
        class_names = subject.dataset.class_names
    version = export_savedmodel(
        subject.encoder,
        folder,
        subject.dataset.image_shape,
        class_names=class_names,
        recipe=recipe,
        head=subject.head[0] if head else None,
    )
    print(f"A SavedModel for TensorFlow Serving, which watches {folder}: {version}")
    return version


def _assets(subject):
    """Class names and recipe that lie beside the encoder, `None` for what does not."""
    folder = pathlib.Path(getattr(subject.encoder, "folder", "")) / "assets"
    names, recipe = folder / CLASS_NAMES_FILE, folder / RECIPE_FILE
    return (
        names.read_text("utf-8").splitlines() if names.is_file() else None,
        recipe.read_text("utf-8") if recipe.is_file() else None,
    )


def _export_tflite(subject, folder, names):
    files = []

    def write(aside):
        compared = _Compared(subject)
        for name in names:
            print(f"Writing {name}.tflite...", flush=True)
            variant = tflite.VARIANTS[name]
            examples = _calibration(subject) if variant.calibrated else None
            content = tflite.convert(
                subject.encoder, subject.dataset.image_shape, variant, examples
            )
            encoder = tflite.TFLiteEncoder(content)
            limits = {"least_cosine": variant.least_cosine}
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


def _export_onnx(subject, folder):
    files = []

    def write(aside):
        print("Writing encoder.onnx...", flush=True)
        content = onnx.convert(subject.encoder, subject.dataset.image_shape)
        encoder = onnx.OnnxEncoder(content)
        compared = _Compared(subject)
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


def _calibration(subject):
    train = subject.dataset.train
    random = np.random.default_rng(subject.seed)
    count = min(_CALIBRATION_EXAMPLES, train.num_examples)
    return train.read(np.sort(random.permutation(train.num_examples)[:count]))


class _Compared:
    """Held-out examples, and what the encoder says of them."""

    def __init__(self, subject):
        held_out = subject.dataset.validation
        count = min(_COMPARED_EXAMPLES, held_out.num_examples)
        self._split = held_out.take(range(count))
        encode = compile_encoder(subject.encoder, subject.dataset.image_shape)
        self._expected = _rows(encode, self._split)

    def numbers(self, file, encoder, *, tolerance=None, least_cosine=None):
        """How far a file's encoder is from it; refuses what is too far."""
        expected, received = self._expected, _rows(encoder, self._split)
        differences = np.abs(received - expected)
        largest = float(np.abs(expected).max())
        lengths = np.linalg.norm(received, axis=1) * np.linalg.norm(expected, axis=1)
        products = (received.astype(np.float64) * expected).sum(axis=1)
        # Rows of zeros have no direction; two of them are the same.
        cosines = np.where(lengths > 0, products / np.maximum(lengths, 1e-30), 0)
        cosines = np.where((differences == 0).all(axis=1), 1, cosines)
        numbers = {
            "max_difference": float(differences.max()),
            "mean_difference": float(differences.mean()),
            "largest_number": largest,
            "least_cosine": float(cosines.min()),
            "num_compared": len(expected),
        }
        share = numbers["max_difference"] / max(largest, 1e-12)
        if tolerance is not None and not share <= tolerance:
            raise _too_far(
                file,
                f"a difference of {tolerance:g} of the largest number "
                f"({largest:.3g}) or less",
                f"{share:.3g} of it",
            )
        if least_cosine is not None and not numbers["least_cosine"] >= least_cosine:
            raise _too_far(
                file,
                f"a cosine of {least_cosine} or more on every image",
                f"{numbers['least_cosine']:.4f}",
            )
        return numbers


def _too_far(file, expected, received):
    return FloatingPointError(
        f"Expected {file} to give the encoder's numbers, with {expected}. Received: "
        f"{received}. Earlier versions were left as they are; choose other files "
        "(--quantization)."
    )


def _rows(encoder, split):
    return extract_features(
        encoder, split, batch_size=_BATCH_SIZE, verbose=0
    ).representations


def _with_costs(subject, files):
    """Adds to each file's facts its accuracy and its latency, and shows them all."""
    encode = compile_encoder(subject.encoder, subject.dataset.image_shape)
    image = subject.dataset.validation.read([0])
    judge = _accuracies(subject)
    own = {
        "file": "the encoder",
        "bytes": _num_bytes(subject.encoder),
        **judge(None),
        "milliseconds": _milliseconds(lambda: encode(image).numpy()),
    }
    rows = [own]
    for facts, encoder in files:
        print(f"{facts['file']}: test images through it...", flush=True)
        latency = _milliseconds(lambda encoder=encoder: encoder.run(image))
        rows.append({**facts, **judge(encoder), "milliseconds": latency})
    _print_table(subject, rows)
    path = subject.figure("export")
    if path is not None:
        exported_files(rows, path)
        print(f"Size, time and accuracy of each file: {path}")
    return rows


def _accuracies(subject) -> Callable[[Any], dict]:
    """Judges an encoder's test representations; without labels, nothing."""
    dataset = subject.dataset
    if dataset.num_classes is None or dataset.test is None:
        return lambda encoder: {}
    splits = [subject.features[name] for name in ("train", "validation", "test")]
    linear_head, _ = subject.head
    chosen = knn_eval(*splits, num_classes=dataset.num_classes)
    bank = Features(*(np.concatenate(parts) for parts in zip(*splits[:2], strict=True)))

    def judge(encoder):
        test = splits[2]
        if encoder is not None:
            test = extract_features(encoder, dataset.test, batch_size=_BATCH_SIZE)
        scores = linear_head.scores(test.representations)
        knn = knn_accuracy(
            bank,
            test,
            num_classes=dataset.num_classes,
            k=chosen["k"],
            temperature=chosen["temperature"],
        )
        return {
            "linear_top1": top_k_accuracy(scores, test.labels, 1),
            "knn_top1": knn["top1"],
            "num_test": len(test.labels),
        }

    return judge


def _num_bytes(encoder):
    return sum(variable.numpy().nbytes for variable in variables_of(encoder))


def _milliseconds(call):
    """The median time of one call, after some that are not counted."""
    times = []
    for number in range(_WARM_UP_CALLS + _TIMED_CALLS):
        start = time.perf_counter()
        call()
        if number >= _WARM_UP_CALLS:
            times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


def _print_table(subject, rows):
    labelled = "linear_top1" in rows[0]
    compared = rows[1]
    print(
        f"Differences from the encoder on {compared['num_compared']} held-out images of "
        f"{subject.dataset.name}, where its largest number is "
        f"{compared['largest_number']:.3g}; milliseconds an image, one by one, median "
        f"of {_TIMED_CALLS}, {os.cpu_count()} threads."
    )
    if labelled:
        print(
            f"Top-1 accuracy in percent on {rows[0]['num_test']:,} test images, which "
            "alone go through the file: linear head and neighbours are the encoder's."
        )
    names = ("", "KiB", "largest", "mean", "least cosine", "linear", "kNN", "ms", "")
    cells = [names]
    for row in rows:
        compared = ("-", "-", "-")
        if "least_cosine" in row:
            compared = (
                f"{row['max_difference']:.2g}",
                f"{row['mean_difference']:.2g}",
                f"{row['least_cosine']:.6f}",
            )
        accuracies = (tables.percent(row.get(k)) for k in ("linear_top1", "knn_top1"))
        size, latency = f"{row['bytes'] / 1024:,.0f}", f"{row['milliseconds']:.2f}"
        what = row.get("what", "its weights")
        cells.append((row["file"], size, *compared, *accuracies, latency, what))
    print(tables.format_table(cells))
