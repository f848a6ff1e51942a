"""Named pairs of views: of images, from published recipes, and of tables."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vicreg_keras.data.columns import Column, table_statistics
from vicreg_keras.errors import InputError, check_choice
from vicreg_keras.views import image_layers, table_layers
from vicreg_keras.views.view import View

# Options of the first and of the second view, by the pair's name.
NamedPairs = Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]]

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

VIEWS: NamedPairs = {
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

# SCARF's corruption, of both views instead of one alone, and a little noise.
_TABLE = {
    "mixup": 0.0,
    "min_crop": 1.0,
    "scaling_std": 0.0,
    "num_channels": 1,
    "noise_std": 0.1,
    "corruption_probability": 0.3,
    "masking_probability": 0.0,
}
# Windows of a time series.
_SERIES = {**_TABLE, "min_crop": 0.5, "scaling_std": 0.1, "corruption_probability": 0.0}

TABLE_VIEWS: NamedPairs = {"table": (_TABLE, _TABLE), "series": (_SERIES, _SERIES)}

# Marginals are part of a layer's config, and so of every file it is saved in.
_MAX_MARGINALS = 4096


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
    first, second = _choose_options(VIEWS, name, options)
    view = _image_view(first)
    # Where both views are alike one layer serves for both, and is compiled once.
    return view, view if first == second else _image_view(second)


def make_table_views(
    name: str,
    examples: np.ndarray,
    columns: Sequence[Column],
    *,
    seed: int = 0,
    **options,
) -> tuple[View, View]:
    """Returns the layers of a named pair: the first view and the second.

    Args:
        name: A key of `TABLE_VIEWS`.
        examples: Examples of the training split, `(N, num_columns)`, raw. The unit of
            the noise is their standard deviation, and replaced entries are drawn from
            at most 4,096 of them.
        columns: Columns of the table.
        seed: Seed of the choice of these examples.
        **options: Options of `Settings` that replace those of both views; `None` keeps
            the pair's.

    Raises:
        InputError: If the name, an option or a value is not possible, or the examples
            are not of these columns.
    """
    values, _ = _choose_options(TABLE_VIEWS, name, options)
    examples = np.asarray(examples)
    if examples.ndim != 2 or not len(examples) or examples.shape[1] != len(columns):
        raise InputError(
            f"Expected examples of shape (N, {len(columns)}), N above 0. Received: "
            f"examples.shape={examples.shape}. Give the training examples, one number "
            "per column."
        )
    categorical = np.array([column.categories is not None for column in columns])
    if categorical.any() and (values["min_crop"] < 1 or values["scaling_std"] > 0):
        raise InputError(
            "Expected columns of numbers for series. Received: columns with categories "
            f"and min_crop={values['min_crop']}, scaling_std={values['scaling_std']}. "
            "Use the pair 'table' for a table with categories."
        )
    marginals = None
    if values["corruption_probability"]:
        marginals = examples
        if len(examples) > _MAX_MARGINALS:
            marginals = np.random.default_rng(seed).choice(
                examples, _MAX_MARGINALS, replace=False
            )
    units = np.where(categorical, 0, table_statistics(examples, columns).std)
    num_channels = values["num_channels"]
    # Corruption comes after the noise: a replaced entry is one that its column has.
    view = View(
        [
            table_layers.Mixup(values["mixup"], categorical),
            table_layers.RandomWindow(values["min_crop"], num_channels),
            table_layers.RandomScaling(values["scaling_std"], num_channels),
            table_layers.RandomNoise(values["noise_std"], units),
            table_layers.RandomCorruption(values["corruption_probability"], marginals),
            table_layers.RandomMasking(values["masking_probability"]),
        ]
    )
    view.check_shape(examples.shape)
    return view, view


def pair_options(name: str, **options) -> dict[str, Any]:
    """Returns all options of a named pair's first view.

    Args:
        name: A key of `VIEWS` or `TABLE_VIEWS`.
        **options: See `make_views`.

    Raises:
        InputError: If the name or an option is unknown.
    """
    return _choose_options({**VIEWS, **TABLE_VIEWS}, name, options)[0]


def _choose_options(
    pairs: NamedPairs, name: str, options: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns all options of a named pair's first view and of its second."""
    check_choice("name", name, pairs)
    first, second = pairs[name]
    for key, value in options.items():
        if key not in first:
            raise InputError(
                f"Expected options among {', '.join(first)}. Received: {key}={value}."
            )
    given = {key: value for key, value in options.items() if value is not None}
    return {**first, **given}, {**second, **given}


def _image_view(options: Mapping[str, Any]) -> View:
    """Returns one view of a pair; its layers are in the authors' order."""
    crop = ("crop_size", "crop_scale", "crop_ratio", "interpolation")
    jitter = ("brightness", "contrast", "saturation", "hue", "jitter_probability")
    blur = ("blur_sigma", "blur_probability")
    solarize = ("solarize_threshold", "solarize_probability")
    return View(
        [
            image_layers.RandomResizedCrop(*(options[name] for name in crop)),
            image_layers.RandomHorizontalFlip(options["flip_probability"]),
            image_layers.RandomColorJitter(*(options[name] for name in jitter)),
            image_layers.RandomGrayscale(options["grayscale_probability"]),
            image_layers.RandomGaussianBlur(*(options[name] for name in blur)),
            image_layers.RandomSolarization(*(options[name] for name in solarize)),
        ]
    )
