"""Encoders have torchvision's shapes, and projectors end as the paper's does."""

import keras
import numpy as np
import pytest

from vicreg_keras.errors import InputError
from vicreg_keras.models import encoders
from vicreg_keras.settings.options import parse_widths


def count(weights):
    return sum(int(np.prod(w.shape)) for w in weights)


# torchvision's counts (ResNet18_Weights and so on: 11,689,512, 21,797,672, 25,557,032)
# less those of the last dense layer to 1,000 classes.
@pytest.mark.parametrize(
    ("name", "parameters", "dim"),
    [
        ("resnet18", 11_689_512 - 513_000, 512),
        ("resnet34", 21_797_672 - 513_000, 512),
        ("resnet50", 25_557_032 - 2_049_000, 2048),
    ],
)
def test_resnets_have_torchvisions_parameter_count(name, parameters, dim):
    encoder = encoders.make_encoder(name, (224, 224, 3))
    assert count(encoder.trainable_weights) == parameters
    assert encoder.output_shape == (None, dim)


def stage_shapes(stem, size):
    encoder = encoders.make_encoder("resnet18", (size, size, 3), stem=stem)
    names = [f"stage{i}_block2_relu" for i in range(1, 5)]
    outputs = [encoder.get_layer(name).output for name in names]
    taps = keras.Model(encoder.input, outputs)
    shapes = [y.shape for y in taps(np.zeros((1, size, size, 3), "float32"))]
    return [tuple(shape[1:]) for shape in shapes]


def test_imagenet_stem_has_torchvisions_map_sizes():
    expected = [(56, 56, 64), (28, 28, 128), (14, 14, 256), (7, 7, 512)]
    assert stage_shapes("imagenet", 224) == expected


def test_odd_sizes_round_as_pytorch_does():
    # torchvision's resnet18 on 97 x 97: 49 after the stem, 25 after pooling.
    expected = [(25, 25, 64), (13, 13, 128), (7, 7, 256), (4, 4, 512)]
    assert stage_shapes("imagenet", 97) == expected


def test_cifar_stem_keeps_the_resolution():
    expected = [(32, 32, 64), (16, 16, 128), (8, 8, 256), (4, 4, 512)]
    assert stage_shapes("cifar", 32) == expected


@pytest.mark.parametrize(("size", "stride"), [(32, 1), (64, 1), (65, 2), (224, 2)])
def test_auto_stem_goes_by_image_size(size, stride):
    encoder = encoders.make_encoder("resnet18", (size, size, 3))
    assert encoder.get_layer("stem").strides == (stride, stride)


def test_resnet_equals_a_hand_worked_strided_convolution():
    # A stride-2 convolution padded by one on both sides looks at rows -1, 0, 1.
    encoder = encoders.make_encoder("resnet18", (32, 32, 3), stem="cifar")
    pad = encoder.get_layer("stage2_block1_1_pad")
    assert pad.padding == ((1, 1), (1, 1))
    assert encoder.get_layer("stage2_block1_1").padding == "valid"


def test_blocks_start_as_the_identity():
    encoder = encoders.make_encoder("resnet18", (32, 32, 3))
    gamma = encoder.get_layer("stage1_block1_last_norm").gamma
    np.testing.assert_array_equal(gamma, np.zeros(64))


@pytest.mark.parametrize("name", sorted(encoders.ENCODERS))
def test_encoders_take_raw_pixels_of_any_dtype(name):
    encoder = encoders.make_encoder(name, (32, 32, 3))
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype("uint8")
    from_bytes = encoder(images, training=False)
    from_floats = encoder(images.astype("float32"), training=False)
    assert from_bytes.dtype == "float32"
    np.testing.assert_array_equal(from_bytes, from_floats)
    assert np.isfinite(np.asarray(from_bytes)).all()


def test_first_layer_normalizes():
    encoder = encoders.make_encoder("tiny", mean=(10, 20, 30), std=(2, 4, 8))
    layer = encoder.layers[1]
    pixels = np.full((1, 1, 1, 3), (12, 28, 30), "float32")
    np.testing.assert_allclose(layer(pixels)[0, 0, 0], (1, 2, 0), atol=1e-6)


def test_projector_ends_in_a_plain_dense_layer():
    projector = encoders.make_projector(16, (32, 24, 8))
    kinds = [type(layer).__name__ for layer in projector.layers]
    assert kinds == [
        *("InputLayer", "Dense", "BatchNormalization", "Activation"),
        *("Dense", "BatchNormalization", "Activation", "Dense", "Activation"),
    ]
    last = projector.layers[-2]
    assert not last.use_bias
    assert projector.output_shape == (None, 8)
    assert projector.layers[1].use_bias


def test_mixed_precision_gives_float32_representations():
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        encoder = encoders.make_encoder("tiny")
    finally:
        keras.mixed_precision.set_dtype_policy("float32")
    assert encoder(np.zeros((1, 8, 8, 3), "float32")).dtype == "float32"


def test_same_seed_same_weights():
    weights = []
    for _ in range(2):
        keras.utils.set_random_seed(3)
        weights.append(encoders.make_encoder("tiny").get_weights())
    for a, b in zip(*weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_encoder_round_trip(tmp_path):
    encoder = encoders.make_encoder("convnet")
    encoder.save(tmp_path / "encoder.keras")
    loaded = keras.models.load_model(tmp_path / "encoder.keras")
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype("float32")
    np.testing.assert_array_equal(encoder(images), loaded(images))


@pytest.mark.parametrize("text", ["2048,x", "128-", "0", "64--64", "-5", "1.5"])
def test_texts_that_are_no_widths(text):
    with pytest.raises(
        InputError, match="projector to be widths such as 2048-2048-2048"
    ):
        parse_widths(text)


def test_widths():
    assert parse_widths("8192-8192-8192") == (8192,) * 3
    assert parse_widths("64") == (64,)


def test_wrong_names_list_the_choices():
    with pytest.raises(ValueError, match="convnet.*resnet18.*Received: encoder=vgg"):
        encoders.make_encoder("vgg")
    with pytest.raises(ValueError, match="cifar.*Received: stem=big"):
        encoders.make_encoder("resnet18", stem="big")
    with pytest.raises(ValueError, match=r"Received: widths=\(\)"):
        encoders.make_projector(8, ())


def test_a_whitening_layer_stays_as_it_is():
    kernel = np.random.default_rng(0).normal(size=(3, 3, 3, 20)).astype("float32")
    encoder = encoders.make_encoder("whitened4", whitening=kernel)
    layer = encoder.get_layer("whitening")
    np.testing.assert_array_equal(layer.kernel, kernel)
    assert not layer.trainable_variables
    learned = encoders.make_encoder("whitened4").get_layer("whitening")
    assert len(learned.trainable_variables) == 1
    assert learned.kernel.shape == (3, 3, 3, 54)


def test_last_two_stages_are_pooled_side_by_side(tmp_path):
    kernel = np.random.default_rng(0).normal(size=(3, 3, 3, 54)).astype("float32")
    encoder = encoders.make_encoder("whitened6", whitening=kernel)
    images = np.random.default_rng(1).uniform(0, 255, (2, 32, 32, 3)).astype("float32")
    layers = [encoder.get_layer(f"stage{stage}_add") for stage in (2, 3)]
    maps = keras.Model(encoder.input, [layer.output for layer in layers])(images)
    expected = np.concatenate([np.mean(one, axis=(1, 2)) for one in maps], axis=1)
    np.testing.assert_allclose(encoder(images), expected, rtol=1e-5, atol=1e-6)
    encoder.save(tmp_path / "encoder.keras")
    loaded = keras.models.load_model(tmp_path / "encoder.keras")
    np.testing.assert_array_equal(encoder(images), loaded(images))


@pytest.mark.parametrize("name", encoders.ENCODERS)
def test_the_smallest_images_have_representations(name):
    side = encoders._MIN_SIDE.get(name, 1)
    encoder = encoders.make_encoder(name, (side, side, 3))
    images = np.ones((1, side, side, 3), "float32")
    assert np.isfinite(np.asarray(encoder(images))).all()


@pytest.mark.parametrize(
    ("name", "side"),
    [("convnet", 15), ("small", 7), ("tiny", 2), ("whitened4", 10), ("whitened6", 10)],
)
def test_too_small_images_are_refused(name, side):
    message = f"of at least {side} pixels.* {side - 1} pixels, encoder={name}"
    with pytest.raises(InputError, match=message):
        encoders.make_encoder(name, (side - 1, 32, 3))
