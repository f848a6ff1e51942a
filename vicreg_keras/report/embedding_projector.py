"""Files for TensorBoard's projector: representations, labels and images."""

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from tensorboard.plugins import projector

from vicreg_keras.report.images import make_sheet
from vicreg_keras.workdir.files import write_file, write_text


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
    sheet = make_sheet(images)
    with write_file(folder / "sprite.png") as file:
        sheet.image.save(file, "PNG")
    config = projector.ProjectorConfig()
    embedding = config.embeddings.add()
    embedding.tensor_name = "representations"
    embedding.tensor_path = "projector/vectors.tsv"
    embedding.metadata_path = "projector/labels.tsv"
    embedding.sprite.image_path = "projector/sprite.png"
    embedding.sprite.single_image_dim.extend([sheet.side, sheet.side])
    projector.visualize_embeddings(str(tensorboard), config)
