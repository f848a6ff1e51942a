"""Ranks and spread of representations without labels, and a diagnosis of collapse.

`spectrum` measures, `diagnose_collapse` says in words what the numbers mean. Both take
representations or embeddings; only the thresholds differ.
"""

import numpy as np
from scipy.special import entr
from sklearn.metrics import r2_score

# Of RankMe, for rows in float32.
RANKME_EPSILON = 1e-7

# The power law is fitted to the eigenvalues from FIRST_FITTED to LAST_FITTED, counted
# from 1, as in alpha-ReQ's code: the first few stand apart, the last are noise.
FIRST_FITTED, LAST_FITTED = 4, 100
# A line through fewer eigenvalues is not worth its name.
MIN_FITTED = 10

# A dimension is dead whose standard deviation is under this share of the mean one.
DEAD_FRACTION = 0.01

# Thresholds of the diagnosis, each for both kinds of rows. They are low: it finds
# collapse, it does not rank encoders.

# Full collapse, seen by the mean standard deviation. The variance term brings that of
# embeddings to 1, so there a hundredth says that it does not hold. Representations
# have no scale of their own. The same number as in the warning during training.
COLLAPSED_STD = {"embedding": 0.01, "representation": None}
# Full collapse, seen without a scale. A spread of a hundredth of the rows' length for
# representations. Embeddings may lie far from zero, where the loss does not see it;
# there only a millionth counts, which is what rounding to float32 leaves.
COLLAPSED_RELATIVE_VARIANCE = {"embedding": 1e-12, "representation": 1e-4}
# Dimensional collapse, as a share of the directions that are possible. The covariance
# term spreads embeddings over many, and a healthy representation needs fewer. A convnet
# with four epochs of CIFAR-10 had 151 of 2,048 and 40 of 512 (2,500 test images, one
# seed); untrained, its representations had 12, which is not to be called collapsed.
COLLAPSED_RANK_SHARE = {"embedding": 0.02, "representation": 0.005}
# Without the covariance term, digits in 512 dimensions had 1.8, and 16.9 with it.
# Of narrow rows that share is less than one direction; fewer than these are too few.
MIN_DIRECTIONS = 2.0

# What of a spectrum a diagnosis looks at.
DIAGNOSIS_METRICS = ("effective_rank", "possible_rank", "std_mean", "relative_variance")

# How many values are held in float64 at a time, beside the Gram matrix: 64 MiB.
_BLOCK_VALUES = 2**23


def spectrum(rows: np.ndarray) -> dict:
    """Ranks, eigenvalues and spread of the rows of a matrix, without labels.

    Everything is computed in float64 from the eigenvalues of the `(D, D)` covariance
    or, where that is smaller, of the `(N, N)` Gram matrix. Eigenvalues that rounding
    cannot tell from zero are zero, and so are singular values under about a millionth
    of the largest.

    A rank is at most about `min(N, D)`, so compare those of equally many rows, and of
    more rows than dimensions. RankMe's paper takes 25,600.

    Args:
        rows: `(N, D)` representations or embeddings, at least two rows.

    Returns:
        A dict that JSON can hold. Those that do not change with the rows' scale:

        - `rankme`: exp of the entropy of the singular values of the rows as they are,
          mean included; 0 for rows of zeros.
        - `effective_rank`: exp of the entropy of the covariance's eigenvalues, so
          without the mean; 0 for rows that are all the same. It is at most
          `possible_rank`, which is `min(N - 1, D)`.
        - `eigenvalues`: the covariance's, `possible_rank` of them, descending, divided
          by their sum; zeros for rows that are all the same.
        - `alpha`: exponent of the power law `alpha_scale * i ** -alpha` through them,
          fitted on logarithms with weights `1 / i` from the 4th eigenvalue to the
          100th, or to half of those above zero where they are fewer than 200.
          `alpha_range` is the first and the last index, counted from 1, and `alpha_r2`
          the share of the logarithms' variance there that the line explains,
          unweighted. All four are `None` for fewer than 10 eigenvalues.
        - `relative_variance`: total variance (with N) over the mean squared length of
          a row, in [0, 1]; 0 for rows that are all the same.
        - `dead_dimensions`: how many dimensions have a standard deviation of at most
          `dead_fraction` of the mean one.

        In the rows' unit: `std_mean`, `std_min`, `std_median` and `std_max` of the
        dimensions' standard deviations (with N - 1). And the settings: `protocol`,
        `rankme_epsilon`, `dead_fraction`, `num_rows`, `width`.

    Raises:
        ValueError: If there are fewer than two rows, no column, or a value is NaN or
            infinite.

    Reference:
        RankMe: Garrido et al., "RankMe: Assessing the Downstream Performance of
        Pretrained Self-Supervised Representations by Their Rank", ICML 2023,
        equation 1. Effective rank: Roy and Vetterli, "The Effective Rank", EUSIPCO
        2007, whose singular values are here those of the covariance matrix. Alpha:
        Agrawal et al., "alpha-ReQ", NeurIPS 2022; range and weights are in no
        equation but in `stringer_get_powerlaw` of kumarkrishna/fastssl at commit
        82fc4b5 and its calls.
    """
    rows = np.asarray(rows)
    _check(rows)
    num_rows, width = rows.shape
    possible_rank = min(num_rows - 1, width)

    mean, variances = _moments(rows)
    total = variances.sum()
    mean_square = total + mean @ mean
    stds = np.sqrt(variances * (num_rows / (num_rows - 1)))

    eigenvalues = _shares(_eigenvalues(rows, mean)[:possible_rank])
    # Differs from the covariance's by the mean, which is not taken off.
    singular_values = np.sqrt(_eigenvalues(rows, np.zeros(width)))
    return {
        "protocol": "spectrum",
        "rankme": _rankme(singular_values),
        "effective_rank": _exp_entropy(eigenvalues),
        "possible_rank": possible_rank,
        **_power_law(eigenvalues),
        "std_mean": float(stds.mean()),
        "std_min": float(stds.min()),
        "std_median": float(np.median(stds)),
        "std_max": float(stds.max()),
        "dead_dimensions": int((stds <= DEAD_FRACTION * stds.mean()).sum()),
        "relative_variance": float(total / mean_square) if mean_square else 0.0,
        "rankme_epsilon": RANKME_EPSILON,
        "dead_fraction": DEAD_FRACTION,
        "num_rows": num_rows,
        "width": width,
        "eigenvalues": eigenvalues.tolist(),
    }


def diagnose_collapse(numbers: dict, *, kind: str) -> dict:
    """Whether rows have collapsed, how, and which term of the loss failed.

    - Full collapse: all examples get nearly the same row, so the variance term failed.
      Seen by the mean standard deviation (embeddings) or the relative variance.
    - Dimensional collapse: the rows vary in few directions only. Of embeddings, the
      covariance term failed; of representations, either term may have, and the
      embeddings tell which. Seen by the effective rank, under a share of the
      directions that are possible; that is at least `MIN_DIRECTIONS`, and at most
      half of them.

    An encoder that has not learned anything may pass as healthy. Embeddings of a
    projector that was not trained have no standard deviation of 1 to keep: their
    diagnosis means nothing.

    Args:
        numbers: What `spectrum` gave, or `DIAGNOSIS_METRICS` of it.
        kind: `"embedding"`, where VICReg aims at a standard deviation of 1, or
            `"representation"`, which has no scale.

    Returns:
        A dict that JSON can hold: `state` (`"healthy"`, `"dimensional collapse"` or
        `"full collapse"`), `failed_term` (`None`, `"covariance"` or `"variance"`;
        `None`, too, where the rows alone do not tell),
        `text` for a person, `kind`, and `thresholds`, under which `std_mean` (`None`
        for representations), `relative_variance` or `effective_rank` is a collapse.

    Raises:
        ValueError: If `kind` is neither.
    """
    if kind not in COLLAPSED_RANK_SHARE:
        raise ValueError(
            f"Expected rows of a kind of {sorted(COLLAPSED_RANK_SHARE)}. Received: "
            f"kind={kind}"
        )
    thresholds = {
        "std_mean": COLLAPSED_STD[kind],
        "relative_variance": COLLAPSED_RELATIVE_VARIANCE[kind],
        "effective_rank": _min_directions(numbers["possible_rank"], kind),
    }
    signs = _signs_of_full_collapse(numbers, thresholds)
    rank, fewest = numbers["effective_rank"], thresholds["effective_rank"]
    spread = (
        f"The {kind}s vary in about {rank:,.1f} of {numbers['possible_rank']:,.0f} "
        f"possible directions (effective rank; collapsed under {fewest:.3g})"
    )
    if signs:
        state, failed_term = "full collapse", "variance"
        text = (
            f"All examples have almost the same {kind}: {signs[0]}. The variance term "
            "failed; raise --variance_weight."
        )
    elif rank < fewest:
        state = "dimensional collapse"
        if kind == "embedding":
            failed_term = "covariance"
            text = f"{spread}. The covariance term failed; raise --covariance_weight."
        else:
            failed_term = None
            text = (
                f"{spread}. The covariance term failed, or the variance term: the "
                "embeddings, as they were in training, tell which."
            )
    else:
        state, failed_term = "healthy", None
        text = f"{spread}. There is no collapse."
    return {
        "state": state,
        "failed_term": failed_term,
        "text": text,
        "kind": kind,
        "thresholds": thresholds,
    }


def _check(rows):
    if rows.ndim != 2 or len(rows) < 2 or not rows.shape[1]:
        raise ValueError(
            "Expected rows of shape (N, D), at least two of them, since one has no "
            f"spread. Received: shape={rows.shape}"
        )
    bad = ~np.isfinite(rows).all(axis=1)
    if bad.any():
        raise ValueError(
            f"Expected finite rows. Received: NaN or infinity in {bad.sum()} of "
            f"{len(rows)} rows. The training that gave them has diverged."
        )


def _moments(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance (with N) of every column."""
    blocks = _blocks(rows)
    # Taken from the first row, so that the mean of a constant column is exact and its
    # variance zero, however large the constant.
    first = rows[0].astype(np.float64)
    shift = sum((rows[block] - first).sum(axis=0) for block in blocks)
    mean = first + shift / len(rows)
    squares = sum(np.square(rows[block] - mean).sum(axis=0) for block in blocks)
    return mean, squares / len(rows)


def _eigenvalues(rows: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """Squared singular values of `rows - origin`, descending, `min(N, D)` of them."""
    tall = rows.shape[0] >= rows.shape[1]
    long = rows if tall else rows.T
    gram = np.zeros((min(rows.shape),) * 2)
    for part in _blocks(long):
        block = long[part] - (origin if tall else origin[part, np.newaxis])
        gram += block.T @ block
    values = np.linalg.eigvalsh(gram)[::-1]
    # A zero eigenvalue is computed as a small one of either sign.
    floor = values[0] * len(long) * np.finfo(np.float64).eps
    return np.where(values > floor, values, 0.0)


def _blocks(rows: np.ndarray) -> list[slice]:
    num_rows, width = rows.shape
    step = max(1, _BLOCK_VALUES // width)
    return [slice(start, start + step) for start in range(0, num_rows, step)]


def _shares(values: np.ndarray) -> np.ndarray:
    """The values divided by their sum; zeros stay zeros."""
    return values / (values.sum() or 1.0)


def _exp_entropy(shares: np.ndarray) -> float:
    return float(np.exp(entr(shares).sum())) if shares.any() else 0.0


def _rankme(singular_values: np.ndarray) -> float:
    if not singular_values.any():
        return 0.0
    return _exp_entropy(_shares(singular_values) + RANKME_EPSILON)


def _power_law(eigenvalues: np.ndarray) -> dict:
    """Alpha and what belongs to it, as `spectrum` gives them."""
    # The second half of a spectrum bends down: it ends with the rows or the width.
    last = min(LAST_FITTED, np.count_nonzero(eigenvalues) // 2)
    if last - FIRST_FITTED + 1 < MIN_FITTED:
        names = ("alpha", "alpha_scale", "alpha_range", "alpha_r2")
        return dict.fromkeys(names)
    index = np.arange(FIRST_FITTED, last + 1)
    x, y = np.log(index), np.log(eigenvalues[index - 1])
    # polyfit weighs residuals before they are squared.
    line = np.polyfit(x, y, 1, w=1 / np.sqrt(index))
    return {
        "alpha": float(-line[0]),
        "alpha_scale": float(np.exp(line[1])),
        "alpha_range": [FIRST_FITTED, int(last)],
        "alpha_r2": float(r2_score(y, np.polyval(line, x))),
    }


def _min_directions(possible_rank: int, kind: str) -> float:
    """The effective rank under which rows have collapsed to few directions."""
    share = COLLAPSED_RANK_SHARE[kind] * possible_rank
    return min(max(MIN_DIRECTIONS, share), possible_rank / 2)


def _signs_of_full_collapse(numbers: dict, thresholds: dict) -> list[str]:
    return [
        f"{words} is {numbers[name]:.2g} (collapsed under {thresholds[name]:g})"
        for name, words in (
            ("std_mean", "the mean standard deviation of a dimension"),
            ("relative_variance", "the share of variance in their squared length"),
        )
        if thresholds[name] is not None and numbers[name] < thresholds[name]
    ]
