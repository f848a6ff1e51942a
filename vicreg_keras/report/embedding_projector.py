"""Files for TensorBoard's projector: representations, labels and images."""

import math
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image
from tensorboard.plugins import projector

from vicreg_keras.workdir.files import write_file, write_text

_MAX_SPRITE_SIZE = 8192  # Pixels; TensorBoard draws no larger sprite.


def write_projector(
    tensorboard: pathlib.Path,
    representations: np.ndarray,
    columns: Mapping[str, Sequence[str]],
    images: np.ndarray,
) -> None:
    """Writes vectors, labels and a sprite of examples into a TensorBoard folder.

    `tensorboard --logdir RUN/tensorboard` then has them under "Projector".

    Args:
        tensorboard: The folder.
        representations: `(N, D)` array.
        columns: One text per example, by the name of the column.
        images: `(N, H, W, 3)` uint8 array.
    """
    folder = tensorboard / "projector"
    with write_file(folder / "vectors.tsv", "w") as file:
        np.savetxt(file, representations, fmt="%.6g", delimiter="\t")
    lines = [tuple(columns), *zip(*columns.values(), strict=True)]
    texts = ["\t".join(" ".join(text.split()) for text in line) for line in lines]
    write_text(folder / "labels.tsv", "\n".join(texts) + "\n")
    config = projector.ProjectorConfig()
    embedding = config.embeddings.add()
    embedding.tensor_name = "representations"
    embedding.tensor_path = "projector/vectors.tsv"
    embedding.metadata_path = "projector/labels.tsv"
    height, width = images.shape[1:3]
    side = math.ceil(math.sqrt(len(images)))
    if side * max(height, width) <= _MAX_SPRITE_SIZE:
        _write_sprite(folder / "sprite.png", images, side)
        embedding.sprite.image_path = "projector/sprite.png"
        embedding.sprite.single_image_dim.extend([width, height])
    projector.visualize_embeddings(str(tensorboard), config)


def _write_sprite(path: pathlib.Path, images: np.ndarray, side: int) -> None:
    """Writes one image of `side` by `side` images, as TensorBoard expects."""
    height, width = images.shape[1:3]
    sheet = np.zeros((side * side, height, width, 3), np.uint8)
    sheet[: len(images)] = images
    grid = sheet.reshape(side, side, height, width, 3).swapaxes(1, 2)
    image = Image.fromarray(grid.reshape(side * height, side * width, 3))
    with write_file(path) as file:
        image.save(file, "PNG")
