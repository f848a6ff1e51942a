"""Requests and answers of TensorFlow Serving's REST interface, in JSON."""

import base64
import binascii
import json

import grpc
import numpy as np
import tensorflow as tf


class Refusal(Exception):
    """A request that is not answered: a status code, and why."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code
        self.message = message


def invalid(message):
    return Refusal(grpc.StatusCode.INVALID_ARGUMENT, message)


def escape(text):
    """As `absl::CEscape` does; what it makes of an apostrophe is not JSON."""
    named = {
        "\n": "\\n",
        "\r": "\\r",
        "\t": "\\t",
        '"': '\\"',
        "'": "\\'",
        "\\": "\\\\",
    }
    octal = (f"\\{byte:03o}" if not 32 <= byte < 127 else "" for byte in text.encode())
    pairs = zip(text.encode(), octal, strict=True)
    return "".join(named.get(chr(byte)) or code or chr(byte) for byte, code in pairs)


def parse(body):
    try:
        request = json.loads(body)
    except ValueError as error:
        raise invalid(f"JSON Parse error: {error}") from error
    if not isinstance(request, dict):
        raise invalid("Request payload is malformed: Is not object")
    return request


def inputs(request, specs):
    """Arrays by the names of the signature's inputs, from rows."""
    instances = request.get("instances")
    if instances is None:
        raise invalid("Missing 'inputs' or 'instances' key")
    if not isinstance(instances, list) or not instances:
        raise invalid("No values in 'instances' array")
    rows = []
    for i, instance in enumerate(instances):
        if not isinstance(instance, dict) or set(instance) == {"b64"}:
            if len(specs) > 1:
                raise invalid(
                    "instances is a plain list, but expecting list of objects"
                )
            instance = {next(iter(specs)): instance}
        if set(instance) != set(specs):
            raise invalid(
                f"Failed to process element: {i} of 'instances' list. JSON object must "
                f"only have keys: {','.join(specs)}"
            )
        rows.append(
            {name: _array(instance[name], spec) for name, spec in specs.items()}
        )
    if any(row[name].shape != rows[0][name].shape for row in rows for name in specs):
        raise invalid("Expecting the same shape of all elements")
    return {name: np.stack([row[name] for row in rows]) for name in specs}


def _array(value, spec):
    """One instance's value; numbers and texts are not turned into each other."""
    if spec.dtype == tf.string:
        if isinstance(value, dict) and set(value) == {"b64"}:
            try:
                value = base64.b64decode(value["b64"], validate=True)
            except (binascii.Error, TypeError) as error:
                raise invalid("Unable to base64 decode") from error
        elif not isinstance(value, str):
            raise invalid(f"JSON Value: {value} Type: is not of expected type: string")
        return np.array(value, object)
    try:
        array = np.array(value)
        exact = array.astype(spec.dtype.as_numpy_dtype)
    except (ValueError, TypeError, OverflowError) as error:
        raise invalid(f"JSON Value: {error}") from error
    if array.dtype.kind not in "iuf" or (
        exact.dtype.kind != "f" and (exact != array).any()
    ):
        raise invalid(f"JSON Value is not of expected type: {spec.dtype.name}")
    return exact
