"""What a view is: a random crop, flip and change of color, drawn from one seed.

`View` turns a batch of images into one random view of each of them; `VIEWS` names the
pairs that published recipes use, and `make_views` builds one. All randomness comes
from the seed a call is given: no layer holds random state.
"""

import inspect
from collections.abc import Sequence

import keras
import tensorflow as tf

from vicreg_keras.views import image_layers as layers

_STEPS = (
    layers.RandomResizedCrop,
    layers.RandomHorizontalFlip,
    layers.RandomColorJitter,
    layers.RandomGrayscale,
    layers.RandomGaussianBlur,
    layers.RandomSolarization,
)


@keras.saving.register_keras_serializable(package="vicreg_keras")
class View(layers.SeededAugmentation):
    """One random view of each image of a batch.

    Crop, flip, jitter, gray, blur and solarize, in that order, as the authors do;
    `random_layers.SeededAugmentation` says what it is called with. What has no strength
    or no probability is left out and costs nothing.

    Example:
    >>> view = View(crop_scale=(0.2, 1.0), solarize_probability=0.1)
    >>> view(images, seed=(0, step)).shape
    (256, 32, 32, 3)

    Args:
        crop_scale: least and greatest area of the crop, as fractions of the image's;
            `(1, 1)` does not crop.
        crop_ratio: least and greatest width / height of the crop.
        flip_probability: probability of a horizontal flip.
        brightness, contrast, saturation: factors uniform in
            `[max(0, 1 - value), 1 + value]`.
        hue: shift uniform in `[-hue, hue]` turns.
        jitter_probability: probability of these four, in a random order.
        grayscale_probability: probability of losing the color.
        blur_probability: probability of a Gaussian blur.
        blur_sigma: least and greatest standard deviation of the blur, in pixels.
        solarize_probability: probability that the bright pixels are inverted.
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
        flip_probability: float = 0.5,
        brightness: float = 0.4,
        contrast: float = 0.4,
        saturation: float = 0.2,
        hue: float = 0.1,
        jitter_probability: float = 0.8,
        grayscale_probability: float = 0.2,
        blur_probability: float = 0.0,
        blur_sigma: Sequence[float] = (0.1, 2.0),
        solarize_probability: float = 0.0,
        solarize_threshold: float = 128,
        crop_size: int | None = None,
        interpolation: str = "bilinear",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self._settings = {
            "crop_scale": layers.check_interval("crop_scale", crop_scale, maximum=1.0),
            "crop_ratio": layers.check_interval("crop_ratio", crop_ratio),
            "flip_probability": layers.check_number(
                "flip_probability", flip_probability, 1.0
            ),
            "brightness": layers.check_number("brightness", brightness),
            "contrast": layers.check_number("contrast", contrast),
            "saturation": layers.check_number("saturation", saturation),
            "hue": layers.check_number("hue", hue, 0.5),
            "jitter_probability": layers.check_number(
                "jitter_probability", jitter_probability, 1.0
            ),
            "grayscale_probability": layers.check_number(
                "grayscale_probability", grayscale_probability, 1.0
            ),
            "blur_probability": layers.check_number(
                "blur_probability", blur_probability, 1.0
            ),
            "blur_sigma": layers.check_interval("blur_sigma", blur_sigma),
            "solarize_probability": layers.check_number(
                "solarize_probability", solarize_probability, 1.0
            ),
            "solarize_threshold": layers.check_number(
                "solarize_threshold", solarize_threshold, 255.0
            ),
            "crop_size": layers.check_size("crop_size", crop_size),
            "interpolation": layers.check_interpolation("interpolation", interpolation),
        }
        self._crop = layers.RandomResizedCrop(
            crop_size, crop_scale, crop_ratio, interpolation
        )
        crops = crop_size is not None or self._crop.scale != (1.0, 1.0)
        color = (brightness, contrast, saturation, hue)
        self._steps = [
            self._crop if crops else None,
            layers.RandomHorizontalFlip(flip_probability) if flip_probability else None,
            layers.RandomColorJitter(*color, jitter_probability)
            if jitter_probability and any(color)
            else None,
            layers.RandomGrayscale(grayscale_probability)
            if grayscale_probability
            else None,
            layers.RandomGaussianBlur(blur_sigma, blur_probability)
            if blur_probability
            else None,
            layers.RandomSolarization(solarize_threshold, solarize_probability)
            if solarize_probability
            else None,
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
    "flip_probability": 0.5,
    "brightness": 0.4,
    "contrast": 0.4,
    "saturation": 0.2,
    "hue": 0.1,
    "jitter_probability": 0.8,
    "grayscale_probability": 0.2,
    "blur_sigma": (0.1, 2.0),
}
_CIFAR = {**_PAPER, "crop_scale": (0.2, 1.0), "solarize_probability": 0.1}
_GRAYSCALE = {
    "crop_scale": (0.4, 1.0),
    "flip_probability": 0.0,
    "brightness": 0.4,
    "contrast": 0.4,
    "saturation": 0.0,
    "hue": 0.0,
    "jitter_probability": 0.8,
    "grayscale_probability": 0.0,
}

VIEWS: dict[str, tuple[dict, dict]] = {
    # facebookresearch/vicreg, augmentations.py: the two views differ.
    "paper": (
        {**_PAPER, "blur_probability": 1.0, "solarize_probability": 0.0},
        {**_PAPER, "blur_probability": 0.1, "solarize_probability": 0.2},
    ),
    # solo-learn's CIFAR recipe for VICReg: no blur, both views the same.
    "cifar": (_CIFAR, _CIFAR),
    # Digits and other images without color, where left and right matter.
    "grayscale": (_GRAYSCALE, _GRAYSCALE),
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
        layers.reject(f"one of {', '.join(VIEWS)}", "name", name)
    settings = [p for p in inspect.signature(View).parameters if p != "kwargs"]
    for key in overrides:
        if key not in settings:
            layers.reject(f"settings among {', '.join(settings)}", key, overrides[key])
    overrides = {k: v for k, v in overrides.items() if v is not None}
    first, second = VIEWS[name]
    view_a = View(**{**first, **overrides})
    # Where both views are alike one layer serves for both, and is compiled once.
    view_b = view_a if first == second else View(**{**second, **overrides})
    return view_a, view_b
