"""The recipe of a run, besides its data."""

import dataclasses
from collections.abc import Sequence

from vicreg_keras.models import encoders
from vicreg_keras.views.image_views import VIEWS, make_views
from vicreg_keras.views.table_views import TABLE_VIEWS, table_view_settings

# Neighbors of the examples themselves, rather than of an earlier run's folder.
INPUT = "input"


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything a run is made of, besides its data.

    Attributes:
        encoder: a key of `ENCODERS`, `"mlp"` for rows, or `"auto"`: resnet18 for
            images and mlp for rows.
        stem: `"auto"`, `"cifar"` or `"imagenet"`.
        mlp: widths of the mlp's layers, such as `"256-128"`.
        projector: widths, such as `"2048-2048-2048"`.
        views: a key of `VIEWS` or of `TABLE_VIEWS`, or `"auto"`: cifar for images
            and table for tables.
        view_overrides: settings of `View` that replace the pair's.
        row_view_overrides: settings of `TableView`, likewise.
        num_views: random views of each example in a step; the pair's in turn.
        invariance_weight, variance_weight, covariance_weight: of the loss.
        optimizer: a key of `optim.OPTIMIZERS`.
        learning_rate: peak, as it is: not scaled by the batch size.
        weight_decay, momentum, eta, clip: as in `optim.make_optimizer`.
        global_clipnorm: greatest norm of the gradient of all weights; 0 for none.
        epochs: of the whole run.
        warmup_epochs: of them, with a rising learning rate.
        final_learning_rate_fraction: last learning rate over the peak.
        batch_size: images a step, over all replicas.
        seed: of weights, order and views.
        positives: `"views"`: all views are of one example; `"neighbors"`: every second
            one is of a random one of its nearest neighbors.
        neighbors_from: whose neighbors: an earlier run's folder, or `"input"`:
            those of pixels or scaled rows themselves, by cosine similarity.
        num_positives: neighbors of each image.
        precision: a key of `precision.POLICIES`, applied by the caller.
        strategy: as in `distribute.make_strategy`.
        score_every: epochs between two looks at ranks and, with labels, kNN accuracy;
            0 for none.
        checkpoint_minutes: between two checkpoints inside an epoch.
    """

    encoder: str = "auto"
    stem: str = "auto"
    mlp: str = "256-128"
    projector: str = "2048-2048-2048"
    views: str = "auto"
    view_overrides: dict = dataclasses.field(default_factory=dict)
    row_view_overrides: dict = dataclasses.field(default_factory=dict)
    num_views: int = 2
    invariance_weight: float = 25.0
    variance_weight: float = 25.0
    covariance_weight: float = 1.0
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    momentum: float = 0.9
    eta: float = 0.001
    clip: bool = False
    global_clipnorm: float = 0.0
    epochs: int = 100
    warmup_epochs: float = 1.0
    final_learning_rate_fraction: float = 0.0
    batch_size: int = 256
    seed: int = 0
    positives: str = "views"
    neighbors_from: str | None = None
    num_positives: int = 5
    precision: str = "float32"
    strategy: str = "auto"
    score_every: int = 5
    checkpoint_minutes: float = 10.0

    def __post_init__(self):
        """Refuses, before any work, what can't be trained.

        Raises:
            ValueError: if a value is out of range or not known.
        """
        encoders.parse_widths(self.projector)
        encoders.parse_widths(self.mlp, "mlp")
        if self.views in TABLE_VIEWS:
            table_view_settings(self.views, **self.row_view_overrides)
        elif self.views != "auto":
            make_views(self.views, **self.view_overrides)
        if self.num_views < 2:
            raise ValueError(
                "Expected two views of an image or more: the loss compares them. "
                f"Received: num_views={self.num_views}."
            )
        if self.batch_size < 2:
            raise ValueError(
                "Expected a batch of 2 images or more: variance and covariance are "
                f"taken over it. Received: batch_size={self.batch_size}."
            )
        if not 0 <= self.warmup_epochs < self.epochs:
            raise ValueError(
                "Expected warm-up to end before training does. Received: "
                f"warmup_epochs={self.warmup_epochs:g}, epochs={self.epochs}. Lower "
                "--warmup_epochs or raise --epochs."
            )
        if self.num_positives < 1:
            raise ValueError(
                "Expected one neighbor or more to draw second views from. Received: "
                f"num_positives={self.num_positives}."
            )
        if (self.positives == "neighbors") != bool(self.neighbors_from):
            raise ValueError(
                "Expected --positives=neighbors and --neighbors_from=RUN (or input) "
                f"together. Received: positives={self.positives}, "
                f"neighbors_from={self.neighbors_from}."
            )

    def for_examples(self, example_shape: Sequence[int]) -> "Settings":
        """The settings with what is left to the data chosen.

        Args:
            example_shape: `(height, width, 3)`, or `(num_columns,)` of a table.

        Raises:
            ValueError: if encoder or views are for the other kind of examples.
        """
        are_rows = len(example_shape) == 1
        encoder, views = ("mlp", "table") if are_rows else ("resnet18", "cifar")
        chosen = dataclasses.replace(
            self,
            encoder=encoder if self.encoder == "auto" else self.encoder,
            views=views if self.views == "auto" else self.views,
        )
        kind = "rows of numbers" if are_rows else "images"
        if (chosen.encoder == "mlp") != are_rows:
            known = "mlp" if are_rows else ", ".join(sorted(encoders.ENCODERS))
            raise ValueError(
                f"Expected an encoder of {kind} ({known}). Received: "
                f"encoder={chosen.encoder}. Use --encoder=auto, or other data."
            )
        if (chosen.views in VIEWS) == are_rows:
            known = ", ".join(TABLE_VIEWS) if are_rows else ", ".join(VIEWS)
            raise ValueError(
                f"Expected views of {kind} ({known}). Received: "
                f"views={chosen.views}. Use --views=auto, or other data."
            )
        return chosen
