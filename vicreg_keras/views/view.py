"""A random view: layers in a row. Named pairs of views, built from options."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from vicreg_keras.errors import InputError, check_choice
from vicreg_keras.views.seeded_layer import SeededLayer

# Options of the first and of the second view, by the pair's name.
NamedPairs = Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]]


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

    def compute_output_shape(self, input_shape: Sequence) -> tuple:
        for layer in self._active():
            input_shape = layer.compute_output_shape(input_shape)
        return tuple(input_shape)

    def get_config(self) -> dict:
        layers = [keras.saving.serialize_keras_object(layer) for layer in self.layers]
        return {**super().get_config(), "layers": layers}

    @classmethod
    def from_config(cls, config: dict) -> "View":
        layers = map(keras.saving.deserialize_keras_object, config["layers"])
        return cls(**{**config, "layers": list(layers)})

    def _active(self):
        return [layer for layer in self.layers if not layer.is_identity]


def choose_options(
    pairs: NamedPairs, name: str, options: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns all options of a named pair's first view and of its second.

    Args:
        pairs: Named pairs.
        name: A key of `pairs`.
        options: Values that replace those of both views, where they are not `None`.

    Raises:
        InputError: If the name or an option is unknown.
    """
    check_choice("name", name, pairs)
    first, second = pairs[name]
    for key, value in options.items():
        if key not in first:
            raise InputError(
                f"Expected options among {', '.join(first)}. Received: {key}={value}."
            )
    given = {key: value for key, value in options.items() if value is not None}
    return {**first, **given}, {**second, **given}
