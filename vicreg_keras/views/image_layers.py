"""The random layers a view is made of, each a function of images and a seed.

keras-cv supplies their base class, `Grayscale` and `Solarization`, and this file alone
imports it, for it has no further releases. Its other layers mean other things than the
papers do (additive brightness, crops without antialiasing, zero-padded blurs) and draw
from a global generator, so the rest is here, with torchvision's semantics: a paper's
(0.4, 0.4, 0.2, 0.1) means the same.
"""

import math
from collections.abc import Sequence

import keras
import tensorflow as tf
from keras_cv.layers import (
    Grayscale,
    Solarization,
    VectorizedBaseImageAugmentationLayer,
)

from vicreg_keras.views import image_ops

_PACKAGE = "vicreg_keras"


class SeededAugmentation(VectorizedBaseImageAugmentationLayer):
    """A keras-cv augmentation whose randomness is a function of a seed.

    Subclasses say how many random numbers an image takes, `num_draws`, and fill
    keras-cv's two hooks: `get_random_transformation_batch` turns those numbers,
    `draws`, `(num_draws, batch)` and uniform in `[0, 1)`, into parameters, and
    `augment_images` applies them.

    The work always runs in a function compiled by XLA: the same seed then gives the
    same view called alone, inside `tf.data.Dataset.map` and inside a larger
    `tf.function` (XLA's random stream is not the one TensorFlow's own kernels give),
    and several times faster. It computes in float32 whatever the dtype policy.

    Call arguments:
        images: `(batch, height, width, channels)`, any dtype, values in `[0, 255]`.
        seed: two integers, a stateless seed, `(2,)` int32 or int64. `None` draws one
            from TensorFlow's global stream (`keras.utils.set_random_seed` fixes it).
        training: with `False` the images come back as they are, in float32.
    """

    num_draws = 1

    def __init__(self, **kwargs):
        kwargs["dtype"] = "float32"
        # The base class would take up the global generator, which cannot be seeded
        # here and fails under `enable_op_determinism`; nothing below draws from it.
        super().__init__(seed=1, **kwargs)
        del self._random_generator
        self.built = True  # there is nothing to build
        self._compiled = tf.function(self._augment, jit_compile=True, autograph=False)

    def call(
        self, images: tf.Tensor, seed: tf.Tensor | None = None, training: bool = True
    ) -> tf.Tensor:
        images = tf.convert_to_tensor(images)
        if images.shape.rank != 4:
            raise ValueError(
                "Expected images of shape (batch, height, width, channels). "
                f"Received: images.shape={images.shape}"
            )
        if not training:
            return self.without_randomness(tf.cast(images, tf.float32))
        if seed is None:
            seed = tf.random.uniform([2], maxval=2**31 - 1, dtype=tf.int32)
        return self._compiled(images, tf.cast(seed, tf.int64))

    def without_randomness(self, images: tf.Tensor) -> tf.Tensor:
        """Returns what stands for the view outside training: the images."""
        return images

    def compute_output_shape(self, input_shape: Sequence) -> tuple:
        return tuple(input_shape)

    def compute_output_spec(self, images, seed=None, training=True):
        return keras.KerasTensor(self.compute_output_shape(images.shape), "float32")

    def _augment(self, images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        images = tf.cast(images, tf.float32)
        batch_size = tf.shape(images)[0]
        # One draw, so that XLA compiles one generator; an algorithm by name, so that
        # every device draws the same numbers.
        draws = tf.random.stateless_uniform(
            [self.num_draws, batch_size], seed, alg="philox"
        )
        drawn = self.get_random_transformation_batch(
            batch_size, images=images, draws=draws
        )
        return self.augment_images(images, drawn)


class RandomlyApplied(SeededAugmentation):
    """Changes each image with a probability: torchvision's `RandomApply`, per image.

    Subclasses fill `parameters`, from the numbers left to a dict of `(batch,)`
    tensors, and `change`, from images and that dict to changed images.

    Args:
        probability: in `[0, 1]`.
    """

    def __init__(self, probability: float, **kwargs):
        super().__init__(**kwargs)
        self.probability = check_number("probability", probability, 1.0)

    def parameters(self, draws: tf.Tensor) -> dict[str, tf.Tensor]:
        return {}

    def change(self, images: tf.Tensor, drawn: dict[str, tf.Tensor]) -> tf.Tensor:
        raise NotImplementedError

    def get_random_transformation_batch(self, batch_size, draws, **kwargs):
        return {"apply": draws[0] < self.probability, **self.parameters(draws[1:])}

    def augment_images(self, images, transformations, **kwargs):
        changed = self.change(images, transformations)
        return image_ops.where(transformations["apply"], changed, images)

    def get_config(self) -> dict:
        return {**super().get_config(), "probability": self.probability}


@keras.saving.register_keras_serializable(package=_PACKAGE)
class RandomResizedCrop(SeededAugmentation):
    """Crops a random box of each image and resizes it, antialiased.

    torchvision's `RandomResizedCrop`: area uniform, ratio log-uniform, ten tries for
    a box that fits, else the largest centered box within the ratios.

    Args:
        size: height and width of the result, in pixels; `None` keeps the images'.
        scale: least and greatest area of the box, as fractions of the image's.
        ratio: least and greatest width / height of the box.
        interpolation: `"bilinear"` or `"bicubic"`, as PIL's.
    """

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
        self.size = check_size("size", size)
        self.scale = check_interval("scale", scale, maximum=1.0)
        self.ratio = check_interval("ratio", ratio)
        self.interpolation = check_interpolation("interpolation", interpolation)

    def get_random_transformation_batch(self, batch_size, images, draws, **kwargs):
        size = image_ops.height_and_width(images)
        return image_ops.crop_boxes(draws, size, self.scale, self.ratio)

    def augment_images(self, images, transformations, **kwargs):
        return image_ops.crop_and_resize(
            images, transformations, self._new_size(images), self.interpolation
        )

    def without_randomness(self, images: tf.Tensor) -> tf.Tensor:
        """Returns the whole images, resized to `size` where there is one."""
        if self.size is None:
            return images
        height, width = image_ops.height_and_width(images)
        zeros = tf.zeros(tf.shape(images)[:1])
        box = {
            "top": zeros,
            "left": zeros,
            "height": zeros + tf.cast(height, tf.float32),
            "width": zeros + tf.cast(width, tf.float32),
        }
        return self.augment_images(images, box)

    def compute_output_shape(self, input_shape: Sequence) -> tuple:
        if self.size is None:
            return tuple(input_shape)
        return (input_shape[0], self.size, self.size, input_shape[3])

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "size": self.size,
            "scale": self.scale,
            "ratio": self.ratio,
            "interpolation": self.interpolation,
        }

    def _new_size(self, images):
        if self.size is None:
            return image_ops.height_and_width(images)
        return self.size, self.size


@keras.saving.register_keras_serializable(package=_PACKAGE)
class RandomHorizontalFlip(RandomlyApplied):
    """Mirrors each image, left for right, with a probability.

    Args:
        probability: in `[0, 1]`.
    """

    def __init__(self, probability: float = 0.5, **kwargs):
        super().__init__(probability, **kwargs)

    def change(self, images, drawn):
        return tf.reverse(images, axis=[2])


@keras.saving.register_keras_serializable(package=_PACKAGE)
class RandomColorJitter(RandomlyApplied):
    """Changes brightness, contrast, saturation and hue of each image.

    torchvision's `RandomApply([ColorJitter(...)], p)`, drawn for every image: the
    factors, whether they are applied at all, and the order they are applied in.

    Args:
        brightness, contrast, saturation: the factor is uniform in
            `[max(0, 1 - value), 1 + value]`.
        hue: the hue is shifted by a uniform `[-hue, hue]` turns; at most 0.5.
        probability: that an image is changed, in `[0, 1]`.
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
        self.strengths = {
            "brightness": check_number("brightness", brightness),
            "contrast": check_number("contrast", contrast),
            "saturation": check_number("saturation", saturation),
            "hue": check_number("hue", hue, 0.5),
        }

    def parameters(self, draws):
        strengths = {name: s for name, s in self.strengths.items() if s > 0}
        # The ranks of uniform numbers: one of all orders, equally likely, an image.
        turns = tf.argsort(draws[: len(strengths)], axis=0)
        drawn = {}
        for k, (name, strength) in enumerate(strengths.items()):
            low, high = 1.0 - strength, 1.0 + strength
            if name == "hue":
                low, high = -strength, strength
            elif low < 0.0:
                low = 0.0
            drawn[name] = _between(draws[4 + k], low, high)
            drawn[f"{name}_turn"] = turns[k]
        return drawn

    def change(self, images, drawn):
        return image_ops.color_jitter(images, drawn)

    def get_config(self) -> dict:
        return {**super().get_config(), **self.strengths}


@keras.saving.register_keras_serializable(package=_PACKAGE)
class RandomGrayscale(RandomlyApplied):
    """Turns each image gray, in three equal channels, with a probability.

    Args:
        probability: in `[0, 1]`.
    """

    def __init__(self, probability: float = 0.2, **kwargs):
        super().__init__(probability, **kwargs)
        self._grayscale = Grayscale(output_channels=3, seed=1, dtype="float32")

    def change(self, images, drawn):
        return self._grayscale.augment_images(images)


@keras.saving.register_keras_serializable(package=_PACKAGE)
class RandomGaussianBlur(RandomlyApplied):
    """Blurs each image by a Gaussian of its own width, with a probability.

    Args:
        sigma: least and greatest standard deviation, in pixels, uniform between.
        probability: in `[0, 1]`.
    """

    num_draws = 2

    def __init__(
        self, sigma: Sequence[float] = (0.1, 2.0), probability: float = 1.0, **kwargs
    ):
        super().__init__(probability, **kwargs)
        self.sigma = check_interval("sigma", sigma)

    def parameters(self, draws):
        return {"sigma": _between(draws[0], *self.sigma)}

    def change(self, images, drawn):
        return image_ops.gaussian_blur(images, drawn["sigma"])

    def get_config(self) -> dict:
        return {**super().get_config(), "sigma": self.sigma}


@keras.saving.register_keras_serializable(package=_PACKAGE)
class RandomSolarization(RandomlyApplied):
    """Inverts the bright pixels of each image, with a probability.

    Args:
        threshold: pixels from this value on become 255 - pixel, in `[0, 255]`.
        probability: in `[0, 1]`.
    """

    def __init__(self, threshold: float = 128, probability: float = 0.2, **kwargs):
        super().__init__(probability, **kwargs)
        self.threshold = check_number("threshold", threshold, 255.0)
        self._solarization = Solarization((0, 255), seed=1, dtype="float32")

    def change(self, images, drawn):
        # keras-cv's pixel operation, with a threshold of our own choosing.
        fixed = {"thresholds": self.threshold, "additions": 0.0}
        return self._solarization.augment_images(images, fixed)

    def get_config(self) -> dict:
        return {**super().get_config(), "threshold": self.threshold}


def _between(draw: tf.Tensor, low: float, high: float) -> tf.Tensor:
    return low + (high - low) * draw


def check_number(name: str, value: float, maximum: float = math.inf) -> float:
    """Returns a number in `[0, maximum]`, or raises ValueError under its name."""
    if not 0 <= value <= maximum or value == math.inf:
        bound = "at least 0" if maximum == math.inf else f"in [0, {maximum:g}]"
        reject(f"a number {bound}", name, value)
    return float(value)


def check_interval(
    name: str, value: Sequence[float], maximum: float = math.inf
) -> tuple[float, float]:
    """Returns low and high, `0 < low <= high <= maximum`, or raises ValueError."""
    low, high = value if isinstance(value, Sequence) and len(value) == 2 else (0, 0)
    if not 0 < low <= high <= maximum or high == math.inf:
        bound = "" if maximum == math.inf else f" and at most {maximum:g}"
        reject(f"two numbers, low <= high, above 0{bound}", name, value)
    return float(low), float(high)


def check_size(name: str, value: int | None) -> int | None:
    """Returns a number of pixels, or None for the images' own; or raises ValueError."""
    if value is not None and (value != int(value) or value < 1):
        reject("a positive whole number of pixels, or None", name, value)
    return value


def check_interpolation(name: str, value: str) -> str:
    """Returns one of `image_ops.INTERPOLATIONS`, or raises ValueError."""
    if value not in image_ops.INTERPOLATIONS:
        reject(f"one of {', '.join(image_ops.INTERPOLATIONS)}", name, value)
    return value


def reject(expected: str, name: str, value: object) -> None:
    """Raises the ValueError that says what was expected and what was received."""
    raise ValueError(f"Expected {expected}. Received: {name}={value!r}")
