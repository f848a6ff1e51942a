"""The optimizers against their rules in numpy, step by step."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from vicreg_keras.training import optim

SHAPES = {"kernel": (4, 3), "bias": (3,), "gamma": (3,), "conv": (2, 2, 3, 5)}
NUM_STEPS = 5


def make_variables(seed=0):
    rng = np.random.default_rng(seed)
    return [
        keras.Variable(rng.normal(size=shape).astype("float32"), name=name)
        for name, shape in SHAPES.items()
    ]


def make_gradients(seed=1, num_steps=NUM_STEPS):
    rng = np.random.default_rng(seed)
    return [
        [rng.normal(size=shape).astype("float32") for shape in SHAPES.values()]
        for _ in range(num_steps)
    ]


def run(optimizer, variables, gradients):
    for step in gradients:
        optimizer.apply([tf.constant(g) for g in step], variables)


def values(variables):
    return [v.value.numpy() for v in variables]


def norm(x):
    return np.sqrt((x**2).sum())


def lars_in_numpy(
    weights, gradients, rates, momentum, weight_decay, eta, clip, decayed
):
    """LARS with torch's operations in torch's order, in float64."""
    weights = [w.astype("float64") for w in weights]
    buffers = [np.zeros_like(w) for w in weights]
    for step, rate in zip(gradients, rates, strict=True):
        for i, (w, g) in enumerate(zip(weights, step, strict=True)):
            d = g.astype("float64")
            if decayed[i] and not clip:
                d = d + weight_decay * w
                if norm(w) > 0 and norm(d) > 0:
                    d = d * (eta * norm(w) / norm(d))
            elif decayed[i] and norm(w) > 0 and norm(d) > 0:
                local = eta * norm(w) / (norm(d) + weight_decay * norm(w) + 1e-8)
                local = min(local / rate, 1.0) if rate > 0 else 1.0
                d = (d + weight_decay * w) * local
            buffers[i] = momentum * buffers[i] + d
            weights[i] = w - rate * buffers[i]
    return weights


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("eta", [0.001, 0.5])
@pytest.mark.parametrize("learning_rate", [0.05, 3.0])
def test_lars_equals_its_rule(clip, weight_decay, eta, learning_rate):
    variables, gradients = make_variables(), make_gradients()
    expected = lars_in_numpy(
        values(variables),
        gradients,
        [learning_rate] * NUM_STEPS,
        momentum=0.9,
        weight_decay=weight_decay,
        eta=eta,
        clip=clip,
        decayed=[True, False, False, True],
    )
    optimizer = optim.LARS(learning_rate, weight_decay=weight_decay, eta=eta, clip=clip)
    run(optimizer, variables, gradients)
    for got, want in zip(values(variables), expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("clip", [False, True])
def test_lars_under_a_schedule_in_a_graph(clip):
    schedule = optim.warmup_cosine(0.8, total_steps=NUM_STEPS, warmup_steps=2)
    variables, gradients = make_variables(), make_gradients()
    settings = {"momentum": 0.9, "weight_decay": 0.01, "eta": 0.02, "clip": clip}
    expected = lars_in_numpy(
        values(variables),
        gradients,
        [float(schedule(step)) for step in range(NUM_STEPS)],
        decayed=[True, False, False, True],
        **settings,
    )
    optimizer = optim.LARS(schedule, **settings)
    optimizer.build(variables)
    step = tf.function(lambda *gradients: optimizer.apply(gradients, variables))
    for gradient in gradients:
        step(*map(tf.constant, gradient))
    for got, want in zip(values(variables), expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("clip", [False, True])
def test_lars_moves_a_weight_and_a_gradient_of_zero(clip):
    zero, one = keras.Variable(np.zeros((2, 2))), keras.Variable(np.ones((2, 2)))
    optimizer = optim.LARS(0.5, momentum=0.0, weight_decay=0.1, eta=1.0, clip=clip)
    optimizer.apply([tf.ones((2, 2)), tf.zeros((2, 2))], [zero, one])
    np.testing.assert_allclose(zero.value, -0.5 * np.ones((2, 2)))
    # Decay alone is adapted to the weight's norm; solo-learn's rule leaves it out.
    np.testing.assert_allclose(one.value, np.full((2, 2), 1.0 if clip else 0.5))


def test_lars_clip_bounds_the_step_by_sgds():
    # A small gradient: eta * |w| / |g| is far above the learning rate.
    w = keras.Variable(np.ones((2, 2)))
    optimizer = optim.LARS(0.1, momentum=0.0, eta=1.0, clip=True)
    optimizer.apply([tf.fill((2, 2), 1e-3)], [w])
    np.testing.assert_allclose(w.value, 1.0 - 0.1 * 1e-3, rtol=1e-6)
    # A large one: the step is eta times the weight's norm, whatever the rate.
    w = keras.Variable(np.ones((2, 2)))
    optimizer = optim.LARS(0.1, momentum=0.0, eta=0.02, clip=True)
    optimizer.apply([tf.fill((2, 2), 1e3)], [w])
    np.testing.assert_allclose(w.value, 1.0 - 0.02, rtol=1e-6)


def test_lars_does_not_take_kerass_decay_as_well():
    w = keras.Variable(np.ones((2, 2)))
    optimizer = optim.LARS(0.1, momentum=0.0, weight_decay=0.5, eta=1e-9)
    optimizer.apply([tf.ones((2, 2))], [w])
    np.testing.assert_allclose(w.value, 1.0, rtol=1e-6)


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_coupled_decay_is_part_of_the_gradient(name):
    plain = {"adam": keras.optimizers.Adam, "sgd": keras.optimizers.SGD}[name]
    settings = {"momentum": 0.9} if name == "sgd" else {}
    coupled = make_variables()
    optimizer = optim.make_optimizer(name, 0.01, weight_decay=0.3)
    expected = make_variables()
    reference = plain(0.01, **settings)
    for step in make_gradients():
        optimizer.apply([tf.constant(g) for g in step], coupled)
        penalised = [
            g + (0.3 * v.value.numpy() if g.ndim > 1 else 0.0)
            for g, v in zip(step, expected, strict=True)
        ]
        reference.apply([tf.constant(g, tf.float32) for g in penalised], expected)
    for got, want in zip(values(coupled), values(expected), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_adam_equals_its_rule():
    variables, gradients = make_variables(), make_gradients()
    weights = [w.astype("float64") for w in values(variables)]
    for i, w in enumerate(weights):
        m, v = np.zeros_like(w), np.zeros_like(w)
        for t, step in enumerate(gradients, start=1):
            g = step[i] + (0.1 * w if w.ndim > 1 else 0.0)
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
            # Keras adds its epsilon before v's bias is corrected.
            alpha = 0.01 * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
            w = w - alpha * m / (np.sqrt(v) + 1e-7)
        weights[i] = w
    run(optim.make_optimizer("adam", 0.01, weight_decay=0.1), variables, gradients)
    for got, want in zip(values(variables), weights, strict=True):
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-6)


def test_adamw_decays_matrices_only():
    variables = make_variables()
    start = values(variables)
    optimizer = optim.make_optimizer("adamw", 0.1, weight_decay=0.5)
    run(optimizer, variables, [[np.zeros_like(w) for w in start]])
    for got, before in zip(values(variables), start, strict=True):
        factor = 0.95 if before.ndim > 1 else 1.0
        np.testing.assert_allclose(got, factor * before, rtol=1e-6)


@pytest.mark.parametrize("name", sorted(optim.OPTIMIZERS))
def test_biases_and_batch_norm_of_a_model_are_not_decayed(name):
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(3, bias_initializer="ones"),
            keras.layers.BatchNormalization(beta_initializer="ones"),
        ]
    )
    optimizer = optim.make_optimizer(name, 0.1, weight_decay=0.5, eta=1.0)
    start = values(model.trainable_variables)
    optimizer.apply([tf.zeros(w.shape) for w in start], model.trainable_variables)
    for variable, before in zip(model.trainable_variables, start, strict=True):
        moved = np.abs(variable.value.numpy() - before).max() > 0
        assert moved == (variable.name == "kernel"), variable.path


@pytest.mark.parametrize("name", sorted(optim.OPTIMIZERS))
@pytest.mark.parametrize("scheduled", [False, True])
def test_config_round_trip(name, scheduled):
    learning_rate = optim.warmup_cosine(0.3, 10, 2) if scheduled else 0.3
    optimizer = optim.make_optimizer(
        name, learning_rate, weight_decay=0.25, momentum=0.5, eta=0.02, clip=True
    )
    config = keras.optimizers.serialize(optimizer)
    again = keras.optimizers.deserialize(json.loads(json.dumps(config)))
    assert type(again) is type(optimizer)
    assert again.get_config() == optimizer.get_config()
    assert again.get_config()["weight_decay"] == 0.25
    ours, theirs = make_variables(), make_variables()
    run(optimizer, ours, make_gradients())
    run(again, theirs, make_gradients())
    for got, want in zip(values(theirs), values(ours), strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("name", sorted(optim.OPTIMIZERS))
def test_resume_continues_with_the_slots(name, tmp_path):
    def make():
        schedule = optim.warmup_cosine(0.1, 2 * NUM_STEPS, 2)
        optimizer = optim.make_optimizer(name, schedule, weight_decay=0.01, eta=0.1)
        variables = make_variables()
        optimizer.build(variables)
        checkpoint = tf.train.Checkpoint(
            optimizer=optimizer, variables=[v.value for v in variables]
        )
        return optimizer, variables, checkpoint

    gradients = make_gradients(num_steps=2 * NUM_STEPS)
    optimizer, variables, checkpoint = make()
    run(optimizer, variables, gradients[:NUM_STEPS])
    path = checkpoint.save(tmp_path / "checkpoint")
    run(optimizer, variables, gradients[NUM_STEPS:])

    resumed, resumed_variables, checkpoint = make()
    checkpoint.restore(path).assert_consumed()
    assert int(resumed.iterations) == NUM_STEPS
    run(resumed, resumed_variables, gradients[NUM_STEPS:])
    for got, want in zip(values(resumed_variables), values(variables), strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("name", sorted(optim.OPTIMIZERS))
def test_loss_scaling_changes_nothing(name):
    plain, scaled = make_variables(), make_variables()
    run(
        optim.make_optimizer(name, 0.1, weight_decay=0.1, clip=True),
        plain,
        make_gradients(),
    )
    optimizer = keras.optimizers.LossScaleOptimizer(
        optim.make_optimizer(name, 0.1, weight_decay=0.1, clip=True)
    )
    optimizer.build(scaled)
    scale = float(optimizer.scale_loss(1.0))
    run(optimizer, scaled, [[scale * g for g in step] for step in make_gradients()])
    for got, want in zip(values(scaled), values(plain), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(optim.OPTIMIZERS))
def test_every_optimizer_fits(name, tmp_path):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(optim.make_optimizer(name, 0.1, weight_decay=1e-4, eta=0.1), "mse")
    x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
    history = model.fit(x, x.sum(axis=1), epochs=10, verbose=0).history["loss"]
    assert history[-1] < history[0]
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    for got, want in zip(
        values(again.optimizer.variables),
        values(model.optimizer.variables),
        strict=True,
    ):
        np.testing.assert_array_equal(got, want)


def test_make_optimizer_refuses_unknown_names():
    with pytest.raises(ValueError, match="adam, adamw, lars, sgd.*lion"):
        optim.make_optimizer("lion", 0.1)


def test_long_gradients_are_scaled_down_together():
    gradients = [np.array([3.0, 0.0]), np.array([[0.0, 4.0]])]  # Together of norm 5.

    def moved(**settings):
        weights = [keras.Variable(np.zeros_like(g, "float32")) for g in gradients]
        optimizer = optim.make_optimizer("sgd", 1.0, momentum=0.0, **settings)
        optimizer.apply([keras.ops.cast(g, "float32") for g in gradients], weights)
        return values(weights)

    for got, gradient in zip(moved(global_clipnorm=1.0), gradients, strict=True):
        np.testing.assert_allclose(got, -gradient / 5, rtol=1e-6)
    for settings in ({"global_clipnorm": 6.0}, {}):
        for got, gradient in zip(moved(**settings), gradients, strict=True):
            np.testing.assert_allclose(got, -gradient, rtol=1e-6)


def test_warmup_cosine_equals_the_authors():
    peak, total, warmup = 1.6, 50, 10
    schedule = optim.warmup_cosine(peak, total, warmup, final_fraction=0.001)
    for step in range(total + 5):
        if step < warmup:
            expected = peak * step / warmup
        else:
            progress = min(1.0, (step - warmup) / (total - warmup))
            q = 0.5 * (1 + np.cos(np.pi * progress))
            expected = peak * q + 0.001 * peak * (1 - q)
        np.testing.assert_allclose(schedule(step), expected, rtol=1e-5, atol=1e-7)


def test_warmup_cosine_without_warmup_starts_at_the_peak():
    schedule = optim.warmup_cosine(0.5, 10)
    np.testing.assert_allclose(schedule(0), 0.5)
    np.testing.assert_allclose(schedule(10), 0.0, atol=1e-7)


@pytest.mark.parametrize(("total_steps", "warmup_steps"), [(10, 10), (10, -1), (0, 0)])
def test_warmup_cosine_refuses_a_warmup_as_long_as_the_run(total_steps, warmup_steps):
    with pytest.raises(ValueError, match=f"warmup_steps={warmup_steps}, total_steps"):
        optim.warmup_cosine(0.1, total_steps, warmup_steps)
