"""What does TensorFlow Serving ask a SavedModel before the first client does?

Requests recorded beside the model are replayed as it is loaded, so that no client
waits for what TensorFlow does once only.

Reference:
    TensorFlow Serving, "SavedModel Warmup": the file `assets.extra/
    tf_serving_warmup_requests`, a TFRecord of `PredictionLog`s.
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

MODEL_NAME = "encoder"

_FILE = pathlib.Path("assets.extra") / "tf_serving_warmup_requests"


def make_requests(
    signatures: Mapping[str, Any], example_shape: Sequence[int]
) -> list[predict_pb2.PredictRequest]:
    """One request of one example for each signature; the example is a gray one.

    Args:
        signatures: `tf.function`s of one input, by name.
        example_shape: `(height, width, 3)` or `(width,)`.
    """
    return [
        _request(name, function.input_signature[0], example_shape)
        for name, function in signatures.items()
    ]


def write_requests(
    path: pathlib.Path, requests: Sequence[predict_pb2.PredictRequest]
) -> None:
    """Writes them where TensorFlow Serving looks for them.

    Args:
        path: of the SavedModel.
        requests: as `make_requests` gives them.
    """
    file = path / _FILE
    file.parent.mkdir()
    with tf.io.TFRecordWriter(str(file)) as writer:
        for request in requests:
            log = prediction_log_pb2.PredictLog(request=request)
            record = prediction_log_pb2.PredictionLog(predict_log=log)
            writer.write(record.SerializeToString())


def read_requests(path: pathlib.Path) -> list[predict_pb2.PredictRequest]:
    """The requests that lie beside a SavedModel.

    Args:
        path: of the SavedModel.
    """
    records = tf.data.TFRecordDataset(str(path / _FILE)).as_numpy_iterator()
    parsed = map(prediction_log_pb2.PredictionLog.FromString, records)
    return [record.predict_log.request for record in parsed]


def replay(path: pathlib.Path, signatures: Mapping[str, Any]) -> None:
    """Asks a SavedModel what its recorded requests ask; an error comes through.

    Args:
        path: of the SavedModel.
        signatures: what was loaded from there.
    """
    for request in read_requests(path):
        inputs = {k: tf.constant(tf.make_ndarray(v)) for k, v in request.inputs.items()}
        signatures[request.model_spec.signature_name](**inputs)


def _request(name, spec, example_shape):
    if spec.dtype == tf.string and len(example_shape) == 1:
        example = tf.fill((1, *example_shape), "")  # All of it is missing.
    elif spec.dtype == tf.string:
        gray = np.full(example_shape, 128, np.uint8)
        example = tf.constant([tf.io.encode_png(gray).numpy()])
    else:
        example = tf.cast(tf.fill((1, *example_shape), 128), spec.dtype)
    request = predict_pb2.PredictRequest()
    request.model_spec.name = MODEL_NAME
    request.model_spec.signature_name = name
    request.inputs[spec.name].CopyFrom(tf.make_tensor_proto(example))
    return request
