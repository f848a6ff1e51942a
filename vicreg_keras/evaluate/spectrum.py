"""Ranks, eigenvalues and spread of representations or embeddings, without labels."""

import dataclasses
from typing import ClassVar

import numpy as np
from scipy.special import entr

from vicreg_keras.evaluate.collapse import CollapseMetrics, Diagnosis
from vicreg_keras.evaluate.features import check_representations
from vicreg_keras.evaluate.records import Record

# Of RankMe, for representations in float32.
_RANKME_EPSILON = 1e-7

# The power law is fitted to the eigenvalues between these, counted from 1, as in
# alpha-ReQ's code: the first few stand apart, the last are noise.
_FIRST_FITTED, _LAST_FITTED = 4, 100
# A line through fewer eigenvalues says nothing.
_MIN_FITTED = 10

# A dimension is dead whose standard deviation is under this share of the mean one.
_DEAD_FRACTION = 0.01


@dataclasses.dataclass(frozen=True)
class SpectrumMetrics(CollapseMetrics):
    """Ranks, eigenvalues and spread of the vectors of a matrix.

    Standard deviations are in the vectors' unit. All others do not change with their
    scale.

    Attributes:
        effective_rank: exp of the entropy of the covariance's eigenvalues, so without
            the mean; 0 for vectors that are all the same. At most `possible_rank`.
        possible_rank: `min(N - 1, D)`.
        std_mean: Mean over dimensions of their standard deviations (with N - 1).
        relative_variance: Total variance (with N) over the mean squared length of a
            vector, in [0, 1]; 0 for vectors that are all the same.
        rankme: exp of the entropy of the singular values of the vectors as they are,
            mean included; 0 for vectors of zeros.
        dead_dimensions: Number of dimensions with a standard deviation of at most
            a hundredth of the mean one.
        alpha: Exponent of the power law `alpha_scale * i ** -alpha` through the
            eigenvalues, fitted on logarithms with weights `1 / i` from the 4th to the
            100th, or to half of those above zero where they are fewer than 200. `None`,
            as the next two, for fewer than 10 eigenvalues.
        alpha_scale: Factor of the power law.
        alpha_range: First and last fitted index, counted from 1.
        eigenvalues: `possible_rank` eigenvalues of the covariance, descending, divided
            by their sum; zeros for vectors that are all the same.
    """

    rankme: float
    dead_dimensions: int
    alpha: float | None
    alpha_scale: float | None
    alpha_range: tuple[int, int] | None
    eigenvalues: tuple[float, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpectrumRecord(Record):
    """Spectra of an encoder and of the untrained one.

    Attributes:
        split: Split of the metrics.
        num_examples: Number of representations.
        representation_size: Their width.
        results: By what was evaluated: the encoder, and each baseline.
        diagnoses: Of the encoder's representations and, of a run, of its embeddings.
    """

    mode: ClassVar[str] = "spectrum"
    split: str
    num_examples: int
    representation_size: int
    results: dict[str, SpectrumMetrics]
    diagnoses: tuple[Diagnosis, ...]


def spectrum(vectors: np.ndarray) -> SpectrumMetrics:
    """Measures ranks, eigenvalues and spread of representations, without labels.

    Everything is computed in float64 from the eigenvalues of the `(D, D)` covariance
    or, where that is smaller, of the `(N, N)` Gram matrix. Eigenvalues that rounding
    cannot tell from zero are zero, and so are singular values under about a millionth
    of the largest.

    A rank is at most about `min(N, D)`, so compare those of equally many vectors, and
    of more vectors than dimensions. RankMe's paper takes 25,600.

    Args:
        vectors: `(N, D)` representations or embeddings, at least two.

    Returns:
        Metrics, see `SpectrumMetrics`.

    Raises:
        InputError: If there are fewer than two vectors, no dimension, or a value is NaN
            or infinite.

    Reference:
        RankMe: Garrido et al., "RankMe: Assessing the Downstream Performance of
        Pretrained Self-Supervised Representations by Their Rank", ICML 2023,
        equation 1. Effective rank: Roy and Vetterli, "The Effective Rank", EUSIPCO
        2007, whose singular values are here those of the covariance matrix. Alpha:
        Agrawal et al., "alpha-ReQ", NeurIPS 2022; range and weights are in no
        equation but in `stringer_get_powerlaw` of kumarkrishna/fastssl at commit
        82fc4b5 and its calls.
    """
    vectors = np.asarray(vectors, np.float64)
    check_representations("measured", vectors, min_count=2)
    num_examples, width = vectors.shape
    possible_rank = min(num_examples - 1, width)

    # From the first vector, so that the mean of a constant dimension is exact and its
    # variance zero, however large the constant.
    mean = vectors[0] + (vectors - vectors[0]).mean(axis=0)
    centered = vectors - mean
    variances = np.square(centered).mean(axis=0)
    total = variances.sum()
    mean_square = total + mean @ mean
    stds = np.sqrt(variances * (num_examples / (num_examples - 1)))

    eigenvalues = _squared_singular_values(centered)[:possible_rank]
    eigenvalues /= eigenvalues.sum() or 1.0
    # Differs from the covariance's by the mean, which is not subtracted.
    singular_values = np.sqrt(_squared_singular_values(vectors))
    alpha, alpha_scale, alpha_range = _power_law(eigenvalues)
    return SpectrumMetrics(
        effective_rank=_rank(eigenvalues),
        possible_rank=possible_rank,
        std_mean=float(stds.mean()),
        relative_variance=float(total / mean_square) if mean_square else 0.0,
        rankme=_rank(singular_values, _RANKME_EPSILON),
        dead_dimensions=int((stds <= _DEAD_FRACTION * stds.mean()).sum()),
        alpha=alpha,
        alpha_scale=alpha_scale,
        alpha_range=alpha_range,
        eigenvalues=tuple(eigenvalues.tolist()),
    )


def _squared_singular_values(vectors: np.ndarray) -> np.ndarray:
    """Returns squared singular values, descending."""
    is_tall = vectors.shape[0] >= vectors.shape[1]
    gram = vectors.T @ vectors if is_tall else vectors @ vectors.T
    values = np.linalg.eigvalsh(gram)[::-1]
    # A zero eigenvalue is computed as a small one of either sign.
    floor = values[0] * max(vectors.shape) * np.finfo(np.float64).eps
    return np.where(values > floor, values, 0.0)


def _rank(values: np.ndarray, epsilon: float = 0.0) -> float:
    """Returns exp of the entropy of the values' shares; 0 where all are 0."""
    if not values.any():
        return 0.0
    return float(np.exp(entr(values / values.sum() + epsilon).sum()))


def _power_law(
    eigenvalues: np.ndarray,
) -> tuple[float, float, tuple[int, int]] | tuple[None, None, None]:
    """Returns alpha, its scale and its range, see `SpectrumMetrics`."""
    # The second half of a spectrum bends down: it ends with the examples or the width.
    last = min(_LAST_FITTED, int(np.count_nonzero(eigenvalues)) // 2)
    if last - _FIRST_FITTED + 1 < _MIN_FITTED:
        return None, None, None
    index = np.arange(_FIRST_FITTED, last + 1)
    logarithms = np.log(index), np.log(eigenvalues[index - 1])
    # polyfit weighs residuals before they are squared.
    slope, intercept = np.polyfit(*logarithms, 1, w=1 / np.sqrt(index))
    return float(-slope), float(np.exp(intercept)), (_FIRST_FITTED, last)
