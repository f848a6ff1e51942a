"""Where do representations lie relative to each other, put on a plane to look at?"""

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from vicreg_keras.evaluate.index import l2_normalize

_NUM_AXES = 50  # That t-SNE and UMAP see of wider rows; the rest is mostly noise.
_NUM_NEIGHBORS = 15  # UMAP's own default.
_SAME = 1e-6  # Unit-length rows that differ by less differ by float32's rounding.


class Projection(NamedTuple):
    """Rows put on a plane.

    Attributes:
        points: float32 array of shape `(N, 2)`.
        centroids: float32 array of shape `(K, 2)` on the same plane, or `None`.
        settings: A dict that JSON can hold, see `project`.
    """

    points: np.ndarray
    centroids: np.ndarray | None
    settings: dict


def project(
    rows: np.ndarray,
    *,
    method: str = "tsne",
    centroids: np.ndarray | None = None,
    seed: int = 0,
    perplexity: float = 30.0,
    unit_length: bool = True,
) -> Projection:
    """Puts representations, and cluster centroids beside them, on a plane.

    Rows are brought to length 1 first, the space in which
    `vicreg_keras.evaluate.clustering` finds its clusters. A centroid is put on the
    plane as what it is, one more row of that space, and never as the mean of its
    points in the plane: t-SNE and UMAP tear groups apart, and a mean of the pieces may
    lie where no point is. For `tsne` and `umap` the centroids are embedded together
    with the points; for `pca` they are put on the points' axes.

    t-SNE and UMAP see the first 50 principal axes of wider rows. In their pictures,
    who is near whom means something; sizes of groups and gaps between them do not.
    Everything runs in one thread, so that a seed always gives the same picture. Hand
    over a few thousand rows (`sample`): of 2,000, t-SNE takes 10 to 20 seconds.

    Args:
        rows: `(N, D)`, at least four, not all the same.
        method: `pca`, `tsne` or `umap`; the last needs the package umap-learn.
        centroids: `(K, D)` as `cluster_eval` gives them, in the space of rows of
            length 1.
        seed: Of all that is drawn.
        perplexity: t-SNE's, about the number of neighbors that count, at least 1.
            Where there are few rows it is lowered to a third of the others.
        unit_length: Whether rows are brought to length 1; otherwise they, and the
            centroids, are taken as they are.

    Returns:
        A `Projection`, whose `settings` have `method`, `num_rows`, `num_centroids`,
        `representation_size`, `unit_length`, `centroids` (in words, how they came
        onto the plane; `None` without), `seed`, `seconds`, and of the method: for
        `pca` the two axes' `explained_variance_ratio`; for `tsne` and `umap`
        `num_axes` and the share of the variance that they keep, `axes_variance` (1
        if rows are not wider); for `tsne` `perplexity` as used,
        `perplexity_requested`, `iterations` and `kl_divergence`; for `umap`
        `num_neighbors` and `min_dist`.

    Raises:
        ValueError: If the method is unknown or not installed, a value is not finite,
            there are fewer than four rows, or all are the same.

    Reference:
        van der Maaten and Hinton, "Visualizing data using t-SNE", JMLR 2008, started
        from PCA as in Kobak and Berens, Nature Communications 2019; McInnes et al.,
        "UMAP", arXiv:1802.03426.
    """
    if method not in METHODS:
        raise ValueError(
            f"Expected method to be one of {list(METHODS)}. Received: method={method}"
        )
    if perplexity < 1:
        raise ValueError(
            f"Expected a perplexity of at least 1. Received: perplexity={perplexity}"
        )
    _check(rows, centroids)
    rows = l2_normalize(rows) if unit_length else np.asarray(rows, np.float32)
    if np.ptp(rows, axis=0).max() <= _SAME:
        raise ValueError(
            f"Expected representations that differ. Received: {len(rows)} of the same "
            "direction. There is nothing to see: the encoder has collapsed."
        )
    start = time.monotonic()
    num_centroids = 0 if centroids is None else len(centroids)
    if centroids is None:
        centroids = np.zeros((0, rows.shape[1]), np.float32)
    # Several threads add up in no fixed order, from which t-SNE's pictures diverge.
    with threadpool_limits(1):
        plane, own = METHODS[method](rows, centroids, seed, perplexity)
    plane = plane.astype(np.float32)
    settings = {
        "method": method,
        **own,
        "num_rows": len(rows),
        "num_centroids": num_centroids,
        "representation_size": rows.shape[1],
        "unit_length": unit_length,
        "seed": int(seed),
        "seconds": round(time.monotonic() - start, 2),
    }
    if not num_centroids:
        return Projection(plane, None, settings | {"centroids": None})
    return Projection(plane[: len(rows)], plane[len(rows) :], settings)


def sample(
    num_examples: int, size: int, seed: int, labels: np.ndarray | None = None
) -> np.ndarray:
    """Which examples to draw where all would be too many.

    Args:
        num_examples: Of how many.
        size: How many at most, at least 1.
        seed: Which draw.
        labels: `(num_examples,)` integers. With them the sample is balanced: every
            class has as many examples as any other, one more or less, or all that
            it has.

    Returns:
        int64 array of ascending indices.

    Raises:
        ValueError: If `size` is below 1.
    """
    if size < 1:
        raise ValueError(f"Expected a sample of at least 1. Received: size={size}")
    order = np.random.default_rng(seed).permutation(num_examples)
    if labels is not None:
        # First the first of every class, then the second of every class, and so on.
        turns = np.empty(num_examples, np.int64)
        drawn = np.asarray(labels)[order]
        for label in np.unique(drawn):
            (members,) = np.nonzero(drawn == label)
            turns[members] = np.arange(len(members))
        order = order[np.argsort(turns, kind="stable")]
    return np.sort(order[:size])


def _check(rows: np.ndarray, centroids: np.ndarray | None) -> None:
    """Refuses rows and centroids that cannot be put on one plane."""
    # UMAP's start needs four.
    if rows.ndim != 2 or len(rows) < 4:
        raise ValueError(
            "Expected at least four representations, of shape (N, D). Received: "
            f"shape={rows.shape}"
        )
    if centroids is not None and (
        centroids.ndim != 2 or centroids.shape[1] != rows.shape[1]
    ):
        raise ValueError(
            f"Expected centroids of shape (K, {rows.shape[1]}), as wide as the "
            f"representations. Received: shape={centroids.shape}"
        )
    for name, values in (("representations", rows), ("centroids", centroids)):
        if values is None:
            continue
        bad = ~np.isfinite(values).all(axis=1)
        if bad.any():
            raise ValueError(
                f"Expected finite {name}. Received: NaN or infinity in {bad.sum()} of "
                f"{len(values)} rows."
            )


def _pca(
    rows: np.ndarray, centroids: np.ndarray, seed: int, perplexity: float
) -> tuple[np.ndarray, dict]:
    """All on the points' two principal axes."""
    plane, ratios = _on_axes(rows, centroids, 2, seed)
    return plane, {
        "explained_variance_ratio": ratios,
        "centroids": "put on the points' axes",
    }


def _tsne(
    rows: np.ndarray, centroids: np.ndarray, seed: int, perplexity: float
) -> tuple[np.ndarray, dict]:
    """t-SNE of points and centroids together."""
    stacked, own = _narrowed(rows, centroids, seed)
    lowered = min(perplexity, max(1.0, (len(stacked) - 1) / 3))
    tsne = TSNE(init="pca", perplexity=lowered, random_state=seed)
    plane = tsne.fit_transform(stacked)
    return plane, own | {
        "perplexity": float(lowered),
        "perplexity_requested": float(perplexity),
        "iterations": int(tsne.n_iter_) + 1,
        "kl_divergence": float(tsne.kl_divergence_),
    }


def _umap(
    rows: np.ndarray, centroids: np.ndarray, seed: int, perplexity: float
) -> tuple[np.ndarray, dict]:
    """UMAP of points and centroids together."""
    try:
        from umap import UMAP
    except ImportError as error:
        raise ValueError(
            "Expected the package umap-learn for method=umap. Received: it cannot be "
            f"imported ({error}). Run: pip install umap-learn"
        ) from error
    stacked, own = _narrowed(rows, centroids, seed)
    num_neighbors = min(_NUM_NEIGHBORS, len(stacked) - 1)
    # With a seed it runs in one thread whatever it is told, and warns if not told.
    umap = UMAP(n_neighbors=num_neighbors, random_state=seed, n_jobs=1)
    plane = umap.fit_transform(stacked)
    return plane, own | {
        "num_neighbors": num_neighbors,
        "min_dist": float(umap.min_dist),
    }


def _narrowed(
    rows: np.ndarray, centroids: np.ndarray, seed: int
) -> tuple[np.ndarray, dict]:
    """Points and centroids in one array, no wider than `_NUM_AXES`."""
    if 2 <= rows.shape[1] <= _NUM_AXES:
        stacked, ratio = np.concatenate([rows, centroids]), 1.0
    else:
        stacked, ratios = _on_axes(rows, centroids, _NUM_AXES, seed)
        ratio = sum(ratios)
    return stacked, {
        "num_axes": stacked.shape[1],
        "axes_variance": float(ratio),
        "centroids": "embedded together with the points",
    }


def _on_axes(
    rows: np.ndarray, centroids: np.ndarray, num_axes: int, seed: int
) -> tuple[np.ndarray, list[float]]:
    """Points and centroids on the points' principal axes, and the axes' shares.

    Axes that the points do not have are zeros, at least up to a plane's two.
    """
    pca = PCA(min(num_axes, *rows.shape), random_state=seed).fit(rows)
    stacked = pca.transform(np.concatenate([rows, centroids]))
    missing = max(0, 2 - stacked.shape[1])
    stacked = np.pad(stacked, ((0, 0), (0, missing)))
    return stacked, pca.explained_variance_ratio_.tolist() + [0.0] * missing


METHODS: dict[str, Callable[..., tuple[np.ndarray, dict]]] = {
    "pca": _pca,
    "tsne": _tsne,
    "umap": _umap,
}
