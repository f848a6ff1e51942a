"""Nearest images of a photo, by TensorFlow Serving's gRPC interface.

    python examples/serving/grpc_client.py photo.jpg --index=runs/cifar10/index/cifar10

It needs numpy, faiss, Pillow and tensorflow-serving-api, which brings grpcio along, and
neighbors.py and neighbor_index.py.
"""

import importlib.util
import sys
import types

import grpc
import neighbors

# The messages lie in TensorFlow's package and need nothing else of it: a stand-in with
# the package's path spares the seconds that importing TensorFlow takes. A program that
# uses TensorFlow itself does without these three lines.
_package = types.ModuleType("tensorflow")
_package.__path__ = importlib.util.find_spec("tensorflow").submodule_search_locations
sys.modules.setdefault("tensorflow", _package)

from tensorflow.core.framework import types_pb2  # noqa: E402
from tensorflow_serving.apis import (  # noqa: E402
    predict_pb2,
    prediction_service_pb2_grpc,
)

_SILENT = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


def connect(server: str, timeout: float) -> neighbors.Ask:
    """Returns a function that asks a server about one photo.

    Args:
        server: `HOST:PORT` of its gRPC interface.
        timeout: Seconds until the answer must be there.

    Returns:
        A function that raises `ConnectionError` where no answer comes, and
        `ValueError` where the server refuses.
    """
    channel = grpc.insecure_channel(server)
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

    def ask(signature, content):
        request = predict_pb2.PredictRequest()
        request.model_spec.name = neighbors.MODEL
        request.model_spec.signature_name = signature
        tensor = request.inputs["image_bytes"]
        tensor.dtype = types_pb2.DT_STRING
        tensor.tensor_shape.dim.add(size=1)  # (batch,)
        tensor.string_val.append(content)
        try:
            response = stub.Predict(request, timeout=timeout)
        except grpc.RpcError as error:
            code, text = error.code(), error.details()
            if code in _SILENT:
                raise ConnectionError(
                    f"Expected TensorFlow Serving's gRPC interface at {server}. "
                    f"Received: {code.name}, {text}. Start it, or say "
                    "--server=HOST:PORT or a larger --timeout."
                ) from error
            raise ValueError(
                f"Expected an answer of the model {neighbors.MODEL} at {server}. "
                f"Received: {code.name}, {text}"
            ) from error
        return {name: _values(output) for name, output in response.outputs.items()}

    return ask


def _values(output):
    """What a tensor holds, all of one photo: texts, or numbers."""
    if output.dtype == types_pb2.DT_STRING:
        return [text.decode("utf-8") for text in output.string_val]
    return output.float_val


if __name__ == "__main__":
    neighbors.run(__doc__.partition("\n")[0], 8500, connect)
