"""What is read out of a trained encoder: its maps in parts, and means over views."""

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from vicreg_keras.errors import check_choice
from vicreg_keras.models.saved_encoder import SavedEncoder, variables_of

# What an encoder's maps become, see `encoders.make_encoder`.
REPRESENTATIONS = ("pool", "pool2x2", "stages")
# Views of an image whose representations are averaged, see `ReadOut`.
_NUM_VIEWS = {"none": 1, "flip": 2, "bag": 12}
AVERAGES = tuple(_NUM_VIEWS)
# Of an image's side, of the crops of a bag.
_CROP = 0.875


def crop_size(example_shape: Sequence[int]) -> tuple[int, int]:
    """Returns height and width, in pixels, of the crops of a bag.

    Args:
        example_shape: `(height, width, 3)` of the images.
    """
    height, width = (round(_CROP * side) for side in example_shape[:2])
    return height, width


@keras.saving.register_keras_serializable(package="vicreg_keras")
class PoolQuadrants(keras.layers.Layer):
    """Means over the quadrants of a map: `(N, H, W, C)` to `(N, 4 C)`.

    Of an odd side, the middle is part of both halves, as in PyTorch's adaptive average
    pooling.
    """

    def call(self, maps):
        height, width = keras.ops.shape(maps)[1:3]
        rows = maps[:, : (height + 1) // 2], maps[:, height // 2 :]
        quadrants = [
            half
            for row in rows
            for half in (row[:, :, : (width + 1) // 2], row[:, :, width // 2 :])
        ]
        means = [keras.ops.mean(one, axis=(1, 2)) for one in quadrants]
        return keras.ops.concatenate(means, axis=1)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], 4 * input_shape[-1])


class ReadOut(keras.layers.Layer):
    """A trained encoder that is read out in another way than it was trained in.

    `average="flip"` is the mean of the representations of an image and of its mirror
    image. `"bag"` averages both for the whole image, its center and its four corners,
    cropped to 7/8 of its sides; the encoder sees crops in their own size.

    Args:
        encoder: Takes images of any size.
        saved: The encoder of which it has the weights.
        representation: One of `REPRESENTATIONS`: how `encoder` was built.
        average: One of `AVERAGES`.
        **kwargs: See `keras.layers.Layer`.

    Attributes:
        saved: As above, and so are `representation` and `average`.
        read_out: What is read out, in words.
        folder: Folder of the saved encoder.
        card: Card of the data that it was trained on.
        example_shape: See `SavedEncoder`.
    """

    def __init__(
        self,
        encoder: Any,
        saved: SavedEncoder,
        representation: str = "pool",
        average: str = "none",
        **kwargs,
    ):
        super().__init__(**{"autocast": False, "trainable": False, **kwargs})
        check_choice("average", average, AVERAGES)
        self.folder, self.card = saved.folder, saved.card
        self.example_shape = saved.example_shape
        views = f", mean over {_NUM_VIEWS[average]} views" if average != "none" else ""
        self.read_out = f"{representation}{views}"
        self.saved_variables = tuple(variables_of(encoder))
        size = getattr(encoder, "representation_size", None)
        self.representation_size = size or encoder.output_shape[-1]
        self._encoder, self.saved = encoder, saved
        self.representation, self.average = representation, average
        self.built = True

    def reading_out(self, encoder: keras.Model) -> "ReadOut":
        """Returns another encoder that is read out likewise."""
        return ReadOut(encoder, self.saved, self.representation, self.average)

    def call(self, images):
        views = [*self._views(tf.convert_to_tensor(images))]
        total = tf.add_n([self._encoder(view, training=False) for view in views])
        return total / len(views)

    def _views(self, images: tf.Tensor) -> Iterator[tf.Tensor]:
        crops = [images]
        if self.average == "bag":
            height, width = crop_size(images.shape[1:])
            rest = images.shape[1] - height, images.shape[2] - width
            for y, x in ((0, 0), (0, 2), (1, 1), (2, 0), (2, 2)):
                top, left = rest[0] * y // 2, rest[1] * x // 2
                crops.append(images[:, top : top + height, left : left + width])
        for crop in crops:
            yield crop
            if self.average != "none":
                yield tf.reverse(crop, [2])
