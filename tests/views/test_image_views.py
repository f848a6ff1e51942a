"""Named pairs of image views."""

import pytest

from vicreg_keras.settings import Settings
from vicreg_keras.settings.recipe import IMAGE_VIEWS
from vicreg_keras.views.named_views import VIEWS, make_views, pair_options

# The argument of each option, by the layers in their order.
ARGUMENTS = (
    {
        "size": "crop_size",
        "scale": "crop_scale",
        "ratio": "crop_ratio",
        "interpolation": "interpolation",
    },
    {"probability": "flip_probability"},
    {
        "brightness": "brightness",
        "contrast": "contrast",
        "saturation": "saturation",
        "hue": "hue",
        "probability": "jitter_probability",
    },
    {"probability": "grayscale_probability"},
    {"sigma": "blur_sigma", "probability": "blur_probability"},
    {"threshold": "solarize_threshold", "probability": "solarize_probability"},
)


def options_of(view):
    """Options of a view, read off its layers."""
    return {
        option: getattr(layer, argument)
        for layer, arguments in zip(view.layers, ARGUMENTS, strict=True)
        for argument, option in arguments.items()
    }


@pytest.mark.parametrize("name", VIEWS)
def test_named_pairs_have_their_options(name):
    pair = make_views(name, crop_size=24, flip_probability=None)
    for view, options in zip(pair, VIEWS[name], strict=True):
        assert options_of(view) == {**options, "crop_size": 24}
    assert pair_options(name, crop_size=24) == options_of(pair[0])
    assert (pair[0] is pair[1]) == (VIEWS[name][0] == VIEWS[name][1])


def test_papers_pair_is_the_authors_asymmetric_one():
    first, second = map(options_of, make_views("paper"))
    assert (first["blur_probability"], first["solarize_probability"]) == (1.0, 0.0)
    assert (second["blur_probability"], second["solarize_probability"]) == (0.1, 0.2)


def test_settings_know_every_pair_and_option():
    assert set(VIEWS) == set(IMAGE_VIEWS)
    values = Settings(**pair_options("cifar", crop_size=16)).group("image views")
    assert values == pair_options("cifar", crop_size=16)


@pytest.mark.parametrize(
    "options,message",
    [
        ({"flip_probability": 1.5}, r"probability of random_horizontal_flip to be a "),
        ({"flip_probability": 1.5}, r"number in \[0, 1\]. Received: probability=1.5"),
        ({"crop_scale": (0.5, 1.2)}, r"high <= 1. Received: scale=\(0.5, 1.2\)"),
        ({"crop_scale": (0.9, 0.2)}, r"low <= high.* Received: scale="),
        ({"crop_ratio": 1.0}, r"two numbers.* Received: ratio=1.0"),
        ({"blur_sigma": (0, 2)}, r"0 < low.* Received: sigma=\(0, 2\)"),
        ({"brightness": -0.1}, r"at least 0. Received: brightness=-0.1"),
        ({"hue": 0.6}, r"in \[0, 0.5\]. Received: hue=0.6"),
        ({"solarize_threshold": 300}, r"in \[0, 255\]. Received: threshold=300"),
        ({"crop_size": 0}, r"whole number of at least 1. Received: size=0"),
        ({"interpolation": "cubic"}, r"one of bilinear, bicubic. Received: interpol"),
        ({"sepia": 0.5}, r"Expected options among crop_size, .* Received: sepia=0.5"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make_views("cifar", **options)


def test_unknown_pairs_are_refused():
    with pytest.raises(ValueError, match="one of paper, cifar, grayscale. Received: "):
        make_views("imagenet")
