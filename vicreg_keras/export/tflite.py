"""TFLite files: what a phone or a small computer runs.

Five of them, from the encoder's own numbers to integers throughout. What each one is
allowed to differ by stands beside it.
"""

import contextlib
import dataclasses
import os
import pathlib
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from vicreg_keras.export.savedmodel import input_spec, make_encode, write_module

_SIGNATURE = "serving_default"


@dataclasses.dataclass(frozen=True)
class Variant:
    """One way to write an encoder's numbers.

    Attributes:
        text: what it is, in a few words.
        min_cosine: between what the file and the encoder say of an image; below it
            the file is refused.
        tolerance: largest difference over the largest number, where there is a limit.
        optimized: whether weights are written smaller than float32.
        half: whether they are float16.
        calibrated: whether the range of every layer's output is learned from examples,
            so that it is computed in int8.
        integer_only: whether nothing at all is computed in floating point: pixels go
            in as uint8, the representation comes out as int8.
    """

    text: str
    min_cosine: float
    tolerance: float | None = None
    optimized: bool = True
    half: bool = False
    calibrated: bool = False
    integer_only: bool = False


VARIANTS = {
    "float32": Variant("as it is", 0.9999, tolerance=1e-5, optimized=False),
    "float16": Variant("weights in float16", 0.9999, half=True),
    "dynamic_range": Variant("weights in int8", 0.99),
    "int8": Variant("weights and layers in int8", 0.95, calibrated=True),
    "int8_only": Variant(
        "int8, nothing in floating point", 0.95, calibrated=True, integer_only=True
    ),
}


def convert(
    encoder: Callable[..., Any],
    example_shape: Sequence[int],
    variant: Variant,
    examples: np.ndarray | None = None,
) -> bytes:
    """The content of a TFLite file.

    Its signature `serving_default` takes `image` (or `row`), of any batch size, and
    gives `representation`. Pixels are uint8 in [0, 255].

    Args:
        encoder: called as `encoder(examples, training=False)`.
        example_shape: `(height, width, 3)` or `(width,)`, of one example.
        variant: of `VARIANTS`.
        examples: `(N, *example_shape)` of the training set, which a calibrated variant
            learns the range of every layer's output from.

    Raises:
        ValueError: if a calibrated variant gets no examples, or TensorFlow cannot
            convert this encoder.
    """
    if variant.calibrated and (examples is None or not len(examples)):
        raise ValueError(
            "Expected training examples to calibrate an int8 file with. Received: none."
        )
    encode = make_encode(encoder, example_shape)
    spec = input_spec(example_shape)
    if variant.integer_only:
        # Its input is quantized like any layer's: a cast would be left in the graph.
        spec = tf.TensorSpec(spec.shape, tf.float32, name=spec.name)

    @tf.function(input_signature=[spec], jit_compile=False)
    def serve(pixels):
        return {"representation": encode(tf.cast(pixels, tf.float32))}

    def calibration():
        for example in examples:
            yield {spec.name: example[np.newaxis].astype(spec.dtype.as_numpy_dtype)}

    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = pathlib.Path(folder)
        write_module(path, encoder, encode, {_SIGNATURE: serve})
        converter = tf.lite.TFLiteConverter.from_saved_model(
            folder, signature_keys=[_SIGNATURE]
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
            raise ValueError(
                "Expected an encoder that TensorFlow can write as a TFLite file. "
                f"Received: {variant.text}, which it cannot ({reason}). Leave this "
                "file out, or use another encoder."
            ) from error


class TFLiteEncoder:
    """A TFLite file of an encoder, called as every other encoder.

    Args:
        content: of the file.
        num_threads: that it runs on.

    Attributes:
        example_shape: shape of one example.
        dtypes: of its input and of its output, as NumPy names them.
    """

    def __init__(self, content: bytes, *, num_threads: int | None = None):
        from ai_edge_litert.interpreter import Interpreter

        with _quiet():
            self._interpreter = Interpreter(
                model_content=content, num_threads=num_threads or os.cpu_count()
            )
            self._interpreter.allocate_tensors()
        (self._input,) = self._interpreter.get_input_details()
        (self._output,) = self._interpreter.get_output_details()
        self.example_shape = tuple(self._input["shape_signature"][1:].tolist())
        self.dtypes = tuple(
            np.dtype(part["dtype"]).name for part in (self._input, self._output)
        )

    def __call__(self, images: Any, training: bool = False) -> tf.Tensor:
        """Representations of examples.

        Args:
            images: `(N, height, width, 3)` in [0, 255], or rows.
            training: not used; a file is never trained.

        Returns:
            float32 tensor `(N, dim)`; integers are brought back to what they stand
            for.
        """
        return tf.numpy_function(self.run, [images], tf.float32)

    def run(self, images: np.ndarray) -> np.ndarray:
        """As a call of the encoder, from NumPy to NumPy."""
        interpreter, index = self._interpreter, self._input["index"]
        shape = interpreter.get_input_details()[0]["shape"]
        if tuple(shape) != images.shape:
            interpreter.resize_tensor_input(index, images.shape, strict=True)
            interpreter.allocate_tensors()
        interpreter.set_tensor(index, _quantized(images, self._input))
        interpreter.invoke()
        rows = interpreter.get_tensor(self._output["index"])
        scale, zero_point = self._output["quantization"]
        if not scale:
            return rows
        return (rows.astype(np.float32) - zero_point) * np.float32(scale)


def _quantized(images, details):
    """Examples in a file's type; where it is one of integers, what they stand for."""
    scale, zero_point = details["quantization"]
    dtype = np.dtype(details["dtype"])
    if not scale:
        return images.astype(dtype)
    limits = np.iinfo(dtype)
    rounded = np.rint(images.astype(np.float32) / scale) + zero_point
    return np.clip(rounded, limits.min, limits.max).astype(dtype)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Drops what the converter and the runtime note on stderr, also from C++."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            os.dup2(nowhere.fileno(), 2)
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
