"""Nearest images of a photo by a TFLite file, without TensorFlow.

    python neighbors.py photo.jpg --model=int8.tflite --index=index/cifar10

For small machines such as a Raspberry Pi: it needs ai-edge-litert, numpy, faiss and
Pillow. Copy it there with neighbor_index.py, a file of RUN/tflite/N and
RUN/index/DATASET.
"""

import pathlib
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image, ImageOps

# In a checkout it is one folder up.
sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent))

from neighbor_index import PILLOW_ERRORS, Index, OneLineParser  # noqa: E402


def main() -> None:
    """Prints the neighbors of each photo."""
    parser = OneLineParser(description=__doc__.partition("\n")[0])
    parser.add_argument("photos", nargs="+", metavar="PHOTO", help="JPEG or PNG files")
    parser.add_argument("--model", required=True, metavar="FILE", help="a TFLite file")
    parser.add_argument(
        "--index", required=True, metavar="FOLDER", help="the run's index/DATASET"
    )
    parser.add_argument(
        "--neighbors", type=int, default=5, metavar="N", help="of each (%(default)s)"
    )
    options = parser.parse_args()
    try:
        if options.neighbors < 1:
            raise ValueError(
                f"Expected --neighbors of 1 or more. Received: {options.neighbors}."
            )
        encoder, index = Encoder(options.model), Index(options.index)
        for photo in options.photos:
            representation = encoder.encode(read_photo(photo, encoder.size))
            print(photo)
            for neighbor in index.nearest(representation, options.neighbors):
                print("  {:>4}  {:20}  {:16}  {:.4f}".format(*neighbor))
    except (ValueError, OSError) as error:
        parser.error(" ".join(str(error).split()))


class Encoder:
    """A TFLite file of an encoder, of any input and output type.

    Args:
        path: Path of the file.

    Attributes:
        size: `(width, height)` of its input.

    Raises:
        ValueError: If it cannot be read, or does not take one image.
    """

    def __init__(self, path: str):
        try:
            self._interpreter = Interpreter(model_path=path)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError, OSError) as error:
            raise ValueError(
                f"Expected a TFLite file. Received: {path} ({error})."
            ) from error
        self._input = self._interpreter.get_input_details()[0]
        self._output = self._interpreter.get_output_details()[0]
        shape = tuple(self._input["shape"].tolist())
        if len(shape) != 4 or (shape[0], shape[3]) != (1, 3):
            raise ValueError(
                "Expected a model that takes one image, (1, height, width, 3). "
                f"Received: {path}, which takes {shape}."
            )
        self.size = shape[2], shape[1]

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        """Returns an image's representation, `(dim,)` float32, L2-normalized.

        Args:
            pixels: uint8 `(height, width, 3)`.
        """
        numbers = quantize(pixels, self._input)[np.newaxis]
        self._interpreter.set_tensor(self._input["index"], numbers)
        self._interpreter.invoke()
        numbers = self._interpreter.get_tensor(self._output["index"])[0]
        representation = dequantize(numbers, self._output)
        return representation / max(np.linalg.norm(representation), 1e-12)


def quantize(values: np.ndarray, details: Mapping[str, Any]) -> np.ndarray:
    """Returns the numbers of an input that stand for values.

    Args:
        values: Values, such as pixels.
        details: Details of the input. A value is `scale * (number - zero)`; without a
            scale, numbers are values.
    """
    scale, zero = details["quantization"]
    numbers = values / scale + zero if scale else values
    if np.issubdtype(details["dtype"], np.integer):
        limits = np.iinfo(details["dtype"])
        numbers = np.clip(np.rint(numbers), limits.min, limits.max)
    return numbers.astype(details["dtype"])


def dequantize(numbers: np.ndarray, details: Mapping[str, Any]) -> np.ndarray:
    """Returns the float32 values of an output's numbers; see `quantize`."""
    scale, zero = details["quantization"]
    values = numbers.astype(np.float32)
    return (values - zero) * np.float32(scale) if scale else values


def read_photo(path: str, size: tuple[int, int]) -> np.ndarray:
    """Returns the pixels of a JPEG or PNG file, as images are read for training.

    Turned upright as its EXIF orientation says, put on white where it is transparent,
    cropped about the center to the size's ratio, and resized by a bilinear filter that
    widens as it shrinks.

    Args:
        path: Path of the file.
        size: `(width, height)` of the result.

    Returns:
        uint8 `(height, width, 3)`.

    Raises:
        ValueError: If it cannot be read, or is of another format.
    """
    try:
        with Image.open(path, formats=("JPEG", "PNG")) as image:
            image = ImageOps.exif_transpose(image)
            if image.has_transparency_data:
                image = image.convert("RGBA")
                white = Image.new("RGBA", image.size, "white")
                image = Image.alpha_composite(white, image)
            image = image.convert("RGB")
    except Image.UnidentifiedImageError:
        reason = "it is neither"
    except (*PILLOW_ERRORS, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or error
    else:
        return np.asarray(ImageOps.fit(image, size, Image.Resampling.BILINEAR))
    raise ValueError(f"Expected a JPEG or PNG file. Received: {path} ({reason}).")


if __name__ == "__main__":
    main()
