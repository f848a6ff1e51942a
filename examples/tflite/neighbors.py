"""Which images are nearest to a photo? Asks a TFLite file, without TensorFlow.

    python neighbors.py photo.jpg --model=int8.tflite --index=index/cifar10

For small machines such as a Raspberry Pi: it needs ai-edge-litert, numpy, faiss and
Pillow, and stands alone. Copy it there with a file of RUN/tflite/N and with
RUN/index/DATASET.
"""

import argparse
import json
import math
import pathlib
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import faiss
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image, ImageOps

# What Pillow raises for damaged files, the last two for damaged EXIF.
_PILLOW_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, TypeError)


def main() -> None:
    """Does what the command line asks for."""
    parser = _Parser(description=__doc__.partition("\n")[0])
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
            row = encoder.encode(read_photo(photo, encoder.size))
            print(photo)
            for neighbor in index.nearest(row, options.neighbors):
                print("  {:>4}  {:20}  {:16}  {:.4f}".format(*neighbor))
    except (ValueError, OSError) as error:
        parser.error(" ".join(str(error).split()))


class Encoder:
    """A TFLite file of an encoder, whatever numbers it takes and gives.

    Args:
        path: Of the file.

    Attributes:
        size: `(width, height)` of the images it takes.

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
        """An image's representation, brought to length 1.

        Args:
            pixels: uint8 `(height, width, 3)`.

        Returns:
            float32 `(D,)`.
        """
        numbers = quantize(pixels, self._input)[np.newaxis]
        self._interpreter.set_tensor(self._input["index"], numbers)
        self._interpreter.invoke()
        numbers = self._interpreter.get_tensor(self._output["index"])[0]
        row = dequantize(numbers, self._output)
        return row / max(np.linalg.norm(row), 1e-12)


def quantize(values: np.ndarray, details: Mapping[str, Any]) -> np.ndarray:
    """Values as the numbers that an input stands for them.

    Args:
        values: Such as pixels.
        details: Of the input. A value is `scale * (number - zero)`; where there is no
            scale, values are numbers.
    """
    scale, zero = details["quantization"]
    numbers = values / scale + zero if scale else values
    if np.issubdtype(details["dtype"], np.integer):
        limits = np.iinfo(details["dtype"])
        numbers = np.clip(np.rint(numbers), limits.min, limits.max)
    return numbers.astype(details["dtype"])


def dequantize(numbers: np.ndarray, details: Mapping[str, Any]) -> np.ndarray:
    """The float32 values that an output's numbers stand for; see `quantize`."""
    scale, zero = details["quantization"]
    values = numbers.astype(np.float32)
    return (values - zero) * np.float32(scale) if scale else values


class Index:
    """The representations that a run's `index/DATASET` holds, searched by distance.

    Args:
        folder: Whose largest number is the newest version.

    Raises:
        ValueError: If there is no index in the folder, or it cannot be read.
    """

    def __init__(self, folder: str):
        children = pathlib.Path(folder).glob("*")
        numbers = [int(child.name) for child in children if child.name.isdecimal()]
        version = pathlib.Path(folder) / str(max(numbers, default=1))
        try:
            entries = json.loads((version / "entries.json").read_text("utf-8"))
            self._names = entries["names"]
            self._labels, self._class_names = entries["labels"], entries["class_names"]
            self._index = faiss.read_index(str(version / "index.faiss"))
        except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
            raise ValueError(
                "Expected an index that can be read, such as RUN/index/cifar10. "
                f"Received: {folder} ({error})."
            ) from error

    def nearest(self, row: np.ndarray, count: int) -> list[Sequence[Any]]:
        """Rank, name, class and distance of the neighbors, the nearest first.

        Args:
            row: `(D,)` float32, of length 1.
            count: How many; fewer come back where the index has fewer.

        Raises:
            ValueError: If the row is of another width than the index's.
        """
        if row.shape != (self._index.d,):
            raise ValueError(
                f"Expected a representation {self._index.d} wide, as in the index. "
                f"Received: shape={row.shape}. Take the index of the model's run."
            )
        count = min(count, self._index.ntotal)
        squares, found = self._index.search(row[np.newaxis], count)
        return [
            # Rounding makes some squares negative.
            (rank, self._names[i], self._class_of(i), math.sqrt(max(square, 0.0)))
            for rank, (i, square) in enumerate(
                zip(found[0], squares[0], strict=True), 1
            )
            if i >= 0  # An approximate index may come up short.
        ]

    def _class_of(self, number):
        if self._labels is None:
            return "-"
        label = self._labels[number]
        return str(label) if self._class_names is None else self._class_names[label]


def read_photo(path: str, size: tuple[int, int]) -> np.ndarray:
    """Pixels of a JPEG or PNG file, as an encoder was trained to see them.

    Turned upright as its EXIF orientation says, cropped about the center to the size's
    ratio, and resized by a bilinear filter that widens as it shrinks.

    Args:
        path: Of the file.
        size: `(width, height)` of the result.

    Returns:
        uint8 `(height, width, 3)`.

    Raises:
        ValueError: If it cannot be read, or is of another format.
    """
    try:
        with Image.open(path, formats=("JPEG", "PNG")) as image:
            image = ImageOps.exif_transpose(image).convert("RGB")
    except Image.UnidentifiedImageError:
        reason = "it is neither"
    except (*_PILLOW_ERRORS, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or error
    else:
        return np.asarray(ImageOps.fit(image, size, Image.Resampling.BILINEAR))
    raise ValueError(f"Expected a JPEG or PNG file. Received: {path} ({reason}).")


class _Parser(argparse.ArgumentParser):
    """One whose errors are one line."""

    def error(self, message):
        self.exit(1, f"{self.prog}: {message}\n")


if __name__ == "__main__":
    main()
