"""The precision in which this machine trains fastest."""

import contextlib
from collections.abc import Iterator

import keras
import tensorflow as tf

from vicreg_keras.hardware import cpu
from vicreg_keras.settings import Settings

POLICIES = {
    "float32": "float32",
    "bfloat16": "mixed_bfloat16",
    "float16": "mixed_float16",
}


def apply_precision(settings: Settings) -> Settings:
    """Sets the precision and the determinism of a recipe, for this process.

    Args:
        settings: The recipe.

    Returns:
        The recipe with the precision that was chosen.
    """
    precision = choose_precision(settings.precision)
    keras.mixed_precision.set_dtype_policy(POLICIES[precision])
    if settings.deterministic:
        tf.config.experimental.enable_op_determinism()
    return settings.replace({"precision": precision})


def choose_precision(name: str) -> str:
    """Returns a key of `POLICIES` for `name`, which may also be `"auto"`.

    `"auto"` takes bfloat16 on GPUs of compute capability 8 or more and on CPUs with
    bfloat16 instructions (avx512_bf16, amx_bf16), float16 on GPUs of capability 7,
    and float32 elsewhere: a CPU without those instructions was 11 to 20 times
    slower in bfloat16 convolutions (see benchmarks/LOG.md).
    """
    if name != "auto":
        return name
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return "bfloat16" if cpu.has_bfloat16() else "float32"
    details = tf.config.experimental.get_device_details(gpus[0])
    major, _ = details.get("compute_capability", (0, 0))
    if major >= 8:
        return "bfloat16"
    return "float16" if major == 7 else "float32"


@contextlib.contextmanager
def float32_layers() -> Iterator[None]:
    """Builds layers that compute in float32: the policy is part of a layer."""
    policy = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("float32")
    try:
        yield
    finally:
        keras.mixed_precision.set_dtype_policy(policy)
