"""What a step takes is estimated, said, and refused where there is not so much."""

import pathlib
import types

import keras
import pytest

from vicreg_keras.errors import InputError
from vicreg_keras.model import VICReg
from vicreg_keras.models.encoders import make_encoder, make_projector
from vicreg_keras.settings import Settings
from vicreg_keras.settings.options import parse_widths
from vicreg_keras.training import memory_estimate
from vicreg_keras.training.memory_estimate import (
    available_bytes,
    check_memory,
    estimate_bytes,
    num_activations,
)

FLAGS = pathlib.Path(__file__).resolve().parents[2] / "flags"
GIB = 2**30


def make_model(encoder="tiny", shape=(32, 32, 3), projector=(16,), **options):
    encoder = make_encoder(encoder, shape)
    projector = make_projector(encoder.output_shape[-1], projector)
    return VICReg(encoder, projector, lambda images: images, **options)


def dataset(height, width):
    return types.SimpleNamespace(columns=None, example_shape=(height, width, 3))


def test_activations_by_hand():
    """Input, normalization, two stages of three layers, pooling, mean, output."""
    expected = 2 * 8 * 8 * 3 + 3 * 8 * 8 * 16 + 4 * 4 * 16 + 3 * 4 * 4 * 32 + 2 * 32
    assert num_activations(make_encoder("tiny"), (1, 8, 8, 3)) == expected
    # Residual blocks, whose layers have two inputs.
    counts = [num_activations(make_encoder("resnet18"), (1, s, s, 3)) for s in (32, 64)]
    assert counts[1] / counts[0] == pytest.approx(4, rel=0.01)


@pytest.mark.parametrize(
    ("encoder", "size", "batch_size", "num_views", "gib"),
    [
        ("tiny", (64, 64), 64, 2, 0.564),
        ("tiny", (500, 700), 4, 2, 1.442),
        ("tiny", (1500, 2000), 4, 2, 7.144),
        ("resnet18", (32, 32), 64, 2, 1.397),
        ("resnet18", (500, 500), 4, 2, 1.782),
        ("convnet", (32, 32), 64, 2, 0.704),
    ],
)
def test_estimates_are_near_what_was_measured(
    encoder, size, batch_size, num_views, gib
):
    model = make_model(encoder, (*size, 3), (512, 512), num_views=num_views)
    found = estimate_bytes(model, size, batch_size=batch_size, source=(*size, 3))
    assert 1 / 1.3 < found / GIB / gib < 1.3


def test_half_the_bytes_in_bfloat16():
    def activations():
        model = make_model()
        sizes = [
            estimate_bytes(model, (64, 64), batch_size=b, source=(1, 1, 3))
            for b in (100, 1100)
        ]
        return sizes[1] - sizes[0]

    in_float32 = activations()
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        assert activations() == pytest.approx(in_float32 / 2, rel=0.01)
    finally:
        keras.mixed_precision.set_dtype_policy("float32")


def test_large_images_are_said_and_refused(monkeypatch, capsys):
    settings = Settings(encoder="tiny", projector="16", batch_size=8)
    monkeypatch.setattr(memory_estimate, "available_bytes", lambda: 200 * GIB)
    check_memory(settings, dataset(1500, 2000))
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(memory_estimate, "available_bytes", lambda: 30 * GIB)
    check_memory(settings, dataset(1500, 2000))
    expected = "Memory: about 16.1 GiB for a step of 8 images of 1500x2000; 30.0 GiB"
    assert capsys.readouterr().out.startswith(expected)
    monkeypatch.setattr(memory_estimate, "available_bytes", lambda: 10 * GIB)
    with pytest.raises(
        InputError, match="10.0 GiB.*Use image_size=224, or batch_size=2"
    ):
        check_memory(settings, dataset(1500, 2000))
    monkeypatch.setattr(memory_estimate, "available_bytes", lambda: GIB)
    with pytest.raises(InputError, match="Use image_size=128.$"):
        check_memory(settings, dataset(1500, 2000))
    # Views are smaller than the images that they are of.
    check_memory(settings.replace({"crop_size": 96}), dataset(500, 500))
    # The whole of a table is in memory, and a step of it is nothing.
    table = types.SimpleNamespace(columns=(), example_shape=(10_000_000,))
    check_memory(settings, table)


@pytest.mark.parametrize(
    "name", ["quickstart", "cifar10_cpu", "cifar10", "cifar10_emp_ssl"]
)
def test_recipes_are_not_refused(name, parse_flags):
    invocation = parse_flags([f"--flagfile={FLAGS / name}.flags", "--workdir=x"])
    settings = invocation.settings
    model = make_model(
        settings.encoder,
        projector=parse_widths(settings.projector),
        num_views=settings.num_views,
    )
    shape = (32, 32, 3)
    size = settings.crop_size or 32
    found = estimate_bytes(
        model, (size, size), batch_size=settings.batch_size, source=shape
    )
    assert found < (9 if name == "cifar10_emp_ssl" else 5) * GIB


def test_memory_of_this_machine():
    assert 0.1 * GIB < available_bytes() < 100_000 * GIB
