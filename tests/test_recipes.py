"""The recipes that others published, in this project's units.

PUBLISHED holds what their code says, as it stands there, with its commit. Each recipe
is built from its flag file and compared: the loss on numbers, the learning rate along
the schedule, the optimizer, the views and the networks.
"""

import dataclasses
import pathlib
from collections.abc import Callable

import keras
import numpy as np
import pytest

from vicreg_keras import cli
from vicreg_keras.data.dataset import load_dataset
from vicreg_keras.losses import vicreg_loss
from vicreg_keras.training import optim
from vicreg_keras.training.build import build_model
from vicreg_keras.views.named_views import make_views

FLAGS = pathlib.Path(__file__).resolve().parent.parent / "flags"
STEPS_PER_EPOCH = 10

# Stems, by kernel and stride of a ResNet's first convolution.
CIFAR_STEM, IMAGENET_STEM = (3, 1), (7, 2)


# The losses, of two float64 embeddings, each as its authors wrote it down.


def mean_squared_error(z_a, z_b):
    return np.mean((z_a - z_b) ** 2)


def hinge(z, epsilon=1e-4):
    return np.mean(np.maximum(0, 1 - np.sqrt(z.var(axis=0, ddof=1) + epsilon)))


def off_diagonal(z):
    covariance = np.cov(z, rowvar=False)
    return covariance[~np.eye(len(covariance), dtype=bool)] ** 2


def solo_learn(z_a, z_b):
    covariance = sum(off_diagonal(z).sum() / z.shape[1] for z in (z_a, z_b))
    return (
        25 * mean_squared_error(z_a, z_b) + 25 * (hinge(z_a) + hinge(z_b)) + covariance
    )


def eb_jepa(z_a, z_b):
    covariance = off_diagonal(z_a).mean() + off_diagonal(z_b).mean()
    return mean_squared_error(z_a, z_b) + hinge(z_a) + hinge(z_b) + 100 * covariance


def augustwester(z_a, z_b):
    variance = hinge(z_a, epsilon=0) + hinge(z_b, epsilon=0)
    covariance = sum(off_diagonal(z).sum() / z.shape[1] for z in (z_a, z_b))
    return 25 * mean_squared_error(z_a, z_b) + 25 * variance + covariance


def alexandre_martel(z_a, z_b):
    variance = (hinge(z_a) + hinge(z_b)) / 2
    covariance = sum(off_diagonal(z).sum() / z.shape[1] for z in (z_a, z_b)) / 2
    return 25 * mean_squared_error(z_a, z_b) + 25 * variance + covariance


def reserve_judgment(z_a, z_b, representation_width=128):
    covariance = sum(off_diagonal(z).sum() for z in (z_a, z_b)) / representation_width
    return (
        25 * mean_squared_error(z_a, z_b) + 25 * (hinge(z_a) + hinge(z_b)) + covariance
    )


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Settings of somebody else's code.

    Attributes:
        source: repository, commit and files.
        loss: of the embeddings of two views.
        optimizer: our class for theirs.
        optimizer_settings: by the names of our class.
        peak: the highest learning rate.
        epochs, warmup_epochs: of the learning rate's schedule.
        last: learning rate at the end.
        batch_size: images a step.
        stem: kernel and stride of the first convolution.
        projector: widths of its layers.
        view: settings of `View`, as they hold for all views.
        num_views: of an image in a step.
    """

    source: str
    loss: Callable
    optimizer: type
    optimizer_settings: dict
    peak: float
    epochs: int
    warmup_epochs: int
    last: float
    batch_size: int
    stem: tuple[int, int]
    projector: tuple[int, ...]
    view: dict
    num_views: int = 2


def view(**changes):
    """The views of solo-learn's recipe, and what is different in another."""
    return {
        "crop_size": None,
        "crop_scale": (0.2, 1.0),
        "crop_ratio": (3 / 4, 4 / 3),
        "interpolation": "bicubic",
        "flip_probability": 0.5,
        "jitter_probability": 0.8,
        "brightness": 0.4,
        "contrast": 0.4,
        "saturation": 0.2,
        "hue": 0.1,
        "grayscale_probability": 0.2,
        "blur_probability": 0.0,
        "solarize_probability": 0.1,
        "solarize_threshold": 128,
        **changes,
    }


CLIPPED_LARS = {"coupled_weight_decay": 1e-4, "momentum": 0.9, "clip": True}

PUBLISHED = {
    "cifar10": Recipe(
        source="vturrisi/solo-learn 9187ea3: scripts/pretrain/cifar/vicreg.yaml, "
        "solo/losses/vicreg.py, defaults in solo/args/pretrain.py and "
        "solo/methods/base.py, crops in solo/data/pretrain_dataloader.py",
        loss=solo_learn,
        optimizer=optim.LARS,
        optimizer_settings={**CLIPPED_LARS, "eta": 0.02},
        peak=0.3,
        epochs=1000,
        warmup_epochs=10,
        last=0.0,
        batch_size=256,
        stem=CIFAR_STEM,
        projector=(2048, 2048, 2048),
        view=view(),
    ),
    "cifar10_eb_jepa": Recipe(
        source="facebookresearch/eb_jepa 966e61e: examples/image_jepa/main.py, "
        "dataset.py, cfgs/default.yaml and README.md (weights and widths of 90.12), "
        "eb_jepa/losses.py",
        loss=eb_jepa,
        optimizer=optim.LARS,
        optimizer_settings={**CLIPPED_LARS, "eta": 0.02},
        peak=0.3,
        epochs=300,
        warmup_epochs=10,
        last=0.0,
        batch_size=256,
        stem=CIFAR_STEM,
        projector=(2048, 2048, 1024),
        view=view(interpolation="bilinear"),
    ),
    "cifar10_adam500": Recipe(
        source="augustwester/vicreg 89eab04: train.py, loss.py, model.py",
        loss=augustwester,
        optimizer=optim.Adam,
        optimizer_settings={"coupled_weight_decay": 1e-6},
        peak=2e-4,
        epochs=500,
        warmup_epochs=0,
        last=2e-4,
        batch_size=256,
        stem=CIFAR_STEM,
        projector=(1024, 1024, 1024, 1024),
        # The spread of a kernel of 3 pixels is at most 0.8, whatever its sigma up to 2.
        view=view(
            interpolation="bilinear",
            blur_probability=0.5,
            blur_sigma=(0.1, 0.8),
            solarize_probability=0.2,
        ),
    ),
    "cifar10_adam20": Recipe(
        source="alexandre-martel/VICReg-implementation 08623b4: main.py, "
        "src/VICRegLoss.py, src/VICRegModelClass.py",
        loss=alexandre_martel,
        optimizer=optim.Adam,
        optimizer_settings={"coupled_weight_decay": 0.0},
        peak=1e-3,
        epochs=20,
        warmup_epochs=0,
        last=1e-3,
        batch_size=128,
        stem=IMAGENET_STEM,
        projector=(2048, 2048, 2048),
        view=view(
            crop_scale=(0.08, 1.0),
            interpolation="bilinear",
            saturation=0.4,
            solarize_probability=0.0,
        ),
    ),
    "cifar10_adam30": Recipe(
        source="ReserveJudgment/VICReg-Reproduction 24b5d9b: VICReg.py; the view is "
        "its second one, its first is the image",
        loss=reserve_judgment,
        optimizer=optim.Adam,
        optimizer_settings={"coupled_weight_decay": 1e-6},
        peak=3e-4,
        epochs=30,
        warmup_epochs=0,
        last=3e-4,
        batch_size=256,
        stem=CIFAR_STEM,
        projector=(512, 512, 512),
        view=view(
            interpolation="bilinear",
            jitter_probability=1.0,
            blur_probability=0.5,
            blur_sigma=(0.1, 0.8),
            solarize_probability=0.0,
        ),
    ),
    "cifar10_emp_ssl": Recipe(
        source="tsb0601/EMP-SSL 8fc3758: main.py, lars.py, dataset/aug.py, "
        "model/model.py; its loss and its 20 views are others, see the recipe",
        loss=solo_learn,
        optimizer=optim.LARS,
        optimizer_settings={**CLIPPED_LARS, "eta": 0.005},
        peak=0.3,
        epochs=10,
        warmup_epochs=0,
        last=0.0,
        batch_size=100,
        stem=CIFAR_STEM,
        projector=(4096, 4096, 1024),
        view=view(
            crop_scale=(0.25, 0.25),
            crop_ratio=(1.0, 1.0),
            interpolation="bilinear",
            saturation=0.4,
            hue=0.2,
            blur_probability=0.1,
            blur_sigma=(0.1, 2.0),
        ),
        num_views=8,
    ),
}


@pytest.fixture(scope="module", params=PUBLISHED)
def built(request, tmp_path_factory):
    """What is published, and the settings and the model that the flag file gives."""
    arguments = [f"--flagfile={FLAGS / request.param}.flags", "--precision=float32"]
    settings = cli.parse(["main.py", *arguments, "--workdir=run"]).settings
    path = tmp_path_factory.mktemp("data") / "images.npz"
    images = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), np.uint8)
    np.savez(path, images=images)
    model = build_model(settings, load_dataset(f"npz:{path}"), STEPS_PER_EPOCH)
    yield PUBLISHED[request.param], settings, model
    keras.backend.clear_session()


@pytest.mark.slow
def test_the_loss_is_theirs(built):
    published, _, model = built
    random = np.random.default_rng(1)
    # Of an uneven spread, some of it above the hinge, and correlated.
    shape = (64, published.projector[-1])
    shared = random.normal(size=(64, 1))
    z_a = random.normal(size=shape) * random.uniform(0.1, 1.5, shape[1]) + shared
    z_b = 0.7 * z_a + random.normal(size=shape) * 0.3
    ours = vicreg_loss(
        z_a.astype(np.float32),
        z_b.astype(np.float32),
        **model.loss_weights,
    )
    for name in ("invariance", "variance", "covariance"):
        share = model.loss_weights[f"{name}_weight"] * float(ours[f"{name}_loss"])
        # A weight that is wrong by a factor of two is seen.
        assert share > 0.002 * float(ours["loss"])
    assert float(ours["loss"]) == pytest.approx(published.loss(z_a, z_b), rel=5e-4)


def test_the_learning_rate_goes_as_theirs(built):
    published, settings, model = built
    assert settings.epochs == published.epochs
    assert settings.warmup_epochs == published.warmup_epochs
    rate = model.optimizer._learning_rate
    warm = published.warmup_epochs * STEPS_PER_EPOCH
    total = published.epochs * STEPS_PER_EPOCH
    assert float(rate(0)) == pytest.approx(0 if warm else published.peak)
    if warm:
        assert float(rate(warm // 2)) == pytest.approx(published.peak / 2)
    assert float(rate(warm)) == pytest.approx(published.peak)
    middle = (published.peak + published.last) / 2
    assert float(rate((warm + total) // 2)) == pytest.approx(middle, rel=1e-3)
    assert float(rate(total)) == pytest.approx(published.last, abs=1e-6)


def test_the_optimizer_is_theirs(built):
    published, settings, model = built
    assert type(model.optimizer) is published.optimizer
    for name, value in published.optimizer_settings.items():
        assert getattr(model.optimizer, name) == pytest.approx(value), name
    assert model.optimizer.global_clipnorm is None
    assert settings.batch_size == published.batch_size


def test_the_views_are_theirs(built):
    published, settings, model = built
    assert model.num_views == published.num_views
    expected, _ = make_views("cifar", **published.view)
    for view in model.augmenter:
        for layer, other in zip(view.layers, expected.layers, strict=True):
            assert layer.get_config() == other.get_config()


def test_the_networks_are_theirs(built):
    published, _, model = built
    first = next(x for x in model.encoder.layers if hasattr(x, "kernel_size"))
    assert (first.kernel_size[0], first.strides[0]) == published.stem
    assert model.encoder.output_shape[-1] == 512
    dense = [x for x in model.projector.layers if isinstance(x, keras.layers.Dense)]
    assert tuple(layer.units for layer in dense) == published.projector


def test_every_published_recipe_of_cifar10_is_compared():
    # What says "Published" in its header was somebody else's.
    paths = FLAGS.glob("cifar10*.flags")
    others = {path.stem for path in paths if "\n# Published" in path.read_text()}
    assert others == set(PUBLISHED)
