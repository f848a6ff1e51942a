"""The search space: read from YAML, checked, applied to a recipe."""

import dataclasses

import optuna
import pytest

from vicreg_keras.search import space as spaces
from vicreg_keras.settings import Settings

SETTINGS = Settings(views="cifar", projector="512-512", warmup_epochs=0.0)


def read(tmp_path, text):
    path = tmp_path / "space.yaml"
    path.write_text(text)
    return spaces.read_space(path)


def test_ranges_and_choices_are_read(tmp_path):
    space = read(
        tmp_path,
        "learning_rate: {low: 1e-4, high: 1e-2, log: true}\n"
        "batch_size: {low: 64, high: 250, step: 64}\n"
        "solarize_probability: {low: 0, high: 0.3}\n"
        "projector: {choices: [64-64, 128-128]}\n"
        "clip: {choices: [true, false]}\n"
        "crop_scale: {choices: [[0.2, 1], '0.4,1']}\n",
    )
    assert space["learning_rate"].low == 1e-4 and space["learning_rate"].log
    assert (space["batch_size"].high, space["batch_size"].step) == (192, 64)
    assert space["solarize_probability"].high == 0.3
    assert space["clip"].choices == (True, False)
    assert space["crop_scale"].choices == ("0.2,1.0", "0.4,1.0")
    values = {
        "batch_size": 128,
        "clip": True,
        "solarize_probability": 0.25,
        "crop_scale": "0.4,1",
    }
    assert spaces.apply(SETTINGS, values) == dataclasses.replace(
        SETTINGS,
        batch_size=128,
        clip=True,
        solarize_probability=0.25,
        crop_scale=(0.4, 1.0),
    )
    study = optuna.create_study()
    for _ in range(20):
        values = spaces.suggest(study.ask(), space)
        assert set(values) == set(space)
        assert values["batch_size"] in (64, 128, 192)
        spaces.apply(SETTINGS, values)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (
            "lerning_rate: {low: 1, high: 2}",
            ["lerning_rate", "Similar ones: learning_rate"],
        ),
        ("seed: {low: 1, high: 2}", ["Received: seed", "Similar ones"]),
        ("hue: {low: 0.2, high: 0.1}", ["low <= high", "low=0.2"]),
        ("hue: {low: much, high: 0.1}", ["hue has the type float", "'much'"]),
        ("hue: {low: 0, high: 0.1, log: true}", ["low > 0", "low=0.0"]),
        ("hue: {low: 0, high: 0.1, log: 3}", ["log is true or false", "'log': 3"]),
        ("hue: {low: 0, high: 0.1, step: 0}", ["step > 0"]),
        ("hue: {low: 0.1}", ["Received: hue: {'low': 0.1}"]),
        ("hue: {low: 0, high: 0.1, most: 2}", ["choices: [..]", "most"]),
        ("hue: 0.1", ["Received: hue: 0.1"]),
        ("hue: {choices: []}", ["Received: hue: {'choices': []}"]),
        ("hue: {choices: [true]}", ["hue has the type float", "True"]),
        ("batch_size: {low: 1.5, high: 3}", ["batch_size has the type int", "1.5"]),
        ("projector: {low: 1, high: 2}", ["projector has the type str"]),
        ("crop_scale: {low: 0.1, high: 1}", ["crop_scale has the type tuple"]),
        ("crop_scale: {choices: [[0.1, 0.2, 1]]}", ["crop_scale has the type tuple"]),
        ("clip: {choices: [2]}", ["clip has the type bool"]),
        ("[1, 2", ["to be a YAML file"]),
        ("- 3", ["Expected lines such as"]),
        ("", ["Expected lines such as"]),
    ],
)
def test_wrong_entry_is_refused(text, parts, tmp_path):
    with pytest.raises(ValueError, match="space") as error:
        read(tmp_path, text)
    message = str(error.value)
    assert message.startswith("Expected ") and "Received: " in message
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match="none.yaml") as error:
        spaces.read_space(tmp_path / "none.yaml")
    assert "\n" not in str(error.value)


def test_ends_of_a_space_are_checked(tmp_path):
    with pytest.raises(ValueError, match="flip"):
        spaces.check_space(
            read(tmp_path, "flip_probability: {low: 0, high: 1.5}"), SETTINGS
        )
    for text in (
        "projector: {choices: [x-3]}",
        "encoder: {choices: [vgg]}",
        "hue: {low: -1, high: 0.1}",
    ):
        with pytest.raises(ValueError, match=r"x-3|resnet18.*vgg|hue=-1"):
            spaces.check_space(read(tmp_path, text), SETTINGS)


@pytest.mark.parametrize("views", ["cifar", "grayscale", "paper"])
def test_default_space_is_around_the_recipe(views):
    settings = dataclasses.replace(SETTINGS, views=views)
    space = spaces.default_space(settings)
    spaces.check_space(space, settings)
    own = spaces.own_values(settings, space)
    assert own["projector"] == "512-512" and own["learning_rate"] == 1e-3
    applied = spaces.apply(settings, own)
    assert applied.crop_scale[1] == 1.0
    # Color is searched only where the views have it.
    assert ("hue" in space) == ("saturation" in space) == (views != "grayscale")
    assert {"variance_weight", "covariance_weight", "weight_decay"} <= set(space)
    # Only ratios of the weights matter: their ranges move with the invariance.
    twice = dataclasses.replace(settings, invariance_weight=50.0)
    moved = spaces.default_space(twice)["variance_weight"]
    assert moved.low == 2 * space["variance_weight"].low


def test_number_of_views_may_vary(tmp_path):
    space = read(tmp_path, "num_views: {low: 2, high: 4}")
    spaces.check_space(space, SETTINGS)
    assert spaces.own_values(SETTINGS, space) == {"num_views": 2}
    assert spaces.apply(SETTINGS, {"num_views": 4}).num_views == 4
    with pytest.raises(ValueError, match="num_views=1"):
        spaces.check_space(read(tmp_path, "num_views: {low: 1, high: 4}"), SETTINGS)


def test_recipe_outside_a_space_has_no_values_there(tmp_path):
    space = read(tmp_path, "learning_rate: {low: 1, high: 2}")
    assert spaces.own_values(SETTINGS, space) is None
    space = read(tmp_path, "batch_size: {low: 100, high: 300, step: 50}")
    assert spaces.own_values(SETTINGS, space) is None
    space = read(tmp_path, "batch_size: {low: 128, high: 384, step: 128}")
    assert spaces.own_values(SETTINGS, space) == {"batch_size": 256}


def test_default_space_of_tables():
    settings = Settings(encoder="mlp", views="table", mlp="64-32", projector="32-32")
    space = spaces.default_space(settings)
    assert {"mlp", "corruption_probability", "noise_std", "masking_probability"} < set(
        space
    )
    assert not {"crop_scale", "brightness"} & set(space)
    assert space["mlp"].choices == ("32-16", "64-32", "128-64")
    changed = spaces.apply(
        settings, {"corruption_probability": 0.5, "mlp": "32-16", "learning_rate": 0.1}
    )
    assert changed.corruption_probability == 0.5 and changed.mlp == "32-16"
    own = spaces.own_values(settings, space)
    assert (own["corruption_probability"], own["noise_std"], own["mlp"]) == (
        0.3,
        0.1,
        "64-32",
    )
    with pytest.raises(ValueError, match="corruption_probability=2"):
        spaces.apply(settings, {"corruption_probability": 2.0})
