"""A random view: layers in a row, each of which draws from the seed of the call."""

import inspect
import math
import numbers
import re
import zlib
from collections.abc import Sequence
from typing import Any, ClassVar

import keras
import tensorflow as tf

from vicreg_keras.errors import InputError


class SeededLayer(keras.layers.Layer):
    """A layer whose output is a function of its inputs and a seed.

    A layer folds its name into the seed, so its draws depend on no other layer. By
    default the name is the class's in snake case, the same in every process.

    The work always runs in a function compiled by XLA: the same seed then gives the
    same output when the layer is called alone, inside `tf.data.Dataset.map` and inside
    a larger `tf.function` (XLA's random stream is not that of TensorFlow's own
    kernels), and it is several times faster. It computes in float32 whatever the dtype
    policy.

    Subclasses implement `augment`, and keep every argument of `__init__` in an
    attribute of the same name, from which `get_config` reads it.

    Call arguments:
        inputs: Batch of examples, of any dtype.
        seed: Stateless seed, `(2,)` integers. `None` draws one from TensorFlow's
            global stream, which `keras.utils.set_random_seed` makes reproducible.
        training: Whether to augment; otherwise see `without_randomness`.
    """

    # Values of arguments with which a layer changes nothing.
    identity: ClassVar[dict[str, Any]] = {}

    def __init__(self, name: str | None = None, **kwargs):
        kwargs["dtype"] = "float32"
        class_name = type(self).__name__
        snake_case = re.sub("(?<!^)(?=[A-Z])", "_", class_name).lower()
        super().__init__(name=name or snake_case, **kwargs)
        self.built = True  # there is nothing to build
        self._compiled = tf.function(self._run, jit_compile=True, autograph=False)

    @property
    def is_identity(self) -> bool:
        """Whether the layer changes nothing, so that a view can leave it out."""
        values = {name: getattr(self, name) for name in self.identity}
        return bool(values) and values == self.identity

    def augment(self, inputs: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Returns a random variant of each example; is compiled by XLA.

        Args:
            inputs: Batch of examples in float32.
            seed: `(2,)` int64.
        """
        raise NotImplementedError

    def without_randomness(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns what takes the place of the output outside training: the inputs."""
        return inputs

    def check_shape(self, shape: Sequence[int | None]) -> None:
        """Raises an InputError if inputs can't have this shape."""

    def call(
        self, inputs: tf.Tensor, seed: tf.Tensor | None = None, training: bool = True
    ) -> tf.Tensor:
        inputs = tf.convert_to_tensor(inputs)
        self.check_shape(inputs.shape)
        if not training:
            return self.without_randomness(tf.cast(inputs, tf.float32))
        if seed is None:
            seed = tf.random.uniform([2], maxval=2**31 - 1, dtype=tf.int32)
        return self._compiled(inputs, tf.cast(seed, tf.int64))

    def get_config(self) -> dict:
        arguments = inspect.signature(type(self)).parameters
        config = {key: getattr(self, key) for key in arguments if key != "kwargs"}
        return {**super().get_config(), **keras.saving.serialize_keras_object(config)}

    @classmethod
    def from_config(cls, config: dict) -> "SeededLayer":
        return cls(**keras.saving.deserialize_keras_object(config))

    def _run(self, inputs, seed):
        return self.augment(tf.cast(inputs, tf.float32), seed)

    # An algorithm by name, so that every device draws the same numbers.

    def _uniform(self, shape: Sequence, seed: tf.Tensor) -> tf.Tensor:
        """Returns the layer's draws, uniform in `[0, 1)`; to be called once."""
        seed = self._own_seed(seed)
        return tf.random.stateless_uniform(shape, seed, alg="philox")

    def _normal(self, shape: Sequence, seed: tf.Tensor) -> tf.Tensor:
        """Returns the layer's draws, standard normal; to be called once."""
        seed = self._own_seed(seed)
        return tf.random.stateless_normal(shape, seed, alg="philox")

    def _own_seed(self, seed):
        digest = tf.constant(zlib.crc32(self.name.encode()), tf.int64)
        return tf.random.experimental.stateless_fold_in(seed, digest, alg="philox")

    # Checks of arguments.

    def _check(self, is_valid: bool, argument: str, value: Any, expected: str) -> Any:
        if not is_valid:
            raise InputError(
                f"Expected {argument} of {self.name} to be {expected}. "
                f"Received: {argument}={value!r}."
            )
        return value

    def _number(self, argument: str, value: float, maximum: float = math.inf) -> float:
        """Returns a finite number in `[0, maximum]`."""
        is_valid = isinstance(value, numbers.Real) and 0 <= value <= maximum
        bound = f"in [0, {maximum:g}]" if maximum < math.inf else "of at least 0"
        is_valid = is_valid and value < math.inf
        return float(self._check(is_valid, argument, value, f"a number {bound}"))

    def _count(self, argument: str, value: int) -> int:
        """Returns a whole number of at least 1."""
        is_valid = isinstance(value, numbers.Integral) and value >= 1
        expected = "a whole number of at least 1"
        return int(self._check(is_valid, argument, value, expected))

    def _interval(
        self, argument: str, value: Sequence[float], maximum: float = math.inf
    ) -> tuple[float, float]:
        """Returns low and high, `0 < low <= high <= maximum`."""
        low, high = value if isinstance(value, Sequence) and len(value) == 2 else (0, 0)
        is_valid = 0 < low <= high <= maximum and high < math.inf
        expected = f"two numbers, 0 < low <= high <= {maximum:g}"
        self._check(is_valid, argument, value, expected)
        return float(low), float(high)


@keras.saving.register_keras_serializable(package="vicreg_keras")
class View(SeededLayer):
    """One random view of each example of a batch: what its layers do, in their order.

    All layers are compiled together, and those that change nothing are left out. The
    draws of a layer follow from the seed and its name: adding, removing or moving a
    layer changes no other layer's draws. For the call arguments see `SeededLayer`.

    Example:
    >>> view = View([RandomResizedCrop(scale=(0.2, 1.0)), RandomHorizontalFlip()])
    >>> view(images, seed=(0, step)).shape
    (256, 32, 32, 3)

    Args:
        layers: Layers of `image_layers` or of `table_layers`, with distinct names.

    Raises:
        InputError: If two layers have the same name.
    """

    def __init__(self, layers: Sequence[SeededLayer], **kwargs):
        super().__init__(**kwargs)
        names = [layer.name for layer in layers]
        if len(set(names)) < len(names):
            raise InputError(
                "Expected layers with distinct names, since a layer's draws follow "
                f"from its name. Received: names={names}. Name one of them, as in "
                f"{type(layers[0]).__name__}(..., name='second')."
            )
        self.layers = list(layers)

    def augment(self, inputs: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        for layer in self._active():
            inputs = layer.augment(inputs, seed)
        return inputs

    def without_randomness(self, inputs: tf.Tensor) -> tf.Tensor:
        for layer in self._active():
            inputs = layer.without_randomness(inputs)
        return inputs

    def check_shape(self, shape: Sequence[int | None]) -> None:
        for layer in self._active():
            layer.check_shape(shape)

    def _active(self):
        return [layer for layer in self.layers if not layer.is_identity]
