"""Random layers of images, with torchvision's semantics.

keras-cv supplies their base class, `Grayscale` and `Solarization`, and this file alone
imports it, since it has no further releases. Its other layers differ from the papers'
(additive brightness, crops without antialiasing, zero-padded blurs) and draw from a
global generator.
"""

from collections.abc import Sequence
from typing import ClassVar

import keras
import tensorflow as tf
from keras_cv.layers import (
    Grayscale,
    Solarization,
    VectorizedBaseImageAugmentationLayer,
)

from vicreg_keras.errors import InputError, check_choice
from vicreg_keras.views import image_ops
from vicreg_keras.views.view import SeededLayer


class ImageLayer(SeededLayer, VectorizedBaseImageAugmentationLayer):
    """A keras-cv augmentation layer whose randomness is a function of a seed.

    For the call arguments see `SeededLayer`; inputs are images, `(batch, height, width,
    channels)` with values in `[0, 255]`.

    Subclasses implement keras-cv's two hooks: `get_random_transformation_batch` turns
    `draws`, `(num_draws, batch)` and uniform in `[0, 1)`, into parameters, and
    `augment_images` applies them.
    """

    num_draws = 1

    def __init__(self, **kwargs):
        # The base class would take up the global generator, which cannot be seeded
        # here and fails under `enable_op_determinism`; nothing below draws from it.
        super().__init__(seed=1, **kwargs)
        del self._random_generator

    def augment(self, images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        batch_size = tf.shape(images)[0]
        # One draw, so that XLA compiles one generator per layer.
        draws = self._uniform([self.num_draws, batch_size], seed)
        drawn = self.get_random_transformation_batch(
            batch_size, images=images, draws=draws
        )
        return self.augment_images(images, drawn)

    def check_shape(self, shape: Sequence[int | None]) -> None:
        if len(shape) != 4:
            raise InputError(
                "Expected images of shape (batch, height, width, channels). "
                f"Received: images.shape={tuple(shape)}."
            )


class RandomlyApplied(ImageLayer):
    """Changes each image with a probability: torchvision's `RandomApply`, per image.

    Subclasses implement `parameters`, which turns the remaining draws into a dict of
    `(batch,)` tensors, and `change`, which applies them to images.

    Args:
        probability: Probability that an image is changed, in `[0, 1]`.
    """

    identity: ClassVar = {"probability": 0}

    def __init__(self, probability: float, **kwargs):
        super().__init__(**kwargs)
        self.probability = self._number("probability", probability, 1.0)

    def parameters(self, draws: tf.Tensor) -> dict[str, tf.Tensor]:
        return {}

    def change(self, images: tf.Tensor, drawn: dict[str, tf.Tensor]) -> tf.Tensor:
        raise NotImplementedError

    def get_random_transformation_batch(self, batch_size, draws, **kwargs):
        return {"apply": draws[0] < self.probability, **self.parameters(draws[1:])}

    def augment_images(self, images, transformations, **kwargs):
        changed = self.change(images, transformations)
        return image_ops.where(transformations["apply"], changed, images)


@keras.saving.register_keras_serializable(package="vicreg_keras")
class RandomResizedCrop(ImageLayer):
    """Crops a random box of each image and resizes it, antialiased.

    torchvision's `RandomResizedCrop`: area uniform, ratio log-uniform, ten tries for
    a box that fits, else the largest centered box within the ratios. Outside training
    the whole images are resized.

    Args:
        size: Height and width of the result in pixels; `None` keeps the images'.
        scale: Minimum and maximum area of the box, as fractions of the image's; `(1,
            1)` does not crop.
        ratio: Minimum and maximum width / height of the box.
        interpolation: `"bilinear"` or `"bicubic"`, as PIL's.
    """

    identity: ClassVar = {"size": None, "scale": (1.0, 1.0)}

    num_draws = image_ops.NUM_CROP_DRAWS

    def __init__(
        self,
        size: int | None = None,
        scale: Sequence[float] = (0.08, 1.0),
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        interpolation: str = "bilinear",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.size = None if size is None else self._count("size", size)
        self.scale = self._interval("scale", scale, maximum=1.0)
        self.ratio = self._interval("ratio", ratio)
        check_choice("interpolation", interpolation, image_ops.INTERPOLATIONS)
        self.interpolation = interpolation

    def get_random_transformation_batch(self, batch_size, images, draws, **kwargs):
        size = image_ops.height_and_width(images)
        return image_ops.crop_boxes(draws, size, self.scale, self.ratio)

    def augment_images(self, images, transformations, **kwargs):
        size = (self.size, self.size)
        if self.size is None:
            size = image_ops.height_and_width(images)
        return image_ops.crop_and_resize(
            images, transformations, size, self.interpolation
        )

    def without_randomness(self, images: tf.Tensor) -> tf.Tensor:
        if self.size is None:
            return images
        height, width = image_ops.height_and_width(images)
        whole = {"top": 0, "left": 0, "height": height, "width": width}
        batch = tf.shape(images)[:1]
        box = {name: tf.fill(batch, value) for name, value in whole.items()}
        return self.augment_images(images, box)


@keras.saving.register_keras_serializable(package="vicreg_keras")
class RandomHorizontalFlip(RandomlyApplied):
    """Flips each image horizontally with a probability.

    Args:
        probability: Probability of a flip, in `[0, 1]`.
    """

    def __init__(self, probability: float = 0.5, **kwargs):
        super().__init__(probability, **kwargs)

    def change(self, images, drawn):
        return tf.reverse(images, axis=[2])


@keras.saving.register_keras_serializable(package="vicreg_keras")
class RandomColorJitter(RandomlyApplied):
    """Changes brightness, contrast, saturation and hue of each image.

    torchvision's `RandomApply([ColorJitter(...)], p)`, drawn for every image: the
    factors, whether they are applied at all, and their order.

    Args:
        brightness: Its factor is uniform in `[max(0, 1 - brightness), 1 + brightness]`.
        contrast: Likewise.
        saturation: Likewise.
        hue: The hue is shifted by a uniform `[-hue, hue]` turns; at most 0.5.
        probability: Probability that an image is changed, in `[0, 1]`.
    """

    num_draws = 9  # whether; four orders, four factors

    def __init__(
        self,
        brightness: float = 0.0,
        contrast: float = 0.0,
        saturation: float = 0.0,
        hue: float = 0.0,
        probability: float = 1.0,
        **kwargs,
    ):
        super().__init__(probability, **kwargs)
        self.brightness = self._number("brightness", brightness)
        self.contrast = self._number("contrast", contrast)
        self.saturation = self._number("saturation", saturation)
        self.hue = self._number("hue", hue, 0.5)

    @property
    def is_identity(self) -> bool:
        return super().is_identity or not self._strengths()

    def parameters(self, draws):
        strengths = self._strengths()
        # The ranks of uniform numbers: every order is equally likely for an image.
        turns = tf.argsort(draws[: len(strengths)], axis=0)
        drawn = {}
        for k, (name, strength) in enumerate(strengths.items()):
            low, high = max(0.0, 1.0 - strength), 1.0 + strength
            if name == "hue":
                low, high = -strength, strength
            drawn[name] = _between(draws[4 + k], low, high)
            drawn[f"{name}_turn"] = turns[k]
        return drawn

    def change(self, images, drawn):
        return image_ops.color_jitter(images, drawn)

    def _strengths(self):
        names = ("brightness", "contrast", "saturation", "hue")
        return {name: getattr(self, name) for name in names if getattr(self, name) > 0}


@keras.saving.register_keras_serializable(package="vicreg_keras")
class RandomGrayscale(RandomlyApplied):
    """Converts each image to grayscale, in three equal channels, with a probability.

    Args:
        probability: Probability of a conversion, in `[0, 1]`.
    """

    def __init__(self, probability: float = 0.2, **kwargs):
        super().__init__(probability, **kwargs)
        self._grayscale = Grayscale(output_channels=3, seed=1, dtype="float32")

    def change(self, images, drawn):
        return self._grayscale.augment_images(images)


@keras.saving.register_keras_serializable(package="vicreg_keras")
class RandomGaussianBlur(RandomlyApplied):
    """Blurs each image by a Gaussian of random width, with a probability.

    Args:
        sigma: Minimum and maximum standard deviation in pixels, uniform between.
        probability: Probability that an image is blurred, in `[0, 1]`.
    """

    num_draws = 2

    def __init__(
        self, sigma: Sequence[float] = (0.1, 2.0), probability: float = 1.0, **kwargs
    ):
        super().__init__(probability, **kwargs)
        self.sigma = self._interval("sigma", sigma)

    def parameters(self, draws):
        return {"sigma": _between(draws[0], *self.sigma)}

    def change(self, images, drawn):
        return image_ops.gaussian_blur(images, drawn["sigma"])


@keras.saving.register_keras_serializable(package="vicreg_keras")
class RandomSolarization(RandomlyApplied):
    """Inverts the bright pixels of each image, with a probability.

    Args:
        threshold: Pixels from this value on become 255 - pixel, in `[0, 255]`.
        probability: Probability that an image is changed, in `[0, 1]`.
    """

    def __init__(self, threshold: float = 128, probability: float = 0.2, **kwargs):
        super().__init__(probability, **kwargs)
        self.threshold = self._number("threshold", threshold, 255.0)
        self._solarization = Solarization((0, 255), seed=1, dtype="float32")

    def change(self, images, drawn):
        # keras-cv's pixel operation, with a threshold of our choosing.
        fixed = {"thresholds": self.threshold, "additions": 0.0}
        return self._solarization.augment_images(images, fixed)


def _between(draw: tf.Tensor, low: float, high: float) -> tf.Tensor:
    return low + (high - low) * draw
