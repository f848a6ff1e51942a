"""Warm-up requests that TensorFlow Serving replays as it loads a SavedModel.

So no client waits for what TensorFlow does in the first call only.

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
    """Returns one request for each signature, of a gray or an empty example.

    Args:
        signatures: `tf.function`s of one input, by name.
        example_shape: `(height, width, 3)` or `(num_columns,)`.
    """
    requests = []
    for name, function in signatures.items():
        (spec,) = function.input_signature
        if spec.dtype == tf.string and len(example_shape) == 1:
            example = tf.fill((1, *example_shape), "")  # All values are missing.
        elif spec.dtype == tf.string:
            gray = np.full(example_shape, 128, np.uint8)
            example = tf.constant([tf.io.encode_png(gray).numpy()])
        else:
            example = tf.cast(tf.fill((1, *example_shape), 128), spec.dtype)
        request = predict_pb2.PredictRequest()
        request.model_spec.name = MODEL_NAME
        request.model_spec.signature_name = name
        request.inputs[spec.name].CopyFrom(tf.make_tensor_proto(example))
        requests.append(request)
    return requests


def write_requests(
    path: pathlib.Path, requests: Sequence[predict_pb2.PredictRequest]
) -> None:
    """Writes requests where TensorFlow Serving looks for them.

    Args:
        path: Folder of the SavedModel.
        requests: What `make_requests` returned.
    """
    file = path / _FILE
    file.parent.mkdir()
    with tf.io.TFRecordWriter(str(file)) as writer:
        for request in requests:
            log = prediction_log_pb2.PredictLog(request=request)
            record = prediction_log_pb2.PredictionLog(predict_log=log)
            writer.write(record.SerializeToString())


def read_requests(path: pathlib.Path) -> list[predict_pb2.PredictRequest]:
    """Returns the requests beside a SavedModel.

    Args:
        path: Folder of the SavedModel.
    """
    records = tf.data.TFRecordDataset(str(path / _FILE)).as_numpy_iterator()
    logs = map(prediction_log_pb2.PredictionLog.FromString, records)
    return [log.predict_log.request for log in logs]


def replay(path: pathlib.Path, signatures: Mapping[str, Any]) -> None:
    """Calls a SavedModel with its recorded requests; errors come through.

    Args:
        path: Folder of the SavedModel.
        signatures: What was loaded from there.
    """
    for request in read_requests(path):
        ((name, tensor),) = request.inputs.items()
        signature = signatures[request.model_spec.signature_name]
        signature(**{name: tf.constant(tf.make_ndarray(tensor))})
