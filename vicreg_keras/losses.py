"""VICReg's invariance, variance and covariance terms, and their weighted sum.

Every function is pure, takes `(batch, dim)` embeddings and computes in float32
whatever the dtype it is given: in half precision a covariance over- and underflows.

Across replicas, gather the embeddings first (with gradients) and pass the global
batch: variance and covariance of a part of a batch are not those of the whole.

Reference:
    - Bardes, Ponce, LeCun, "VICReg: Variance-Invariance-Covariance Regularization
      for Self-Supervised Learning", ICLR 2022, equations 1 to 6
      (https://arxiv.org/abs/2105.04906)
    - facebookresearch/vicreg, `VICReg.forward` in `main_vicreg.py`, from which the
      paper's equations differ in scale: there the mean squared error is a mean over
      the width too, and the variance term is averaged, not added, over the views.
"""

from collections.abc import Callable, Mapping, Sequence

import keras
from keras import ops

from vicreg_keras.settings import Settings


def vicreg_loss(
    *embeddings: keras.KerasTensor, **weights: float
) -> dict[str, keras.KerasTensor]:
    """Returns the VICReg loss of two or more views' embeddings, and its terms by name.

    Of more than two views it is, term by term, the mean of the losses of all pairs of
    them: its scale stays, and so do the weights that suit it.

    Example:
    >>> vicreg_loss(z_a, z_b, variance_weight=50.0)["loss"]

    Args:
        *embeddings: `(batch, dim)` embeddings of the global batch, one matrix per view;
            all in the same order.
        **weights: Weights that differ from `WEIGHTS`: `invariance_weight` (lambda in
            the paper), `variance_weight` (mu) and `covariance_weight` (nu).

    Returns:
        Float32 scalars: `"loss"`, the weighted sum, and its unweighted terms
        `"invariance_loss"` (averaged over the pairs of views), `"variance_loss"`
        (averaged over the views) and `"covariance_loss"` (twice its average over the
        views: of two views, their sum).

    Raises:
        ValueError: If the embeddings are not two or more matrices of the same shape
            with a batch of at least two, or a weight is unknown or negative.
    """
    weights = complete_weights(weights)
    terms = {name: term(*embeddings) for name, term in TERMS.items()}
    loss = sum(weights[f"{name}_weight"] * term for name, term in terms.items())
    return {"loss": loss} | {f"{name}_loss": term for name, term in terms.items()}


def complete_weights(weights: Mapping[str, float]) -> dict[str, float]:
    """Returns the weight of every term, from `WEIGHTS` where it is not given.

    Args:
        weights: Weights, each at least 0, by names such as `"variance_weight"`.

    Raises:
        ValueError: If a weight belongs to no term or is negative.
    """
    for name, value in weights.items():
        if name not in WEIGHTS:
            raise ValueError(
                f"Expected weights out of {', '.join(WEIGHTS)}. Received: {name}."
            )
        if not value >= 0:
            raise ValueError(
                f"Expected {name} of at least 0. Received: {name}={value}."
            )
    return {name: float(weights.get(name, WEIGHTS[name])) for name in WEIGHTS}


def invariance_loss(*embeddings: keras.KerasTensor) -> keras.KerasTensor:
    """Returns the mean squared difference of the views' embeddings, over all pairs.

    Of n views it is computed from their distances to m, the mean of the views, instead
    of from all pairs: it is `2 / (n - 1) * sum_i (z_i - m)^2`, averaged over the batch
    and the width. For, with `y_i = z_i - m`, whose sum is 0,

        sum_ij (z_i - z_j)^2 = 2 n sum_i y_i^2 - 2 (sum_i y_i)^2 = 2 n sum_i y_i^2.

    That sum has each pair twice, and each view with itself, which adds 0. There are
    n (n - 1) / 2 pairs: their mean is the sum divided by n (n - 1).

    Args:
        *embeddings: `(batch, dim)` embeddings, one matrix per view; all in the same
            order.

    Returns:
        Float32 scalar, the mean over the pairs, the batch and the width.

    Raises:
        ValueError: If the embeddings are not two or more matrices of the same shape.
    """
    _check_views(embeddings)
    num_views = len(embeddings)
    views = [_float32(z) for z in embeddings]
    if num_views == 2:
        # The one pair itself, which rounds less than two distances to a mean do.
        return ops.mean(ops.square(views[0] - views[1]))
    center = sum(views) / num_views
    spread = sum(ops.mean(ops.square(z - center)) for z in views)
    return spread * (2.0 / (num_views - 1))


def variance_loss(
    z: keras.KerasTensor, gamma: float = 1.0, epsilon: float = 1e-4
) -> keras.KerasTensor:
    """Returns how far the embedding's standard deviations stay below `gamma`.

    Args:
        z: `(batch, dim)` embeddings of one view, a batch of at least two.
        gamma: The standard deviation every dimension is pushed up to.
        epsilon: Added to the variance under the square root, which would otherwise
            have an infinite gradient where the embeddings collapse to one point.

    Returns:
        Float32 scalar, the mean over the width of
        `relu(gamma - sqrt(variance + epsilon))` with the unbiased variance.

    Raises:
        ValueError: If `z` is not a matrix with a batch of at least two.
    """
    std = ops.sqrt(_unbiased_variance(_centered(z)) + epsilon)
    return ops.mean(ops.relu(gamma - std))


def covariance_loss(z: keras.KerasTensor) -> keras.KerasTensor:
    """Returns the sum of squared covariances of different dimensions, over the width.

    A batch of at most half the width goes through the `(batch, batch)` Gram matrix,
    whose Frobenius norm is that of the `(dim, dim)` covariance matrix, in a fraction
    batch / dim of the multiplications. It must subtract the squared variances
    afterwards, which costs precision where the covariances are small beside them. So
    few examples cannot be decorrelated in so many dimensions: of equal variances, the
    squared covariances then sum to at least as much, and the value stays within 3e-6
    of float64's. It loses digits only where one dimension dwarfs the rest: 3e-7 off at
    10 times their standard deviation, 9e-4 at 100 times. In a larger batch the
    covariances may vanish, so there the diagonal is masked before anything is added.

    Args:
        z: `(batch, dim)` embeddings of one view, a batch of at least two.

    Returns:
        Float32 scalar, the sum of squares off the diagonal of the unbiased covariance
        matrix, divided by the width.

    Raises:
        ValueError: If `z` is not a matrix with a batch of at least two.
    """
    centered = _centered(z)
    batch, dim = z.shape
    if batch is not None and dim is not None and 2 * batch <= dim:
        return _covariance_by_gram(centered)
    degrees_of_freedom = _batch_size(centered) - 1.0
    covariance = ops.matmul(ops.transpose(centered), centered) / degrees_of_freedom
    dim = ops.shape(z)[1]
    off_diagonal = covariance * (1.0 - ops.eye(dim, dtype="float32"))  # (dim, dim)
    return ops.sum(ops.square(off_diagonal)) / ops.cast(dim, "float32")


def embedding_std(z: keras.KerasTensor) -> keras.KerasTensor:
    """Returns the mean standard deviation of the embeddings, a number to watch.

    It goes to 0 when the embeddings collapse to one point. It has no epsilon, so it
    is not for training: its gradient is infinite there.

    Args:
        z: `(batch, dim)` embeddings of one view, a batch of at least two.

    Returns:
        Float32 scalar, the mean over the width of the square root of the unbiased
        variance.

    Raises:
        ValueError: If `z` is not a matrix with a batch of at least two.
    """
    return ops.mean(ops.sqrt(_unbiased_variance(_centered(z))))


def _mean_variance_loss(*embeddings):
    return sum(variance_loss(z) for z in embeddings) / len(embeddings)


def _pair_covariance_loss(*embeddings):
    return sum(covariance_loss(z) for z in embeddings) * (2.0 / len(embeddings))


# The terms of the loss, each a function of the embeddings of all views. A term that is
# added here, with its weight, is logged, drawn and reported; `settings.Settings` makes
# its weight an option.
TERMS: dict[str, Callable[..., keras.KerasTensor]] = {
    "invariance": invariance_loss,
    "variance": _mean_variance_loss,
    "covariance": _pair_covariance_loss,
}
WEIGHTS: dict[str, float] = Settings().group("loss")


def _covariance_by_gram(centered: keras.KerasTensor) -> keras.KerasTensor:
    """Returns the covariance term by way of the `(batch, batch)` Gram matrix."""
    degrees_of_freedom = _batch_size(centered) - 1.0
    gram = ops.matmul(centered, ops.transpose(centered)) / degrees_of_freedom
    diagonal = _unbiased_variance(centered)
    off_diagonal = ops.sum(ops.square(gram)) - ops.sum(ops.square(diagonal))
    return off_diagonal / ops.cast(ops.shape(centered)[1], "float32")


def _unbiased_variance(centered: keras.KerasTensor) -> keras.KerasTensor:
    """Returns the `(dim,)` variances; `ops.var` would divide by N, not by N - 1."""
    return ops.sum(ops.square(centered), axis=0) / (_batch_size(centered) - 1.0)


def _centered(z: keras.KerasTensor) -> keras.KerasTensor:
    """Returns `z` in float32 less its mean over the batch; checks its shape."""
    _check_matrix(z, "z")
    if z.shape[0] is not None and z.shape[0] < 2:
        raise ValueError(
            "Expected a batch of at least 2: the unbiased variance needs at least 2. "
            f"Received: z.shape={tuple(z.shape)}. Drop the last, partial batch."
        )
    z = _float32(z)
    return z - ops.mean(z, axis=0, keepdims=True)


def _batch_size(z: keras.KerasTensor) -> keras.KerasTensor:
    """Returns the batch size as a float32 scalar, known before the step or not."""
    return ops.cast(ops.shape(z)[0], "float32")


def _float32(z: keras.KerasTensor) -> keras.KerasTensor:
    return ops.cast(z, "float32")


def _check_matrix(z: keras.KerasTensor, name: str) -> None:
    if not hasattr(z, "shape") or len(z.shape) != 2:
        received = f".shape={tuple(z.shape)}" if hasattr(z, "shape") else f"={z!r}"
        raise ValueError(
            f"Expected embeddings of shape (batch, dim). Received: {name}{received}. "
            "Give weights by name."
        )


def _check_views(embeddings: Sequence[keras.KerasTensor]) -> None:
    if len(embeddings) < 2:
        raise ValueError(
            "Expected the embeddings of two views or more. Received: "
            f"{len(embeddings)}. Give each view's as an argument of its own."
        )
    for i, z in enumerate(embeddings):
        _check_matrix(z, f"embeddings[{i}]")
    for sizes in zip(*(z.shape for z in embeddings), strict=True):
        # A size of None is not known before the step runs.
        if len({size for size in sizes if size is not None}) > 1:
            shapes = ", ".join(str(tuple(z.shape)) for z in embeddings)
            raise ValueError(
                "Expected the embeddings of views of the same examples, of equal "
                f"shapes. Received: {shapes}."
            )
