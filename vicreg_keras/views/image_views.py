"""Named pairs of image views, from published recipes."""

from typing import Any

from vicreg_keras.views import image_layers as layers
from vicreg_keras.views.view import View, choose_options

_PAPER = {
    "crop_size": None,
    "crop_scale": (0.08, 1.0),
    "crop_ratio": (3 / 4, 4 / 3),
    "interpolation": "bicubic",
    "flip_probability": 0.5,
    "jitter_probability": 0.8,
    "brightness": 0.4,
    "contrast": 0.4,
    "saturation": 0.2,
    "hue": 0.1,
    "grayscale_probability": 0.2,
    "blur_probability": 0.0,
    "blur_sigma": (0.1, 2.0),
    "solarize_probability": 0.0,
    "solarize_threshold": 128.0,
}
_CIFAR = {**_PAPER, "crop_scale": (0.2, 1.0), "solarize_probability": 0.1}
_GRAYSCALE = {
    **_PAPER,
    "crop_scale": (0.4, 1.0),
    "interpolation": "bilinear",
    "flip_probability": 0.0,
    "saturation": 0.0,
    "hue": 0.0,
    "grayscale_probability": 0.0,
}

VIEWS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    # facebookresearch/vicreg, augmentations.py: the two views differ.
    "paper": (
        {**_PAPER, "blur_probability": 1.0},
        {**_PAPER, "blur_probability": 0.1, "solarize_probability": 0.2},
    ),
    # solo-learn's CIFAR recipe for VICReg: no blur, both views alike.
    "cifar": (_CIFAR, _CIFAR),
    # Digits and other images without color, where left and right matter.
    "grayscale": (_GRAYSCALE, _GRAYSCALE),
}


def make_views(name: str, **options) -> tuple[View, View]:
    """Returns the layers of a named pair: the first view and the second.

    Args:
        name: A key of `VIEWS`.
        **options: Options of `Settings` that replace those of both views; `None` keeps
            the pair's.

    Raises:
        InputError: If the name, an option or a value is not possible.

    Reference:
        [VICReg](https://arxiv.org/abs/2105.04906), appendix C, and augmentations.py
        in [facebookresearch/vicreg](https://github.com/facebookresearch/vicreg).
    """
    first, second = choose_options(VIEWS, name, options)
    view = _make_view(first)
    # Where both views are alike one layer serves for both, and is compiled once.
    return view, view if first == second else _make_view(second)


def pair_options(name: str, **options) -> dict[str, Any]:
    """Returns all options of a pair's first view; for arguments see `make_views`."""
    return choose_options(VIEWS, name, options)[0]


def _make_view(options: dict[str, Any]) -> View:
    """Returns one view of a pair; its layers are in the authors' order."""
    crop = ("crop_size", "crop_scale", "crop_ratio", "interpolation")
    jitter = ("brightness", "contrast", "saturation", "hue", "jitter_probability")
    return View(
        [
            layers.RandomResizedCrop(*(options[name] for name in crop)),
            layers.RandomHorizontalFlip(options["flip_probability"]),
            layers.RandomColorJitter(*(options[name] for name in jitter)),
            layers.RandomGrayscale(options["grayscale_probability"]),
            layers.RandomGaussianBlur(
                options["blur_sigma"], options["blur_probability"]
            ),
            layers.RandomSolarization(
                options["solarize_threshold"], options["solarize_probability"]
            ),
        ]
    )
