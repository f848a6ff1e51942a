"""The SavedModel: what a server or another program asks an encoder by name.

A version appears whole or not at all, and only after it was read back and every
signature gave the encoder's own numbers.
"""

import dataclasses
import json
import os
import pathlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from scipy.special import softmax

from vicreg_keras.data.columns import Column
from vicreg_keras.evaluate.linear_probe import LinearHead
from vicreg_keras.export import warmup
from vicreg_keras.export.image_bytes import decode_images
from vicreg_keras.export.table_cells import decode_cells, encode_cells
from vicreg_keras.models.saved_encoder import variables_of
from vicreg_keras.workdir.versions import write_version

CLASS_NAMES_FILE = "class_names.txt"
RECIPE_FILE = "recipe.flags"
COLUMNS_FILE = "columns.json"

_TOLERANCE = 1e-4  # Of the largest number in a representation.
_CHECKED_EXAMPLES = 3


def export_savedmodel(
    encoder: Callable[..., Any],
    folder: str | os.PathLike,
    example_shape: Sequence[int],
    *,
    class_names: Sequence[str] | None = None,
    recipe: str | None = None,
    head: LinearHead | None = None,
    columns: Sequence[Column] | None = None,
) -> pathlib.Path:
    """Writes the next numbered version of an encoder under `folder`.

    Its signatures, by name; every output has one row an example:

    - `serving_default`: `image`, uint8 `(batch, height, width, 3)` in [0, 255], to
      `representation`, float32 `(batch, dim)`, and `unit_representation`, the same
      brought to length 1.
    - `serving_bytes`: `image_bytes`, `(batch,)` JPEG or PNG files of any size, to the
      same.
    - `classify` and `classify_bytes`, with a head: the same inputs to `class_names`,
      strings, and `probabilities`, float32, both `(batch, classes)` and the most
      probable first.

    For rows of numbers the input is `row`, float32 `(batch, width)`, categories as
    their codes and NaN for what is missing; and `serving_cells` and `classify_cells`
    take `cells`, strings `(batch, width)` as they stand in a file.

    Beside them lie, where there are any, `assets/class_names.txt`,
    `assets/columns.json` (names and categories of a table) and `assets/recipe.flags`;
    and the requests that TensorFlow Serving sends itself before the first of a
    client's.

    Args:
        encoder: called as `encoder(examples, training=False)`; takes pixels in
            [0, 255], or rows.
        folder: where the versions are.
        example_shape: `(height, width, 3)` or `(width,)`, of one example.
        class_names: one for each label.
        recipe: the flags that the encoder was trained with.
        head: adds the signatures that classify; needs `class_names`.
        columns: of a table whose rows the encoder takes.

    Returns:
        The version's folder, `folder/1` for the first.

    Raises:
        ValueError: if there is a head, and not one name for each of its classes.
        FloatingPointError: if what was written gives other numbers than the encoder;
            earlier versions stay as they are.
    """
    num_names = None if class_names is None else len(class_names)
    if head is not None and num_names != len(head.biases):
        raise ValueError(
            f"Expected a name for each of the head's {len(head.biases)} classes. "
            f"Received: {num_names}."
        )
    encode = make_encode(encoder, example_shape)
    signatures = _make_signatures(encode, example_shape, head, class_names, columns)
    texts = {}
    if class_names is not None:
        texts[CLASS_NAMES_FILE] = "".join(f"{name}\n" for name in class_names)
    if recipe is not None:
        texts[RECIPE_FILE] = recipe
    if columns is not None:
        described = [dataclasses.asdict(column) for column in columns]
        texts[COLUMNS_FILE] = json.dumps(described, indent=2) + "\n"
    requests = warmup.make_requests(signatures, example_shape)

    def write(aside):
        with tempfile.TemporaryDirectory() as assets:
            files = [pathlib.Path(assets) / name for name in texts]
            for file in files:
                file.write_text(texts[file.name], encoding="utf-8")
            write_module(aside, encoder, encode, signatures, files)
        warmup.write_requests(aside, requests)
        loaded = tf.saved_model.load(str(aside))
        _check(encoder, loaded, example_shape, head, columns)
        warmup.replay(aside, loaded.signatures)

    return write_version(folder, write)


def input_spec(example_shape: Sequence[int]) -> tf.TensorSpec:
    """Name, shape and type of what the signatures take: `image` or `row`."""
    if len(example_shape) == 3:
        return tf.TensorSpec((None, *example_shape), tf.uint8, name="image")
    return tf.TensorSpec((None, *example_shape), tf.float32, name="row")


def make_encode(encoder: Callable[..., Any], example_shape: Sequence[int]) -> Any:
    """A `tf.function` from float32 examples to float32 representations.

    Args:
        encoder: as of `export_savedmodel`.
        example_shape: likewise.
    """
    spec = input_spec(example_shape)

    # Not compiled by XLA: nothing that reads the file needs to know of it.
    @tf.function(
        input_signature=[tf.TensorSpec(spec.shape, tf.float32, name=spec.name)],
        jit_compile=False,
    )
    def encode(examples):
        return tf.cast(encoder(examples, training=False), tf.float32)

    return encode


def write_module(
    path: pathlib.Path,
    encoder: Callable[..., Any],
    encode: Any,
    signatures: Mapping[str, Any],
    files: Sequence[pathlib.Path] = (),
) -> None:
    """Writes a SavedModel of some functions of an encoder.

    Args:
        path: its folder.
        encoder: whose variables go along.
        encode: of it, as `make_encode` gives it; who loads it may call it.
        signatures: `tf.function`s by name.
        files: that become its assets.
    """
    module = tf.Module()
    module.encoder_variables = variables_of(encoder)
    module.encode = encode
    module.files = [tf.saved_model.Asset(str(file)) for file in files]
    tf.saved_model.save(module, str(path), signatures=dict(signatures))


def _make_signatures(encode, example_shape, head, class_names, columns):
    """What `export_savedmodel` writes, as `tf.function`s by the signature's name."""
    spec = input_spec(example_shape)

    def checked(examples):
        # Servers don't look at the shape, and the network would take another.
        return tf.cast(tf.ensure_shape(_some(examples), spec.shape), tf.float32)

    def represent(examples):
        rows = encode(checked(examples))
        return {
            "representation": rows,
            "unit_representation": tf.math.l2_normalize(rows, axis=-1),
        }

    def classify(examples):
        return _classes(encode(checked(examples)), head, class_names)

    answers = {"serving_default": represent}
    if head is not None:
        answers["classify"] = classify
    signatures = {name: _signature(f, spec) for name, f in answers.items()}
    others = {"serving_default": "serving", "classify": "classify"}
    for name, answer in answers.items():
        if len(example_shape) == 3:
            content = tf.TensorSpec((None,), tf.string, name="image_bytes")
            of_bytes = _of_bytes(answer, example_shape)
            signatures[f"{others[name]}_bytes"] = _signature(of_bytes, content)
        if columns is not None:
            cells = tf.TensorSpec((None, len(columns)), tf.string, name="cells")
            of_cells = _of_cells(answer, columns)
            signatures[f"{others[name]}_cells"] = _signature(of_cells, cells)
    return signatures


def _signature(answer, spec):
    """A function of one input as a `tf.function`, its input named as in `spec`."""
    return tf.function(answer, input_signature=[spec], jit_compile=False)


def _of_bytes(answer, example_shape):
    def of_bytes(image_bytes):
        return answer(decode_images(_some(image_bytes), example_shape))

    return of_bytes


def _of_cells(answer, columns):
    def of_cells(cells):
        return answer(decode_cells(_some(cells), columns))

    return of_cells


def _some(examples):
    """The same examples, or an error for a batch without any."""
    message = "Expected a batch of one example or more. Received: an empty one."
    some = tf.debugging.Assert(tf.shape(examples)[0] > 0, [message])
    with tf.control_dependencies([some]):
        return tf.identity(examples)


def _classes(rows, head, class_names):
    logits = (rows - head.mean) / head.scale @ head.weights + head.biases
    probabilities = tf.nn.softmax(logits)
    probabilities, order = tf.math.top_k(probabilities, k=len(class_names))
    names = tf.gather(tf.constant(list(class_names)), order)
    return {"class_names": names, "probabilities": probabilities}


def _check(encoder, loaded, example_shape, head, columns):
    """Asks every signature of what was written, and the encoder."""
    examples = _examples(example_shape, columns)
    rows = np.asarray(encoder(tf.constant(examples), training=False), np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    expected = {
        "representation": rows,
        "unit_representation": rows / np.where(lengths > 0, lengths, 1),
    }
    if head is not None:
        logits = head.scores(rows).astype(np.float64)
        expected["probabilities"] = -np.sort(-softmax(logits, axis=1), axis=1)
    for name, signature in loaded.signatures.items():
        given = tf.constant(examples)
        if name.endswith("_bytes"):
            given = tf.stack([tf.io.encode_png(image) for image in examples])
        if name.endswith("_cells"):
            given = tf.constant(encode_cells(examples, columns))
        (argument,) = signature.structured_input_signature[1]
        answers = signature(**{argument: given})
        for output in set(answers) & set(expected):
            _compare(f"{name}'s {output}", answers[output].numpy(), expected[output])


def _examples(example_shape, columns):
    """Some that the encoder can be asked about: noise, and codes of categories."""
    random = np.random.default_rng(0)
    shape = (_CHECKED_EXAMPLES, *example_shape)
    dtype = input_spec(example_shape).dtype.as_numpy_dtype
    examples = random.integers(0, 256, shape).astype(dtype)
    for place, column in enumerate(columns or ()):
        if column.categories is not None:
            examples[:, place] %= len(column.categories)
    return examples


def _compare(what, received, expected):
    difference = np.abs(received - expected).max()
    largest = np.abs(expected).max()
    if not difference <= _TOLERANCE * max(largest, 1e-12):
        raise FloatingPointError(
            "Expected the written SavedModel to give the encoder's numbers. Received: "
            f"a difference of {difference:.3g} in {what}, whose largest number is "
            f"{largest:.3g}. Nothing was replaced."
        )
