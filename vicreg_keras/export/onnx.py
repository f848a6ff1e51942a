"""The ONNX file for runtimes outside of TensorFlow.

Needs the packages tf2onnx and onnxruntime, which nothing else here needs.
"""

import logging
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vicreg_keras.errors import check_packages
from vicreg_keras.export.compare import FileEncoder, Variant
from vicreg_keras.export.savedmodel import DEFAULT_SIGNATURE, write_default_signature

VARIANTS = {"encoder": Variant("ONNX", 0.9999, tolerance=1e-4)}

_OPSET = 17
PACKAGES = {"tf2onnx": "tf2onnx", "onnxruntime": "onnxruntime"}


def convert(encoder: Callable[..., Any], example_shape: Sequence[int]) -> bytes:
    """Returns the content of an ONNX file.

    It takes `image`, uint8 pixels in [0, 255], or `row`, float32 tabular examples, in
    batches of any size, and returns `representation`.

    Args:
        encoder: Called as `encoder(examples, training=False)`.
        example_shape: `(height, width, 3)` or `(num_columns,)`.

    Raises:
        InputError: If a package is missing.
    """
    check_packages("format=onnx", PACKAGES)
    import tf2onnx

    for name in ("tf2onnx", "tensorflow"):  # They report their own internals.
        logging.getLogger(name).setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        # A graph that was read from a file holds its constants in one piece.
        write_default_signature(folder, encoder, example_shape)
        graph, inputs, outputs, names = tf2onnx.tf_loader.from_saved_model(
            folder,
            None,
            None,
            tag="serve",
            signatures=[DEFAULT_SIGNATURE],
            return_tensors_to_rename=True,
        )
        model, _ = tf2onnx.convert.from_graph_def(
            graph,
            input_names=inputs,
            output_names=outputs,
            tensors_to_rename=names,
            opset=_OPSET,
            custom_op_handlers={"Erfc": (_convert_erfc, [])},
        )
    return model.SerializeToString()


class OnnxEncoder(FileEncoder):
    """An ONNX file of an encoder.

    Args:
        content: Content of the file.
    """

    def __init__(self, content: bytes):
        import onnxruntime

        self._session = onnxruntime.InferenceSession(
            content, providers=["CPUExecutionProvider"]
        )

    def __call__(self, examples: np.ndarray) -> np.ndarray:
        (spec,) = self._session.get_inputs()
        (representations,) = self._session.run(None, {spec.name: examples})
        return representations


def _convert_erfc(graph, node, name, _):
    """Writes erfc, which TensorFlow's GELU uses and ONNX lacks, as 1 - erf."""
    node.type, node.domain = "Erf", ""
    one = graph.make_const(f"{name}_one", np.array(1, np.float32)).output[0]
    erf = node.output[0]
    difference = graph.insert_new_node_on_output("Sub", erf, name=f"{name}_difference")
    graph.replace_inputs(difference, [one, erf])
