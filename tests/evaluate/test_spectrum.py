"""Tests of spectra on vectors whose spectrum is known."""

import json

import numpy as np
import pytest
from sklearn.decomposition import PCA

from vicreg_keras.evaluate.records import to_json
from vicreg_keras.evaluate.spectrum import spectrum

SCALE_FREE = (
    "rankme",
    "effective_rank",
    "alpha",
    "alpha_scale",
    "dead_dimensions",
    "relative_variance",
    "eigenvalues",
)


def gaussian(num_rows, width, seed=0):
    return np.random.default_rng(seed).normal(size=(num_rows, width))


def rows_with(eigenvalues, num_rows):
    """Rows of mean zero whose covariance has these eigenvalues, turned at random."""
    width = len(eigenvalues)
    centered = gaussian(num_rows, width)
    basis = np.linalg.qr(centered - centered.mean(axis=0))[0]
    turn = np.linalg.qr(gaussian(width, width, seed=1))[0]
    return basis * np.sqrt(np.multiply(eigenvalues, num_rows - 1)) @ turn


def test_isotropic_vectors_have_full_rank():
    metrics = spectrum(gaussian(5000, 16).astype(np.float32))
    assert metrics.effective_rank == pytest.approx(16, rel=0.01)
    assert metrics.rankme == pytest.approx(16, rel=0.01)
    assert metrics.std_mean == pytest.approx(1, rel=0.02)
    assert metrics.relative_variance == pytest.approx(1, rel=0.01)
    assert metrics.dead_dimensions == 0
    assert metrics.possible_rank == 16
    json.dumps(to_json(metrics), allow_nan=False)


def test_rank_of_equal_eigenvalues_is_their_number():
    metrics = spectrum(rows_with([2.0] * 5 + [0.0] * 35, 100))
    assert metrics.effective_rank == pytest.approx(5, rel=1e-9)
    # Each of the 35 others counts with epsilon, 1e-7, and its logarithm.
    assert metrics.rankme == pytest.approx(5, rel=1e-4)
    np.testing.assert_allclose(metrics.eigenvalues, [0.2] * 5 + [0.0] * 35)
    assert metrics.alpha is None
    assert metrics.alpha_range is None


def test_low_rank_is_seen_through_the_rounding_of_float32():
    rows = (gaussian(300, 3) @ gaussian(3, 64, seed=1) + 0.5).astype(np.float32)
    metrics = spectrum(rows)
    assert np.count_nonzero(metrics.eigenvalues) == 3
    assert 2 < metrics.effective_rank <= 3


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0])
def test_power_law_is_found(exponent):
    eigenvalues = np.arange(1, 301.0) ** -exponent
    metrics = spectrum(rows_with(eigenvalues, 400))
    assert metrics.alpha == pytest.approx(exponent, abs=1e-6)
    assert metrics.alpha_scale == pytest.approx(1 / eigenvalues.sum(), rel=1e-6)
    assert metrics.alpha_range == (4, 100)


def test_power_law_is_found_in_a_sample():
    random_rows = gaussian(4000, 200) * np.sqrt(np.arange(1, 201.0) ** -1.0)
    assert spectrum(random_rows).alpha == pytest.approx(1, abs=0.05)


def test_power_law_is_fitted_to_the_upper_half_with_weights():
    eigenvalues = np.arange(1, 61.0) ** -1.0
    eigenvalues[30:] = 1e-6  # The lower half is not looked at.
    metrics = spectrum(rows_with(eigenvalues, 100))
    assert metrics.alpha_range == (4, 30)
    assert metrics.alpha == pytest.approx(1, abs=1e-6)

    eigenvalues[15:] *= 0.5  # A step inside: weights matter now.
    metrics = spectrum(rows_with(eigenvalues, 100))
    index = np.arange(4, 31.0)
    design = np.stack([-np.log(index), np.ones(27)], axis=1)
    target = np.log(eigenvalues[3:30] / eigenvalues.sum())
    weighted = design.T / index
    alpha, offset = np.linalg.solve(weighted @ design, weighted @ target)
    assert metrics.alpha == pytest.approx(alpha, rel=1e-6)
    assert metrics.alpha_scale == pytest.approx(np.exp(offset), rel=1e-6)


@pytest.mark.parametrize(("width", "found"), [(25, False), (26, True)])
def test_power_law_needs_ten_eigenvalues(width, found):
    metrics = spectrum(rows_with(np.arange(1.0, width + 1) ** -1.0, 60))
    assert (metrics.alpha is not None) is found
    assert (metrics.alpha_scale is not None) is found
    assert (metrics.alpha_range is not None) is found


@pytest.mark.parametrize("shape", [(60, 12), (12, 60), (20, 20)])
def test_spectrum_matches_svd_and_sklearn_pca(shape):
    rows = (gaussian(*shape) * np.linspace(0.1, 3, shape[1]) + 2).astype(np.float32)
    metrics = spectrum(rows)
    rows = rows.astype(np.float64)

    shares = np.linalg.svd(rows, compute_uv=False)
    shares = shares / shares.sum() + 1e-7
    entropy = -np.sum(shares * np.log(shares))
    assert metrics.rankme == pytest.approx(np.exp(entropy), rel=1e-6)

    possible = min(shape[0] - 1, shape[1])
    ratios = PCA().fit(rows).explained_variance_ratio_[:possible]
    np.testing.assert_allclose(metrics.eigenvalues, ratios, rtol=1e-6)
    entropy = -np.sum(ratios * np.log(ratios))
    assert metrics.effective_rank == pytest.approx(np.exp(entropy), rel=1e-6)
    assert metrics.possible_rank == possible

    expected = rows.std(axis=0, ddof=1).mean()
    assert metrics.std_mean == pytest.approx(expected, rel=1e-9)
    relative = rows.var(axis=0).sum() / np.square(rows).sum(axis=1).mean()
    assert metrics.relative_variance == pytest.approx(relative, rel=1e-9)


@pytest.mark.parametrize("factor", [1e-20, 1000.0])
def test_scale_changes_standard_deviations_only(factor):
    rows = gaussian(200, 60) * np.linspace(0.1, 3, 60) + 2
    once, scaled = spectrum(rows), spectrum(factor * rows)
    for name in SCALE_FREE:
        np.testing.assert_allclose(
            getattr(scaled, name), getattr(once, name), rtol=1e-8, err_msg=name
        )
    assert scaled.std_mean == pytest.approx(factor * once.std_mean, rel=1e-9)


def test_mean_changes_rankme_only():
    rows = gaussian(500, 10)
    centered, moved = spectrum(rows), spectrum(rows + 100)
    assert moved.effective_rank == pytest.approx(centered.effective_rank)
    assert moved.rankme < 2
    assert moved.relative_variance == pytest.approx(1e-4, rel=0.05)


@pytest.mark.parametrize("constant", [1.0, 0.1, -123456.789])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(100, 8), (8, 100)])
def test_equal_vectors_have_no_variance(constant, dtype, shape):
    metrics = spectrum(np.full(shape, constant, dtype))
    assert metrics.effective_rank == 0
    assert metrics.relative_variance == 0
    assert metrics.std_mean == 0
    assert metrics.dead_dimensions == shape[1]
    assert not any(metrics.eigenvalues)
    assert metrics.rankme == pytest.approx(1, rel=1e-3)
    assert metrics.alpha is None
    json.dumps(to_json(metrics), allow_nan=False)


def test_zero_vectors_have_rank_zero():
    metrics = spectrum(np.zeros((5, 3), np.float32))
    assert (metrics.rankme, metrics.effective_rank) == (0, 0)
    assert metrics.relative_variance == 0


def test_constant_dimension_is_dead():
    rows = gaussian(100, 6)
    rows[:, 2] = 1e5 / 3
    rows[:, 4] *= 1e-3
    metrics = spectrum(rows)
    assert metrics.dead_dimensions == 2
    assert len(metrics.eigenvalues) == 6
    # What hardly varies hardly counts: four directions are left.
    assert metrics.effective_rank == pytest.approx(4, rel=0.05)


def test_integers_do_not_overflow():
    pixels = np.random.default_rng(0).integers(0, 256, (50, 7), np.uint8)
    result, same = spectrum(pixels), spectrum(pixels.astype(np.float64))
    assert result == same


def test_inputs_are_not_modified():
    rows = gaussian(20, 5)
    before = rows.copy()
    spectrum(rows)
    np.testing.assert_array_equal(rows, before)


def test_invalid_input_is_refused():
    with pytest.raises(ValueError, match="NaN or infinity in 2 of 9"):
        rows = gaussian(9, 2)
        rows[[1, 3], [0, 1]] = np.nan, np.inf
        spectrum(rows)
    with pytest.raises(ValueError, match=r"at least 2 .* shape=\(1, 4\)"):
        spectrum(np.ones((1, 4)))
    for shape in [(4,), (2, 3, 4), (5, 0), (0, 5)]:
        with pytest.raises(ValueError, match=r"shape \(N, D\)"):
            spectrum(np.ones(shape))
