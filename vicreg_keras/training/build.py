"""A run's encoder, views, model and optimizer, built from its settings and dataset."""

import keras
import numpy as np

from vicreg_keras.data.card import PixelStatistics, Schema
from vicreg_keras.data.columns import TableStatistics
from vicreg_keras.data.dataset import Dataset
from vicreg_keras.model import VICReg
from vicreg_keras.models import encoders
from vicreg_keras.models.table_encoder import make_table_encoder
from vicreg_keras.settings import Settings
from vicreg_keras.settings.options import parse_widths
from vicreg_keras.training import optim
from vicreg_keras.views.named_views import make_table_views, make_views

# Views of a table draw values of other examples from at most so many.
_MAX_MARGINAL_EXAMPLES = 50_000


def build_model(
    settings: Settings,
    dataset: Dataset,
    steps_per_epoch: int,
    schema: Schema | None = None,
) -> VICReg:
    """Returns a run's compiled model, with the initial weights of its seed.

    Args:
        settings: Recipe of the run.
        dataset: Dataset that is trained on.
        steps_per_epoch: Steps per epoch, for the learning rate schedule.
        schema: See `build_encoder`; `None` makes that of the dataset.

    Raises:
        InputError: If the settings are not for such data.
    """
    settings = settings.for_examples(dataset.example_shape)
    encoders.check_side(settings.encoder, settings.crop_size)
    encoder = build_encoder(settings, schema or make_schema(settings, dataset))
    projector = encoders.make_projector(
        encoder.output_shape[-1], parse_widths(settings.projector)
    )
    model = VICReg(
        encoder,
        projector,
        _build_views(settings, dataset),
        num_views=settings.num_views,
        loss_weights=settings.group("loss"),
        seed=settings.seed,
        name="vicreg",
    )
    schedule = make_schedule(settings, steps_per_epoch)
    options = settings.group("optimizer") | {"learning_rate": schedule}
    model.compile(optim.make_optimizer(**options))
    model.optimizer.build(model.trainable_variables)
    return model


def make_schedule(
    settings: Settings, steps_per_epoch: int, factor: float = 1.0
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Returns the learning rate of a run over its steps.

    Args:
        settings: Recipe of the run.
        steps_per_epoch: Steps per epoch.
        factor: What the recipe's learning rate is multiplied by.
    """
    return optim.warmup_cosine(
        factor * settings.learning_rate,
        settings.epochs * steps_per_epoch,
        round(settings.fitting_warmup_epochs * steps_per_epoch),
        settings.final_learning_rate_fraction,
    )


def make_schema(settings: Settings, dataset: Dataset) -> Schema:
    """Returns what a new encoder of a dataset keeps of it.

    Args:
        settings: Recipe of the run.
        dataset: Dataset that is trained on.
    """
    settings = settings.for_examples(dataset.example_shape)
    statistics: PixelStatistics | TableStatistics
    if dataset.columns is not None:
        statistics = dataset.table_statistics
    else:
        whitened = settings.encoder in encoders.WHITENED
        mean, std = dataset.pixel_statistics
        statistics = PixelStatistics(
            mean=np.array(mean, np.float32),
            std=np.array(std, np.float32),
            whitening=dataset.whitening_kernel if whitened else None,
        )
    return Schema(
        example_shape=dataset.example_shape,
        columns=dataset.columns,
        max_pixel=dataset.max_pixel,
        statistics=statistics,
    )


def build_encoder(
    settings: Settings, schema: Schema, representation: str = "pool"
) -> keras.Model:
    """Returns a run's untrained encoder: the same weights for the same seed and data.

    Args:
        settings: Recipe of the run.
        schema: What the encoder keeps of the data that it is first trained on, see
            `make_schema`.
        representation: Of images, see `encoders.make_encoder`.

    Raises:
        InputError: If the encoder is not for such data.
    """
    settings = settings.for_examples(schema.example_shape)
    keras.utils.set_random_seed(settings.seed)
    statistics = schema.statistics
    if isinstance(statistics, TableStatistics):
        widths = parse_widths(settings.mlp, "mlp")
        return make_table_encoder(schema.columns, statistics, widths)
    return encoders.make_encoder(
        settings.encoder,
        schema.example_shape,
        stem=settings.stem,
        mean=statistics.mean.tolist(),
        std=statistics.std.tolist(),
        whitening=statistics.whitening,
        representation=representation,
    )


def _build_views(settings, dataset):
    if dataset.columns is None:
        return make_views(settings.views, **settings.group("image views"))
    return make_table_views(
        settings.views,
        dataset.pretraining.sample(_MAX_MARGINAL_EXAMPLES, seed=0).read(),
        dataset.columns,
        **settings.group("table views"),
    )
