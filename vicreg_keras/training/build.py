"""A run's encoder, views, model and optimizer, built from its settings and dataset."""

import keras

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


def build_model(settings: Settings, dataset: Dataset, steps_per_epoch: int) -> VICReg:
    """Returns a run's compiled model, with the initial weights of its seed.

    Args:
        settings: Recipe of the run.
        dataset: Dataset that is trained on.
        steps_per_epoch: Steps per epoch, for the learning rate schedule.

    Raises:
        InputError: If the settings are not for such data.
    """
    settings = settings.for_examples(dataset.example_shape)
    encoders.check_side(settings.encoder, settings.crop_size)
    encoder = build_encoder(settings, dataset)
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
    schedule = optim.warmup_cosine(
        settings.learning_rate,
        settings.epochs * steps_per_epoch,
        round(settings.fitting_warmup_epochs * steps_per_epoch),
        settings.final_learning_rate_fraction,
    )
    options = settings.group("optimizer") | {"learning_rate": schedule}
    model.compile(optim.make_optimizer(**options))
    model.optimizer.build(model.trainable_variables)
    return model


def build_encoder(settings: Settings, dataset: Dataset) -> keras.Model:
    """Returns a run's untrained encoder: the same weights for the same seed and data.

    Args:
        settings: Recipe of the run.
        dataset: Dataset that is trained on; its statistics become part of the encoder.

    Raises:
        InputError: If the encoder is not for such data.
    """
    settings = settings.for_examples(dataset.example_shape)
    keras.utils.set_random_seed(settings.seed)
    if dataset.columns is not None:
        widths = parse_widths(settings.mlp, "mlp")
        return make_table_encoder(dataset.columns, dataset.table_statistics, widths)
    mean, std = dataset.pixel_statistics
    whitened = settings.encoder in encoders.WHITENED
    return encoders.make_encoder(
        settings.encoder,
        dataset.example_shape,
        stem=settings.stem,
        mean=mean,
        std=std,
        whitening=dataset.whitening_kernel if whitened else None,
    )


def _build_views(settings, dataset):
    if dataset.columns is None:
        return make_views(settings.views, **settings.group("image views"))
    return make_table_views(
        settings.views,
        dataset.train.sample(_MAX_MARGINAL_EXAMPLES, seed=0).read(),
        dataset.columns,
        **settings.group("table views"),
    )
