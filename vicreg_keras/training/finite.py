"""Steps whose loss or gradient is not finite: found, and said what they came from."""

import contextlib
import functools
import math
from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf

from vicreg_keras.errors import NonFiniteError

# Of the scale of a loss in float16.
_MIN_LOSS_SCALE = 1.0


class StopAtNonFinite(keras.callbacks.Callback):
    """Ends `VICReg.fit` at the first step, or validation, that is not finite.

    Raises:
        NonFiniteError: While fitting.
    """

    def __init__(self):
        super().__init__()
        self._before = None

    def on_train_batch_end(self, batch, logs=None):
        if _not_finite(logs):
            raise NonFiniteError(self._message(logs))
        self._before = logs

    def on_epoch_end(self, epoch, logs=None):
        check_metrics(logs, int(self.model.step.numpy()))

    def _message(self, logs):
        received, step = _not_finite(logs), int(self.model.step.numpy()) + 1
        before = "It is the first of this training."
        if self._before is not None:
            norm, loss = (self._before[name] for name in ("gradient_norm", "loss"))
            before = (
                f"Before it, the epoch's mean gradient_norm was {norm:.4g} at a mean "
                f"loss of {loss:.4g}."
            )
        return (
            f"Expected a finite loss and gradient. Received: {received} in step "
            f"{step:,} at learning_rate={logs['learning_rate']:.4g}, which has changed "
            f"no weight. {before}"
        )


def check_metrics(metrics: Mapping[str, float], step: int) -> None:
    """Checks that metrics are finite, those of held-out examples included.

    Args:
        metrics: Metrics by name.
        step: Number of steps trained, for the message.

    Raises:
        NonFiniteError: If one is not.
    """
    if received := _not_finite(metrics):
        raise NonFiniteError(
            f"Expected finite metrics after step {step:,}. Received: {received}."
        )


def check_weights(model: keras.Model, step: int) -> None:
    """Checks that the weights of a model, and its optimizer's state, are finite.

    Args:
        model: A compiled model.
        step: Number of steps trained, for the message.

    Raises:
        NonFiniteError: If a weight is not.
    """
    for variable in (*model.variables, *model.optimizer.variables):
        if not _is_finite(variable.value):
            raise NonFiniteError(
                f"Expected finite weights after step {step:,}. Received: NaN or "
                f"infinity in {variable.path}."
            )


def _not_finite(logs):
    names = [name for name, value in logs.items() if not math.isfinite(value)]
    # A loss that is not finite says less than its terms, which are not either.
    names.sort(key=lambda name: name in ("loss", "val_loss"))
    return ", ".join(f"{name}={logs[name]:g}" for name in names)


def gradient_norm(gradients: Sequence[tf.Tensor | None]) -> tf.Tensor:
    """Returns the norm of the gradient of all weights, over all replicas."""
    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync > 1:
        given = [gradient for gradient in gradients if gradient is not None]
        gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, given)
    return tf.linalg.global_norm(gradients)


def may_skip(optimizer: keras.optimizers.Optimizer) -> tf.Tensor:
    """Returns whether an optimizer copes with a gradient that is not finite.

    A `LossScaleOptimizer` does: it skips the step and halves its scale, which is what
    overflows at first. It would do so for ever; at a scale of 1 it is the gradient.
    """
    if not isinstance(optimizer, keras.mixed_precision.LossScaleOptimizer):
        return tf.constant(False)
    return optimizer.dynamic_scale > _MIN_LOSS_SCALE


def find_nonfinite(
    model: keras.Model, images: tf.Tensor, positives: tf.Tensor | None = None
) -> str | None:
    """Returns what is not finite first in a model's next step on a batch.

    The step runs layer by layer, with the views that it has in training, and changes
    nothing.

    Example:
    >>> find_nonfinite(model, images)
    'the output of encoder/stage1_1'

    Args:
        model: A `VICReg`.
        images: The batch.
        positives: See `VICReg.views`.

    Returns:
        Weights, the batch, a view, the output of a layer or a term of the loss, in
        this order; where the loss is finite, the gradient by an output, from the last
        layer on, or by weights. `None` if all is finite.
    """
    for weight in model.trainable_variables:
        if not _is_finite(weight.value):
            return f"the weights {weight.path}, before the step"
    # Batch norm counts the batch.
    kept = [(variable, variable.numpy()) for variable in model.non_trainable_variables]
    try:
        return _first_in_step(model, images, positives)
    finally:
        for variable, value in kept:
            variable.assign(value)


def _first_in_step(model, images, positives):
    given = [images] if positives is None else [images, positives]
    if not all(map(_is_valid, given)):
        return "the batch"
    views = model.training_views(images, positives)
    for i, view in enumerate(views):
        if not _is_valid(view):
            layer = model.augmenter[i % 2]
            return f"view {i + 1}, of {getattr(layer, 'name', layer)}"
    outputs = []
    with contextlib.ExitStack() as stack, tf.GradientTape() as tape:
        for part in ("encoder", "projector"):
            for layer in _layers(getattr(model, part)):
                name = f"the output of {part}/{layer.name}"
                stack.enter_context(_recording(layer, name, outputs))
        terms = model.loss_terms(views, training=True)
        loss = terms["loss"]
        if model.compiled:
            loss = model.optimizer.scale_loss(loss)
    of_terms = [(f"{name}, of finite embeddings", terms[name]) for name in terms]
    outputs += sorted(of_terms, key=lambda pair: pair[1] is terms["loss"])
    for name, output in outputs:
        if not _is_finite(output):
            return name
    weights = model.trainable_variables
    sources = [output for _, output in outputs]
    by_output, by_weight = tape.gradient(loss, (sources, [w.value for w in weights]))
    for (name, _), gradient in reversed([*zip(outputs, by_output, strict=True)]):
        if gradient is not None and not _is_finite(gradient):
            return f"the gradient by {name}"
    for weight, gradient in zip(weights, by_weight, strict=True):
        if gradient is not None and not _is_finite(gradient):
            return f"the gradient by the weights {weight.path}"
    return None


def _layers(part):
    if part is None:
        return []
    # Of a layer that holds others, its own output comes after theirs.
    layers = part._flatten_layers(include_self=False)
    return [one for one in layers if not isinstance(one, keras.layers.InputLayer)]


@contextlib.contextmanager
def _recording(layer, name, outputs):
    call = layer.call

    @functools.wraps(call)
    def recorded(*args, **kwargs):
        output = call(*args, **kwargs)
        outputs.extend((name, one) for one in tf.nest.flatten(output))
        return output

    layer.call = recorded
    try:
        yield
    finally:
        del layer.call


def _is_finite(value):
    return bool(tf.reduce_all(tf.math.is_finite(tf.cast(value, tf.float32))))


def _is_valid(examples):
    # In a table, NaN is a missing value.
    is_table = len(examples.shape) == 2
    examples = tf.cast(examples, tf.float32)
    return _is_finite(tf.where(tf.math.is_nan(examples) & is_table, 0.0, examples))
