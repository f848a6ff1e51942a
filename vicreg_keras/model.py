"""`VICReg`: a `keras.Model` whose training step is the one of the paper."""

import contextlib
import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence

import keras
import tensorflow as tf

from vicreg_keras import losses
from vicreg_keras.errors import InputError
from vicreg_keras.hardware import distribute
from vicreg_keras.models.pixel_range import warn_of_data, warn_once

# Views of validation draw from a stream of their own, the same in every epoch.
_TRAINING_STREAM, _VALIDATION_STREAM = 0, 1
# What TensorFlow's error contains after a batch of one example.
_ONE_EXAMPLE = "batches_of_two_examples_or_more"
# Modules whose classes a saved model may hold: Keras loads registered classes only.
_SERIALIZABLE = (
    *("models.layers", "models.table_encoder", "training.optim"),
    *("views.image_layers", "views.table_layers", "views.view"),
)


@keras.saving.register_keras_serializable(package="vicreg_keras")
class VICReg(keras.Model):
    """Variance-Invariance-Covariance Regularization around any encoder.

    An ordinary `keras.Model`: `compile(optimizer=...)`, `fit(images)`, `evaluate`,
    `save`. It is trained on images alone; labels given beside them are ignored.
    Calling it returns representations.

    Example:
    >>> model = VICReg(encoder, make_projector(512, (2048, 2048, 2048)),
    ...                augmenter=make_views("cifar"))
    >>> model.compile(optimizer=LARS(0.3, weight_decay=1e-4))
    >>> model.fit(images, batch_size=256, epochs=100)

    Args:
        encoder: `keras.Model` from images to `(batch, dim)` representations.
        projector: `keras.Model` from representations to embeddings, or `None` to
            take the loss of the representations themselves.
        augmenter: Layer that returns one random view of a batch of images, used for
            all views; or a pair of layers, which the views take in turn. A layer whose
            `call` takes a `seed` is given `(2,)` integers that depend on `seed` and the
            step alone.
        num_views: Random views of each image in a step. Each has its own forward pass,
            and the activations of all are held until the backward pass: n views are
            n / 2 times the work of two, and hold n / 2 times their activations.
        loss_weights: Weights of the loss that differ from `losses.WEIGHTS`, by name,
            for example `{"variance_weight": 50.0}`.
        seed: Seed of the views; each step folds in its number.

    Attributes:
        loss_weights: The weights of all terms.
        step: int64 variable, number of steps trained; saved with the weights.

    Reference:
        - Bardes, Ponce, LeCun, "VICReg", ICLR 2022, algorithm 1; constants as in
          facebookresearch/vicreg, main_vicreg.py.
        - More than two views: Tong, Chen, Ma, LeCun, "EMP-SSL: Towards Self-Supervised
          Learning in One Training Epoch", 2023 (https://arxiv.org/abs/2304.03977).
          Differs from the paper: the loss is VICReg's.
    """

    def __init__(
        self,
        encoder: keras.Model,
        projector: keras.Model | None = None,
        augmenter: Callable | Sequence[Callable] | None = None,
        *,
        num_views: int = 2,
        loss_weights: Mapping[str, float] | None = None,
        seed: int = 0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.encoder = encoder
        self.projector = projector
        self.augmenter = _pair(augmenter)
        if num_views < 2 or num_views != int(num_views):
            raise ValueError(
                "Expected num_views to be an integer of at least 2: the loss compares "
                f"views. Received: num_views={num_views}."
            )
        self.num_views = int(num_views)
        self.loss_weights = losses.complete_weights(loss_weights or {})
        self.seed = int(seed)
        self.step = self.add_weight(
            shape=(),
            dtype="int64",
            initializer="zeros",
            trainable=False,
            aggregation="only_first_replica",
            name="step",
        )
        terms = (f"{name}_loss" for name in losses.TERMS)
        self._trackers = {
            name: keras.metrics.Mean(name) for name in ("loss", *terms, "embedding_std")
        }
        self._checked: frozenset[str] = frozenset()
        self.built = encoder.built and (projector is None or projector.built)

    def compile(self, optimizer="rmsprop", *, jit_compile="auto", **kwargs):
        """Compiles as `keras.Model.compile`, without a loss.

        Args:
            optimizer: Keras optimizer, or its name.
            jit_compile: `"auto"` compiles the step by XLA on a GPU, and not on a
                CPU, where XLA's convolutions are several times slower, nor across
                replicas.
            **kwargs: See `keras.Model.compile`.
        """
        if jit_compile == "auto":
            on_gpu = bool(tf.config.list_logical_devices("GPU"))
            jit_compile = on_gpu and distribute.num_replicas() == 1
        super().compile(optimizer=optimizer, jit_compile=jit_compile, **kwargs)

    def compile_from_config(self, config: dict) -> None:
        """Compiles from `get_compile_config`, for this machine's devices."""
        config = keras.saving.deserialize_keras_object(config)
        config.pop("jit_compile", None)
        self.compile(**config)
        self.optimizer.build(self.trainable_variables)

    def fit(self, x=None, *args, **kwargs):
        """Trains as `keras.Model.fit`; warns of images that are not in [0, 255]."""
        warn_of_data(x)
        warn_of_data(kwargs.get("validation_data"), "validation_data")
        with _batch_errors():
            return super().fit(x, *args, **kwargs)

    def evaluate(self, x=None, *args, **kwargs):
        """Returns the loss as `keras.Model.evaluate`; warns as `fit` does."""
        if "_use_cached_eval_dataset" not in kwargs:  # Unless `fit` calls it.
            warn_of_data(x)
        with _batch_errors():
            return super().evaluate(x, *args, **kwargs)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """Epoch means of the loss, each of its terms and the embedding's std."""
        return list(self._trackers.values())

    def call(self, images, training=False):
        """Returns representations of `images`, `(batch, dim)`."""
        self._checked = warn_once(images, self._checked)
        return self.encoder(images, training=training)

    def build(self, input_shape):
        """Builds the encoder and the projector for images of `input_shape`."""
        if not self.encoder.built:
            self.encoder.build(input_shape)
        if self.projector is not None and not self.projector.built:
            self.projector.build(self.encoder.compute_output_shape(input_shape))
        self.built = True

    def views(self, images, seed, positives=None) -> tuple[tf.Tensor, ...]:
        """Returns `num_views` random views of `images`, the same for the same seed.

        Args:
            images: `(batch, height, width, 3)`, or `(batch, num_columns)` of a table.
            seed: `(2,)` integers.
            positives: Examples that every second view is of, if it is of others.
        """
        sources = (images, images if positives is None else positives)
        seed, views = tf.cast(seed, tf.int64), []
        for i in range(self.num_views):
            # Each view folds its own number into the seed, alike on every device.
            own = tf.random.experimental.stateless_fold_in(seed, i, alg="philox")
            views.append(_view(self.augmenter[i % 2], sources[i % 2], own))
        return tuple(views)

    def embed(self, images, training=False):
        """Returns embeddings of `images`, `(batch, width)`, which the loss is of."""
        representations = self.encoder(images, training=training)
        if self.projector is None:
            return representations
        return self.projector(representations, training=training)

    def train_step(self, data):
        """Trains one step on a batch: views, embeddings, loss, gradients.

        Args:
            data: Images, `(batch, height, width, 3)` in [0, 255], or a tuple that
                starts with them, or `{"images": ..., "positives": ...}`, where every
                second view is one of the positive at an image's position.

        Returns:
            The epoch's means so far of the loss, its terms and `embedding_std`, and
            the current `learning_rate`.
        """
        images, positives = _images(data)
        images = _two_or_more(images)
        seed = self._seeds(_TRAINING_STREAM, self.step)
        views = self.views(images, seed, positives)
        with tf.GradientTape() as tape:
            terms = self._terms(views, training=True)
            # The optimizer adds up the replicas' gradients, and each replica holds
            # the loss of the whole batch.
            objective = self.optimizer.scale_loss(
                terms["loss"] / distribute.num_replicas()
            )
        weights = self.trainable_variables
        self.optimizer.apply_gradients(
            zip(tape.gradient(objective, weights), weights, strict=True)
        )
        self.step.assign_add(1)
        logs = self._update(terms)
        logs["learning_rate"] = tf.cast(self.optimizer.learning_rate, tf.float32)
        return logs

    def test_step(self, data):
        """Returns the loss and its terms on validation images, in inference mode.

        The n-th batch has the same views in every epoch.
        """
        batch = tf.cast(self._trackers["loss"].count, tf.int64)
        images, positives = _images(data)
        images = _two_or_more(images)
        views = self.views(images, self._seeds(_VALIDATION_STREAM, batch), positives)
        return self._update(self._terms(views, training=False))

    def get_config(self) -> dict:
        """Returns all that builds the model again, encoder and views included."""
        serialize = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            "encoder": serialize(self.encoder),
            "projector": self.projector and serialize(self.projector),
            "augmenter": [serialize(layer) for layer in self.augmenter],
            "num_views": self.num_views,
            "loss_weights": dict(self.loss_weights),
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: dict) -> "VICReg":
        """Returns the model of a `get_config`, with new weights."""
        for module in _SERIALIZABLE:
            importlib.import_module(f"vicreg_keras.{module}")
        deserialize = keras.saving.deserialize_keras_object
        config = dict(config)
        config["encoder"] = deserialize(config["encoder"])
        config["projector"] = config["projector"] and deserialize(config["projector"])
        config["augmenter"] = [deserialize(layer) for layer in config["augmenter"]]
        return cls(**config)

    def _seeds(self, stream, number):
        context = tf.distribute.get_replica_context()
        replica = context.replica_id_in_sync_group if context else 0
        position = tf.cast(number, tf.int64) * distribute.num_replicas()
        position += tf.cast(replica, tf.int64)
        return tf.stack([tf.constant(2 * self.seed + stream, tf.int64), position])

    def _terms(self, views, training):
        # A pass each: batch norm's statistics are each view's own.
        embeddings = [
            distribute.gather(self.embed(view, training=training)) for view in views
        ]
        terms = losses.vicreg_loss(*embeddings, **self.loss_weights)
        std = sum(losses.embedding_std(z) for z in embeddings) / len(embeddings)
        return {**terms, "embedding_std": tf.stop_gradient(std)}

    def _update(self, terms):
        for name, tracker in self._trackers.items():
            tracker.update_state(terms[name])
        return {name: tracker.result() for name, tracker in self._trackers.items()}


def _pair(augmenter):
    """Returns the layers of even and odd views."""
    layers = list(augmenter) if isinstance(augmenter, Sequence) else [augmenter] * 2
    if len(layers) != 2 or not all(callable(layer) for layer in layers):
        raise ValueError(
            "Expected augmenter to be a layer that returns a random view of a batch of "
            f"images, or a pair of such layers. Received: augmenter={augmenter!r}. Try "
            'make_views("cifar").'
        )
    return layers


def _view(layer, images, seed):
    target = layer.call if isinstance(layer, keras.layers.Layer) else layer
    parameters = inspect.signature(target).parameters
    options = {"seed": seed, "training": True}
    return layer(images, **{k: v for k, v in options.items() if k in parameters})


def _images(data):
    """Returns a batch's images, and its positives or `None`."""
    if isinstance(data, dict):
        return data["images"], data.get("positives")
    return (data[0] if isinstance(data, tuple | list) else data), None


def _two_or_more(images):
    """Returns a batch; where its size is unknown before the step, one of 1 fails."""
    if images.shape[0] is not None or distribute.num_replicas() > 1:
        return images
    check = tf.debugging.assert_greater(tf.shape(images)[0], 1, message=_ONE_EXAMPLE)
    # XLA leaves assertions out, and refuses this when it compiles the step.
    first = tf.reshape(images, [tf.shape(images)[0], -1])[:, 0]
    two = tf.slice(first, [0], [2], name=_ONE_EXAMPLE)
    with tf.control_dependencies([check, two]):
        return tf.identity(images)


@contextlib.contextmanager
def _batch_errors():
    """Turns the error of a batch of one example into one that says what to do."""
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        if _ONE_EXAMPLE not in str(error):
            raise
        raise InputError(
            "Expected batches of two examples or more, whose variance the loss takes. "
            "Received: a batch of 1. Leave a remainder of 1 out, by "
            "`batch(..., drop_remainder=True)`, or use another batch_size."
        ) from error
