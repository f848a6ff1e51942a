"""What shape is the encoder, where does the representation end, what comes after it?

An encoder takes pixels in [0, 255] and gives one representation an image; its first
layer normalizes, so everything downstream feeds it raw pixels. A projector (the
paper's expander) turns representations into the embeddings that the loss sees.
"""

import functools
from collections.abc import Sequence

import keras
import numpy as np
from keras import layers

from vicreg_keras.models.layers import BatchNormalization, Conv2D, Gelu

# ImageNet's statistics, for pixels in [0, 255]: what the authors normalize with.
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)

# As torchvision initializes its ResNets and PyTorch its dense layers.
_HE_FAN_OUT = {
    "class_name": "VarianceScaling",
    "config": {"scale": 2.0, "mode": "fan_out", "distribution": "untruncated_normal"},
}
_TORCH_DENSE = {
    "class_name": "VarianceScaling",
    "config": {"scale": 1 / 3, "mode": "fan_in", "distribution": "uniform"},
}
# Below this side, in pixels, pooling would leave nothing.
_MIN_SIDE = {"convnet": 15, "small": 7, "tiny": 2, "whitened4": 10, "whitened6": 10}
# Filters of a first layer that could whiten 3 x 3 patches: both signs of 27 components.
_WHITENING_FILTERS = 54
# Up to this side, in pixels, a ResNet keeps its input's resolution in its stem.
_MAX_CIFAR_STEM = 64


def make_encoder(
    name: str,
    example_shape: Sequence[int | None] = (32, 32, 3),
    *,
    stem: str = "auto",
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
    whitening: np.ndarray | None = None,
    synchronized: bool = False,
) -> keras.Model:
    """An untrained encoder by name.

    Args:
        name: a key of `ENCODERS`.
        example_shape: `(height, width, 3)` in pixels. Every encoder ends in a mean over
            the map, so it also takes images of other sizes; the shape only chooses
            the stem.
        stem: `"cifar"` (3 x 3, stride 1, no pooling), `"imagenet"` (7 x 7, stride 2,
            max pooling) or `"auto"`: CIFAR's up to 64 pixels. Only ResNets have one.
        mean: mean of each channel, in [0, 255].
        std: standard deviation of each channel, in [0, 255].
        whitening: `(3, 3, 3, filters)`, the kernel of the first convolution of the
            whitened encoders, such as `data.Dataset.whitening_kernel`: it stays as it
            is. `None`: theirs is learned, as all others'. The other encoders have none.
        synchronized: whether batch norm shares statistics between replicas.

    Returns:
        A functional `keras.Model`: `(batch, height, width, 3)` pixels in [0, 255], of
        any dtype, to `(batch, dim)` float32 representations.

    Raises:
        ValueError: if `name` or `stem` is not known, or the images are too small.
    """
    if name not in ENCODERS:
        raise ValueError(
            f"Expected encoder to be one of {sorted(ENCODERS)}. Received: "
            f"encoder={name!r}."
        )
    check_side(name, *example_shape[:2])
    if stem not in ("auto", "cifar", "imagenet"):
        raise ValueError(
            "Expected stem to be 'auto', 'cifar' or 'imagenet'. Received: "
            f"stem={stem!r}."
        )
    if stem == "auto":
        sides = [side for side in example_shape[:2] if side is not None]
        small = bool(sides) and max(sides) <= _MAX_CIFAR_STEM
        stem = "cifar" if small else "imagenet"
    build = ENCODERS[name]
    inputs = layers.Input((None, None, 3), dtype="float32", name="image")
    normalized = layers.Normalization(
        mean=list(mean), variance=[s**2 for s in std], name="normalize", dtype="float32"
    )(inputs)
    if name in WHITENED:
        build = functools.partial(build, whitening=whitening)
    pooled = _pool(build(normalized, stem, synchronized))
    outputs = layers.Activation("linear", dtype="float32", name="representation")(
        pooled
    )
    return keras.Model(inputs, outputs, name=name)


def check_side(name: str, *sides: int | None) -> None:
    """Refuses images that an encoder's pooling would leave nothing of.

    Args:
        name: a key of `ENCODERS`.
        *sides: height and width, in pixels; `None` is not checked.

    Raises:
        ValueError: if one of them is too small.
    """
    least = _MIN_SIDE.get(name, 1)
    for side in sides:
        if side is not None and side < least:
            raise ValueError(
                f"Expected images of {least} pixels a side or more for encoder "
                f"{name!r}. Received: {side} pixels. Use a larger --image_size or "
                "--crop_size, or another --encoder."
            )


def make_projector(
    representation_dim: int, widths: Sequence[int], *, synchronized: bool = False
) -> keras.Model:
    """The paper's expander: dense, batch norm, ReLU, ..., and a last plain dense.

    Nothing normalizes the last layer: batch norm there would fix the standard
    deviation at one and leave the variance term without a gradient.

    Args:
        representation_dim: width of the encoder's output.
        widths: width of each dense layer; the last is the embedding's.
        synchronized: whether batch norm shares statistics between replicas.

    Returns:
        A functional `keras.Model`: `(batch, representation_dim)` to
        `(batch, widths[-1])` float32 embeddings.

    Raises:
        ValueError: if `widths` is empty or holds a width below 1.

    Reference:
        facebookresearch/vicreg, main_vicreg.py, `Projector`.
    """
    widths = tuple(widths)
    if not widths or any(width < 1 for width in widths):
        raise ValueError(
            "Expected projector widths of 1 or more, at least one of them. Received: "
            f"widths={widths}."
        )
    inputs = layers.Input((representation_dim,), name="representation")
    x = inputs
    for i, width in enumerate(widths[:-1], start=1):
        x = _dense(width, name=f"dense_{i}", use_bias=True)(x)
        x = _batch_norm(f"norm_{i}", synchronized)(x)
        x = layers.Activation("relu", name=f"relu_{i}")(x)
    x = _dense(widths[-1], name=f"dense_{len(widths)}", use_bias=False)(x)
    outputs = layers.Activation("linear", dtype="float32", name="embedding")(x)
    return keras.Model(inputs, outputs, name="projector")


def parse_widths(text: str, name: str = "projector") -> tuple[int, ...]:
    """`"2048-2048-2048"` -> `(2048, 2048, 2048)`.

    Args:
        text: whole numbers of 1 or more joined by `-`.
        name: what they are the widths of, for the message.

    Raises:
        ValueError: if `text` is not whole numbers of 1 or more joined by `-`.
    """
    parts = text.split("-")
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise ValueError(
            f"Expected {name} widths such as 2048-2048-2048 (whole numbers of 1 or "
            f"more, joined by '-'). Received: {name}={text!r}."
        )
    return tuple(int(part) for part in parts)


def _resnet(block, depths):
    """A builder of torchvision's ResNet with `depths` blocks in its four stages."""

    def build(x, stem, synchronized):
        x = _stem(x, stem, synchronized)
        for stage, depth in enumerate(depths):
            for i in range(depth):
                stride = 2 if stage > 0 and i == 0 else 1
                name = f"stage{stage + 1}_block{i + 1}"
                x = block(x, 64 * 2**stage, stride, name, synchronized)
        return x

    return build


def _stem(x, stem, synchronized):
    if stem == "cifar":
        x = _conv(x, 64, 3, 1, "stem")
        return _norm_relu(x, "stem", synchronized)
    x = _conv(x, 64, 7, 2, "stem")
    x = _norm_relu(x, "stem", synchronized)
    # After a ReLU, zeros pad a maximum as well as minus infinity would.
    x = layers.ZeroPadding2D(1, name="stem_pool_pad")(x)
    return layers.MaxPooling2D(3, strides=2, name="stem_pool")(x)


def _basic_block(x, width, stride, name, synchronized):
    shortcut = _shortcut(x, width, stride, name, synchronized)
    x = _conv(x, width, 3, stride, f"{name}_1")
    x = _norm_relu(x, f"{name}_1", synchronized)
    x = _conv(x, width, 3, 1, f"{name}_2")
    return _join(x, shortcut, name, synchronized)


def _bottleneck_block(x, width, stride, name, synchronized):
    shortcut = _shortcut(x, 4 * width, stride, name, synchronized)
    x = _conv(x, width, 1, 1, f"{name}_1")
    x = _norm_relu(x, f"{name}_1", synchronized)
    x = _conv(x, width, 3, stride, f"{name}_2")
    x = _norm_relu(x, f"{name}_2", synchronized)
    x = _conv(x, 4 * width, 1, 1, f"{name}_3")
    return _join(x, shortcut, name, synchronized)


def _shortcut(x, width, stride, name, synchronized):
    if stride == 1 and x.shape[-1] == width:
        return x
    x = _conv(x, width, 1, stride, f"{name}_shortcut")
    return _batch_norm(f"{name}_shortcut_norm", synchronized)(x)


def _join(x, shortcut, name, synchronized):
    # A block starts as the identity: its last scale is zero, as the authors have it.
    x = _batch_norm(f"{name}_last_norm", synchronized, gamma_initializer="zeros")(x)
    x = layers.Add(name=f"{name}_add")([x, shortcut])
    return layers.Activation("relu", name=f"{name}_relu")(x)


def _convnet(widths):
    """A shallow net: a 2 x 2 convolution, then two 3 x 3 ones a stage, pooled between.

    Three stages need images of 15 pixels a side or more, two stages 7.

    Reference:
        The shape follows KellerJordan/cifar10-airbench (legacy/airbench94.py).
    """

    def build(x, stem, synchronized):
        del stem  # It has one of its own.
        x = Conv2D(widths[0], 2, name="stem", kernel_initializer=_HE_FAN_OUT)(x)
        x = Gelu(name="stem_gelu")(x)
        for stage, width in enumerate(widths[1:], start=1):
            name = f"stage{stage}"
            x = _conv(x, width, 3, 1, f"{name}_1")
            x = layers.MaxPooling2D(2, name=f"{name}_pool")(x)
            x = _norm_gelu(x, f"{name}_1", synchronized)
            x = _conv(x, width, 3, 1, f"{name}_2")
            x = _norm_gelu(x, f"{name}_2", synchronized)
        return x

    return build


def _whitened(widths, residual_stages):
    """A shallow net on whitened patches, of which the last two stages are pooled.

    A 3 x 3 convolution that whitens, then one a stage, pooled behind it, and in some
    stages another one beside an identity. Three stages need images of 10 pixels a side
    or more.

    Reference:
        Whitened patches, and pooling before batch norm, as in
        KellerJordan/cifar10-airbench (airbench94.py); blocks as in David Page's
        "How to Train Your ResNet".
    """

    def build(x, stem, synchronized, whitening):
        del stem  # It has one of its own.
        filters, start = _WHITENING_FILTERS, _HE_FAN_OUT
        if whitening is not None:
            filters = whitening.shape[-1]
            start = keras.initializers.Constant(whitening)
        x = Conv2D(
            filters,
            3,
            use_bias=False,
            kernel_initializer=start,
            trainable=whitening is None,
            name="whitening",
        )(x)
        x = Gelu(name="whitening_gelu")(x)
        maps = []
        for stage, width in enumerate(widths, start=1):
            name = f"stage{stage}"
            x = _conv(x, width, 3, 1, f"{name}_1")
            x = layers.MaxPooling2D(2, name=f"{name}_pool")(x)
            x = _norm_gelu(x, f"{name}_1", synchronized)
            if stage in residual_stages:
                y = _norm_gelu(
                    _conv(x, width, 3, 1, f"{name}_2"), f"{name}_2", synchronized
                )
                x = layers.Add(name=f"{name}_add")([x, y])
            maps.append(x)
        return maps[-2:]

    return build


def _pool(maps):
    """The mean over a map, or of several maps side by side."""
    if not isinstance(maps, list):
        return layers.GlobalAveragePooling2D(name="pool")(maps)
    pooled = [
        layers.GlobalAveragePooling2D(name=f"pool_{i}")(one)
        for i, one in enumerate(maps, start=1)
    ]
    return layers.Concatenate(name="pool")(pooled)


def _tiny(x, stem, synchronized):
    """Two convolutions: for tests and first tries."""
    del stem
    x = _norm_relu(_conv(x, 16, 3, 1, "stage1"), "stage1", synchronized)
    x = layers.MaxPooling2D(2, name="stage1_pool")(x)
    return _norm_relu(_conv(x, 32, 3, 1, "stage2"), "stage2", synchronized)


def _conv(x, width, kernel_size, stride, name):
    """A convolution without bias, padded on both sides as PyTorch pads."""
    options = {"use_bias": False, "kernel_initializer": _HE_FAN_OUT, "name": name}
    if stride == 1:
        return Conv2D(width, kernel_size, padding="same", **options)(x)
    if kernel_size > 1:
        x = layers.ZeroPadding2D(kernel_size // 2, name=f"{name}_pad")(x)
    return Conv2D(width, kernel_size, strides=stride, **options)(x)


def _norm_relu(x, name, synchronized):
    x = _batch_norm(f"{name}_norm", synchronized)(x)
    return layers.Activation("relu", name=f"{name}_relu")(x)


def _norm_gelu(x, name, synchronized):
    x = _batch_norm(f"{name}_norm", synchronized)(x)
    return Gelu(name=f"{name}_gelu")(x)


def _batch_norm(name, synchronized, **options):
    # Momentum and epsilon are PyTorch's defaults.
    return BatchNormalization(
        momentum=0.9, epsilon=1e-5, synchronized=synchronized, name=name, **options
    )


def _dense(width, *, name, use_bias):
    return layers.Dense(
        width, use_bias=use_bias, kernel_initializer=_TORCH_DENSE, name=name
    )


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
# Those whose first layer may whiten.
WHITENED = ("whitened4", "whitened6")
