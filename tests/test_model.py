"""One step of VICReg: what it minimizes, repeats and saves."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from vicreg_keras import losses
from vicreg_keras.model import VICReg
from vicreg_keras.models import encoders
from vicreg_keras.views.image_layers import RandomHorizontalFlip
from vicreg_keras.views.named_views import make_views

IMAGES = np.random.default_rng(0).integers(0, 256, (32, 8, 8, 3)).astype("uint8")
TERMS = {"loss", "invariance_loss", "variance_loss", "covariance_loss"}


class Shift(keras.layers.Layer):
    """A view without a seed: adds one, so that two calls give the same."""

    def call(self, images):
        return tf.cast(images, tf.float32) + 1.0


class Noise(keras.layers.Layer):
    """A view with a seed, quicker to compile than the real ones."""

    def call(self, images, seed):
        noise = tf.random.stateless_normal(tf.shape(images), seed, stddev=40.0)
        return tf.cast(images, tf.float32) + noise


def make_model(augmenter=None, optimizer=None, **options):
    keras.utils.set_random_seed(0)
    model = VICReg(
        encoders.make_encoder("tiny", (8, 8, 3)),
        encoders.make_projector(32, (24, 16)),
        augmenter or (Noise(), Noise()),
        **options,
    )
    model.compile(optimizer or keras.optimizers.SGD(0.01))
    return model


def fit(model, steps=3, images=IMAGES):
    data = tf.data.Dataset.from_tensors(images).repeat()
    return model.fit(data, steps_per_epoch=steps, verbose=0, shuffle=False).history


def test_logs_every_term_and_the_learning_rate():
    history = fit(make_model())
    assert set(history) == TERMS | {"embedding_std", "gradient_norm", "learning_rate"}
    assert history["learning_rate"] == [pytest.approx(0.01)]


def test_loss_is_the_weighted_sum_of_its_terms():
    weights = {"invariance_weight": 3, "variance_weight": 5, "covariance_weight": 7}
    history = fit(make_model(loss_weights=weights))
    weighted = (
        3 * history["invariance_loss"][0]
        + 5 * history["variance_loss"][0]
        + 7 * history["covariance_loss"][0]
    )
    assert history["loss"][0] == pytest.approx(weighted, rel=1e-5)


def test_the_second_view_is_of_the_positives():
    images, others = IMAGES[:4], IMAGES[4:8]
    model = make_model((Shift(), Shift()))
    view_a, view_b = model.views(images, (0, 0), others)
    np.testing.assert_array_equal(view_a, images + np.float32(1))
    np.testing.assert_array_equal(view_b, others + np.float32(1))


def test_positives_beside_the_images_are_trained_on():
    plain = fit(make_model())
    paired = fit(make_model(), images={"images": IMAGES, "positives": IMAGES[::-1]})
    same = fit(make_model(), images={"images": IMAGES, "positives": IMAGES})
    assert same["loss"] == pytest.approx(plain["loss"], rel=1e-6)
    assert paired["invariance_loss"][0] > 1.05 * plain["invariance_loss"][0]


def test_step_follows_the_gradient_of_the_loss_on_its_two_views():
    model, twin = make_model(), make_model()
    seed = tf.stack([tf.constant(0, tf.int64), tf.constant(0, tf.int64)])
    view_a, view_b = twin.views(IMAGES, seed)
    with tf.GradientTape() as tape:
        loss = losses.vicreg_loss(
            twin.embed(view_a, training=True), twin.embed(view_b, training=True)
        )["loss"]
    gradients = tape.gradient(loss, twin.trainable_variables)
    before = [v.numpy() for v in model.trainable_variables]
    history = fit(model, steps=1)
    assert history["loss"][0] == pytest.approx(float(loss), rel=1e-5)
    for old, new, gradient in zip(
        before, model.trainable_variables, gradients, strict=True
    ):
        np.testing.assert_allclose(new, old - 0.01 * gradient, atol=1e-5)


def test_views_differ_from_each_other_and_from_step_to_step():
    model = make_model()
    first = model.views(IMAGES, (0, 1))
    again = model.views(IMAGES, (0, 1))
    other = model.views(IMAGES, (0, 2))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first[0], other[0])
    for view in first:
        assert not np.array_equal(view, IMAGES.astype("float32"))


def test_more_views_take_the_layers_and_the_positives_in_turn():
    images, others = IMAGES[:4], IMAGES[4:8]
    model = make_model((Shift(), lambda images: -images), num_views=5)
    found = model.views(images.astype("float32"), (0, 0), others.astype("float32"))
    even, odd = images + np.float32(1), -others.astype("float32")
    for view, expected in zip(found, (even, odd, even, odd, even), strict=True):
        np.testing.assert_array_equal(view, expected)


def test_more_views_all_differ_and_begin_with_the_two():
    several = make_model(num_views=4).views(IMAGES, (0, 1))
    again = make_model(num_views=4).views(IMAGES, (0, 1))
    np.testing.assert_array_equal(several, again)
    for a, b in itertools.combinations(several, 2):
        assert not np.array_equal(a, b)
    np.testing.assert_array_equal(several[:2], make_model().views(IMAGES, (0, 1)))


def test_step_on_more_views_follows_the_mean_gradient_over_their_pairs():
    model, twin = make_model(num_views=3), make_model(num_views=3)
    views = twin.views(IMAGES, tf.constant([0, 0], tf.int64))
    with tf.GradientTape() as tape:
        embeddings = [twin.embed(view, training=True) for view in views]
        pairs = itertools.combinations(embeddings, 2)
        loss = sum(losses.vicreg_loss(a, b)["loss"] for a, b in pairs) / 3
    gradients = tape.gradient(loss, twin.trainable_variables)
    before = [v.numpy() for v in model.trainable_variables]
    history = fit(model, steps=1)
    assert history["loss"][0] == pytest.approx(float(loss), rel=1e-5)
    std = np.mean([losses.embedding_std(z) for z in embeddings])
    assert history["embedding_std"][0] == pytest.approx(std, rel=1e-5)
    for old, new, gradient in zip(
        before, model.trainable_variables, gradients, strict=True
    ):
        np.testing.assert_allclose(new, old - 0.01 * gradient, atol=1e-5)
    # Batch norm has seen each view by itself, in the same order.
    for expected, weight in zip(
        twin.non_trainable_variables, model.non_trainable_variables, strict=True
    ):
        if "moving" in weight.path:
            np.testing.assert_allclose(weight, expected, rtol=1e-4, atol=1e-5)


def test_held_out_loss_is_of_as_many_views():
    def invariance(num_views):
        model = make_model((Shift(), lambda images: -images), num_views=num_views)
        images = IMAGES.astype("float32")
        return model.evaluate(images, verbose=0, return_dict=True)["invariance_loss"]

    # Layers without a seed: of four views, four pairs of six differ.
    assert invariance(4) == pytest.approx(invariance(2) * 4 / 6, rel=1e-4)


@pytest.mark.slow
def test_same_seed_same_weights_other_seed_other_weights():
    def weights(seed):
        model = make_model(seed=seed)
        fit(model)
        return np.concatenate([w.ravel() for w in model.get_weights()])

    np.testing.assert_allclose(weights(1), weights(1), atol=1e-6)
    assert np.abs(weights(1) - weights(2)).max() > 1e-4


def test_counts_its_steps():
    model = make_model()
    fit(model, steps=3)
    fit(model, steps=2)
    assert int(model.step.numpy()) == 5


def test_labels_are_ignored():
    model, twin = make_model(), make_model()
    data = tf.data.Dataset.from_tensors((IMAGES, np.zeros(32))).repeat()
    labeled = model.fit(data, steps_per_epoch=2, verbose=0, shuffle=False).history
    assert labeled["loss"] == pytest.approx(fit(twin, steps=2)["loss"])


def test_held_out_loss_repeats_and_leaves_the_weights_alone():
    model = make_model()
    fit(model)
    before = model.get_weights()
    data = tf.data.Dataset.from_tensor_slices(IMAGES).batch(16)
    first = model.evaluate(data, verbose=0, return_dict=True)
    second = model.evaluate(data, verbose=0, return_dict=True)
    assert first == second
    assert set(first) == TERMS | {"embedding_std"}
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_any_layer_is_an_augmenter():
    history = fit(make_model(augmenter=Shift()))
    # Equal views, and each with its own pass: no distance between them.
    assert history["invariance_loss"][0] == pytest.approx(0, abs=1e-10)
    history = fit(make_model(augmenter=(Shift(), RandomHorizontalFlip())))
    assert history["invariance_loss"][0] > 0


@pytest.mark.slow
def test_float16_scales_its_gradients():
    keras.mixed_precision.set_dtype_policy("mixed_float16")
    try:
        model = make_model(optimizer=keras.optimizers.SGD(0.01))
        before = [v.numpy() for v in model.trainable_variables]
        fit(model, steps=8)
    finally:
        keras.mixed_precision.set_dtype_policy("float32")
    exact = make_model()
    fit(exact, steps=8)
    moved, expected = (
        np.concatenate(
            [(v.numpy() - b).ravel() for v, b in zip(vs, before, strict=True)]
        )
        for vs in (model.trainable_variables, exact.trainable_variables)
    )
    # The first steps may overflow and be left out while the scale is found. Not
    # scaled, all of them would be 32,768 times smaller.
    assert np.linalg.norm(moved) > 0.1 * np.linalg.norm(expected)


@pytest.mark.slow
def test_variance_term_prevents_collapse():
    def final_std(weight):
        model = make_model(
            optimizer=keras.optimizers.Adam(0.01),
            loss_weights={"variance_weight": weight},
        )
        fit(model, steps=60)
        return fit(model, steps=1)["embedding_std"][0]

    assert final_std(0.0) < 0.1 < final_std(25.0)


@pytest.mark.slow
def test_save_and_load_continue_identically(tmp_path):
    model = make_model(
        make_views("grayscale"),
        keras.optimizers.Adam(1e-3),
        loss_weights={"covariance_weight": 2},
    )
    fit(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert int(loaded.step.numpy()) == 3
    for name in ("loss_weights", "seed"):
        assert loaded.get_config()[name] == model.get_config()[name]
    np.testing.assert_array_equal(loaded(IMAGES), model(IMAGES))
    assert fit(loaded, steps=2)["loss"] == pytest.approx(fit(model, steps=2)["loss"])


def test_the_number_of_views_is_saved():
    model = make_model(make_views("grayscale"), num_views=3)
    assert VICReg.from_config(model.get_config()).num_views == 3


def test_cpu_step_is_not_compiled_by_xla():
    assert make_model().jit_compile is False


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"augmenter": None}, "Received: augmenter=None"),
        ({"augmenter": [Shift()]}, "or a pair of such layers"),
        ({"num_views": 1}, "num_views to be an integer of at least 2.*num_views=1"),
        ({"num_views": 2.5}, "num_views=2.5"),
        ({"loss_weights": {"variance_weight": -1}}, "variance_weight of at least 0"),
        ({"loss_weights": {"covariance_weight": np.nan}}, "covariance_weight=nan"),
        ({"loss_weights": {"typo_weight": 1}}, "Received: typo_weight"),
    ],
)
def test_invalid_arguments(options, message):
    encoder = encoders.make_encoder("tiny")
    with pytest.raises(ValueError, match=message):
        VICReg(encoder, **{"augmenter": Shift(), **options})
