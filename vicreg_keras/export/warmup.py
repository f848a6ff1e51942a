"""Warm-up requests that TensorFlow Serving replays as it loads a SavedModel.

So no client waits for what TensorFlow does in the first call only.

Reference:
    TensorFlow Serving, "SavedModel Warmup": the file `assets.extra/
    tf_serving_warmup_requests`, a TFRecord of `PredictionLog`s.
"""

import pathlib
from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

MODEL_NAME = "encoder"

FILE = pathlib.Path("assets.extra") / "tf_serving_warmup_requests"


def write_requests(
    path: pathlib.Path, signatures: Mapping[str, Any], inputs: Mapping[str, tf.Tensor]
) -> None:
    """Writes one request for each signature where TensorFlow Serving looks for them.

    Args:
        path: Folder of the SavedModel.
        signatures: `tf.function`s of one input, by name.
        inputs: A batch for each input by its name; the first of it is sent.
    """
    file = path / FILE
    file.parent.mkdir()
    with tf.io.TFRecordWriter(str(file)) as writer:
        for signature, function in signatures.items():
            (spec,) = function.input_signature
            request = predict_pb2.PredictRequest()
            request.model_spec.name = MODEL_NAME
            request.model_spec.signature_name = signature
            example = tf.make_tensor_proto(inputs[spec.name][:1])
            request.inputs[spec.name].CopyFrom(example)
            log = prediction_log_pb2.PredictLog(request=request)
            record = prediction_log_pb2.PredictionLog(predict_log=log)
            writer.write(record.SerializeToString())
