"""Building blocks of the encoders: convolutions, batch norm and residual blocks."""

from keras import KerasTensor, layers

from vicreg_keras.hardware import distribute
from vicreg_keras.models.layers import BatchNormalization, Conv2D, Gelu

# torchvision's initialization of ResNets.
HE_FAN_OUT = {
    "class_name": "VarianceScaling",
    "config": {"scale": 2.0, "mode": "fan_out", "distribution": "untruncated_normal"},
}


def conv(
    x: KerasTensor, width: int, kernel_size: int, name: str, stride: int = 1
) -> KerasTensor:
    """Applies a convolution without bias, padded on both sides as PyTorch pads."""
    options = {"use_bias": False, "kernel_initializer": HE_FAN_OUT, "name": name}
    if stride == 1:
        return Conv2D(width, kernel_size, padding="same", **options)(x)
    if kernel_size > 1:
        x = layers.ZeroPadding2D(kernel_size // 2, name=f"{name}_pad")(x)
    return Conv2D(width, kernel_size, strides=stride, **options)(x)


def batch_norm(x: KerasTensor, name: str, **options) -> KerasTensor:
    """Applies batch norm, whose statistics replicas share where there are several."""
    return BatchNormalization(
        # PyTorch's defaults.
        momentum=0.9,
        epsilon=1e-5,
        synchronized=distribute.num_replicas() > 1,
        name=name,
        **options,
    )(x)


def norm_relu(x: KerasTensor, name: str) -> KerasTensor:
    """Applies batch norm and ReLU."""
    return layers.Activation("relu", name=f"{name}_relu")(batch_norm(x, f"{name}_norm"))


def norm_gelu(x: KerasTensor, name: str) -> KerasTensor:
    """Applies batch norm and GELU."""
    return Gelu(name=f"{name}_gelu")(batch_norm(x, f"{name}_norm"))


def basic_block(x: KerasTensor, width: int, stride: int, name: str) -> KerasTensor:
    """Applies the residual block of ResNet-18 and ResNet-34."""
    shortcut = _shortcut(x, width, stride, name)
    x = norm_relu(conv(x, width, 3, f"{name}_1", stride), f"{name}_1")
    return _join(conv(x, width, 3, f"{name}_2"), shortcut, name)


def bottleneck_block(x: KerasTensor, width: int, stride: int, name: str) -> KerasTensor:
    """Applies the residual block of ResNet-50, four times as wide at its end."""
    shortcut = _shortcut(x, 4 * width, stride, name)
    x = norm_relu(conv(x, width, 1, f"{name}_1"), f"{name}_1")
    x = norm_relu(conv(x, width, 3, f"{name}_2", stride), f"{name}_2")
    return _join(conv(x, 4 * width, 1, f"{name}_3"), shortcut, name)


def _shortcut(x, width, stride, name):
    if stride == 1 and x.shape[-1] == width:
        return x
    x = conv(x, width, 1, f"{name}_shortcut", stride)
    return batch_norm(x, f"{name}_shortcut_norm")


def _join(x, shortcut, name):
    # A block starts as the identity: its last scale is zero, as in the authors' code.
    x = batch_norm(x, f"{name}_last_norm", gamma_initializer="zeros")
    x = layers.Add(name=f"{name}_add")([x, shortcut])
    return layers.Activation("relu", name=f"{name}_relu")(x)
