"""TensorBoard's projector: representations, labels and images to walk through."""

import io
import math

import numpy as np
from PIL import Image
from tensorboard.plugins import projector

from vicreg_keras.modes.cluster import ClusterPlane
from vicreg_keras.modes.context import Context
from vicreg_keras.workdir.files import write_file, write_text

_SPRITE_SIDE = 8192  # Pixels; TensorBoard draws no larger sprite.


def write_projector(context: Context, drawn: ClusterPlane) -> None:
    """Writes vectors, labels and a sprite of the drawn examples into the run.

    `tensorboard --logdir RUN/tensorboard` then has them under "Projector".

    Args:
        context: with a run.
        drawn: which examples, and their clusters.
    """
    folder = context.run.tensorboard / "projector"
    split = getattr(context.dataset, drawn.split)
    rows = context.features[drawn.split].representations[drawn.sample]
    with write_file(folder / "vectors.tsv", "w") as file:
        np.savetxt(file, rows, fmt="%.6g", delimiter="\t")
    lines = ["name\tcluster\tclass"]
    for pick in drawn.sample:
        kind = ""
        if split.labels is not None:
            kind = context.dataset.class_names[split.labels[pick]]
        cells = (split.names[pick], str(drawn.clustering.assignments[pick]), kind)
        lines.append("\t".join(" ".join(cell.split()) for cell in cells))
    write_text(folder / "labels.tsv", "\n".join(lines) + "\n")
    images = context.dataset.display_images(split, drawn.sample)
    columns = math.ceil(math.sqrt(len(images)))
    height, width = images.shape[1:3]
    config = projector.ProjectorConfig()
    embedding = config.embeddings.add()
    embedding.tensor_name = "representations"
    embedding.tensor_path = "projector/vectors.tsv"
    embedding.metadata_path = "projector/labels.tsv"
    if columns * max(height, width) <= _SPRITE_SIDE:
        _write_sprite(folder / "sprite.png", images, columns)
        embedding.sprite.image_path = "projector/sprite.png"
        embedding.sprite.single_image_dim.extend([width, height])
    projector.visualize_embeddings(str(context.run.tensorboard), config)


def _write_sprite(path, images, columns):
    """The images in rows of so many, as TensorBoard wants them: as many rows."""
    height, width = images.shape[1:3]
    sheet = np.zeros((columns * columns, height, width, 3), np.uint8)
    sheet[: len(images)] = images
    grid = sheet.reshape(columns, columns, height, width, 3).swapaxes(1, 2)
    buffer = io.BytesIO()
    Image.fromarray(grid.reshape(columns * height, columns * width, 3)).save(
        buffer, "PNG"
    )
    with write_file(path) as file:
        file.write(buffer.getvalue())
