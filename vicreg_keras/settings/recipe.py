"""The recipe of a run."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

from vicreg_keras.errors import InputError
from vicreg_keras.settings.options import (
    Options,
    check_given,
    fields,
    option,
    parse_widths,
)

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


_model = functools.partial(option, group="model")
_optimizer = functools.partial(option, group="optimizer")
_image_view = functools.partial(
    option, None, group="image views", only_with={"views": IMAGE_VIEWS}
)
_table_view = functools.partial(
    option, None, group="table views", only_with={"views": TABLE_VIEWS}
)
_series_view = functools.partial(_table_view, only_with={"views": ("series",)})
_positives = functools.partial(
    option, group="positives", only_with={"positives": ("neighbors",)}
)
_LARS = {"optimizer": ("lars",)}
_TABLE_ENCODER = {"encoder": TABLE_ENCODERS}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(Options):
    """The recipe of a run, without its data.

    Every attribute is an option of the command line, with the help, bounds and choices
    given here. Options of views are `None` where the named pair's own value is used.

    Raises:
        InputError: If a value is out of bounds, or two of them contradict each other.
    """

    encoder: str = _model(
        "auto",
        "Network that is trained; auto is resnet18 for images and mlp for tables.",
        choices=("auto", *ENCODERS, *TABLE_ENCODERS),
    )
    stem: str = _model(
        "auto",
        "First layers of a ResNet; auto is cifar up to 64 pixels.",
        choices=("auto", "cifar", "imagenet"),
        only_with={"encoder": _RESNETS},
    )
    mlp: str = _model(
        "256-128",
        "Widths of the mlp's layers.",
        only_with=_TABLE_ENCODER,
        may_be_empty=True,
    )
    projector: str = _model(
        "2048-2048-2048",
        "Widths of the layers between representation and loss.",
        may_be_empty=True,
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
        maximum=1000,
        group="views",
    )
    crop_size: int | None = _image_view(
        "Height and width of a view in pixels; by default the image's.",
        minimum=1,
        maximum=2**12,
    )
    crop_scale: tuple[float, float] | None = _image_view(
        "MIN,MAX area of a crop, as fractions of the image's.",
        minimum=0,
        maximum=1,
        exclusive=("minimum",),
    )
    crop_ratio: tuple[float, float] | None = _image_view(
        "MIN,MAX width / height of a crop.", minimum=0, exclusive=("minimum",)
    )
    interpolation: str | None = _image_view(
        "Interpolation of crops.", choices=("bilinear", "bicubic")
    )
    flip_probability: float | None = _image_view(
        "Probability of a horizontal flip.", minimum=0, maximum=1
    )
    jitter_probability: float | None = _image_view(
        "Probability of color jitter.", minimum=0, maximum=1
    )
    brightness: float | None = _image_view("Strength of brightness jitter.", minimum=0)
    contrast: float | None = _image_view("Strength of contrast jitter.", minimum=0)
    saturation: float | None = _image_view("Strength of saturation jitter.", minimum=0)
    hue: float | None = _image_view(
        "Strength of hue jitter, in turns.", minimum=0, maximum=0.5
    )
    grayscale_probability: float | None = _image_view(
        "Probability of conversion to grayscale.", minimum=0, maximum=1
    )
    blur_probability: float | None = _image_view(
        "Probability of a Gaussian blur.", minimum=0, maximum=1
    )
    blur_sigma: tuple[float, float] | None = _image_view(
        "MIN,MAX standard deviation of a blur, in pixels.", minimum=0
    )
    solarize_probability: float | None = _image_view(
        "Probability of solarization.", minimum=0, maximum=1
    )
    solarize_threshold: float | None = _image_view(
        "First pixel value that solarization inverts.", minimum=0, maximum=255
    )
    corruption_probability: float | None = _table_view(
        "Probability of a value from another example.", minimum=0, maximum=1
    )
    noise_std: float | None = _table_view(
        "Standard deviation of noise, in the column's standard deviations.", minimum=0
    )
    masking_probability: float | None = _table_view(
        "Probability of a missing value.", minimum=0, maximum=1
    )
    mixup: float | None = _table_view(
        "Largest share of another example.", minimum=0, maximum=1
    )
    scaling_std: float | None = _series_view(
        "Standard deviation of a series' factor about 1.", minimum=0
    )
    min_crop: float | None = _series_view(
        "Smallest part of a series' window that is kept.", minimum=0, maximum=1
    )
    num_channels: int | None = _series_view(
        "Channels of a series, whose columns go step by step.", minimum=1, maximum=10**5
    )

    positives: str = option(
        "views",
        "What every second view is of: the example itself, or a random one of its "
        "nearest neighbors (needs neighbors_from).",
        choices=("neighbors", "views"),
        group="positives",
    )
    neighbors_from: str | None = _positives(
        None,
        "Folder of the run whose encoder finds the neighbors, or 'input': pixels or "
        "scaled columns themselves.",
    )
    num_positives: int = _positives(
        5,
        "Nearest neighbors that a second view is drawn from.",
        minimum=1,
        maximum=10**4,
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

    optimizer: str = _optimizer(
        "adamw", "Optimizer.", choices=("adam", "adamw", "lars", "sgd")
    )
    learning_rate: float = _optimizer(
        1e-3, "Peak learning rate; not scaled by the batch size.", minimum=0
    )
    weight_decay: float = _optimizer(
        1e-4,
        "Weight decay; biases and batch normalization have none.",
        minimum=0,
        maximum=1,
    )
    momentum: float = _optimizer(
        0.9, "Momentum.", minimum=0, maximum=1, only_with={"optimizer": ("lars", "sgd")}
    )
    eta: float = _optimizer(0.001, "Trust coefficient.", minimum=0, only_with=_LARS)
    clip: bool = _optimizer(False, "Bound the local learning rates.", only_with=_LARS)
    global_clipnorm: float = _optimizer(
        0.0, "Largest norm of the gradient; 0 for no bound.", minimum=0
    )
    batch_size: int = option(
        256, "Examples per step, over all devices.", minimum=2, maximum=2**20
    )
    epochs: int = option(
        100,
        "Epochs of the whole run; a larger number extends a finished one.",
        minimum=1,
        maximum=10**6,
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
        maximum=10**6,
        fixed=False,
    )
    checkpoint_minutes: float = option(
        10.0, "Minutes between checkpoints within an epoch.", minimum=0, fixed=False
    )

    def __post_init__(self):
        super().__post_init__()
        parse_widths(self.projector)
        parse_widths(self.mlp, "mlp")
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

    def replace(self, changes: Mapping[str, Any]) -> "Settings":
        """Returns the settings with other values, which are checked."""
        return dataclasses.replace(self, **changes)

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
            InputError: If encoder, views or an option of them are for the other kind
                of examples.
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
        changed = [
            name
            for name, field in fields(self).items()
            if field.metadata["only_with"].keys() & {"encoder", "views"}
            and getattr(self, name) != field.default
        ]
        check_given((chosen,), changed)
        return chosen
