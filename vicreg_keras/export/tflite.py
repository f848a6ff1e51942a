"""TFLite files for phones and small computers.

There are five variants, from the encoder's own values to integers throughout, each with
the difference from the encoder that it may have.
"""

import dataclasses
import os
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from vicreg_keras.errors import InputError
from vicreg_keras.export.compare import FileEncoder, Variant
from vicreg_keras.export.savedmodel import DEFAULT_SIGNATURE, write_default_signature
from vicreg_keras.hardware.streams import silent_stderr


@dataclasses.dataclass(frozen=True)
class TFLiteVariant(Variant):
    """Arithmetic of a TFLite file.

    Attributes:
        optimized: Whether weights are smaller than float32.
        half: Whether weights are float16.
        integer_only: Whether nothing is computed in floating point: pixels are uint8,
            representations int8.
    """

    optimized: bool = True
    half: bool = False
    integer_only: bool = False


VARIANTS = {
    "float32": TFLiteVariant("as it is", 0.9999, tolerance=1e-5, optimized=False),
    "float16": TFLiteVariant("weights in float16", 0.9999, half=True),
    "dynamic_range": TFLiteVariant("weights in int8", 0.99),
    "int8": TFLiteVariant("weights and layers in int8", 0.95, calibrated=True),
    "int8_only": TFLiteVariant(
        "int8, nothing in floating point", 0.95, calibrated=True, integer_only=True
    ),
}


def convert(
    encoder: Callable[..., Any],
    example_shape: Sequence[int],
    variant: TFLiteVariant,
    examples: np.ndarray | None = None,
) -> bytes:
    """Returns the content of a TFLite file.

    Its signature `serving_default` takes `image`, uint8 pixels in [0, 255], or `row`,
    float32 tabular examples, in batches of any size, and returns `representation`.

    Args:
        encoder: Called as `encoder(examples, training=False)`.
        example_shape: `(height, width, 3)` or `(num_columns,)`.
        variant: One of `VARIANTS`.
        examples: Training examples `(N, *example_shape)`, from which a calibrated
            variant takes the range of each layer's output.

    Raises:
        InputError: If TensorFlow can't convert this encoder.
    """
    with tempfile.TemporaryDirectory() as folder, silent_stderr():
        # The input of integers is quantized like any layer's: a cast would be left.
        dtype = tf.float32 if variant.integer_only else None
        spec = write_default_signature(folder, encoder, example_shape, dtype)

        def calibration():
            for example in examples:
                yield {spec.name: example[np.newaxis].astype(spec.dtype.as_numpy_dtype)}

        converter = tf.lite.TFLiteConverter.from_saved_model(
            folder, signature_keys=[DEFAULT_SIGNATURE]
        )
        if variant.optimized:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if variant.half:
            converter.target_spec.supported_types = [tf.float16]
        if variant.calibrated:
            converter.representative_dataset = calibration
            integers = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.target_spec.supported_ops = integers
        if variant.integer_only:
            converter.inference_input_type = tf.uint8
            converter.inference_output_type = tf.int8
        try:
            return converter.convert()
        except Exception as error:  # Of several classes, without a common one.
            reason = " ".join(str(error).split())[:300]
            raise InputError(
                "Expected an encoder that TensorFlow can write as a TFLite file. "
                f"Received: {variant.description}, which it cannot ({reason}). Leave "
                "this file out, or use another encoder."
            ) from error


class TFLiteEncoder(FileEncoder):
    """A TFLite file of an encoder; integers are quantized and dequantized.

    Args:
        content: Content of the file.

    Attributes:
        input_dtype: NumPy's name of the input's type.
        output_dtype: NumPy's name of the output's type.
    """

    def __init__(self, content: bytes):
        from ai_edge_litert.interpreter import Interpreter

        with silent_stderr():
            self._interpreter = Interpreter(
                model_content=content, num_threads=os.cpu_count()
            )
            self._interpreter.allocate_tensors()
        (self._input,) = self._interpreter.get_input_details()
        (self._output,) = self._interpreter.get_output_details()
        self.input_dtype = np.dtype(self._input["dtype"]).name
        self.output_dtype = np.dtype(self._output["dtype"]).name

    def __call__(self, examples: np.ndarray) -> np.ndarray:
        interpreter, index = self._interpreter, self._input["index"]
        shape = interpreter.get_input_details()[0]["shape"]
        if tuple(shape) != examples.shape:
            interpreter.resize_tensor_input(index, examples.shape, strict=True)
            interpreter.allocate_tensors()
        interpreter.set_tensor(index, _quantize(examples, self._input))
        interpreter.invoke()
        outputs = interpreter.get_tensor(self._output["index"])
        scale, zero_point = self._output["quantization"]
        if not scale:
            return outputs
        return (outputs.astype(np.float32) - zero_point) * np.float32(scale)


def _quantize(examples, details):
    """Examples in the type of a file's input."""
    scale, zero_point = details["quantization"]
    dtype = np.dtype(details["dtype"])
    if not scale:
        return examples.astype(dtype)
    limits = np.iinfo(dtype)
    rounded = np.rint(examples.astype(np.float32) / scale) + zero_point
    return np.clip(rounded, limits.min, limits.max).astype(dtype)
