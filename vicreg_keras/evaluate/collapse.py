"""Diagnosis of collapsed representations or embeddings from their spectrum."""

import dataclasses

# Thresholds of the diagnosis. They are low: it finds collapse, it does not rank
# encoders.

# Full collapse, seen by the mean standard deviation. The variance term brings that of
# embeddings to 1, so there a hundredth says that it does not hold. Representations
# have no scale of their own. The same number as in the warning during training.
COLLAPSED_STD = {"embedding": 0.01, "representation": 0.0}
# Full collapse on its way, seen while training: a mean standard deviation of embeddings
# below half of the highest so far, and far from 1. Healthy recipes kept 67 % of it at
# least (benchmarks/LOG.md, 2026-11-27).
FALLEN_STD, FALLEN_SHARE = 0.5, 0.5
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
class Diagnosis:
    """Whether vectors have collapsed.

    Attributes:
        state: `"healthy"`, `"dimensional collapse"` or `"full collapse"`.
        text: Sentences for the user, with the failed term of the loss.
        kind: `"embedding"` or `"representation"`.
    """

    state: str
    text: str
    kind: str


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
    possible = metrics.possible_rank
    min_rank = max(MIN_DIRECTIONS, COLLAPSED_RANK_SHARE[kind] * possible)
    min_rank = min(min_rank, possible / 2)
    spread = (
        f"The {kind}s vary in about {metrics.effective_rank:,.1f} of {possible:,.0f} "
        f"possible directions (effective rank; collapsed under {min_rank:.3g})."
    )
    for value, minimum, name in (
        (metrics.std_mean, COLLAPSED_STD, "the mean standard deviation of a dimension"),
        (
            metrics.relative_variance,
            COLLAPSED_RELATIVE_VARIANCE,
            "the share of variance in their squared length",
        ),
    ):
        if value < minimum[kind]:
            text = (
                f"All examples have almost the same {kind}: {name} is {value:.2g} "
                f"(collapsed under {minimum[kind]:g}). The variance term failed; raise "
                "variance_weight."
            )
            return Diagnosis("full collapse", text, kind)
    if metrics.effective_rank >= min_rank:
        return Diagnosis("healthy", f"{spread} There is no collapse.", kind)
    failed = "The covariance term failed; raise covariance_weight."
    if kind == "representation":
        failed = (
            "The covariance term failed, or the variance term: the embeddings, as they "
            "were in training, tell which."
        )
    return Diagnosis("dimensional collapse", f"{spread} {failed}", kind)
