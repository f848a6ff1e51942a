"""The ONNX file: what runtimes outside TensorFlow read.

Needs the packages tf2onnx and onnxruntime, which the rest does without.
"""

import importlib.util
import logging
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from vicreg_keras.export.savedmodel import input_spec, make_encode, write_module

TOLERANCE = 1e-4  # Of the largest number in a representation.

_OPSET = 17
_PACKAGES = ("tf2onnx", "onnxruntime")
_SIGNATURE = "serving_default"


def check_packages() -> None:
    """Refuses, before any work, to go on without the packages.

    Raises:
        ValueError: if one is missing.
    """
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(
            f"Expected the packages {' and '.join(_PACKAGES)} for ONNX files. "
            f"Received: no {', '.join(missing)}. Install them (pip install "
            f"{' '.join(missing)})."
        )


def convert(encoder: Callable[..., Any], example_shape: Sequence[int]) -> bytes:
    """The content of an ONNX file.

    It takes `image`, uint8 pixels in [0, 255] (or `row`, float32), of any batch size,
    and gives `representation`.

    Args:
        encoder: called as `encoder(examples, training=False)`.
        example_shape: `(height, width, 3)` or `(width,)`, of one example.

    Raises:
        ValueError: if a package is missing.
    """
    check_packages()
    import tf2onnx

    encode = make_encode(encoder, example_shape)

    @tf.function(input_signature=[input_spec(example_shape)], jit_compile=False)
    def serve(examples):
        return {"representation": encode(tf.cast(examples, tf.float32))}

    for name in ("tf2onnx", "tensorflow"):  # They tell of their own inner workings.
        logging.getLogger(name).setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        # A graph that was read from a file holds its constants in one piece.
        write_module(folder, encoder, encode, {_SIGNATURE: serve})
        graph, inputs, outputs, names = tf2onnx.tf_loader.from_saved_model(
            folder,
            None,
            None,
            tag="serve",
            signatures=[_SIGNATURE],
            return_tensors_to_rename=True,
        )
        model, _ = tf2onnx.convert.from_graph_def(
            graph,
            input_names=inputs,
            output_names=outputs,
            tensors_to_rename=names,
            opset=_OPSET,
            custom_op_handlers={"Erfc": (_write_erfc, [])},
        )
    return model.SerializeToString()


class OnnxEncoder:
    """An ONNX file of an encoder, called as every other encoder.

    Args:
        content: of the file.

    Attributes:
        example_shape: shape of one example.
    """

    def __init__(self, content: bytes):
        check_packages()
        import onnxruntime

        self._session = onnxruntime.InferenceSession(
            content, providers=["CPUExecutionProvider"]
        )
        (self._input,) = self._session.get_inputs()
        self.example_shape = tuple(self._input.shape[1:])

    def __call__(self, images: Any, training: bool = False) -> tf.Tensor:
        """Representations of examples.

        Args:
            images: `(N, height, width, 3)` in [0, 255], or rows.
            training: not used; a file is never trained.

        Returns:
            float32 tensor `(N, dim)`.
        """
        return tf.numpy_function(self.run, [images], tf.float32)

    def run(self, images: np.ndarray) -> np.ndarray:
        """As a call of the encoder, from NumPy to NumPy."""
        (rows,) = self._session.run(None, {self._input.name: images})
        return rows


def _write_erfc(graph, node, name, _):
    """ONNX has no erfc, which TensorFlow's GELU is made of: it is 1 - erf."""
    node.type, node.domain = "Erf", ""
    one = graph.make_const(f"{name}_one", np.array(1, np.float32)).output[0]
    erf = node.output[0]
    difference = graph.insert_new_node_on_output("Sub", erf, name=f"{name}_difference")
    graph.replace_inputs(difference, [one, erf])
