"""The loss against its formulas in float64, worked by hand, and where others failed."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from vicreg_keras import losses
from vicreg_keras.settings import Settings

# Below and above half the width: the Gram matrix, and the covariance matrix.
SHAPES = [(2, 1), (2, 4), (3, 2), (7, 16), (8, 16), (9, 16), (64, 24), (33, 256)]


def reference_terms(z_a, z_b):
    """The three terms by the paper's sums, with the authors' scales, in float64."""

    def variance(z):
        std = np.sqrt(z.var(axis=0, ddof=1) + 1e-4)
        return np.maximum(0.0, 1.0 - std).mean()

    def covariance(z):
        matrix = np.atleast_2d(np.cov(z, rowvar=False, ddof=1))
        off_diagonal = matrix[~np.eye(len(matrix), dtype=bool)]
        return (off_diagonal**2).sum() / len(matrix)

    return {
        "invariance_loss": ((z_a - z_b) ** 2).mean(),
        "variance_loss": variance(z_a) / 2 + variance(z_b) / 2,
        "covariance_loss": covariance(z_a) + covariance(z_b),
    }


def reference_gradient(z, other, weights):
    """The gradient of the weighted loss by `z`, by hand, in float64."""
    n, d = z.shape
    centered = z - z.mean(axis=0)
    invariance = 2.0 * (z - other) / z.size
    std = np.sqrt(z.var(axis=0, ddof=1) + 1e-4)
    variance = -centered * (std < 1.0) / (std * (n - 1) * d) / 2.0
    matrix = centered.T @ centered / (n - 1)
    np.fill_diagonal(matrix, 0.0)
    covariance = 4.0 * centered @ matrix / (d * (n - 1))
    return weights[0] * invariance + weights[1] * variance + weights[2] * covariance


def by_name(weights):
    names = ("invariance_weight", "variance_weight", "covariance_weight")
    return dict(zip(names, map(float, weights), strict=True))


def views(batch, dim, seed=0):
    """Two correlated views, with stds on both sides of 1 and means away from 0."""
    rng = np.random.default_rng(seed)
    scale = rng.uniform(0.3, 1.7, size=dim)
    z_a = rng.normal(size=(batch, dim)) * scale + rng.normal(size=dim)
    z_b = z_a + 0.5 * rng.normal(size=(batch, dim))
    return z_a.astype("float32"), z_b.astype("float32")


def more_views(num_views, batch, dim):
    """Views of the same examples, each at a distance of its own from the first."""
    rng = np.random.default_rng(num_views)
    first, _ = views(batch, dim)
    noise = rng.normal(size=(num_views, batch, dim))
    return [(first + 0.3 * i * noise[i]).astype("float32") for i in range(num_views)]


@pytest.mark.parametrize("shape", SHAPES)
def test_terms_and_loss_equal_the_formulas(shape):
    z_a, z_b = views(*shape)
    terms = losses.vicreg_loss(z_a, z_b, **by_name((3, 5, 7)))
    expected = reference_terms(z_a.astype("float64"), z_b.astype("float64"))
    expected["loss"] = (
        3.0 * expected["invariance_loss"]
        + 5.0 * expected["variance_loss"]
        + 7.0 * expected["covariance_loss"]
    )
    assert set(terms) == set(expected)
    for name, value in terms.items():
        assert keras.ops.shape(value) == (), name
        assert value.dtype == tf.float32, name
        np.testing.assert_allclose(value, expected[name], rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "weights", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (25, 25, 1)], ids=str
)
def test_gradient_equals_the_analytic_one(shape, weights):
    z_a, z_b = views(*shape)
    z_a, z_b = tf.constant(z_a), tf.constant(z_b)
    with tf.GradientTape() as tape:
        tape.watch([z_a, z_b])
        loss = losses.vicreg_loss(z_a, z_b, **by_name(weights))["loss"]
    gradients = tape.gradient(loss, [z_a, z_b])
    a, b = z_a.numpy().astype("float64"), z_b.numpy().astype("float64")
    for gradient, z, other in zip(gradients, (a, b), (b, a), strict=True):
        expected = reference_gradient(z, other, weights)
        error = np.linalg.norm(gradient - expected)
        assert error <= 1e-5 * np.linalg.norm(expected) + 1e-12


def test_the_reference_gradient_is_the_slope_of_the_reference():
    z_a, z_b = (z.astype("float64") for z in views(5, 4))
    weights = (25.0, 25.0, 1.0)

    def loss(z):
        return sum(np.multiply(weights, list(reference_terms(z, z_b).values())))

    gradient = reference_gradient(z_a, z_b, weights)
    for i in np.ndindex(z_a.shape):
        step = np.zeros_like(z_a)
        step[i] = 1e-6
        slope = (loss(z_a + step) - loss(z_a - step)) / 2e-6
        np.testing.assert_allclose(slope, gradient[i], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("num_views", [3, 4])
def test_terms_of_more_views_are_the_mean_over_all_pairs(num_views, shape):
    several = more_views(num_views, *shape)
    terms = losses.vicreg_loss(*several, **by_name((3, 5, 7)))
    exact = [z.astype("float64") for z in several]
    pairs = [reference_terms(a, b) for a, b in itertools.combinations(exact, 2)]
    expected = {name: np.mean([pair[name] for pair in pairs]) for name in pairs[0]}
    expected["loss"] = np.dot((3, 5, 7), list(expected.values()))
    assert set(terms) == set(expected)
    for name, value in terms.items():
        assert keras.ops.shape(value) == () and value.dtype == tf.float32, name
        np.testing.assert_allclose(value, expected[name], rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("num_views", [3, 4])
@pytest.mark.parametrize("weights", [(1, 0, 0), (25, 25, 1)], ids=str)
def test_gradient_of_more_views_is_the_mean_over_all_pairs(weights, num_views, shape):
    several = [tf.constant(z) for z in more_views(num_views, *shape)]
    with tf.GradientTape() as tape:
        tape.watch(several)
        loss = losses.vicreg_loss(*several, **by_name(weights))["loss"]
    gradients = tape.gradient(loss, several)
    exact = [z.numpy().astype("float64") for z in several]
    for i, gradient in enumerate(gradients):
        others = exact[:i] + exact[i + 1 :]
        sums = sum(reference_gradient(exact[i], other, weights) for other in others)
        expected = sums / (num_views * (num_views - 1) / 2)
        error = np.linalg.norm(gradient - expected)
        assert error <= 1e-5 * np.linalg.norm(expected) + 1e-12


@pytest.mark.parametrize("shape", SHAPES)
def test_two_views_are_their_one_pair_to_the_bit(shape):
    z_a, z_b = map(tf.constant, views(*shape))
    terms = losses.vicreg_loss(z_a, z_b)
    variances = losses.variance_loss(z_a) + losses.variance_loss(z_b)
    covariances = losses.covariance_loss(z_a) + losses.covariance_loss(z_b)
    invariance = tf.reduce_mean(tf.square(z_a - z_b))
    np.testing.assert_array_equal(terms["invariance_loss"], invariance)
    np.testing.assert_array_equal(terms["variance_loss"], variances / 2)
    np.testing.assert_array_equal(terms["covariance_loss"], covariances)


def test_default_weights_are_the_papers():
    terms = losses.vicreg_loss(*views(6, 4))
    expected = (
        25 * terms["invariance_loss"]
        + 25 * terms["variance_loss"]
        + terms["covariance_loss"]
    )
    np.testing.assert_allclose(terms["loss"], expected, rtol=1e-6)


def test_options_have_the_same_weights():
    assert Settings().group("loss") == losses.WEIGHTS
    assert list(losses.WEIGHTS) == [f"{name}_weight" for name in losses.TERMS]


def test_invariance_by_hand():
    z_a = np.array([[1.0, 2.0], [3.0, 4.0]], "float32")
    z_b = np.array([[1.0, 0.0], [0.0, 4.0]], "float32")
    # (0 + 4 + 9 + 0) / 4
    np.testing.assert_allclose(losses.invariance_loss(z_a, z_b), 3.25)


def test_variance_by_hand():
    # Unbiased variances 0.5 (std 0.70710678) and 8; the second is above the hinge.
    z = np.array([[0.0, 0.0], [1.0, 4.0]], "float32")
    expected = (1.0 - np.sqrt(0.5 + 1e-4)) / 2.0
    np.testing.assert_allclose(losses.variance_loss(z), expected, rtol=1e-6)


def test_variance_reads_gamma_and_epsilon():
    z = np.array([[0.0], [1.0]], "float32")
    value = losses.variance_loss(z, gamma=2.0, epsilon=0.5)
    np.testing.assert_allclose(value, 1.0, rtol=1e-6)


@pytest.mark.parametrize("num_copies", [1, 4], ids=["covariance", "gram"])
def test_covariance_by_hand(num_copies):
    # Covariance 3 between the two; each of the copies is as wide again.
    z = np.array([[0.0, 0.0], [1.0, 6.0]], "float32")
    z = np.tile(z, (1, num_copies))
    cov = np.array([[0.5, 3.0], [3.0, 18.0]])
    cov = np.tile(cov, (num_copies, num_copies))
    expected = (np.sum(cov**2) - np.sum(np.diag(cov) ** 2)) / (2 * num_copies)
    np.testing.assert_allclose(losses.covariance_loss(z), expected, rtol=1e-6)
    if num_copies == 1:
        np.testing.assert_allclose(expected, 9.0)


def test_covariance_of_one_dimension_is_zero():
    z = np.array([[0.0], [1.0], [5.0]], "float32")
    np.testing.assert_allclose(losses.covariance_loss(z), 0.0)


def test_embedding_std_by_hand():
    z = np.array([[0.0, 1.0], [2.0, 1.0]], "float32")
    np.testing.assert_allclose(losses.embedding_std(z), np.sqrt(2) / 2, rtol=1e-6)


@pytest.mark.parametrize("dim", [3, 64])
def test_collapse_has_a_finite_gradient(dim):
    z = tf.ones((8, dim)) * 0.3
    with tf.GradientTape() as tape:
        tape.watch(z)
        terms = losses.vicreg_loss(z, z)
    assert np.isfinite(tape.gradient(terms["loss"], z)).all()
    np.testing.assert_allclose(terms["variance_loss"], 0.99, rtol=1e-5)
    np.testing.assert_allclose(terms["loss"], 25 * 0.99, rtol=1e-5)
    np.testing.assert_allclose(losses.embedding_std(z), 0.0, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-2, 1e-4])
def test_small_covariances_beside_large_variances(scale):
    # Nearly decorrelated, as after long training: sum(C^2) - sum(diag(C)^2) in float32
    # is 1e-4 off at 1e-2, and 4 times the value off at 1e-4.
    rng = np.random.default_rng(0)
    white = rng.normal(size=(512, 128))
    white -= white.mean(axis=0)
    white = np.linalg.qr(white)[0] * np.sqrt(511)
    z = white @ (np.eye(128) + scale * rng.normal(size=(128, 128)))
    z = z.astype("float32")
    exact = z.astype("float64")
    expected = reference_terms(exact, exact)["covariance_loss"] / 2
    np.testing.assert_allclose(losses.covariance_loss(z), expected, rtol=1e-5)


@pytest.mark.parametrize("kind", ["white", "collapsing", "decorrelated", "offset"])
def test_gram_matrix_is_precise_where_it_is_chosen(kind):
    # The largest batch that takes it is the hardest: half the width.
    batch, dim = 128, 256
    rng = np.random.default_rng(1)
    z = rng.normal(size=(batch, dim))
    if kind == "collapsing":
        z = rng.normal(size=(batch, 4)) @ rng.normal(size=(4, dim))
    elif kind == "decorrelated":  # as far as 128 rows can be in 256 dimensions
        z = np.linalg.qr(rng.normal(size=(dim, batch)))[0].T * np.sqrt(2 * batch)
    elif kind == "offset":
        z = z + 10.0
    z = tf.constant(z, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(z)
        value = losses.covariance_loss(z)
    gradient = tape.gradient(value, z)
    exact = z.numpy().astype("float64")
    expected = reference_terms(exact, exact)["covariance_loss"] / 2
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    expected = reference_gradient(exact, exact, (0.0, 0.0, 1.0))
    error = np.linalg.norm(gradient - expected) / np.linalg.norm(expected)
    assert error < 1e-5


def test_covariance_has_a_gradient():
    z = tf.constant(views(16, 8)[0])
    with tf.GradientTape() as tape:
        tape.watch(z)
        value = losses.covariance_loss(z)
    assert np.abs(tape.gradient(value, z)).max() > 1e-3


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("dim", [8, 64])
def test_half_precision_is_computed_in_float32(dtype, dim):
    z_a, z_b = views(16, dim)
    # 300^2 is above float16's largest number.
    half = [keras.ops.cast(300.0 * z, dtype) for z in (z_a, z_b)]
    single = [keras.ops.cast(z, "float32") for z in half]
    terms = losses.vicreg_loss(*half)
    for name, expected in losses.vicreg_loss(*single).items():
        assert terms[name].dtype == tf.float32
        np.testing.assert_array_equal(terms[name], expected)
    assert losses.embedding_std(half[0]).dtype == tf.float32


def test_views_may_be_exchanged():
    z_a, z_b = views(16, 8)
    there, back = losses.vicreg_loss(z_a, z_b), losses.vicreg_loss(z_b, z_a)
    for name in there:
        np.testing.assert_allclose(there[name], back[name], rtol=1e-6)


def test_constant_offset_leaves_variance_and_covariance():
    z, _ = views(16, 8)
    for term in (losses.variance_loss, losses.covariance_loss):
        np.testing.assert_allclose(term(z + 2.0), term(z), rtol=1e-4)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_batch_size_known_only_at_run_time(jit_compile):
    # Last, smaller batches divide by their own size less one.
    spec = tf.TensorSpec((None, 16), tf.float32)
    step = tf.function(
        losses.vicreg_loss, input_signature=[spec, spec], jit_compile=jit_compile
    )
    for batch in (2, 5, 40):
        z_a, z_b = views(batch, 16)
        expected = reference_terms(z_a.astype("float64"), z_b.astype("float64"))
        terms = step(z_a, z_b)
        for name, value in expected.items():
            np.testing.assert_allclose(terms[name], value, rtol=1e-5, err_msg=name)


def test_wrong_shapes_are_refused():
    ones = keras.ops.ones
    with pytest.raises(ValueError, match=r"\(batch, dim\).*\(2, 3, 4\)"):
        losses.vicreg_loss(ones((2, 3, 4)), ones((2, 3, 4)))
    with pytest.raises(ValueError, match=r"shapes.*\(2, 3\).*\(2, 4\)"):
        losses.vicreg_loss(ones((2, 3)), ones((2, 4)))
    with pytest.raises(ValueError, match=r"shapes.*\(2, 3\).*\(4, 3\)"):
        losses.invariance_loss(ones((2, 3)), ones((4, 3)))
    with pytest.raises(ValueError, match=r"\(2, 3\), \(2, 3\), \(2, 1\)\."):
        losses.vicreg_loss(ones((2, 3)), ones((2, 3)), ones((2, 1)))
    for too_few in ((), (ones((2, 3)),), ([ones((2, 3)), ones((2, 3))],)):
        with pytest.raises(ValueError, match=f"two views or more.*: {len(too_few)}\\."):
            losses.vicreg_loss(*too_few)
    with pytest.raises(ValueError, match=r"embeddings\[2\]=25.0. Give weights by name"):
        losses.vicreg_loss(ones((2, 3)), ones((2, 3)), 25.0)
    for term in (losses.variance_loss, losses.covariance_loss, losses.embedding_std):
        with pytest.raises(ValueError, match="needs at least 2"):
            term(ones((1, 3)))
        with pytest.raises(ValueError, match="Received: z.shape="):
            term(ones((3,)))
