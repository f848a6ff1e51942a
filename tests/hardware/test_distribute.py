"""Replicas share a batch as one device would have it.

Two logical CPU devices stand for two GPUs. They must be there before TensorFlow
starts, so one process of its own does the work and prints its numbers; the tests
look at these.
"""

import json
import os
import subprocess
import sys

import pytest
import tensorflow as tf

from vicreg_keras.hardware import distribute

SCRIPT = """
import json

import keras
import numpy as np
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 2
)

from vicreg_keras.hardware import distribute
from vicreg_keras.model import VICReg
from vicreg_keras.models import encoders

IMAGES = np.random.default_rng(0).integers(0, 256, (64, 8, 8, 3)).astype("uint8")
numbers = {}


# Views without a seed: replicas draw their own, which one device can't repeat.
def darken(images):
    return tf.cast(images, tf.float32) * 0.5


def mirror(images):
    return tf.cast(images, tf.float32)[:, :, ::-1]


def train(strategy):
    with strategy.scope():
        keras.utils.set_random_seed(0)
        encoder = encoders.make_encoder("tiny", (8, 8, 3))
        projector = encoders.make_projector(32, (24, 16))
        model = VICReg(encoder, projector, (darken, mirror))
        model.compile(keras.optimizers.SGD(0.02))
    before = {v.path: v.numpy() for v in model.trainable_variables}
    data = tf.data.Dataset.from_tensor_slices(IMAGES).batch(32, drop_remainder=True)
    history = model.fit(data, shuffle=False, verbose=0).history
    return model, before, history


def max_difference(some, others):
    return max(float(np.abs(some[name] - others[name]).max()) for name in some)


numbers["replicas"] = {
    name: distribute.make_strategy(name).num_replicas_in_sync
    for name in ("auto", "one", "mirrored")
}

one, before, history = train(distribute.make_strategy("one"))
strategy = distribute.make_strategy("mirrored")
mirrored, mirrored_before, mirrored_history = train(strategy)
after = {v.path: v.numpy() for v in one.trainable_variables}
mirrored_after = {v.path: v.numpy() for v in mirrored.trainable_variables}
numbers["before"] = max_difference(before, mirrored_before)
numbers["moved"] = max_difference(before, after)
numbers["after"] = max_difference(after, mirrored_after)
numbers["steps"] = [int(one.step.numpy()), int(mirrored.step.numpy())]
numbers["jit_compile"] = mirrored.jit_compile
means = [
    {v.path: v.numpy() for v in model.variables if v.path.endswith("moving_mean")}
    for model in (one, mirrored)
]
numbers["moving_mean"] = max_difference(*means)
numbers["history"] = [history, mirrored_history]

one.set_weights(mirrored.get_weights())
data = tf.data.Dataset.from_tensor_slices(IMAGES).batch(32, drop_remainder=True)
numbers["held_out"] = [
    model.evaluate(data, verbose=0, return_dict=True) for model in (one, mirrored)
]

PARTS = np.arange(12, dtype="float32").reshape(2, 3, 2)


@tf.function
def gather():
    def replica_step(part):
        with tf.GradientTape() as tape:
            tape.watch(part)
            gathered = distribute.gather(part)
            # The second replica's loss weighs twice as much as the first one's.
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            weight = tf.cast(replica, tf.float32) + 1.0
            loss = weight * tf.reduce_sum(gathered**2)
        half = distribute.gather(tf.cast(part, tf.bfloat16))
        return gathered, tape.gradient(loss, part), half

    parts = strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(PARTS[context.replica_id_in_sync_group])
    )
    return [
        strategy.experimental_local_results(values)
        for values in strategy.run(replica_step, (parts,))
    ]


gathered, gradients, half = gather()
numbers["parts"] = PARTS.tolist()
numbers["gathered"] = [values.numpy().tolist() for values in gathered]
numbers["gradients"] = [values.numpy().tolist() for values in gradients]
numbers["half"] = [half[0].dtype.name, half[0].numpy().tolist()]
print(json.dumps(numbers))
"""


@pytest.fixture(scope="module")
def numbers():
    """What `SCRIPT` measured on two devices."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "CUDA_VISIBLE_DEVICES": "",
        },
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_two_steps_on_two_replicas_are_those_of_one_device(numbers):
    assert numbers["before"] == 0
    assert numbers["moved"] > 0.02
    assert numbers["after"] < 1e-4
    assert numbers["moving_mean"] < 1e-4


def test_replicas_count_a_step_once(numbers):
    assert numbers["steps"] == [2, 2]


def test_replicas_log_the_whole_batchs_terms(numbers):
    one, mirrored = numbers["history"]
    assert set(one) == set(mirrored) >= {"loss", "covariance_loss", "embedding_std"}
    for name, values in one.items():
        assert mirrored[name] == pytest.approx(values, rel=1e-4), name


def test_replicas_evaluate_the_validation_split_as_one_device(numbers):
    one, mirrored = numbers["held_out"]
    assert mirrored == pytest.approx(one, rel=1e-4)


def test_replicas_are_not_compiled_by_xla(numbers):
    assert numbers["jit_compile"] is False


def test_gather_gives_every_replica_the_global_batch(numbers):
    batch = [row for part in numbers["parts"] for row in part]
    assert numbers["gathered"] == [batch, batch]


def test_gather_returns_the_gradients_of_all_replicas(numbers):
    # d/dx of 1 * x**2 on the first replica and 2 * x**2 on the second.
    expected = [[[6.0 * x for x in row] for row in part] for part in numbers["parts"]]
    assert numbers["gradients"] == expected


def test_gather_is_in_float32(numbers):
    batch = [row for part in numbers["parts"] for row in part]
    assert numbers["half"] == ["float32", batch]


def test_strategies_of_two_cpus(numbers):
    # Only GPUs are mirrored over unasked.
    assert numbers["replicas"] == {"auto": 1, "one": 1, "mirrored": 2}


def test_gather_on_one_device_is_the_batch_itself():
    embeddings = tf.constant([[1.0, 2.0], [3.0, 4.0]], tf.bfloat16)
    gathered = distribute.gather(embeddings)
    assert gathered.dtype == tf.float32
    assert gathered.numpy().tolist() == [[1, 2], [3, 4]]


def test_one_replica_by_default():
    assert distribute.num_replicas() == 1
    with distribute.make_strategy("auto").scope():
        assert distribute.num_replicas() == 1
