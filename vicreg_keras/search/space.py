"""What is searched: which values of a recipe may be tried?"""

import dataclasses
import difflib
import pathlib
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import optuna
import yaml
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from vicreg_keras.models import encoders
from vicreg_keras.settings import Settings
from vicreg_keras.training import optim
from vicreg_keras.views import image_views, table_views
from vicreg_keras.views.image_views import VIEWS

# What a trial is, or runs on, is no part of its recipe.
_NOT_SEARCHED = {
    "epochs",
    "seed",
    "positives",
    "neighbors_from",
    "num_positives",
    "precision",
    "strategy",
    "score_every",
    "checkpoint_minutes",
}
_NAMED = {"encoder": [*encoders.ENCODERS, "mlp"], "optimizer": optim.OPTIMIZERS}
_KEYS = ("low", "high", "log", "step", "choices")

Space = Mapping[str, BaseDistribution]


def default_space(settings: Settings) -> dict[str, BaseDistribution]:
    """What is searched where nobody says: a wide neighborhood of a recipe.

    The weights of variance and covariance (the invariance weight is left alone: only
    their ratios matter), learning rate, weight decay, the projector's width and, of the
    views, the crop's least area and the strengths of the color jitter that the
    recipe's own views have; of rows the mlp's widths, and how much of a row is replaced
    by other rows' values, noise and gaps.

    Args:
        settings: the recipe.

    Raises:
        ValueError: if its learning rate is 0.
    """
    if not settings.learning_rate:
        raise ValueError(
            "Expected a learning rate above 0 to search around. Received: "
            "learning_rate=0. Give another --learning_rate, or a --space."
        )
    unit = (settings.invariance_weight or 25.0) / 25.0
    widths = encoders.parse_widths(settings.projector)
    projectors = [
        "-".join(str(max(1, round(factor * width))) for width in widths)
        for factor in (0.5, 1, 2)
    ]
    rate = settings.learning_rate
    space = {
        "variance_weight": FloatDistribution(5.0 * unit, 100.0 * unit, log=True),
        "covariance_weight": FloatDistribution(0.1 * unit, 10.0 * unit, log=True),
        "learning_rate": FloatDistribution(0.1 * rate, 10 * rate, log=True),
        "weight_decay": FloatDistribution(1e-6, 1e-2, log=True),
    }
    if widths:
        space["projector"] = CategoricalDistribution(list(dict.fromkeys(projectors)))
    if settings.views not in VIEWS:
        return space | _row_space(settings)
    view = _own_view(settings)
    areas = sorted({0.08, 0.2, 0.4, 0.6, view["crop_scale"][0]})
    crops = [_pair_text((area, view["crop_scale"][1])) for area in areas]
    space["crop_scale"] = CategoricalDistribution(crops)
    for name in ("brightness", "contrast", "saturation", "hue"):
        if view["jitter_probability"] and view[name]:
            most = 0.5 if name == "hue" else 2.0
            space[name] = FloatDistribution(0.0, min(2 * view[name], most))
    return space


def _row_space(settings):
    """What is searched of an encoder of rows and its views."""
    widths = encoders.parse_widths(settings.mlp, "mlp")
    sizes = ["-".join(str(max(1, round(f * w))) for w in widths) for f in (0.5, 1, 2)]
    return {
        "mlp": CategoricalDistribution(list(dict.fromkeys(sizes))),
        "corruption_probability": FloatDistribution(0.05, 0.6),
        "noise_std": FloatDistribution(0.0, 0.5),
        "masking_probability": FloatDistribution(0.0, 0.3),
    }


def read_space(path: str | pathlib.Path) -> dict[str, BaseDistribution]:
    """What a person asks to be searched.

    Args:
        path: of a YAML file, such as

            learning_rate: {low: 1e-4, high: 1e-2, log: true}
            batch_size: {low: 128, high: 512, step: 128}
            projector: {choices: [512-512-512, 2048-2048-2048]}
            crop_scale: {choices: [[0.2, 1], [0.4, 1]]}

            The names are those of `Settings`.

    Returns:
        A distribution of each name.

    Raises:
        ValueError: if the file can't be read, or it asks for what there is not.
    """
    try:
        content = yaml.safe_load(pathlib.Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        cause = " ".join(str(error).split())
        raise ValueError(
            f"Expected --space to be a YAML file. Received: {path} ({cause})."
        ) from error
    if not isinstance(content, dict) or not content:
        raise ValueError(
            "Expected lines such as 'learning_rate: {low: 1e-4, high: 1e-2, log: true}'"
            f" in --space. Received: {path}, which holds {content!r}."
        )
    return {name: _distribution(name, what) for name, what in content.items()}


def check_space(space: Space, settings: Settings) -> None:
    """Refuses, before any work, a space whose ends the recipe does not allow.

    Args:
        space: of distributions.
        settings: the recipe.

    Raises:
        ValueError: as `Settings`.
    """
    for name, distribution in space.items():
        for value in _ends(distribution):
            apply(settings, {name: value})


def suggest(trial: optuna.Trial, space: Space) -> dict[str, Any]:
    """The values of a trial, by name.

    Args:
        trial: what suggests them.
        space: which ones are possible.
    """
    values = {}
    for name, one in space.items():
        if isinstance(one, CategoricalDistribution):
            values[name] = trial.suggest_categorical(name, one.choices)
        else:
            whole = isinstance(one, IntDistribution)
            ask = trial.suggest_int if whole else trial.suggest_float
            values[name] = ask(name, one.low, one.high, step=one.step, log=one.log)
    return values


def apply(settings: Settings, values: Mapping[str, Any]) -> Settings:
    """A recipe with other values.

    Args:
        settings: the recipe.
        values: of settings and of views, as `suggest` gives them.

    Raises:
        ValueError: as `Settings`.
    """
    changes = {
        name: _numbers(value) if _kind(name) is Sequence else value
        for name, value in values.items()
    }
    return dataclasses.replace(settings, **changes)


def own_values(settings: Settings, space: Space) -> dict[str, Any] | None:
    """The recipe's own values, or `None` where one of them is not in the space.

    Args:
        settings: the recipe.
        space: of distributions.
    """
    view = _own_view(settings)
    values = {}
    for name, distribution in space.items():
        value = view[name] if name in view else getattr(settings, name)
        value = _pair_text(value) if _kind(name) is Sequence else value
        if isinstance(distribution, CategoricalDistribution):
            inside = value in distribution.choices
        else:
            inside = distribution.low <= value <= distribution.high
            steps = (value - distribution.low) / (distribution.step or 1)
            inside &= distribution.step is None or abs(steps - round(steps)) < 1e-9
        if not inside:
            return None
        values[name] = value
    return values


def _own_view(settings: Settings) -> dict:
    """Returns all options of the recipe's first view."""
    if settings.views not in VIEWS:
        return table_views.pair_options(settings.views, **settings.group("table views"))
    return image_views.pair_options(settings.views, **settings.group("image views"))


def _types() -> dict[str, Any]:
    """The type of every value that can be searched."""
    found = typing.get_type_hints(Settings)
    return {name: kind for name, kind in found.items() if name not in _NOT_SEARCHED}


def _kind(name: str) -> type:
    """`int`, `float`, `bool`, `str`, or `Sequence` for two numbers."""
    kind = _types()[name]
    if isinstance(kind, types.UnionType):
        kind = typing.get_args(kind)[0]
    return Sequence if typing.get_origin(kind) is not None else kind


def _distribution(name: Any, what: Any) -> BaseDistribution:
    known = _types()
    if name not in known:
        near = difflib.get_close_matches(str(name), known, 3, 0.5) or sorted(known)
        raise ValueError(
            "Expected names of settings or of views' values in --space. Received: "
            f"{name}. Near it: {', '.join(near)}."
        )
    unknown = [key for key in what if key not in _KEYS] if _is_map(what) else [what]
    ranged = _is_map(what) and {"low", "high"} <= set(what) and "choices" not in what
    listed = _is_map(what) and list(what) == ["choices"]
    if unknown or not (ranged or listed):
        raise ValueError(
            f"Expected {name}: {{low: .., high: .., log: .., step: ..}} or {name}: "
            f"{{choices: [..]}} in --space. Received: {name}: {what}."
        )
    if listed:
        return _choices(name, what["choices"])
    kind = _kind(name)
    if kind not in (int, float):
        raise ValueError(
            f"Expected {name}: {{choices: [..]}} in --space, since it is no number. "
            f"Received: {name}: {what}."
        )
    return _range(name, kind, **what)


def _is_map(what: Any) -> bool:
    return isinstance(what, dict)


def _choices(name: str, choices: Any) -> CategoricalDistribution:
    if not isinstance(choices, list) or not choices:
        raise ValueError(
            f"Expected a list of choices for {name} in --space. Received: {choices}."
        )
    values = [_value(name, _kind(name), choice) for choice in choices]
    for value in values:
        if name in _NAMED and value not in _NAMED[name]:
            raise ValueError(
                f"Expected choices of {name} among {', '.join(_NAMED[name])} in "
                f"--space. Received: {value}."
            )
    return CategoricalDistribution(list(dict.fromkeys(values)))


def _range(
    name: str, kind: type, low: Any, high: Any, log: Any = False, step: Any = None
) -> BaseDistribution:
    low, high = (_value(name, kind, end) for end in (low, high))
    step = None if step is None else _value(name, kind, step)
    received = f"Received: {name}: low={low}, high={high}, log={log}, step={step}."
    if low > high:
        raise ValueError(f"Expected low of at most high in --space. {received}")
    if not isinstance(log, bool) or (log and (low <= 0 or step is not None)):
        raise ValueError(
            "Expected log to be true or false in --space and, where it is true, low "
            f"above 0 and no step. {received}"
        )
    if step is not None and step <= 0:
        raise ValueError(f"Expected a step above 0 in --space. {received}")
    if kind is int:
        # Optuna takes off what does not fill a step, with a warning; so do we, without.
        high = low + (high - low) // (step or 1) * (step or 1)
        return IntDistribution(low, high, log=log, step=step or 1)
    if step is not None:
        high = low + int((high - low) / step + 1e-9) * step
    return FloatDistribution(low, high, log=log, step=step)


def _value(name: str, kind: type, value: Any) -> Any:
    """A value as the space holds it; two numbers are held as text, `"0.2,1"`."""
    try:
        if kind is Sequence:
            pair = _numbers(value) if isinstance(value, str) else tuple(value)
            if len(pair) != 2:
                raise ValueError
            return _pair_text(pair)
        if kind is bool or isinstance(value, bool):
            if not (kind is bool and isinstance(value, bool)):
                raise ValueError
            return value
        if kind is str:
            if not isinstance(value, str):
                raise ValueError
            return value
        # YAML reads 1e-4 as text.
        number = float(value)
        if kind is int and number != int(number):
            raise ValueError
        if not 0 <= number < float("inf"):
            raise ValueError
        return kind(number)
    except (ValueError, TypeError, OverflowError) as error:
        words = {
            Sequence: "two numbers",
            bool: "true or false",
            str: "text",
            int: "a whole number of 0 or more",
            float: "a number of 0 or more",
        }
        raise ValueError(
            f"Expected {words[kind]} for {name} in --space. Received: {value!r}."
        ) from error


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


def _pair_text(pair: Sequence[float]) -> str:
    return ",".join(str(float(number)) for number in pair)


def _ends(distribution: BaseDistribution) -> Iterator[Any]:
    if isinstance(distribution, CategoricalDistribution):
        yield from distribution.choices
    else:
        yield from (distribution.low, distribution.high)
