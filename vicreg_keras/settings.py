"""Options and their checks, and `Settings`: the recipe of a run."""

import csv
import dataclasses
import io
import math
import re
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vicreg_keras.errors import InputError

ENCODERS = (
    *("convnet", "resnet18", "resnet34", "resnet50", "small", "tiny"),
    *("whitened4", "whitened6"),
)
TABLE_ENCODERS = ("mlp",)
IMAGE_VIEWS = ("cifar", "grayscale", "paper")
TABLE_VIEWS = ("series", "table")
_RESNETS = tuple(name for name in ENCODERS if name.startswith("resnet"))

# Positives found in the examples themselves rather than in an earlier run.
INPUT = "input"


def option(
    default: Any,
    help: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    exclusive: bool = False,
    choices: Sequence[str] | None = None,
    group: str = "training",
    only_with: Mapping[str, Sequence[Any]] | None = None,
    fixed: bool = True,
) -> Any:
    """Returns a dataclass field that describes one option.

    Args:
        default: The default value, which is not checked against the bounds.
        help: One line for `--help`.
        minimum: Smallest value, or of each number of an interval.
        maximum: Largest value, likewise.
        exclusive: Whether the bounds themselves are excluded.
        choices: All values there are; of a tuple, of each of its items.
        group: Heading in `--help`; `Settings.group` selects by it.
        only_with: Names of other options with the values beside which this one has
            an effect.
        fixed: Whether a run can only be continued with the same value.
    """
    return dataclasses.field(
        default=default,
        metadata={
            "help": help,
            "minimum": minimum,
            "maximum": maximum,
            "exclusive": exclusive,
            "choices": choices and tuple(choices),
            "group": group,
            "only_with": dict(only_with or {}),
            "fixed": fixed,
        },
    )


def fields(options: Any) -> dict[str, dataclasses.Field]:
    """Returns the options of a dataclass or an instance of one, by name."""
    return {field.name: field for field in dataclasses.fields(options)}


def kind_of(options: Any, name: str) -> tuple[type, bool]:
    """Returns an option's type and whether it may be `None`.

    The type is `bool`, `int`, `float`, `str` or `tuple`; of a tuple see `item_types`.
    """
    hint = typing.get_type_hints(_class_of(options))[name]
    optional = isinstance(hint, types.UnionType)
    if optional:
        hint = next(one for one in typing.get_args(hint) if one is not types.NoneType)
    return typing.get_origin(hint) or hint, optional


def item_types(options: Any, name: str) -> tuple[type, ...]:
    """Returns the types of a tuple's items: two of an interval, one of a list."""
    hint = typing.get_type_hints(_class_of(options))[name]
    if isinstance(hint, types.UnionType):
        hint = next(one for one in typing.get_args(hint) if one is not types.NoneType)
    return tuple(one for one in typing.get_args(hint) if one is not Ellipsis)


def check_options(options: Any) -> None:
    """Checks every value of an option dataclass against its bounds and choices.

    Raises:
        InputError: If a value is out of bounds, not finite or not among the choices.
    """
    for name, field in fields(options).items():
        value = getattr(options, name)
        if value is None or not field.metadata:
            continue
        for item in value if isinstance(value, tuple) else (value,):
            _check_value(name, value, item, field.metadata)
        if kind_of(options, name)[0] is tuple and len(item_types(options, name)) == 2:
            if len(value) != 2 or value[0] > value[1]:
                raise InputError(
                    f"Expected {name} to be an interval LOW,HIGH. "
                    f"Received: {name}={_text(value)}."
                )


def check_given(options: Sequence[Any], given: Iterable[str]) -> None:
    """Checks that every given option has an effect beside the others.

    Args:
        options: Instances of option dataclasses, which together hold all options.
        given: Names of the options that the user has set.

    Raises:
        InputError: If one has none, for example `eta` beside the optimizer adamw.
    """
    known = {name: one for one in options for name in fields(one)}
    for name in given:
        if name not in known:
            continue
        for other, values in fields(known[name])[name].metadata["only_with"].items():
            value = getattr(known[other], other)
            if value not in values and value != "auto":
                wanted = " or ".join(f"{other}={text}" for text in values)
                raise InputError(
                    f"Expected {wanted} beside {name}, which has no effect otherwise. "
                    f"Received: {name}={_text(getattr(known[name], name))} with "
                    f"{other}={value}. Leave {name} out."
                )


def to_flags(*options: Any) -> dict[str, str]:
    """Returns options as the lines of a flag file hold them.

    Args:
        *options: Instances of option dataclasses, which together hold all options.

    Returns:
        Texts by name. Options that are `None`, and those that have no effect beside the
        others, are left out.
    """
    known = {name: one for one in options for name in fields(one)}
    texts = {}
    for name, one in known.items():
        value = getattr(one, name)
        has_effect = all(
            getattr(known[other], other) in (*values, "auto")
            for other, values in fields(one)[name].metadata["only_with"].items()
        )
        if value is None or not has_effect:
            continue
        if isinstance(value, tuple):
            line = io.StringIO()
            csv.writer(line, lineterminator="").writerow(value)
            texts[name] = line.getvalue()
        else:
            texts[name] = str(value).lower() if isinstance(value, bool) else str(value)
    return texts


def free_names(*options: Any) -> set[str]:
    """Returns the names of the options that may change when a run is continued."""
    return {
        name
        for one in options
        for name, field in fields(one).items()
        if not field.metadata["fixed"]
    }


def parse_widths(text: str, name: str = "projector") -> tuple[int, ...]:
    """Returns the widths that a text such as `"2048-2048-2048"` lists.

    Args:
        text: Widths with hyphens between them; an empty text for no layer at all.
        name: The option, for the message.

    Raises:
        InputError: If it is something else.
    """
    if not re.fullmatch(r"(\d+(-\d+)*)?", text) or "0" in text.split("-"):
        raise InputError(
            f"Expected {name} to be widths such as 2048-2048-2048, each above 0. "
            f"Received: {name}={text}."
        )
    return tuple(int(width) for width in text.split("-")) if text else ()


def _image_view(default, help, **metadata):
    only = {"views": IMAGE_VIEWS}
    return option(default, f"{help}.", group="image views", only_with=only, **metadata)


def _table_view(default, help, views=TABLE_VIEWS, **metadata):
    only = {"views": views}
    return option(default, f"{help}.", group="table views", only_with=only, **metadata)


def _probability(define, help):
    return define(None, f"Probability of {help}", minimum=0, maximum=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Which dataset is read, and how it is split; see `load_dataset`."""

    dataset: str = option(
        "digits",
        "Images: digits (always there), folder:PATH (JPEG and PNG, subfolders are "
        "classes), npz:PATH, or a name of tensorflow-datasets such as cifar10. Tables: "
        "csv:PATH, parquet:PATH, npz:PATH, digits_table, breast_cancer, wine, iris.",
        group="data",
    )
    data_dir: str | None = option(
        None,
        "Folder where tensorflow-datasets keeps its datasets.",
        group="data",
        fixed=False,
    )
    label_column: str | None = option(
        None, "Column of a CSV or Parquet file that holds the classes.", group="data"
    )
    drop_columns: tuple[str, ...] = option(
        (), "Columns of a CSV or Parquet file to leave out.", group="data"
    )
    image_size: int | None = option(
        None,
        "Height and width in pixels that images are resized to; by default they keep "
        "their size.",
        minimum=1,
        group="data",
    )
    validation_fraction: float = option(
        0.1,
        "Fraction of the training split held out for validation.",
        minimum=0,
        maximum=1,
        exclusive=True,
        group="data",
    )
    memory_limit_gib: float = option(
        4.0,
        "Decoded images are held in memory up to this size, in GiB.",
        minimum=0,
        group="data",
        fixed=False,
    )

    def __post_init__(self):
        check_options(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """The recipe of a run, without its data.

    Every attribute is an option of the command line, with the help, bounds and choices
    given here. Options of views are `None` where the named pair's own value is used.

    Raises:
        InputError: If a value is out of bounds, or two of them contradict each other.
    """

    encoder: str = option(
        "auto",
        "Network that is trained; auto is resnet18 for images and mlp for tables.",
        choices=("auto", *ENCODERS, *TABLE_ENCODERS),
        group="model",
    )
    stem: str = option(
        "auto",
        "First layers of a ResNet; auto is cifar up to 64 pixels.",
        choices=("auto", "cifar", "imagenet"),
        group="model",
        only_with={"encoder": _RESNETS},
    )
    mlp: str = option(
        "256-128",
        "Widths of the mlp's layers.",
        group="model",
        only_with={"encoder": TABLE_ENCODERS},
    )
    projector: str = option(
        "2048-2048-2048",
        "Widths of the layers between representation and loss.",
        group="model",
    )

    views: str = option(
        "auto",
        "Named pair of random views; auto is cifar for images and table for tables.",
        choices=("auto", *IMAGE_VIEWS, *TABLE_VIEWS),
        group="views",
    )
    num_views: int = option(
        2,
        "Random views of each example in a step, by the pair's layers in turn; time "
        "and memory grow with it.",
        minimum=2,
        group="views",
    )
    crop_size: int | None = _image_view(
        None, "Height and width of a view in pixels; by default the image's", minimum=1
    )
    crop_scale: tuple[float, float] | None = _image_view(
        None,
        "MIN,MAX area of a crop, as fractions of the image's",
        minimum=0,
        maximum=1,
    )
    crop_ratio: tuple[float, float] | None = _image_view(
        None, "MIN,MAX width / height of a crop", minimum=0
    )
    interpolation: str | None = _image_view(
        None, "Interpolation of crops", choices=("bilinear", "bicubic")
    )
    flip_probability: float | None = _probability(_image_view, "a horizontal flip")
    jitter_probability: float | None = _probability(_image_view, "color jitter")
    brightness: float | None = _image_view(
        None, "Strength of brightness jitter", minimum=0
    )
    contrast: float | None = _image_view(None, "Strength of contrast jitter", minimum=0)
    saturation: float | None = _image_view(
        None, "Strength of saturation jitter", minimum=0
    )
    hue: float | None = _image_view(
        None, "Strength of hue jitter, in turns", minimum=0, maximum=0.5
    )
    grayscale_probability: float | None = _probability(
        _image_view, "conversion to grayscale"
    )
    blur_probability: float | None = _probability(_image_view, "a Gaussian blur")
    blur_sigma: tuple[float, float] | None = _image_view(
        None, "MIN,MAX standard deviation of a blur, in pixels", minimum=0
    )
    solarize_probability: float | None = _probability(_image_view, "solarization")
    solarize_threshold: float | None = _image_view(
        None, "First pixel value that solarization inverts", minimum=0, maximum=255
    )
    corruption_probability: float | None = _probability(
        _table_view, "a value from another example"
    )
    noise_std: float | None = _table_view(
        None,
        "Standard deviation of noise, in standard deviations of the column",
        minimum=0,
    )
    masking_probability: float | None = _probability(_table_view, "a missing value")
    mixup: float | None = _table_view(
        None, "Largest share of another example", minimum=0, maximum=1
    )
    scaling_std: float | None = _table_view(
        None,
        "Standard deviation of a series' factor about 1",
        views=("series",),
        minimum=0,
    )
    min_crop: float | None = _table_view(
        None,
        "Smallest part of a series' window that is kept",
        views=("series",),
        minimum=0,
        maximum=1,
    )
    num_channels: int | None = _table_view(
        None,
        "Channels of a series, whose columns go step by step",
        views=("series",),
        minimum=1,
    )

    positives: str = option(
        "views",
        "What every second view is of: the example itself, or a random one of its "
        "nearest neighbors (needs neighbors_from).",
        choices=("neighbors", "views"),
        group="positives",
    )
    neighbors_from: str | None = option(
        None,
        "Folder of the run whose encoder finds the neighbors, or 'input': pixels or "
        "scaled columns themselves.",
        group="positives",
        only_with={"positives": ("neighbors",)},
    )
    num_positives: int = option(
        5,
        "Nearest neighbors that a second view is drawn from.",
        minimum=1,
        group="positives",
        only_with={"positives": ("neighbors",)},
    )
    invariance_weight: float = option(
        25.0, "Weight of the invariance term (lambda).", minimum=0, group="loss"
    )
    variance_weight: float = option(
        25.0, "Weight of the variance term (mu).", minimum=0, group="loss"
    )
    covariance_weight: float = option(
        1.0, "Weight of the covariance term (nu).", minimum=0, group="loss"
    )

    optimizer: str = option(
        "adamw",
        "Optimizer.",
        choices=("adam", "adamw", "lars", "sgd"),
        group="optimizer",
    )
    learning_rate: float = option(
        1e-3,
        "Peak learning rate; not scaled by the batch size.",
        minimum=0,
        group="optimizer",
    )
    weight_decay: float = option(
        1e-4,
        "Weight decay; biases and batch normalization have none.",
        minimum=0,
        group="optimizer",
    )
    momentum: float = option(
        0.9,
        "Momentum.",
        minimum=0,
        group="optimizer",
        only_with={"optimizer": ("lars", "sgd")},
    )
    eta: float = option(
        0.001,
        "Trust coefficient.",
        minimum=0,
        group="optimizer",
        only_with={"optimizer": ("lars",)},
    )
    clip: bool = option(
        False,
        "Bound the local learning rates.",
        group="optimizer",
        only_with={"optimizer": ("lars",)},
    )
    global_clipnorm: float = option(
        0.0,
        "Largest norm of the gradient; 0 for no bound.",
        minimum=0,
        group="optimizer",
    )
    batch_size: int = option(256, "Examples per step, over all devices.", minimum=2)
    epochs: int = option(
        100,
        "Epochs of the whole run; a larger number extends a finished one.",
        minimum=1,
        fixed=False,
    )
    warmup_epochs: float = option(
        1.0,
        "Epochs of rising learning rate; shortened to a tenth of a run that is not "
        "longer.",
        minimum=0,
    )
    final_learning_rate_fraction: float = option(
        0.0,
        "Learning rate at the end of the cosine schedule, over the peak.",
        minimum=0,
        maximum=1,
    )
    seed: int = option(
        0,
        "Seed of weights, order, views and splits.",
        minimum=0,
        maximum=2**32 - 1,
    )
    precision: str = option(
        "auto",
        "Arithmetic of the networks; auto depends on the hardware. The loss is "
        "computed in float32.",
        choices=("auto", "bfloat16", "float16", "float32"),
    )
    deterministic: bool = option(
        False, "Repeat a run bit for bit; slower on some devices.", fixed=False
    )
    init_from: str | None = option(
        None, "Folder of a run whose weights a new run starts from.", fixed=False
    )
    strategy: str = option(
        "auto",
        "Devices that share a batch; auto is all GPUs.",
        choices=("auto", "mirrored", "one"),
        fixed=False,
    )
    score_every: int = option(
        5,
        "Epochs between two evaluations of ranks and, with labels, of kNN accuracy; 0 "
        "for none.",
        minimum=0,
        fixed=False,
    )
    checkpoint_minutes: float = option(
        10.0, "Minutes between checkpoints within an epoch.", minimum=0, fixed=False
    )

    def __post_init__(self):
        check_options(self)
        parse_widths(self.projector)
        parse_widths(self.mlp, "mlp")
        for name in ("crop_scale", "crop_ratio"):
            value = getattr(self, name)
            if value is not None and value[0] <= 0:
                raise InputError(
                    f"Expected {name} to be above 0. Received: {name}={_text(value)}."
                )
        if (self.positives == "neighbors") != bool(self.neighbors_from):
            raise InputError(
                "Expected positives=neighbors and neighbors_from=RUN (or input) "
                f"together. Received: positives={self.positives} with "
                f"neighbors_from={self.neighbors_from}."
            )

    @property
    def fitting_warmup_epochs(self) -> float:
        """The warm-up, or a tenth of the run where it would not end before the run."""
        if self.warmup_epochs < self.epochs:
            return self.warmup_epochs
        return self.epochs / 10

    def group(self, name: str) -> dict[str, Any]:
        """Returns the values of one group of options that are not `None`."""
        return {
            key: getattr(self, key)
            for key, field in fields(self).items()
            if field.metadata["group"] == name and getattr(self, key) is not None
        }

    def for_examples(self, example_shape: Sequence[int]) -> "Settings":
        """Returns the settings with `"auto"` replaced according to the data.

        Args:
            example_shape: `(height, width, 3)`, or `(num_columns,)` of a table.

        Raises:
            InputError: If encoder or views are for the other kind of examples.
        """
        is_table = len(example_shape) == 1
        encoder, views = ("mlp", "table") if is_table else ("resnet18", "cifar")
        chosen = dataclasses.replace(
            self,
            encoder=encoder if self.encoder == "auto" else self.encoder,
            views=views if self.views == "auto" else self.views,
        )
        kind = "tables" if is_table else "images"
        for name, known in (
            ("encoder", TABLE_ENCODERS if is_table else ENCODERS),
            ("views", TABLE_VIEWS if is_table else IMAGE_VIEWS),
        ):
            value = getattr(chosen, name)
            if value not in known:
                raise InputError(
                    f"Expected {name} for {kind} ({', '.join(known)}). Received: "
                    f"{name}={value}. Use {name}=auto, or other data."
                )
        return chosen


def _class_of(options):
    return options if isinstance(options, type) else type(options)


def _check_value(name, value, item, metadata):
    received = f"Received: {name}={_text(value)}."
    choices, low, high = (metadata[key] for key in ("choices", "minimum", "maximum"))
    if choices is not None and item not in choices:
        raise InputError(
            f"Expected {name} to be one of {', '.join(choices)}. {received}"
        )
    if isinstance(item, bool | str):
        return
    if not math.isfinite(item):
        raise InputError(f"Expected {name} to be a finite number. {received}")
    below = low is not None and (item < low or (metadata["exclusive"] and item == low))
    above = high is not None and (
        item > high or (metadata["exclusive"] and item == high)
    )
    if below or above:
        raise InputError(f"Expected {name} {_bounds(metadata)}. {received}")


def _bounds(metadata):
    low, high = metadata["minimum"], metadata["maximum"]
    if high is None:
        return f"to be {'above' if metadata['exclusive'] else 'at least'} {low:g}"
    brackets = "()" if metadata["exclusive"] else "[]"
    return f"in {brackets[0]}{low:g}, {high:g}{brackets[1]}"


def _text(value):
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
