"""Encoders read from a run, a SavedModel or a `.keras` file."""

import os
import pathlib
from typing import Any

import keras
import tensorflow as tf

from vicreg_keras.data.card import DataCard
from vicreg_keras.data.sources.base import Known
from vicreg_keras.errors import InputError, file_errors
from vicreg_keras.models.pixel_range import warn_once
from vicreg_keras.models.table_encoder import TableInputs
from vicreg_keras.workdir.versions import REMEDY, check_version, saved_model_folder

# Among the assets of a SavedModel.
CARD_FILE = "data.json"
# About a damaged one.


def load_encoder(path: str | os.PathLike) -> keras.layers.Layer:
    """Returns a frozen encoder, to be called or to be built upon.

    Example:
    >>> encoder = load_encoder("runs/fast")
    >>> model = keras.Sequential([encoder, keras.layers.Dense(10)])

    Args:
        path: A run's folder `RUN`, its `RUN/encoder`, or one version of it such as
            `RUN/encoder/1`; of several versions the newest is taken. Or a `.keras`
            file of an encoder or of a `VICReg` model, whose encoder is taken.

    Returns:
        A Keras layer without trainable weights, called as
        `encoder(images, training=False)`: a `SavedEncoder`, or a `keras.Model` from a
        `.keras` file.

    Raises:
        InputError: If there is none, or it can't be read or does not map `image` or
            `row` to `representation`.
    """
    path = pathlib.Path(path)
    if path.suffix != ".keras":
        return SavedEncoder(str(saved_model_folder(path)))
    expected = "a .keras file of a VICReg model or an encoder"
    with file_errors(path, expected, "Save it with `model.save`"):
        model = keras.saving.load_model(path, compile=False)
    encoder = getattr(model, "encoder", model)
    encoder.trainable = False
    return encoder


def known_of(encoder: keras.layers.Layer) -> Known | None:
    """Returns how the data of an encoder was read, where the encoder tells.

    Args:
        encoder: A `SavedEncoder`, or a `keras.Model` of a table.
    """
    card = getattr(encoder, "card", None)
    if card is not None:
        return card.schema.known
    for layer in getattr(encoder, "layers", ()):
        if isinstance(layer, TableInputs):
            return Known(columns=layer.columns)
    return None


def variables_of(encoder: keras.layers.Layer) -> list[tf.Variable]:
    """Returns the TensorFlow variables of an encoder, in a fixed order.

    Args:
        encoder: A `SavedEncoder`, a `keras.Model`, or anything with `variables`.
    """
    saved = getattr(encoder, "saved_variables", None)
    if saved is not None:
        return list(saved)
    return [
        variable.value if isinstance(variable, keras.Variable) else variable
        for variable in encoder.variables
    ]


@keras.saving.register_keras_serializable(package="vicreg_keras")
class SavedEncoder(keras.layers.Layer):
    """A SavedModel's encoder as a Keras layer that is never trained.

    A model that contains it and is saved by Keras keeps the path alone, and reads the
    SavedModel from there again.

    Args:
        folder: Folder of one version, which contains `saved_model.pb`.
        **kwargs: See `keras.layers.Layer`.

    Attributes:
        folder: The version's folder.
        example_shape: Shape of one example, `(height, width, 3)` or `(width,)`; `None`
            for an axis of any size.
        representation_size: `dim`, or `None` where the signature does not say.
        saved_variables: The encoder's variables.
        card: Card of the data that it was trained on, or `None` where another program
            has saved it.

    Raises:
        DamagedError: If its files are not as they were written.
        InputError: If it can't be read, or its signature `serving_default` does not
            map `image` or `row` to `representation`.
    """

    def __init__(self, folder: str, **kwargs):
        super().__init__(**{"autocast": False, "trainable": False, **kwargs})
        check_version(folder)
        expected = "a SavedModel that TensorFlow can read"
        with file_errors(folder, expected, REMEDY.rstrip(".")):
            loaded = tf.saved_model.load(folder)
            signature, inputs, outputs = (
                loaded.signatures.get("serving_default"),
                {},
                {},
            )
            if signature is not None:
                inputs = signature.structured_input_signature[1]
                outputs = signature.structured_outputs
        names = {"image", "row"} & set(inputs)
        if len(names) != 1 or "representation" not in outputs:
            raise InputError(
                "Expected a SavedModel whose signature `serving_default` maps `image` "
                f"or `row` to `representation`. Received: folder={folder}, signatures "
                f"{sorted(loaded.signatures)}, inputs {sorted(inputs)} and outputs "
                f"{sorted(outputs)}. Use the encoder that a pretraining run saved."
            )
        (self._input_name,) = names
        spec = inputs[self._input_name]
        self.folder = folder
        self.example_shape = tuple(spec.shape[1:])
        self.representation_size = outputs["representation"].shape[-1]
        self._input_dtype = spec.dtype
        self._signature = signature
        path = pathlib.Path(folder, "assets", CARD_FILE)
        self.card = None
        if path.is_file():
            self.card = DataCard.from_json(path.read_bytes(), str(path))
        self._encode = getattr(loaded, "encode", None)
        self._checked: frozenset[str] = frozenset()
        # A signature holds its variables only weakly.
        self._loaded = loaded
        self.built = True

    @property
    def saved_variables(self) -> tuple[tf.Variable, ...]:
        """The encoder's variables, which are no weights of the layer."""
        own = getattr(self._loaded, "encoder_variables", self._signature.variables)
        return tuple(own)

    def call(self, images: Any) -> tf.Tensor:
        """Returns representations, in inference mode.

        Args:
            images: `(N, height, width, 3)` in [0, 255], or tabular examples
                `(N, num_columns)`. Floating-point images, such as views, are rounded
                where the SavedModel has only signatures, as those of other programs.

        Returns:
            float32 tensor of shape `(N, dim)`.
        """
        images = tf.convert_to_tensor(images)
        if self._input_name == "image":
            self._checked = warn_once(images, self._checked)
        if images.dtype != self._input_dtype:
            if images.dtype.is_floating and self._encode is not None:
                return self._encode(tf.cast(images, tf.float32))
            images = _cast(images, self._input_dtype)
        return self._signature(**{self._input_name: images})["representation"]

    def get_config(self) -> dict:
        return {**super().get_config(), "folder": os.path.abspath(self.folder)}


def _cast(images, dtype):
    """Rounds and clips, by operations that TFLite has, too."""
    if images.dtype.is_floating and dtype.is_integer:
        images = tf.round(images)
        images = tf.maximum(tf.minimum(images, float(dtype.max)), float(dtype.min))
    return tf.cast(images, dtype)
