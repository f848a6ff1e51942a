"""A double of TensorFlow Serving, for the clients of examples/serving.

It speaks gRPC on the official messages, and REST in the row format, over a folder of
numbered SavedModels that TensorFlow itself reads. What it refuses, and in which words,
is taken from TensorFlow Serving's source: predict_util.cc, get_model_metadata_impl.cc,
json_tensor.cc, http_rest_api_handler.cc and http_server.cc.

It does not imitate: batching, warm-up, version labels and policies, several models,
loading in the background (each request finds the newest version by itself),
Classify, Regress, MultiInference, REST's columnar format and metadata, compression,
and the words of the session's own errors, such as that of a wrong type.
"""

import concurrent.futures
import http.server
import json
import pathlib
import re
import threading

import grpc
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tests.examples.rest_json import Refusal, escape, inputs, invalid, parse

DEFAULT_SIGNATURE = "serving_default"

# gRPC's codes to HTTP's, those that occur here.
_HTTP_STATUSES = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.UNIMPLEMENTED: 501,
}
_CODES = {code.value[0]: code for code in grpc.StatusCode}


class Models:
    """One model's numbered versions, read as they are asked for."""

    def __init__(self, name, folder):
        self._name = name
        self._folder = pathlib.Path(folder)
        self._loaded = {}
        self._lock = threading.Lock()

    def find(self, name, version=None):
        """The version that is served, its number and its signatures."""
        children = self._folder.iterdir() if self._folder.is_dir() else ()
        numbers = [int(child.name) for child in children if child.name.isdecimal()]
        newest = max(numbers, default=None)
        if name != self._name or newest is None or version not in (None, newest):
            what = (
                f"Latest({name})" if version is None else f"Specific({name}, {version})"
            )
            message = f"Servable not found for request: {what}"
            raise Refusal(grpc.StatusCode.NOT_FOUND, message)
        with self._lock:
            if newest not in self._loaded:
                path = str(self._folder / str(newest))
                self._loaded[newest] = tf.saved_model.load(path)
        return newest, self._loaded[newest].signatures

    def signature_defs(self, number):
        """As the file has them."""
        content = (self._folder / str(number) / "saved_model.pb").read_bytes()
        return (
            saved_model_pb2.SavedModel.FromString(content).meta_graphs[0].signature_def
        )


def run_signature(signature, inputs):
    """Outputs by name, of inputs by name as arrays."""
    specs = signature.structured_input_signature[1]
    sent, known = sorted(inputs), sorted(specs)
    if len(sent) != len(known):
        extra = ",".join(sorted(set(sent) - set(known)))
        missing = ",".join(sorted(set(known) - set(sent)))
        raise invalid(
            f"input size does not match signature: {len(sent)}!={len(known)} "
            f"len({{{','.join(sent)}}}) != len({{{','.join(known)}}}). Sent extra: "
            f"{{{extra}}}. Missing but required: {{{missing}}}."
        )
    for name, array in inputs.items():
        if name not in specs:
            raise invalid(
                f"input tensor alias not found in signature: {name}. Inputs expected "
                f"to be in the set {{{','.join(known)}}}."
            )
        given = tf.constant(array)
        if given.dtype != specs[name].dtype or not specs[name].shape.is_compatible_with(
            given.shape
        ):
            raise invalid(f"{name} is {given.dtype.name} {given.shape}: {specs[name]}")
    try:
        outputs = signature(**{name: tf.constant(a) for name, a in inputs.items()})
    except tf.errors.OpError as error:
        raise Refusal(_CODES[error.error_code], error.message) from error
    return {name: output.numpy() for name, output in outputs.items()}


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """The gRPC interface."""

    def __init__(self, models):
        self._models = models

    def Predict(self, request, context):  # noqa: N802  gRPC's name.
        return _answer(context, lambda: self._predict(request))

    def GetModelMetadata(self, request, context):  # noqa: N802  gRPC's name.
        return _answer(context, lambda: self._metadata(request))

    def _predict(self, request):
        number, signatures = self._models.find(*_wanted(request.model_spec))
        name = request.model_spec.signature_name or DEFAULT_SIGNATURE
        if name not in signatures:
            message = f'Serving signature key "{name}" not found.'
            raise Refusal(grpc.StatusCode.FAILED_PRECONDITION, message)
        inputs = {name: tf.make_ndarray(t) for name, t in request.inputs.items()}
        outputs = run_signature(signatures[name], inputs)
        for output in request.output_filter:
            if output not in outputs:
                known = ",".join(sorted(outputs))
                raise invalid(
                    f"output tensor alias not found in signature: {output} Outputs "
                    f"expected to be in the set {{{known}}}."
                )
        response = predict_pb2.PredictResponse()
        _fill(response.model_spec, request.model_spec.name, number)
        response.model_spec.signature_name = name
        for output in request.output_filter or outputs:
            _write(response.outputs[output], outputs[output])
        return response

    def _metadata(self, request):
        if not request.HasField("model_spec"):
            raise invalid("Missing ModelSpec")
        if not request.metadata_field:
            raise invalid(
                "GetModelMetadataRequest must specify at least one metadata_field"
            )
        if set(request.metadata_field) != {"signature_def"}:
            raise invalid(
                f"Metadata field {request.metadata_field[0]} is not supported"
            )
        number, _ = self._models.find(*_wanted(request.model_spec))
        signatures = get_model_metadata_pb2.SignatureDefMap()
        for name, definition in self._models.signature_defs(number).items():
            signatures.signature_def[name].CopyFrom(definition)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        _fill(response.model_spec, request.model_spec.name, number)
        response.metadata["signature_def"].Pack(signatures)
        return response


def _wanted(model_spec):
    version = model_spec.version.value if model_spec.HasField("version") else None
    return model_spec.name, version


def _fill(model_spec, name, number):
    model_spec.name = name
    model_spec.version.value = number


def _write(tensor, array):
    """Value by value, as TensorFlow Serving does unless it is told otherwise."""
    tensor.dtype = tf.as_dtype(array.dtype).as_datatype_enum
    for size in array.shape:
        tensor.tensor_shape.dim.add(size=size)
    values = tensor.string_val if array.dtype == object else tensor.float_val
    values.extend(array.ravel().tolist())


def _answer(context, work):
    try:
        return work()
    except Refusal as refusal:
        context.abort(refusal.code, refusal.message)


class RestHandler(http.server.BaseHTTPRequestHandler):
    """The REST interface; `models` is set by the double."""

    def do_POST(self):  # noqa: N802  http.server's name.
        length = int(self.headers["Content-Length"])
        self._answer(self._predict, self.rfile.read(length))

    def do_GET(self):  # noqa: N802  http.server's name.
        self._answer(self._status)

    def log_message(self, *_):
        pass

    def _answer(self, work, *arguments):
        try:
            status, text = 200, json.dumps(work(*arguments))
        except Refusal as refusal:
            status = _HTTP_STATUSES.get(refusal.code, 500)
            text = f'{{ "error": "{escape(refusal.message)}" }}'
        content = text.encode("utf-8")
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _predict(self, body):
        signatures = self._find(r"/v1/models/([^/:]+)(?:/versions/(\d+))?:predict")[1]
        request = parse(body)
        name = request.get("signature_name", "") or DEFAULT_SIGNATURE
        if name not in signatures:
            raise invalid(
                f'Serving signature name: "{name}" not found in signature def'
            )
        specs = signatures[name].structured_input_signature[1]
        outputs = run_signature(signatures[name], inputs(request, specs))
        rows = [
            {name: _plain(output[i]) for name, output in outputs.items()}
            for i in range(len(next(iter(outputs.values()))))
        ]
        if len(outputs) == 1:  # Then without its name.
            rows = [next(iter(row.values())) for row in rows]
        return {"predictions": rows}

    def _status(self):
        try:
            number, _ = self._find(r"/v1/models/([^/:]+)(?:/versions/(\d+))?")
        except Refusal as refusal:
            if refusal.code is grpc.StatusCode.NOT_FOUND:
                name = self.path.split("/")[3]
                message = f"Could not find any versions of model {name}"
                raise Refusal(refusal.code, message) from refusal
            raise
        status = {"error_code": "OK", "error_message": ""}
        entry = {"version": str(number), "state": "AVAILABLE", "status": status}
        return {"model_version_status": [entry]}

    def _find(self, pattern):
        match = re.fullmatch(pattern, self.path)
        if not match:
            raise invalid(f"Malformed request: {self.command} {self.path}")
        name, version = match.groups()
        return self.models.find(name, version and int(version))


def _plain(array):
    if array.dtype == object:
        return [text.decode("utf-8") for text in array.ravel()]
    return array.tolist()


class ServingDouble:
    """Both interfaces on free ports of this machine, while in a `with` block.

    Args:
        folder: Of the numbered SavedModels.
        name: The model's.

    Attributes:
        grpc, rest: Their addresses, `HOST:PORT`.
    """

    def __init__(self, folder, name="encoder"):
        models = Models(name, folder)
        pool = concurrent.futures.ThreadPoolExecutor(2)
        # As TensorFlow Serving sets it: requests of any size.
        options = [("grpc.max_receive_message_length", -1)]
        self._grpc = grpc.server(pool, options=options)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            PredictionService(models), self._grpc
        )
        self.grpc = f"127.0.0.1:{self._grpc.add_insecure_port('127.0.0.1:0')}"
        handler = type("Handler", (RestHandler,), {"models": models})
        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.rest = f"127.0.0.1:{self._http.server_port}"

    def __enter__(self):
        self._grpc.start()
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._grpc.stop(None).wait()
        self._http.shutdown()
        self._http.server_close()
