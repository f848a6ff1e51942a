"""The SavedModel that servers and other programs load, a signature for each input.

A version appears whole or not at all, and only after it was loaded again and every
signature gave the encoder's own values.
"""

import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from scipy.special import softmax
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from vicreg_keras.data.card import DataCard
from vicreg_keras.errors import escape
from vicreg_keras.evaluate.features import compile_encoder
from vicreg_keras.evaluate.linear_probe import LinearHead
from vicreg_keras.evaluate.normalization import l2_normalize
from vicreg_keras.export.image_bytes import decode_images
from vicreg_keras.export.table_cells import decode_cells, encode_cells
from vicreg_keras.models.saved_encoder import CARD_FILE, variables_of
from vicreg_keras.workdir.recipe import RECIPE_FILE
from vicreg_keras.workdir.versions import write_version

CLASS_NAMES_FILE = "class_names.txt"
DEFAULT_SIGNATURE = "serving_default"
WARMUP_FILE = pathlib.Path("assets.extra") / "tf_serving_warmup_requests"

_TOLERANCE = 1e-4  # Of the largest value in a representation.
_NUM_CHECKED_EXAMPLES = 3

Function = Callable[..., Any]


def export_savedmodel(
    encoder: Function,
    folder: str | os.PathLike,
    example_shape: Sequence[int],
    *,
    class_names: Sequence[str] | None = None,
    recipe: str | None = None,
    head: LinearHead | None = None,
    card: DataCard | None = None,
) -> pathlib.Path:
    """Writes the next numbered version of an encoder.

    Its signatures by name, each from a batch to a batch:

    - `serving_default`: `image`, uint8 `(batch, height, width, 3)` in [0, 255], to
      `representation`, float32 `(batch, dim)`, and `unit_representation`, the same
      L2-normalized.
    - `serving_bytes`: `image_bytes`, `(batch,)` JPEG, PNG, GIF or BMP files of any
      size, to the same.
    - `classify` and `classify_bytes`, with a head: the same inputs to `class_names`,
      strings, and `probabilities`, float32, both `(batch, num_classes)` and the most
      probable first.

    For tables the input is `row`, float32 `(batch, num_columns)`, categories as their
    codes and NaN for missing values; `serving_cells` and `classify_cells` take `cells`,
    strings `(batch, num_columns)` as a file has them.

    The assets are, as far as they are given, `class_names.txt`, `data.json` (the card
    of the data, with the columns of a table) and `recipe.flags`. Warm-up requests for
    TensorFlow Serving are recorded beside them.

    Args:
        encoder: Called as `encoder(examples, training=False)`; takes pixels in
            [0, 255], or tabular examples.
        folder: Folder of the versions.
        example_shape: `(height, width, 3)` or `(num_columns,)`.
        class_names: Name of each class.
        recipe: Flags that the encoder was trained with.
        head: Adds the signatures that classify; needs `class_names`.
        card: Card of the data that the encoder was trained on.

    Returns:
        The version's folder, `folder/1` for the first.

    Raises:
        ValueError: If a head comes without one name for each of its classes.
        FloatingPointError: If the written signatures give other values than the
            encoder; earlier versions stay as they are.
    """
    if head is not None and len(class_names or ()) != len(head.biases):
        raise ValueError(
            f"Expected a name for each of the head's {len(head.biases)} classes. "
            f"Received: {class_names}."
        )
    columns = card and card.schema.columns
    inputs = _make_inputs(
        example_shape, columns, card.schema.max_pixel if card else 255
    )
    encode = compile_encoder(encoder, example_shape, tf.float32)
    signatures = _make_signatures(encode, inputs, head, class_names)
    examples = _make_examples(example_shape, columns)
    # By the inputs' names, as a program gives them to a signature.
    encoded = {one.spec.name: one.encode(examples) for one in inputs.values()}
    texts = {
        CLASS_NAMES_FILE: "".join(f"{escape(name)}\n" for name in class_names or ()),
        RECIPE_FILE: recipe,
        CARD_FILE: card and card.to_json() + "\n",
    }

    def write(version):
        _save(version, encoder, encode, signatures)
        for name, text in texts.items():
            if text:
                content = text.encode("utf-8", "surrogateescape")
                (version / "assets" / name).write_bytes(content)
        _write_warmup(version / WARMUP_FILE, signatures, encoded)
        _check(encoder, tf.saved_model.load(str(version)), examples, encoded, head)

    return write_version(folder, write)


def input_spec(
    example_shape: Sequence[int], dtype: tf.DType | None = None
) -> tf.TensorSpec:
    """Returns the signatures' input: `image`, uint8, or `row`, float32.

    Args:
        example_shape: See `export_savedmodel`.
        dtype: Another type than these.
    """
    kind = ("image", tf.uint8) if len(example_shape) == 3 else ("row", tf.float32)
    return tf.TensorSpec((None, *example_shape), dtype or kind[1], name=kind[0])


def write_default_signature(
    path: str | os.PathLike,
    encoder: Function,
    example_shape: Sequence[int],
    dtype: tf.DType | None = None,
) -> tf.TensorSpec:
    """Writes a SavedModel with `serving_default` alone, for a converter to read.

    Args:
        path: Folder of the SavedModel.
        encoder: See `export_savedmodel`.
        example_shape: Likewise.
        dtype: Type of the input; by default that of `input_spec`.

    Returns:
        Name, shape and type of the input.
    """
    spec = input_spec(example_shape, dtype)
    encode = compile_encoder(encoder, example_shape, tf.float32)

    @tf.function(input_signature=[spec], jit_compile=False)
    def serve(examples):
        return {"representation": encode(tf.cast(examples, tf.float32))}

    _save(path, encoder, encode, {DEFAULT_SIGNATURE: serve})
    return spec


def _save(path, encoder, encode, signatures):
    """Writes `tf.function`s by name, with the variables of the encoder."""
    module = tf.Module()
    module.encoder_variables = variables_of(encoder)
    module.encode = encode
    tf.saved_model.save(module, str(path), signatures=signatures)


class _Input(NamedTuple):
    """An input of signatures: how examples are decoded from it, and encoded for it."""

    spec: tf.TensorSpec
    decode: Function
    encode: Function


def _make_inputs(example_shape, columns, max_pixel):
    """Each kind of input by the suffix of its signatures' names."""
    spec = input_spec(example_shape)
    # Servers don't check the shape, and the network would take another.
    inputs = {"": _Input(spec, lambda x: tf.ensure_shape(x, spec.shape), tf.constant)}
    if len(example_shape) == 3:
        inputs["_bytes"] = _Input(
            tf.TensorSpec((None,), tf.string, name="image_bytes"),
            lambda content: decode_images(content, example_shape, max_pixel=max_pixel),
            lambda images: tf.stack([tf.io.encode_png(image) for image in images]),
        )
    if columns is not None:
        inputs["_cells"] = _Input(
            tf.TensorSpec((None, len(columns)), tf.string, name="cells"),
            lambda cells: decode_cells(cells, columns),
            lambda rows: tf.constant(encode_cells(rows, columns)),
        )
    return inputs


def _make_signatures(encode, inputs, head, class_names):
    """`tf.function`s by name: each kind of output from each kind of input."""

    def represent(examples):
        representations = encode(tf.cast(examples, tf.float32))
        return {
            "representation": representations,
            "unit_representation": tf.math.l2_normalize(representations, axis=-1),
        }

    def classify(examples):
        representations = represent(examples)["representation"]
        logits = (representations - head.mean) / head.scale @ head.weights + head.biases
        probabilities, order = tf.math.top_k(tf.nn.softmax(logits), len(class_names))
        names = tf.gather(tf.constant(list(class_names)), order)
        return {"class_names": names, "probabilities": probabilities}

    outputs = {"serving": represent}
    if head is not None:
        outputs["classify"] = classify
    signatures = {
        f"{name}{suffix}": _make_signature(one.spec, one.decode, answer)
        for name, answer in outputs.items()
        for suffix, one in inputs.items()
    }
    return {DEFAULT_SIGNATURE: signatures.pop("serving"), **signatures}


def _make_signature(spec, decode, answer):
    @tf.function(input_signature=[spec], jit_compile=False)
    def signature(examples):
        message = "Expected a batch of one example or more. Received: an empty one."
        not_empty = tf.debugging.Assert(tf.shape(examples)[0] > 0, [message])
        with tf.control_dependencies([not_empty]):
            return answer(decode(tf.identity(examples)))

    return signature


def _check(encoder, loaded, examples, encoded, head):
    """Compares every signature of a loaded SavedModel with the encoder."""
    representations = encoder(tf.constant(examples), training=False)
    representations = np.asarray(representations, np.float32)
    expected = {
        "representation": representations,
        "unit_representation": l2_normalize(representations),
    }
    if head is not None:
        logits = head.scores(representations).astype(np.float64)
        expected["probabilities"] = -np.sort(-softmax(logits, axis=1), axis=1)
    for name, signature in loaded.signatures.items():
        (argument,) = signature.structured_input_signature[1]
        outputs = signature(**{argument: encoded[argument]})
        for output in set(outputs) & set(expected):
            difference = np.abs(outputs[output].numpy() - expected[output]).max()
            max_value = np.abs(expected[output]).max()
            if not difference <= _TOLERANCE * max(max_value, 1e-12):
                raise FloatingPointError(
                    "Expected the written SavedModel to give the encoder's values. "
                    f"Received: a difference of {difference:.3g} in {name}'s {output}, "
                    f"whose largest value is {max_value:.3g}. Nothing was replaced."
                )


def _write_warmup(path, signatures, encoded):
    """Writes one request for each signature, of one example.

    TensorFlow Serving replays them as it loads a SavedModel, so that no client waits
    for what TensorFlow does in the first call only.

    Reference:
        TensorFlow Serving, "SavedModel Warmup": a TFRecord of `PredictionLog`s.
    """
    path.parent.mkdir()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for name, signature in signatures.items():
            (spec,) = signature.input_signature
            request = predict_pb2.PredictRequest()
            request.model_spec.name = "encoder"
            request.model_spec.signature_name = name
            example = tf.make_tensor_proto(encoded[spec.name][:1])
            request.inputs[spec.name].CopyFrom(example)
            log = prediction_log_pb2.PredictLog(request=request)
            record = prediction_log_pb2.PredictionLog(predict_log=log)
            writer.write(record.SerializeToString())


def _make_examples(example_shape, columns):
    """Noise as examples, in a table of each column's kind."""
    random = np.random.default_rng(0)
    shape = (_NUM_CHECKED_EXAMPLES, *example_shape)
    dtype = input_spec(example_shape).dtype.as_numpy_dtype
    examples = random.integers(0, 256, shape).astype(dtype)
    for number, column in enumerate(columns or ()):
        if column.categories is not None:
            examples[:, number] %= len(column.categories)
        elif column.kind == "truth":
            examples[:, number] %= 2
        elif column.kind == "times of day":
            examples[:, number] /= 256
    return examples
