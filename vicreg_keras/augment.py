"""What a view is: random crops, flips and colours, drawn from one seed.

`View` turns a batch of images into one random view of each of them; `VIEWS` names the
pairs that published recipes use, and `make_views` builds one. All randomness comes
from the seed a call is given: no layer here holds random state.

keras-cv supplies the layers' base class, `Grayscale` and `Solarization`. Its other
layers mean other things than the papers do (additive brightness, crops without
antialiasing, zero-padded blurs) and draw from a global generator, so the rest is here,
with torchvision's semantics: a paper's (0.4, 0.4, 0.2, 0.1) means the same.
"""

import inspect
import math
from collections.abc import Sequence

import keras
import tensorflow as tf
from keras_cv.layers import (
    Grayscale,
    Solarization,
    VectorizedBaseImageAugmentationLayer,
)

from vicreg_keras import image_ops

_PACKAGE = "vicreg_keras"
_TRIES = 10  # torchvision's, before a crop falls back to the centre


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
        self.probability = _probability("probability", probability)

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
    a box that fits, else the largest centred box within the ratios.

    Args:
        size: height and width of the result, in pixels; `None` keeps the images'.
        scale: least and greatest area of the box, as fractions of the image's.
        ratio: least and greatest width / height of the box.
        interpolation: `"bilinear"` or `"bicubic"`, as PIL's.
    """

    num_draws = 2 * _TRIES + 2

    def __init__(
        self,
        size: int | None = None,
        scale: Sequence[float] = (0.08, 1.0),
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        interpolation: str = "bilinear",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.size = _size("size", size)
        self.scale = _interval("scale", scale, maximum=1.0)
        self.ratio = _interval("ratio", ratio)
        self.interpolation = _interpolation("interpolation", interpolation)

    def get_random_transformation_batch(self, batch_size, images, draws, **kwargs):
        height, width = (
            tf.cast(n, tf.float32) for n in image_ops.height_and_width(images)
        )
        areas = _between(draws[:_TRIES], *self.scale) * height * width
        low, high = (math.log(r) for r in self.ratio)
        ratios = tf.exp(_between(draws[_TRIES : 2 * _TRIES], low, high))
        widths = tf.round(tf.sqrt(areas * ratios))  # (tries, batch)
        heights = tf.round(tf.sqrt(areas / ratios))
        fits = (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height)
        first = fits & (tf.cumsum(tf.cast(fits, tf.int32), axis=0) == 1)
        found = tf.reduce_any(fits, axis=0)
        whole_height, whole_width = self._fallback(height, width)
        box_height = tf.reduce_sum(tf.where(first, heights, 0.0), axis=0)
        box_width = tf.reduce_sum(tf.where(first, widths, 0.0), axis=0)
        box_height = tf.where(found, box_height, whole_height)
        box_width = tf.where(found, box_width, whole_width)
        up, left = height - box_height, width - box_width
        top = tf.minimum(tf.floor(draws[-2] * (up + 1.0)), up)
        side = tf.minimum(tf.floor(draws[-1] * (left + 1.0)), left)
        return {
            "top": tf.where(found, top, tf.floor(up / 2.0)),
            "left": tf.where(found, side, tf.floor(left / 2.0)),
            "height": box_height,
            "width": box_width,
        }

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

    def _fallback(self, height, width):
        """The largest box whose ratio is allowed: all of most images."""
        low, high = self.ratio
        return (
            tf.where(width / height < low, tf.round(width / low), height),
            tf.where(width / height > high, tf.round(height * high), width),
        )


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
            "brightness": _at_least_zero("brightness", brightness),
            "contrast": _at_least_zero("contrast", contrast),
            "saturation": _at_least_zero("saturation", saturation),
            "hue": _turns("hue", hue),
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
    """Turns each image grey, in three equal channels, with a probability.

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
        self.sigma = _interval("sigma", sigma)

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
        self.threshold = _pixel("threshold", threshold)
        self._solarization = Solarization((0, 255), seed=1, dtype="float32")

    def change(self, images, drawn):
        # keras-cv's pixel operation, with a threshold of our own choosing.
        fixed = {"thresholds": self.threshold, "additions": 0.0}
        return self._solarization.augment_images(images, fixed)

    def get_config(self) -> dict:
        return {**super().get_config(), "threshold": self.threshold}


_STEPS = (
    RandomResizedCrop,
    RandomHorizontalFlip,
    RandomColorJitter,
    RandomGrayscale,
    RandomGaussianBlur,
    RandomSolarization,
)


@keras.saving.register_keras_serializable(package=_PACKAGE)
class View(SeededAugmentation):
    """One random view of each image of a batch.

    Crop, flip, jitter, grey, blur and solarize, in that order, as the authors do;
    see `SeededAugmentation` for what it is called with. What has no strength or no
    probability is left out and costs nothing.

    Example:

    >>> view = View(crop_scale=(0.2, 1.0), solarize=0.1)
    >>> view(images, seed=(0, step)).shape
    (256, 32, 32, 3)

    Args:
        crop_scale: least and greatest area of the crop, as fractions of the image's;
            `(1, 1)` does not crop.
        crop_ratio: least and greatest width / height of the crop.
        flip: probability of a horizontal flip.
        brightness, contrast, saturation: factors uniform in
            `[max(0, 1 - value), 1 + value]`.
        hue: shift uniform in `[-hue, hue]` turns.
        jitter: probability that these four are applied, in an order of their own.
        grey: probability of losing the colour.
        blur: probability of a Gaussian blur.
        blur_sigma: least and greatest standard deviation of the blur, in pixels.
        solarize: probability that the bright pixels are inverted.
        solarize_threshold: the first value that counts as bright.
        crop_size: height and width of the view, in pixels; `None` keeps the images'.
        interpolation: of the crop, `"bilinear"` or `"bicubic"`.

    Reference:
        [VICReg](https://arxiv.org/abs/2105.04906), appendix C, and augmentations.py
        in [facebookresearch/vicreg](https://github.com/facebookresearch/vicreg).
    """

    num_draws = sum(step.num_draws for step in _STEPS)

    def __init__(
        self,
        crop_scale: Sequence[float] = (0.08, 1.0),
        crop_ratio: Sequence[float] = (3 / 4, 4 / 3),
        flip: float = 0.5,
        brightness: float = 0.4,
        contrast: float = 0.4,
        saturation: float = 0.2,
        hue: float = 0.1,
        jitter: float = 0.8,
        grey: float = 0.2,
        blur: float = 0.0,
        blur_sigma: Sequence[float] = (0.1, 2.0),
        solarize: float = 0.0,
        solarize_threshold: float = 128,
        crop_size: int | None = None,
        interpolation: str = "bilinear",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self._settings = {
            "crop_scale": _interval("crop_scale", crop_scale, maximum=1.0),
            "crop_ratio": _interval("crop_ratio", crop_ratio),
            "flip": _probability("flip", flip),
            "brightness": _at_least_zero("brightness", brightness),
            "contrast": _at_least_zero("contrast", contrast),
            "saturation": _at_least_zero("saturation", saturation),
            "hue": _turns("hue", hue),
            "jitter": _probability("jitter", jitter),
            "grey": _probability("grey", grey),
            "blur": _probability("blur", blur),
            "blur_sigma": _interval("blur_sigma", blur_sigma),
            "solarize": _probability("solarize", solarize),
            "solarize_threshold": _pixel("solarize_threshold", solarize_threshold),
            "crop_size": _size("crop_size", crop_size),
            "interpolation": _interpolation("interpolation", interpolation),
        }
        self._crop = RandomResizedCrop(crop_size, crop_scale, crop_ratio, interpolation)
        crops = crop_size is not None or self._crop.scale != (1.0, 1.0)
        color = (brightness, contrast, saturation, hue)
        self._steps = [
            self._crop if crops else None,
            RandomHorizontalFlip(flip) if flip else None,
            RandomColorJitter(*color, jitter) if jitter and any(color) else None,
            RandomGrayscale(grey) if grey else None,
            RandomGaussianBlur(blur_sigma, blur) if blur else None,
            RandomSolarization(solarize_threshold, solarize) if solarize else None,
        ]

    def get_random_transformation_batch(self, batch_size, images, draws, **kwargs):
        drawn = []
        for kind, step in zip(_STEPS, self._steps, strict=True):
            # Its numbers are there, used or not: leaving it out changes no other.
            mine, draws = draws[: kind.num_draws], draws[kind.num_draws :]
            drawn.append(
                step
                and step.get_random_transformation_batch(
                    batch_size, images=images, draws=mine
                )
            )
        return drawn

    def augment_images(self, images, transformations, **kwargs):
        for step, drawn in zip(self._steps, transformations, strict=True):
            if step is not None:
                images = step.augment_images(images, drawn)
        return images

    def without_randomness(self, images: tf.Tensor) -> tf.Tensor:
        """Returns the whole images, resized to `crop_size` where there is one."""
        return self._crop.without_randomness(images)

    def compute_output_shape(self, input_shape: Sequence) -> tuple:
        return self._crop.compute_output_shape(input_shape)

    def get_config(self) -> dict:
        return {**super().get_config(), **self._settings}


_PAPER = {
    "crop_scale": (0.08, 1.0),
    "interpolation": "bicubic",
    "flip": 0.5,
    "brightness": 0.4,
    "contrast": 0.4,
    "saturation": 0.2,
    "hue": 0.1,
    "jitter": 0.8,
    "grey": 0.2,
    "blur_sigma": (0.1, 2.0),
}
_CIFAR = {**_PAPER, "crop_scale": (0.2, 1.0), "solarize": 0.1}
_GREY = {
    "crop_scale": (0.4, 1.0),
    "flip": 0.0,
    "brightness": 0.4,
    "contrast": 0.4,
    "saturation": 0.0,
    "hue": 0.0,
    "jitter": 0.8,
    "grey": 0.0,
}

VIEWS: dict[str, tuple[dict, dict]] = {
    # facebookresearch/vicreg, augmentations.py: the two views differ.
    "paper": (
        {**_PAPER, "blur": 1.0, "solarize": 0.0},
        {**_PAPER, "blur": 0.1, "solarize": 0.2},
    ),
    # solo-learn's CIFAR recipe for VICReg: no blur, both views the same.
    "cifar": (_CIFAR, _CIFAR),
    # Digits and other images without colour, where left and right matter.
    "grey": (_GREY, _GREY),
}


def make_views(name: str, **overrides) -> tuple[View, View]:
    """Returns the layers of a named pair: the first view and the second.

    Args:
        name: a key of `VIEWS`.
        **overrides: settings of `View` for both views; `None` leaves the pair's own.

    Raises:
        ValueError: for a name, a setting or a value that does not exist.
    """
    if name not in VIEWS:
        _reject(f"one of {', '.join(VIEWS)}", "name", name)
    settings = [p for p in inspect.signature(View).parameters if p != "kwargs"]
    for key in overrides:
        if key not in settings:
            _reject(f"settings among {', '.join(settings)}", key, overrides[key])
    overrides = {k: v for k, v in overrides.items() if v is not None}
    first, second = VIEWS[name]
    return View(**{**first, **overrides}), View(**{**second, **overrides})


def _between(draw: tf.Tensor, low: float, high: float) -> tf.Tensor:
    return low + (high - low) * draw


def _probability(name: str, value: float) -> float:
    if not 0 <= value <= 1:
        _reject("a probability in [0, 1]", name, value)
    return float(value)


def _at_least_zero(name: str, value: float) -> float:
    if not 0 <= value < math.inf:
        _reject("a number of at least 0", name, value)
    return float(value)


def _turns(name: str, value: float) -> float:
    if not 0 <= value <= 0.5:
        _reject("a number of turns in [0, 0.5]", name, value)
    return float(value)


def _pixel(name: str, value: float) -> float:
    if not 0 <= value <= 255:
        _reject("a pixel value in [0, 255]", name, value)
    return float(value)


def _interval(
    name: str, value: Sequence[float], maximum: float = math.inf
) -> tuple[float, float]:
    low, high = value if isinstance(value, Sequence) and len(value) == 2 else (0, 0)
    if not 0 < low <= high <= maximum or high == math.inf:
        upper = "" if maximum == math.inf else f" and at most {maximum:g}"
        _reject(f"two numbers, low <= high, above 0{upper}", name, value)
    return float(low), float(high)


def _size(name: str, value: int | None) -> int | None:
    if value is not None and (value != int(value) or value < 1):
        _reject("a positive whole number of pixels, or None", name, value)
    return value


def _interpolation(name: str, value: str) -> str:
    if value not in image_ops.INTERPOLATIONS:
        _reject(f"one of {', '.join(image_ops.INTERPOLATIONS)}", name, value)
    return value


def _reject(expected: str, name: str, value: object) -> None:
    raise ValueError(f"Expected {expected}. Received: {name}={value!r}")
