"""What is a run made of, besides its data?"""

import dataclasses

from vicreg_keras import models
from vicreg_keras.augment import make_views


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything a run is made of, besides its data.

    Attributes:
        encoder: a key of `models.ENCODERS`.
        stem: `"auto"`, `"cifar"` or `"imagenet"`.
        projector: widths, such as `"2048-2048-2048"`.
        views: a key of `augment.VIEWS`.
        view_overrides: settings of `augment.View` that replace the pair's.
        invariance_weight, variance_weight, covariance_weight: of the loss.
        optimizer: a key of `optim.OPTIMIZERS`.
        learning_rate: peak, as it is: not scaled by the batch size.
        weight_decay, momentum, eta, clip: as in `optim.make_optimizer`.
        epochs: of the whole run.
        warmup_epochs: of them, with a rising learning rate.
        final_learning_rate_fraction: last learning rate over the peak.
        batch_size: images a step, over all replicas.
        seed: of weights, order and views.
        positives: `"views"`: both views are of one image; `"neighbours"`: the second
            one is of a random one of its nearest neighbours in an earlier run.
        neighbours_from: that run's folder.
        num_positives: neighbours of each image.
        precision: a key of `precision.POLICIES`, applied by the caller.
        strategy: as in `distribute.make_strategy`.
        score_every: epochs between two looks at ranks and, with labels, kNN accuracy;
            0 for none.
        checkpoint_minutes: between two checkpoints inside an epoch.
    """

    encoder: str = "resnet18"
    stem: str = "auto"
    projector: str = "2048-2048-2048"
    views: str = "cifar"
    view_overrides: dict = dataclasses.field(default_factory=dict)
    invariance_weight: float = 25.0
    variance_weight: float = 25.0
    covariance_weight: float = 1.0
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    momentum: float = 0.9
    eta: float = 0.001
    clip: bool = False
    epochs: int = 100
    warmup_epochs: float = 1.0
    final_learning_rate_fraction: float = 0.0
    batch_size: int = 256
    seed: int = 0
    positives: str = "views"
    neighbours_from: str | None = None
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
        models.parse_widths(self.projector)
        make_views(self.views, **self.view_overrides)
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
                "Expected one neighbour or more to draw second views from. Received: "
                f"num_positives={self.num_positives}."
            )
        if (self.positives == "neighbours") != bool(self.neighbours_from):
            raise ValueError(
                "Expected --positives=neighbours and --neighbours_from=RUN together. "
                f"Received: positives={self.positives}, "
                f"neighbours_from={self.neighbours_from}."
            )
