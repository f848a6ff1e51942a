"""The search space: which options of a recipe vary, and over which values."""

import difflib
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
import yaml
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState

from vicreg_keras.errors import InputError
from vicreg_keras.settings import Settings
from vicreg_keras.settings.options import fields, kind_of, parse_widths
from vicreg_keras.settings.recipe import TABLE_VIEWS
from vicreg_keras.views.named_views import pair_options

Space = Mapping[str, BaseDistribution]

# Values by option; an interval is text, such as "0.2,1.0", as Optuna can hold it.
Values = Mapping[str, Any]

_COLOR_JITTER = ("brightness", "contrast", "saturation", "hue")


def default_space(settings: Settings) -> dict[str, BaseDistribution]:
    """Returns a wide neighborhood of a recipe.

    It holds the weights of variance and covariance (only their ratios to the invariance
    weight matter), learning rate, weight decay and the projector's widths; of images
    the crop's smallest area and the strengths of the recipe's color jitter; of tables
    the mlp's widths, corruption, noise and masking.

    Args:
        settings: The recipe, for one kind of examples; see `Settings.for_examples`.

    Raises:
        InputError: If its learning rate is 0.
    """
    rate = settings.learning_rate
    if not rate:
        raise InputError(
            "Expected learning_rate to be above 0, to search around it. Received: "
            "learning_rate=0. Raise it, or give a space."
        )
    unit = (settings.invariance_weight or 25.0) / 25.0
    space: dict[str, BaseDistribution] = {
        "variance_weight": FloatDistribution(5.0 * unit, 100.0 * unit, log=True),
        "covariance_weight": FloatDistribution(0.1 * unit, 10.0 * unit, log=True),
        "learning_rate": FloatDistribution(0.1 * rate, 10 * rate, log=True),
        "weight_decay": FloatDistribution(1e-6, 1e-2, log=True),
        **_widths("projector", settings.projector),
    }
    if settings.views in TABLE_VIEWS:
        return {
            **space,
            **_widths("mlp", settings.mlp),
            "corruption_probability": FloatDistribution(0.05, 0.6),
            "noise_std": FloatDistribution(0.0, 0.5),
            "masking_probability": FloatDistribution(0.0, 0.3),
        }
    view = _view_options(settings)
    low, high = view["crop_scale"]
    crops = [_text((area, high)) for area in sorted({0.08, 0.2, 0.4, 0.6, low})]
    space["crop_scale"] = CategoricalDistribution(crops)
    for name in _COLOR_JITTER:
        if view["jitter_probability"] and view[name]:
            limit = fields(settings)[name].metadata["maximum"] or 2.0
            space[name] = FloatDistribution(0.0, min(2 * view[name], limit))
    return space


def read_space(path: str | os.PathLike) -> dict[str, BaseDistribution]:
    """Returns the space that a YAML file describes.

    Args:
        path: Path of the file, whose names are options of `Settings`:

            learning_rate: {low: 1e-4, high: 1e-2, log: true}
            batch_size: {low: 128, high: 512, step: 128}
            projector: {choices: [512-512-512, 2048-2048-2048]}
            crop_scale: {choices: [[0.2, 1], [0.4, 1]]}

    Raises:
        InputError: If the file can't be read, or a line of it is wrong.
    """
    try:
        content = yaml.safe_load(pathlib.Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        cause = " ".join(str(error).split())
        raise InputError(
            f"Expected space to be a YAML file. Received: space={path} ({cause})."
        ) from error
    if not isinstance(content, dict) or not content:
        raise InputError(
            "Expected lines such as 'learning_rate: {low: 1e-4, high: 1e-2, log: true}'"
            f" in space. Received: space={path}, which holds {content!r}."
        )
    return {name: _distribution(name, entry) for name, entry in content.items()}


def check_space(space: Space, settings: Settings) -> None:
    """Checks that the recipe allows the ends of a space.

    Raises:
        InputError: See `Settings`.
    """
    for name, one in space.items():
        is_choice = isinstance(one, CategoricalDistribution)
        for value in one.choices if is_choice else (one.low, one.high):
            apply(settings, {name: value})


def suggest(trial: optuna.Trial, space: Space) -> dict[str, Any]:
    """Returns the values of a trial by name."""
    values = {}
    for name, one in space.items():
        if isinstance(one, CategoricalDistribution):
            values[name] = trial.suggest_categorical(name, one.choices)
        else:
            is_integer = isinstance(one, IntDistribution)
            ask = trial.suggest_int if is_integer else trial.suggest_float
            values[name] = ask(name, one.low, one.high, step=one.step, log=one.log)
    return values


def apply(settings: Settings, values: Values) -> Settings:
    """Returns a recipe with other values, as `suggest` gives them.

    Raises:
        InputError: See `Settings`.
    """
    changes: dict[str, Any] = {
        name: tuple(map(float, value.split(","))) if _kind(name) is tuple else value
        for name, value in values.items()
    }
    return settings.replace(changes)


def own_values(settings: Settings, space: Space) -> dict[str, Any] | None:
    """Returns the recipe's own values, or `None` if the space leaves one of them out.

    Args:
        settings: The recipe, for one kind of examples; see `Settings.for_examples`.
        space: The space.
    """
    view = _view_options(settings)
    values = {}
    for name in space:
        value = view.get(name, getattr(settings, name))
        values[name] = _text(value) if _kind(name) is tuple else value
    try:
        # It checks that the distributions contain the values.
        optuna.create_trial(
            state=TrialState.WAITING, params=values, distributions=dict(space)
        )
    except ValueError:
        return None
    return values


def _view_options(settings: Settings) -> dict[str, Any]:
    """Returns every option of the recipe's first view."""
    group = "table views" if settings.views in TABLE_VIEWS else "image views"
    return pair_options(settings.views, **settings.group(group))


def _widths(name: str, text: str) -> dict[str, BaseDistribution]:
    """Returns half, once and twice the widths as choices; nothing without a layer."""
    widths = parse_widths(text, name)
    if not widths:
        return {}
    texts = [
        "-".join(str(max(1, round(factor * width))) for width in widths)
        for factor in (0.5, 1, 2)
    ]
    return {name: CategoricalDistribution(list(dict.fromkeys(texts)))}


def _kind(name: str) -> type:
    return kind_of(Settings, name)[0]


def _searchable() -> list[str]:
    """Returns the options that a trial may vary: a recipe's, but for its data."""
    return [
        name
        for name, field in fields(Settings).items()
        if field.metadata["fixed"]
        and field.metadata["group"] != "positives"
        and name not in ("precision", "seed")
    ]


def _distribution(name: Any, entry: Any) -> BaseDistribution:
    known = _searchable()
    if name not in known:
        near = difflib.get_close_matches(str(name), known, 3, 0.5) or known
        raise InputError(
            f"Expected options of a recipe in space. Received: {name}. Similar ones: "
            f"{', '.join(near)}."
        )
    kind = _kind(name)
    reason = f"{name} has the type {kind.__name__}"
    try:
        match entry:
            case {"choices": [_, *_] as choices, **rest} if not rest:
                values = dict.fromkeys(_value(name, choice) for choice in choices)
                return CategoricalDistribution(list(values))
            case {"low": _, "high": _} if kind in (int, float):
                log = entry.get("log", False)
                if not isinstance(log, bool):
                    raise ValueError("log is true or false")
                given = {k: _value(name, v) for k, v in entry.items() if k != "log"}
                make = IntDistribution if kind is int else FloatDistribution
                # Optuna lowers a high that no step reaches, and warns of it.
                return make(log=log, **given)
    except (ValueError, TypeError, OverflowError) as error:
        reason += f"; {error}"
    raise InputError(
        f"Expected {name}: {{low: .., high: .., log: .., step: ..}} of a number, or "
        f"{name}: {{choices: [..]}} in space. Received: {name}: {entry} ({reason})."
    )


def _value(name: str, value: Any) -> Any:
    """Returns a value of YAML as the space holds it, of the option's type."""
    kind = _kind(name)
    if kind is tuple:
        low, high = value.split(",") if isinstance(value, str) else value
        return _text((float(low), float(high)))
    if kind in (bool, str) or isinstance(value, bool):
        if not isinstance(value, kind):
            raise ValueError(value)
        return value
    number = float(value)  # YAML reads 1e-4 as text.
    if kind(number) != number:
        raise ValueError(value)
    return kind(number)


def _text(pair: Sequence[float]) -> str:
    return ",".join(str(float(number)) for number in pair)
