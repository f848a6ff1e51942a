"""How does one process train one model after another without growing?"""

import contextlib
import gc
from collections.abc import Iterator

import keras
from tensorflow.python.framework import ops


@contextlib.contextmanager
def forgotten_models() -> Iterator[None]:
    """At its end, what Keras and TensorFlow keep of models made inside is freed.

    The precision in force stays. Models from before stay whole.
    """
    policy = keras.mixed_precision.dtype_policy()
    # TensorFlow registers the gradient of every traced `tf.custom_gradient` for good,
    # and each holds its graph and all that belongs to it; there is no public way out.
    gradients = ops.gradient_registry._registry
    before = set(gradients)
    try:
        yield
    finally:
        for name in set(gradients) - before:
            if name.startswith("CustomGradient-"):
                del gradients[name]
        keras.backend.clear_session()
        # The session includes the policy.
        keras.mixed_precision.set_dtype_policy(policy)
        gc.collect()
