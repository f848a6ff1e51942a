"""Encoders of images, by name, and the projector.

An encoder takes pixels in [0, 255] and returns one representation per image; its first
layer normalizes, so everything downstream feeds it raw pixels. A projector (the
paper's expander) turns representations into the embeddings that the loss is of.
"""

from collections.abc import Sequence

import keras
import numpy as np
from keras import layers

from vicreg_keras.errors import InputError, check_choice
from vicreg_keras.hardware import distribute
from vicreg_keras.models.layers import BatchNormalization, Conv2D, Gelu
from vicreg_keras.models.readout import REPRESENTATIONS, PoolQuadrants

# ImageNet's statistics of pixels in [0, 255], with which the authors normalize.
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)

# torchvision's initialization of ResNets.
_HE_FAN_OUT = {
    "class_name": "VarianceScaling",
    "config": {"scale": 2.0, "mode": "fan_out", "distribution": "untruncated_normal"},
}
# PyTorch's initialization of dense layers.
_TORCH_DENSE = {
    "class_name": "VarianceScaling",
    "config": {"scale": 1 / 3, "mode": "fan_in", "distribution": "uniform"},
}
# Of smaller images, in pixels, pooling would leave nothing.
_MIN_SIDE = {"convnet": 15, "small": 7, "tiny": 2, "whitened4": 10, "whitened6": 10}
# Filters of a first layer that could whiten 3 x 3 patches: both signs of 27 components.
_WHITENING_FILTERS = 54
# Last maps that are pooled and concatenated, where it is more than one.
_NUM_POOLED = {"whitened4": 2, "whitened6": 2}
# Up to this side, in pixels, the stem of a ResNet keeps its input's resolution.
_MAX_CIFAR_STEM = 64


def make_encoder(
    name: str,
    example_shape: Sequence[int | None] = (32, 32, 3),
    *,
    stem: str = "auto",
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
    whitening: np.ndarray | None = None,
    representation: str = "pool",
) -> keras.Model:
    """Returns an untrained encoder by name.

    Under a `tf.distribute` strategy, batch norm shares its statistics.

    Args:
        name: A key of `ENCODERS`.
        example_shape: `(height, width, 3)` in pixels. Every encoder ends in a mean over
            its map, so it also takes images of other sizes; the shape only chooses
            the stem.
        stem: `"cifar"` (3 x 3, stride 1, no pooling), `"imagenet"` (7 x 7, stride 2,
            max pooling) or `"auto"`: CIFAR's up to 64 pixels. Only ResNets have one.
        mean: Mean of each channel, in [0, 255].
        std: Standard deviation of each channel, in [0, 255].
        whitening: Fixed kernel of the first convolution of the whitened encoders, of
            shape `(3, 3, 3, filters)`, see `data.Dataset.whitening_kernel`. `None`:
            theirs is learned, too. The other encoders have none.
        representation: One of `REPRESENTATIONS`; the weights are the same in all of
            them. `"pool"` is the mean over the last map, of the whitened encoders over
            the last two maps; `"pool2x2"` has a mean for each quadrant of these, four
            times as many numbers; `"stages"` the means over the maps of all stages.

    Returns:
        A functional `keras.Model`: `(batch, height, width, 3)` pixels in [0, 255], of
        any dtype, to `(batch, dim)` float32 representations.

    Raises:
        InputError: If `name`, `stem` or `representation` is unknown, or the images are
            too small.
    """
    check_choice("encoder", name, ENCODERS)
    check_choice("representation", representation, REPRESENTATIONS)
    check_choice("stem", stem, ("auto", "cifar", "imagenet"))
    check_side(name, *example_shape[:2])
    if stem == "auto":
        sides = [side for side in example_shape[:2] if side is not None]
        is_small = bool(sides) and max(sides) <= _MAX_CIFAR_STEM
        stem = "cifar" if is_small else "imagenet"
    inputs = layers.Input((None, None, 3), dtype="float32", name="image")
    x = layers.Normalization(
        mean=list(mean), variance=[s**2 for s in std], name="normalize", dtype="float32"
    )(inputs)
    maps = ENCODERS[name](x, stem=stem, whitening=whitening)
    if representation != "stages":
        maps = maps[-_NUM_POOLED.get(name, 1) :]
    pooling = (
        PoolQuadrants if representation == "pool2x2" else layers.GlobalAveragePooling2D
    )
    pooled = [pooling(name=f"pool_{i}")(one) for i, one in enumerate(maps)]
    x = pooled[0] if len(pooled) == 1 else layers.Concatenate(name="pool")(pooled)
    outputs = layers.Activation("linear", dtype="float32", name="representation")(x)
    return keras.Model(inputs, outputs, name=name)


def check_side(name: str, *sides: int | None) -> None:
    """Checks that an encoder's pooling leaves something of images.

    Args:
        name: A key of `ENCODERS`.
        *sides: Height and width, in pixels; `None` is not checked.

    Raises:
        InputError: If one of them is too small.
    """
    minimum = _MIN_SIDE.get(name, 1)
    for side in sides:
        if side is not None and side < minimum:
            raise InputError(
                f"Expected image_size or crop_size of at least {minimum} pixels for "
                f"this encoder. Received: {side} pixels, encoder={name}. Use larger "
                "images, or another encoder."
            )


def make_projector(representation_dim: int, widths: Sequence[int]) -> keras.Model:
    """Returns the paper's expander: dense, batch norm, ReLU, ..., and a plain dense.

    Nothing normalizes the last layer: batch norm there would fix the standard
    deviation at one and leave the variance term without a gradient.

    Args:
        representation_dim: Width of the encoder's output.
        widths: Width of each dense layer; the last one is the embedding's.

    Returns:
        A functional `keras.Model`: `(batch, representation_dim)` to
        `(batch, widths[-1])` float32 embeddings.

    Raises:
        ValueError: If `widths` is empty or holds a width below 1.

    Reference:
        facebookresearch/vicreg, main_vicreg.py, `Projector`.
    """
    widths = tuple(widths)
    if not widths or min(widths) < 1:
        raise ValueError(
            f"Expected at least one width, each at least 1. Received: widths={widths}."
        )
    inputs = x = layers.Input((representation_dim,), name="representation")
    for i, width in enumerate(widths, start=1):
        is_last = i == len(widths)
        x = layers.Dense(
            width,
            use_bias=not is_last,
            kernel_initializer=_TORCH_DENSE,
            name=f"dense_{i}",
        )(x)
        if not is_last:
            x = _batch_norm(x, f"norm_{i}")
            x = layers.Activation("relu", name=f"relu_{i}")(x)
    outputs = layers.Activation("linear", dtype="float32", name="embedding")(x)
    return keras.Model(inputs, outputs, name="projector")


def _conv(x, width, kernel_size, name, stride=1):
    """A convolution without bias, padded on both sides as PyTorch pads."""
    options = {"use_bias": False, "kernel_initializer": _HE_FAN_OUT, "name": name}
    if stride == 1:
        return Conv2D(width, kernel_size, padding="same", **options)(x)
    if kernel_size > 1:
        x = layers.ZeroPadding2D(kernel_size // 2, name=f"{name}_pad")(x)
    return Conv2D(width, kernel_size, strides=stride, **options)(x)


def _batch_norm(x, name, **options):
    """Batch norm, whose statistics replicas share where there are several."""
    return BatchNormalization(
        # PyTorch's defaults.
        momentum=0.9,
        epsilon=1e-5,
        synchronized=distribute.num_replicas() > 1,
        name=name,
        **options,
    )(x)


def _conv_relu(x, width, kernel_size, name, stride=1):
    """A convolution, batch norm and ReLU."""
    x = _batch_norm(_conv(x, width, kernel_size, name, stride), f"{name}_norm")
    return layers.Activation("relu", name=f"{name}_relu")(x)


def _conv_gelu(x, width, name, pooled=False):
    """A 3 x 3 convolution, batch norm and GELU; the map is pooled before the norm."""
    x = _conv(x, width, 3, name)
    if pooled:
        x = layers.MaxPooling2D(2, name=f"{name}_pool")(x)
    return Gelu(name=f"{name}_gelu")(_batch_norm(x, f"{name}_norm"))


def _basic_block(x, width, stride, name):
    """The residual block of ResNet-18 and ResNet-34."""
    shortcut = _shortcut(x, width, stride, name)
    x = _conv_relu(x, width, 3, f"{name}_1", stride)
    return _join(_conv(x, width, 3, f"{name}_2"), shortcut, name)


def _bottleneck_block(x, width, stride, name):
    """The residual block of ResNet-50, four times as wide at its end."""
    shortcut = _shortcut(x, 4 * width, stride, name)
    x = _conv_relu(x, width, 1, f"{name}_1")
    x = _conv_relu(x, width, 3, f"{name}_2", stride)
    return _join(_conv(x, 4 * width, 1, f"{name}_3"), shortcut, name)


def _shortcut(x, width, stride, name):
    if stride == 1 and x.shape[-1] == width:
        return x
    x = _conv(x, width, 1, f"{name}_shortcut", stride)
    return _batch_norm(x, f"{name}_shortcut_norm")


def _join(x, shortcut, name):
    # A block starts as the identity: its last scale is zero, as in the authors' code.
    x = _batch_norm(x, f"{name}_last_norm", gamma_initializer="zeros")
    x = layers.Add(name=f"{name}_add")([x, shortcut])
    return layers.Activation("relu", name=f"{name}_relu")(x)


def _resnet(block, depths):
    """Returns a builder of torchvision's ResNet with `depths` blocks in four stages."""

    def build(x, stem, **_):
        if stem == "cifar":
            x = _conv_relu(x, 64, 3, "stem")
        else:
            x = _conv_relu(x, 64, 7, "stem", stride=2)
            # After a ReLU, zeros pad a maximum as well as minus infinity would.
            x = layers.ZeroPadding2D(1, name="stem_pool_pad")(x)
            x = layers.MaxPooling2D(3, strides=2, name="stem_pool")(x)
        maps = []
        for stage, depth in enumerate(depths):
            for i in range(depth):
                stride = 2 if stage > 0 and i == 0 else 1
                x = block(x, 64 * 2**stage, stride, f"stage{stage + 1}_block{i + 1}")
            maps.append(x)
        return maps

    return build


def _convnet(widths):
    """Returns a builder of a shallow net: a 2 x 2 convolution, and two 3 x 3 per stage.

    Stages are pooled. Three stages need images of at least 15 pixels, two stages 7.

    Reference:
        The shape follows KellerJordan/cifar10-airbench (legacy/airbench94.py).
    """

    def build(x, **_):
        x = Conv2D(widths[0], 2, name="stem", kernel_initializer=_HE_FAN_OUT)(x)
        x = Gelu(name="stem_gelu")(x)
        maps = []
        for stage, width in enumerate(widths[1:], start=1):
            name = f"stage{stage}"
            x = _conv_gelu(x, width, f"{name}_1", pooled=True)
            x = _conv_gelu(x, width, f"{name}_2")
            maps.append(x)
        return maps

    return build


def _whitened(widths, residual_stages):
    """Returns a builder of a shallow net on whitened patches.

    A 3 x 3 convolution that whitens is followed by one per stage, pooled, and in some
    stages another one beside an identity. The last two stages are the representation.
    Three stages need images of at least 10 pixels.

    Reference:
        Whitened patches, and pooling before batch norm, as in
        KellerJordan/cifar10-airbench (airbench94.py); blocks as in David Page's
        "How to Train Your ResNet".
    """

    def build(x, whitening, **_):
        filters, initializer = _WHITENING_FILTERS, _HE_FAN_OUT
        if whitening is not None:
            filters = whitening.shape[-1]
            initializer = keras.initializers.Constant(whitening)
        x = Conv2D(
            filters,
            3,
            use_bias=False,
            kernel_initializer=initializer,
            trainable=whitening is None,
            name="whitening",
        )(x)
        x = Gelu(name="whitening_gelu")(x)
        maps = []
        for stage, width in enumerate(widths, start=1):
            name = f"stage{stage}"
            x = _conv_gelu(x, width, f"{name}_1", pooled=True)
            if stage in residual_stages:
                y = _conv_gelu(x, width, f"{name}_2")
                x = layers.Add(name=f"{name}_add")([x, y])
            maps.append(x)
        return maps

    return build


def _tiny(x, **_):
    """Builds two convolutions, for tests and first trials."""
    first = _conv_relu(x, 16, 3, "stage1")
    x = layers.MaxPooling2D(2, name="stage1_pool")(first)
    return [first, _conv_relu(x, 32, 3, "stage2")]


# Builders by name: functions of normalized images, `stem` and `whitening` that return
# the map of each stage.
ENCODERS = {
    "convnet": _convnet((24, 64, 256, 512)),
    "resnet18": _resnet(_basic_block, (2, 2, 2, 2)),
    "resnet34": _resnet(_basic_block, (3, 4, 6, 3)),
    "resnet50": _resnet(_bottleneck_block, (3, 4, 6, 3)),
    "small": _convnet((32, 128, 256)),
    "tiny": _tiny,
    "whitened4": _whitened((64, 256, 256), residual_stages=()),
    "whitened6": _whitened((64, 256, 256), residual_stages=(2, 3)),
}
# Encoders whose first layer may whiten.
WHITENED = ("whitened4", "whitened6")
