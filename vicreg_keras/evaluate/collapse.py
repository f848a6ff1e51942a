"""Diagnosis of collapsed representations or embeddings from their spectrum."""

import dataclasses

# Thresholds of the diagnosis. They are low: it finds collapse, it does not rank
# encoders.

# Full collapse, seen by the mean standard deviation. The variance term brings that of
# embeddings to 1, so there a hundredth says that it does not hold. Representations
# have no scale of their own. The same number as in the warning during training.
COLLAPSED_STD = {"embedding": 0.01, "representation": None}
# Full collapse, seen without a scale. A spread of a hundredth of the vectors' length
# for representations. Embeddings may be far from zero, where the loss does not see it;
# there only a millionth counts, which is what rounding to float32 leaves.
COLLAPSED_RELATIVE_VARIANCE = {"embedding": 1e-12, "representation": 1e-4}
# Dimensional collapse, as a share of the directions that are possible. The covariance
# term spreads embeddings over many, and a healthy representation needs fewer. A convnet
# with four epochs of CIFAR-10 had 151 of 2,048 and 40 of 512 (2,500 test images, one
# seed); untrained, its representations had 12, which must not count as collapsed.
COLLAPSED_RANK_SHARE = {"embedding": 0.02, "representation": 0.005}
# Without the covariance term, digits in 512 dimensions had 1.8, and 16.9 with it.
# Of narrow vectors that share is less than one direction; fewer than these are too few.
MIN_DIRECTIONS = 2.0


@dataclasses.dataclass(frozen=True)
class CollapseMetrics:
    """What `diagnose_collapse` looks at; see `spectrum.SpectrumMetrics`."""

    effective_rank: float
    possible_rank: int
    std_mean: float
    relative_variance: float


COLLAPSE_METRICS = tuple(field.name for field in dataclasses.fields(CollapseMetrics))


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """Values under which a metric is a collapse; `None` where it is not used."""

    std_mean: float | None
    relative_variance: float
    effective_rank: float


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """Whether vectors have collapsed.

    Attributes:
        state: `"healthy"`, `"dimensional collapse"` or `"full collapse"`.
        failed_term: `"covariance"`, `"variance"`, or `None` where none failed or the
            vectors alone do not tell which.
        text: Sentences for the user.
        kind: `"embedding"` or `"representation"`.
        thresholds: See `Thresholds`.
    """

    state: str
    failed_term: str | None
    text: str
    kind: str
    thresholds: Thresholds


def diagnose_collapse(metrics: CollapseMetrics, *, kind: str) -> Diagnosis:
    """Determines whether vectors have collapsed, and which term of the loss failed.

    - Full collapse: all examples have nearly the same vector, so the variance term
      failed. Seen by the mean standard deviation (embeddings) or the relative variance.
    - Dimensional collapse: the vectors vary in few directions only. Of embeddings, the
      covariance term failed; of representations, either term may have, and the
      embeddings tell which. Seen by the effective rank, under a share of the
      directions that are possible; that is at least `MIN_DIRECTIONS`, and at most
      half of them.

    An encoder that has not learned anything may pass as healthy. Embeddings of a
    projector that was not trained have no standard deviation of 1 to keep: their
    diagnosis means nothing.

    Args:
        metrics: Metrics of `spectrum`.
        kind: `"embedding"`, where VICReg aims at a standard deviation of 1, or
            `"representation"`, which has no scale.

    Returns:
        A `Diagnosis`.
    """
    if kind not in COLLAPSED_RANK_SHARE:
        raise ValueError(
            f"Expected a kind of {sorted(COLLAPSED_RANK_SHARE)}. Received: kind={kind}."
        )
    possible = metrics.possible_rank
    share = COLLAPSED_RANK_SHARE[kind] * possible
    thresholds = Thresholds(
        std_mean=COLLAPSED_STD[kind],
        relative_variance=COLLAPSED_RELATIVE_VARIANCE[kind],
        effective_rank=min(max(MIN_DIRECTIONS, share), possible / 2),
    )
    sign = _sign_of_full_collapse(metrics, thresholds)
    spread = (
        f"The {kind}s vary in about {metrics.effective_rank:,.1f} of {possible:,.0f} "
        "possible directions (effective rank; collapsed under "
        f"{thresholds.effective_rank:.3g})"
    )
    state, failed_term = "healthy", None
    text = f"{spread}. There is no collapse."
    if sign:
        state, failed_term = "full collapse", "variance"
        text = (
            f"All examples have almost the same {kind}: {sign}. The variance term "
            "failed; raise variance_weight."
        )
    elif metrics.effective_rank < thresholds.effective_rank:
        state = "dimensional collapse"
        if kind == "embedding":
            failed_term = "covariance"
            text = f"{spread}. The covariance term failed; raise covariance_weight."
        else:
            text = (
                f"{spread}. The covariance term failed, or the variance term: the "
                "embeddings, as they were in training, tell which."
            )
    return Diagnosis(state, failed_term, text, kind, thresholds)


def _sign_of_full_collapse(
    metrics: CollapseMetrics, thresholds: Thresholds
) -> str | None:
    for name, words in (
        ("std_mean", "the mean standard deviation of a dimension"),
        ("relative_variance", "the share of variance in their squared length"),
    ):
        value, threshold = getattr(metrics, name), getattr(thresholds, name)
        if threshold is not None and value < threshold:
            return f"{words} is {value:.2g} (collapsed under {threshold:g})"
    return None
