"""The double of TensorFlow Serving refuses what the real one refuses."""

import json
import urllib.error
import urllib.request

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tests.examples.run_folder import SHAPE

IMAGES = np.random.default_rng(3).integers(0, 256, (2, *SHAPE)).astype("uint8")


def predict(server, inputs, name="encoder", signature="", version=None, outputs=()):
    request = predict_pb2.PredictRequest(output_filter=outputs)
    request.model_spec.name, request.model_spec.signature_name = name, signature
    if version:
        request.model_spec.version.value = version
    for key, array in inputs.items():
        request.inputs[key].CopyFrom(tf.make_tensor_proto(array))
    with grpc.insecure_channel(server.grpc) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        return stub.Predict(request, timeout=10)


def rest(server, path, body=None):
    """Status and JSON of an answer."""
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(f"http://{server.rest}{path}", data) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_pixels_by_grpc_and_by_rest_are_the_encoders_numbers(photo_run, server):
    expected = np.asarray(photo_run.encoder(IMAGES))
    response = predict(server, {"image": IMAGES}, outputs=["representation"])
    (name,) = response.outputs
    assert (name, response.model_spec.version.value) == ("representation", 1)
    received = tf.make_ndarray(response.outputs[name])
    np.testing.assert_allclose(received, expected, rtol=1e-4)
    for path in ("/v1/models/encoder:predict", "/v1/models/encoder/versions/1:predict"):
        status, answer = rest(server, path, {"instances": IMAGES.tolist()})
        assert status == 200
        received = [row["representation"] for row in answer["predictions"]]
        np.testing.assert_allclose(received, expected, rtol=1e-4)


def test_what_grpc_refuses(server):
    image = {"image": IMAGES}
    for code, words, options in (
        ("NOT_FOUND", r"Latest\(other\)", {"inputs": image, "name": "other"}),
        ("NOT_FOUND", r"Specific\(encoder, 7\)", {"inputs": image, "version": 7}),
        ("FAILED_PRECONDITION", '"no" not', {"inputs": image, "signature": "no"}),
        ("INVALID_ARGUMENT", r"Missing but required: {image}", {"inputs": {}}),
        ("INVALID_ARGUMENT", r"alias not found .*: pic", {"inputs": {"pic": IMAGES}}),
        ("INVALID_ARGUMENT", "float32", {"inputs": {"image": IMAGES / np.float32(2)}}),
        ("INVALID_ARGUMENT", "batch of one", {"inputs": {"image": IMAGES[:0]}}),
        ("INVALID_ARGUMENT", "alias not", {"inputs": image, "outputs": ["none"]}),
    ):
        with pytest.raises(grpc.RpcError, match=words) as caught:
            predict(server, **options)
        assert caught.value.code().name == code


def test_what_rest_refuses(server):
    path = "/v1/models/encoder:predict"
    for status, words, asked, body in (
        (404, "Latest(other)", "/v1/models/other:predict", {"instances": [1]}),
        (400, "Malformed", "/v1/models/encoder:classify", {"instances": [1]}),
        (400, "not found in signature", path, {"signature_name": "no"}),
        (400, "Missing 'inputs'", path, {}),
        (400, "No values", path, {"instances": []}),
        (400, "only have keys: image", path, {"instances": [{"picture": 1}]}),
        (400, "same shape", path, {"instances": [[1], [1, 2]]}),
        (400, "expected type: uint8", path, {"instances": [[256]]}),
        (400, "expected type: uint8", path, {"instances": [[0.5]]}),
        (404, "any versions of model other", "/v1/models/other", None),
    ):
        received, text = rest(server, asked, body)
        assert received == status
        assert words.replace("'", "\\'") in text


def test_status_and_metadata(server):
    status, answer = rest(server, "/v1/models/encoder")
    (version,) = answer["model_version_status"]
    assert (status, version["version"], version["state"]) == (200, "1", "AVAILABLE")
    request = get_model_metadata_pb2.GetModelMetadataRequest()
    request.model_spec.name = "encoder"
    with grpc.insecure_channel(server.grpc) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        with pytest.raises(grpc.RpcError, match="at least one metadata_field"):
            stub.GetModelMetadata(request)
        request.metadata_field.append("signature_def")
        response = stub.GetModelMetadata(request)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    response.metadata["signature_def"].Unpack(signatures)
    signature = signatures.signature_def["serving_bytes"]
    assert list(signature.inputs) == ["image_bytes"]
    assert set(signature.outputs) == {"representation", "unit_representation"}
