"""Optimizers: LARS, which Keras lacks, and weight decay as in PyTorch's recipes.

Recipes are written for PyTorch, where `weight_decay` in Adam, SGD and LARS is an L2
penalty: it is added to the gradient. In Keras every optimizer's `weight_decay` is
decoupled from the gradient, as in AdamW. The classes here take `weight_decay` in the
sense of the optimizer's name, so that a recipe's number means the same here.

One rule holds for all of them: parameters of one dimension (biases, batch norm's
gamma and beta) are never decayed. `torch.optim` decays them unless it is told not to.

Adam and AdamW keep Keras's epsilon: 1e-7, added before the bias correction, where
PyTorch adds 1e-8 after it.
"""

from typing import Any

import keras
import tensorflow as tf
from keras import ops
from keras.optimizers.schedules import CosineDecay, LearningRateSchedule

from vicreg_keras.errors import check_choice


def make_optimizer(
    optimizer: str,
    learning_rate: float | LearningRateSchedule,
    *,
    weight_decay: float = 0.0,
    momentum: float = 0.9,
    eta: float = 0.001,
    clip: bool = False,
    global_clipnorm: float = 0.0,
) -> keras.optimizers.Optimizer:
    """Returns an optimizer by its name.

    Args:
        optimizer: A key of `OPTIMIZERS`.
        learning_rate: Learning rate, or a schedule over optimizer steps.
        weight_decay: Added to the gradient, times the weight (`adam`, `lars`, `sgd`),
            or taken off the weight, times the learning rate (`adamw`).
        momentum: Momentum of `lars` and `sgd`; the others do not read it.
        eta: Trust coefficient of `lars`; the others do not read it.
        clip: Whether `lars` bounds its local rate; the others do not read it.
        global_clipnorm: Largest norm of the gradient of all weights together; a
            longer one is scaled down to it. 0 for no bound.

    Returns:
        A Keras optimizer, not yet built.

    Raises:
        InputError: If the name is unknown.
    """
    check_choice("optimizer", optimizer, OPTIMIZERS)
    options: dict[str, Any] = {"weight_decay": weight_decay}
    options["global_clipnorm"] = global_clipnorm or None
    if optimizer in ("lars", "sgd"):
        options["momentum"] = momentum
    if optimizer == "lars":
        options |= {"eta": eta, "clip": clip}
    return OPTIMIZERS[optimizer](learning_rate, **options)


def warmup_cosine(
    peak_learning_rate: float,
    total_steps: int,
    warmup_steps: int = 0,
    final_fraction: float = 0.0,
) -> LearningRateSchedule:
    """Returns a linear warm-up from 0 followed by half a cosine down.

    Args:
        peak_learning_rate: Learning rate at the end of the warm-up.
        total_steps: Optimizer steps of the whole run, the warm-up included.
        warmup_steps: Optimizer steps of the warm-up; 0 starts at the peak.
        final_fraction: Learning rate at the end, as a fraction of the peak. The
            authors' is 0.001.

    Returns:
        The schedule; after `total_steps` it stays at its last value.

    Raises:
        ValueError: If the warm-up does not leave a step of the total.

    Reference:
        `adjust_learning_rate` in facebookresearch/vicreg, `main_vicreg.py`.
    """
    if not 0 <= warmup_steps < total_steps:
        raise ValueError(
            "Expected 0 <= warmup_steps < total_steps. "
            f"Received: warmup_steps={warmup_steps}, total_steps={total_steps}. "
            "Train for longer or warm up for less."
        )
    peak, num_steps = float(peak_learning_rate), total_steps - warmup_steps
    if not warmup_steps:
        return CosineDecay(peak, num_steps, alpha=final_fraction)
    return _WarmupCosine(
        0.0,
        num_steps,
        alpha=final_fraction,
        warmup_target=peak,
        warmup_steps=warmup_steps,
    )


@keras.saving.register_keras_serializable(package="vicreg_keras")
class _WarmupCosine(CosineDecay):
    """Keras's `CosineDecay` from 0, without its branch, at which a GPU would wait."""

    def __call__(self, step):
        step = ops.cast(step, "float32")
        decay = CosineDecay(self.warmup_target, self.decay_steps, self.alpha)
        return ops.where(
            step < self.warmup_steps,
            self.warmup_target * step / self.warmup_steps,
            decay(ops.maximum(step - self.warmup_steps, 0.0)),
        )


class _CoupledWeightDecay(keras.optimizers.Optimizer):
    """Adds `weight_decay * weight` to the gradient of every weight matrix.

    Keras's own decay, which is decoupled, is switched off by giving it None: were the
    number kept in the attribute `weight_decay`, Keras would apply it a second time.
    """

    def __init__(self, *args, weight_decay: float = 0.0, **kwargs):
        super().__init__(*args, weight_decay=None, **kwargs)
        self.coupled_weight_decay = weight_decay or 0.0

    def update_step(self, gradient, variable, learning_rate):
        """Updates one variable from its gradient."""
        if self.coupled_weight_decay and not _is_bias_or_norm(variable):
            gradient = ops.cast(gradient, variable.dtype)
            gradient = gradient + self.coupled_weight_decay * variable
        super().update_step(gradient, variable, learning_rate)

    def get_config(self) -> dict:
        """Returns the settings, `weight_decay` under the name it was given by."""
        return {**super().get_config(), "weight_decay": self.coupled_weight_decay}


class _FusedAdam(keras.optimizers.Adam):
    """Updates a variable by TensorFlow's own Adam kernel, Keras's formula in one pass.

    Keras's reads and writes the variable and its slots in a dozen passes, which takes
    2.5 times as long on a CPU.
    """

    def update_step(self, gradient, variable, learning_rate):
        """Updates one variable from its gradient."""
        if self.amsgrad:
            super().update_step(gradient, variable, learning_rate)
            return
        index = self._get_variable_index(variable)
        step = tf.cast(self.iterations + 1, variable.dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=_resource(variable),
            m=_resource(self._momentums[index]),
            v=_resource(self._velocities[index]),
            beta1_power=self.beta_1**step,
            beta2_power=self.beta_2**step,
            lr=tf.cast(learning_rate, variable.dtype),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=tf.cast(gradient, variable.dtype),
        )


@keras.saving.register_keras_serializable(package="vicreg_keras")
class Adam(_CoupledWeightDecay, _FusedAdam):
    """Adam with an L2 penalty, as `torch.optim.Adam` means `weight_decay`.

    Args:
        learning_rate: Learning rate, or a schedule over optimizer steps.
        weight_decay: Times the weight, added to the gradient; not for parameters of
            one dimension.
        **kwargs: As for `keras.optimizers.Adam`.
    """


@keras.saving.register_keras_serializable(package="vicreg_keras")
class SGD(_CoupledWeightDecay, keras.optimizers.SGD):
    """SGD with an L2 penalty, as `torch.optim.SGD` means `weight_decay`.

    Its momentum is Keras's: the learning rate of each step is inside it.

    Args:
        learning_rate: Learning rate, or a schedule over optimizer steps.
        weight_decay: Times the weight, added to the gradient; not for parameters of
            one dimension.
        **kwargs: As for `keras.optimizers.SGD`.
    """


@keras.saving.register_keras_serializable(package="vicreg_keras")
class AdamW(_FusedAdam, keras.optimizers.AdamW):
    """Keras's AdamW that leaves parameters of one dimension undecayed.

    Args:
        learning_rate: Learning rate, or a schedule over optimizer steps.
        weight_decay: Times the learning rate and the weight, taken off the weight.
        **kwargs: As for `keras.optimizers.AdamW`.
    """

    def build(self, variables):
        """Creates the slots, and finds by their shapes what is not decayed."""
        if not self.built:
            self.exclude_from_weight_decay(list(filter(_is_bias_or_norm, variables)))
        super().build(variables)


@keras.saving.register_keras_serializable(package="vicreg_keras")
class LARS(_CoupledWeightDecay):
    """SGD whose step for each weight is in proportion to that weight's norm.

    With `w` a weight, `g` its gradient and `buffer` the momentum:

        without clip:  d = g + weight_decay * w
                       rate = eta * |w| / |d|
        with clip:     d = g + weight_decay * w
                       rate = eta * |w| / (|g| + weight_decay * |w| + 1e-8)
                       rate = min(rate / learning_rate, 1)
        both:          buffer = momentum * buffer + rate * d
                       w = w - learning_rate * buffer

    The first is the authors' own for VICReg. The second is solo-learn's `clip_lr`: the
    step is the smaller of SGD's and of `eta` times the weight's norm, so the learning
    rate only bounds it. Where `w` or `g` (without clip, `w` or `d`) is 0, the rate is
    1, and with clip nothing is decayed.

    Parameters of one dimension (biases, batch norm's gamma and beta) are neither
    decayed nor adapted: plain SGD with momentum.

    Args:
        learning_rate: Learning rate, or a schedule over optimizer steps.
        momentum: Momentum, in [0, 1).
        weight_decay: L2 penalty, inside the adaptation. It is not Keras's
            `weight_decay`, which would come off the weight again, outside of it.
        eta: Trust coefficient, the largest step as a fraction of the weight's norm
            at a learning rate of 1.
        clip: Whether to bound the local rate, as above.
        **kwargs: `name`, `clipnorm`, `use_ema` and the like, as for every Keras
            optimizer.

    Reference:
        - You, Gitman, Ginsburg, "Large Batch Training of Convolutional Networks",
          2017 (https://arxiv.org/abs/1708.03888)
        - without clip: `LARS` in facebookresearch/vicreg, `main_vicreg.py`
        - with clip: `LARS` in vturrisi/solo-learn, `solo/utils/lars.py`
    """

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.2,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        eta: float = 0.001,
        clip: bool = False,
        **kwargs,
    ):
        super().__init__(learning_rate, weight_decay=weight_decay, **kwargs)
        self.momentum = momentum
        self.eta = eta
        self.clip = clip

    def build(self, variables):
        """Creates one momentum buffer per variable."""
        if self.built:
            return
        super().build(variables)
        self.buffers = self.add_optimizer_variables(variables, "momentum")

    def update_step(self, gradient, variable, learning_rate):
        """Updates one variable from its gradient."""
        learning_rate = ops.cast(learning_rate, variable.dtype)
        update = ops.cast(gradient, variable.dtype)
        if not _is_bias_or_norm(variable):
            adapt = self._adapt_clipped if self.clip else self._adapt
            update = adapt(update, variable, learning_rate)
        buffer = self.buffers[self._get_variable_index(variable)]
        self.assign(buffer, self.momentum * buffer + update)
        self.assign_sub(variable, learning_rate * buffer)

    def get_config(self) -> dict:
        """Returns the settings, those of the rule included."""
        rule = {"momentum": self.momentum, "eta": self.eta, "clip": self.clip}
        return {**super().get_config(), **rule}

    def _adapt(self, gradient, variable, learning_rate):
        del learning_rate  # The authors' rate does not depend on it.
        update = gradient + self.coupled_weight_decay * variable
        weight_norm, update_norm = _norm(variable), _norm(update)
        # The inner where keeps the unused branch of the outer from dividing by 0.
        denominator = ops.where(update_norm > 0.0, update_norm, 1.0)
        rate = ops.where(
            ops.logical_and(weight_norm > 0.0, update_norm > 0.0),
            self.eta * weight_norm / denominator,
            1.0,
        )
        return rate * update

    def _adapt_clipped(self, gradient, variable, learning_rate):
        weight_norm, gradient_norm = _norm(variable), _norm(gradient)
        rate = self.eta * weight_norm
        rate /= gradient_norm + self.coupled_weight_decay * weight_norm + 1e-8
        # At the first step of a warm-up the learning rate is 0: the rate is then 1.
        rate = ops.where(
            rate < learning_rate, rate / ops.maximum(learning_rate, 1e-30), 1.0
        )
        update = rate * (gradient + self.coupled_weight_decay * variable)
        adapted = ops.logical_and(weight_norm > 0.0, gradient_norm > 0.0)
        return ops.where(adapted, update, gradient)


OPTIMIZERS = {"adam": Adam, "adamw": AdamW, "lars": LARS, "sgd": SGD}


def _is_bias_or_norm(variable) -> bool:
    """Returns whether a parameter is a bias, a gain or a scalar, by its shape."""
    return len(variable.shape) <= 1


def _resource(variable):
    value = variable.value if isinstance(variable, keras.Variable) else variable
    return value.handle


def _norm(x):
    return ops.sqrt(ops.sum(ops.square(x)))
