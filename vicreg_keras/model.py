"""`VICReg`: a `keras.Model` whose training step is the one of the paper."""

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence

import keras
import tensorflow as tf

from vicreg_keras import losses
from vicreg_keras.hardware import distribute
from vicreg_keras.models.batch import batch_errors, images_of, two_or_more
from vicreg_keras.models.pixel_range import warn_of_data, warn_once
from vicreg_keras.training.finite import StopAtNonFinite, gradient_norm, may_skip

# Views of validation draw from a stream of their own, the same in every epoch.
_TRAINING_STREAM, _VALIDATION_STREAM = 0, 1
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
        names = ("loss", *terms, "embedding_std", "gradient_norm")
        self._trackers = {name: keras.metrics.Mean(name) for name in names}
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

    def fit(self, x=None, *args, callbacks=(), **kwargs):
        """Trains as `keras.Model.fit`; warns of images that are not in [0, 255].

        Raises:
            NonFiniteError: If a loss or a gradient is NaN or infinite, see
                `train_step`; called again, `fit` goes on from that step's weights.
        """
        warn_of_data(x)
        warn_of_data(kwargs.get("validation_data"), "validation_data")
        # First: the others see finite numbers only.
        callbacks = [StopAtNonFinite(), callbacks or ()]
        with batch_errors():
            return super().fit(x, *args, callbacks=callbacks, **kwargs)

    def evaluate(self, x=None, *args, **kwargs):
        """Returns the loss as `keras.Model.evaluate`; warns as `fit` does."""
        if "_use_cached_eval_dataset" not in kwargs:  # Unless `fit` calls it.
            warn_of_data(x)
        with batch_errors():
            return super().evaluate(x, *args, **kwargs)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """Epoch means of the loss, its terms, the embedding's std, gradient's norm."""
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

    def training_views(self, images, positives=None) -> tuple[tf.Tensor, ...]:
        """Returns the views of the next step of training, see `views`."""
        seed = self._seeds(_TRAINING_STREAM, self.step)
        return self.views(images, seed, positives)

    def loss_terms(self, views, training=False) -> dict[str, tf.Tensor]:
        """Returns the loss of a batch's views, its terms, and `embedding_std`."""
        # A pass each: batch norm's statistics are each view's own.
        embeddings = [
            distribute.gather(self.embed(view, training=training)) for view in views
        ]
        terms = losses.vicreg_loss(*embeddings, **self.loss_weights)
        std = sum(losses.embedding_std(z) for z in embeddings) / len(embeddings)
        return {**terms, "embedding_std": tf.stop_gradient(std)}

    def train_step(self, data):
        """Trains one step on a batch: views, embeddings, loss, gradients.

        Where the loss or a gradient is not finite, weights, optimizer and `step` stay
        as they were; batch norm's moving statistics have seen the batch. A gradient
        that overflows only because a `LossScaleOptimizer` has scaled it is left to
        that: it skips the step, which counts, and lowers the scale.

        Args:
            data: Images, `(batch, height, width, 3)` in [0, 255], or a tuple that
                starts with them, or `{"images": ..., "positives": ...}`, where every
                second view is one of the positive at an image's position.

        Returns:
            The epoch's means so far of the loss, its terms, `embedding_std` and
            `gradient_norm`, of all weights together and before any clipping, and the
            current `learning_rate`.
        """
        images, positives = images_of(data)
        images = two_or_more(images)
        views = self.training_views(images, positives)
        with tf.GradientTape() as tape:
            terms = self.loss_terms(views, training=True)
            if not self.optimizer.built:
                self.optimizer.build(self.trainable_variables)
            # The optimizer adds up the replicas' gradients, and each replica holds
            # the loss of the whole batch.
            objective = self.optimizer.scale_loss(
                terms["loss"] / distribute.num_replicas()
            )
        gradients = tape.gradient(objective, self.trainable_variables)
        norm = gradient_norm(gradients) / self.optimizer.scale_loss(1.0)
        skips = may_skip(self.optimizer) & ~tf.math.is_finite(norm)
        is_good = tf.math.is_finite(terms["loss"]) & (tf.math.is_finite(norm) | skips)
        self._apply_if(is_good, gradients)
        logs = self._update(terms)
        norm, counts = tf.where(skips, 0.0, norm), tf.where(skips, 0.0, 1.0)
        self._trackers["gradient_norm"].update_state(norm, counts)
        logs["gradient_norm"] = self._trackers["gradient_norm"].result()
        logs["learning_rate"] = tf.cast(self.optimizer.learning_rate, tf.float32)
        return logs

    def test_step(self, data):
        """Returns the loss and its terms on validation images, in inference mode.

        The n-th batch has the same views in every epoch.
        """
        batch = tf.cast(self._trackers["loss"].count, tf.int64)
        images, positives = images_of(data)
        images = two_or_more(images)
        views = self.views(images, self._seeds(_VALIDATION_STREAM, batch), positives)
        return self._update(self.loss_terms(views, training=False))

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

    def _apply_if(self, is_good, gradients):
        if not self.jit_compile:
            distribute.run_if(is_good, self._apply, gradients)
            return
        # At a branch a GPU would wait for the host. XLA writes each variable once.
        state = [*self.trainable_variables, *self.optimizer.variables, self.step]
        before = [tf.identity(variable.value) for variable in state]
        self._apply(gradients)
        for variable, value in zip(state, before, strict=True):
            variable.assign(tf.where(is_good, variable.value, value))

    def _apply(self, gradients):
        weights = self.trainable_variables
        self.optimizer.apply_gradients(zip(gradients, weights, strict=True))
        self.step.assign_add(1)

    def _update(self, terms):
        for name, value in terms.items():
            self._trackers[name].update_state(value)
        return {name: self._trackers[name].result() for name in terms}


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
