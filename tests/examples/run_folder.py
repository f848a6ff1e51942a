"""A run's folder as the examples find it: encoders, an index, and photos for it."""

import dataclasses
import pathlib

import keras
import numpy as np
import sklearn.datasets
from PIL import Image, ImageOps

from vicreg_keras.evaluate.index import NeighborIndex
from vicreg_keras.evaluate.linear_probe import LinearHead
from vicreg_keras.export.savedmodel import export_savedmodel
from vicreg_keras.models.encoders import make_encoder

SHAPE = (8, 8, 3)
CLASSES = ("house", "plant", "frosch äöü")
NAMES = ("china", "china turned", "flower", "flower turned", "flower upside down")
LABELS = (0, 0, 1, 1, 1)


@dataclasses.dataclass
class Run:
    """What there is: paths, and the images behind the index."""

    folder: pathlib.Path
    encoder: keras.Model
    photos: dict[str, Image.Image]  # Large, in the order of the index.

    @property
    def index(self):
        return self.folder / "index" / "photos"

    def save_photo(self, name, path, turned=False, **options):
        """Writes a photo; a turned one lies on its side and says so in its EXIF."""
        image = self.photos[name]
        if turned:
            image = image.transpose(Image.Transpose.ROTATE_90)
            exif = image.getexif()
            exif[0x0112] = 6  # To be turned by 90 degrees, clockwise.
            options["exif"] = exif
        image.save(path, **options)
        return str(path)


def save_with_damaged_exif(path):
    """A photo on its side, whose EXIF has a text for its width."""
    image = Image.new("RGB", (8, 6))
    exif = image.getexif()
    exif[0x0112], exif[0x010E] = 6, "eight"
    text, width = b"\x01\x0e\x00\x02", b"\x01\x00\x00\x02"  # Tag, type.
    image.save(path, exif=exif.tobytes().replace(text, width))


def small(image):
    """As the datasets are read, and `serving_bytes` reads."""
    return np.asarray(ImageOps.fit(image, SHAPE[1::-1], Image.Resampling.BILINEAR))


def make_head(width):
    random = np.random.default_rng(2)
    weights = random.normal(size=(width, 3)).astype(np.float32)
    return LinearHead(
        np.zeros(width, np.float32),
        np.ones(width, np.float32),
        weights,
        np.zeros(3, "f"),
    )


def make_photo_run(folder):
    """An index of two photos, turned or not, and encoders without and with a head."""
    keras.utils.set_random_seed(0)
    china, flower = map(Image.fromarray, sklearn.datasets.load_sample_images().images)
    images = [
        china,
        china.transpose(Image.Transpose.ROTATE_90),
        flower,
        flower.transpose(Image.Transpose.ROTATE_90),
        flower.transpose(Image.Transpose.ROTATE_180),
    ]
    run = Run(
        folder,
        make_encoder("tiny", SHAPE),
        dict(zip(NAMES, images, strict=True)),
    )
    rows = np.asarray(run.encoder(np.stack([small(image) for image in images])))
    NeighborIndex.build(rows, NAMES, LABELS, CLASSES).save(run.index)
    export_savedmodel(run.encoder, run.folder / "encoder", SHAPE)
    head = make_head(rows.shape[1])
    options = {"class_names": CLASSES, "head": head}
    export_savedmodel(run.encoder, run.folder / "with_head", SHAPE, **options)
    return run
