"""Projection of representations onto a plane, by PCA, t-SNE or UMAP."""

import dataclasses
from typing import NamedTuple

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from vicreg_keras.errors import InputError, check_packages
from vicreg_keras.evaluate.features import check_representations
from vicreg_keras.evaluate.normalization import l2_normalize

_NUM_AXES = 50  # That t-SNE and UMAP see of wider vectors; the rest is mostly noise.
_PERPLEXITY = 30.0  # Of t-SNE, about the number of neighbors that count.
_NUM_NEIGHBORS = 15  # UMAP's own default.
MIN_POINTS = 4
_TOLERANCE = 1e-6  # Vectors of length 1 that differ by less differ by rounding.


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProjectionSettings:
    """How vectors were projected; `None` for what the method does not have.

    Attributes:
        method: `"pca"`, `"tsne"` or `"umap"`.
        num_examples: Number of points.
        num_centroids: Number of centroids.
        l2_normalized: Whether vectors were L2-normalized.
        seed: Seed of all that is random.
        explained_variance_ratio: Of PCA's two axes.
        perplexity: Of t-SNE, as used.
        num_neighbors: Of UMAP, as used.
    """

    method: str
    num_examples: int
    num_centroids: int
    l2_normalized: bool
    seed: int
    explained_variance_ratio: tuple[float, ...] | None = None
    perplexity: float | None = None
    num_neighbors: int | None = None

    @property
    def centroids(self) -> str | None:
        """In words, how the centroids were projected; `None` without any."""
        if not self.num_centroids:
            return None
        if self.method == "pca":
            return "put on the points' axes"
        return "embedded together with the points"


class Projection(NamedTuple):
    """Vectors on a plane.

    Attributes:
        points: float32 array of shape `(N, 2)`.
        centroids: float32 array of shape `(K, 2)` on the same plane, or `None`.
        settings: See `ProjectionSettings`.
    """

    points: np.ndarray
    centroids: np.ndarray | None
    settings: ProjectionSettings


def project(
    representations: np.ndarray,
    *,
    method: str = "tsne",
    centroids: np.ndarray | None = None,
    seed: int = 0,
    l2_normalized: bool = True,
) -> Projection:
    """Projects representations, and cluster centroids beside them, onto a plane.

    Representations are L2-normalized first, the space in which
    `vicreg_keras.evaluate.clustering` finds its clusters. A centroid is projected as
    what it is, one more vector of that space, and never as the mean of its points in
    the plane: t-SNE and UMAP tear groups apart, and no point may be near a mean of the
    pieces. For `tsne` and `umap` the centroids are embedded together with the points;
    for `pca` they are put on the points' axes.

    t-SNE and UMAP see the first 50 principal axes of wider vectors. In their figures,
    who is near whom means something; sizes of groups and gaps between them do not.
    Everything runs in one thread, so that a seed always gives the same figure. Pass a
    few thousand vectors (see `sampling.draw_balanced`): of 2,000, t-SNE takes 10 to
    20 seconds.

    Args:
        representations: `(N, D)`, at least four, not all the same.
        method: `"pca"`, `"tsne"` or `"umap"`; the last needs the package umap-learn.
        centroids: `(K, D)` as `cluster_eval` returns them.
        seed: Seed of all that is random.
        l2_normalized: Whether representations are L2-normalized; otherwise they and
            the centroids are taken as they are.

    Returns:
        A `Projection`.

    Raises:
        InputError: If the method is not installed, a value is not finite, there are
            fewer than four vectors, or all are the same.

    Reference:
        van der Maaten and Hinton, "Visualizing data using t-SNE", JMLR 2008, started
        from PCA as in Kobak and Berens, Nature Communications 2019; McInnes et al.,
        "UMAP", arXiv:1802.03426.
    """
    # UMAP's start needs four.
    check_representations("projected", representations, min_count=MIN_POINTS)
    if centroids is None:
        centroids = np.zeros((0, representations.shape[1]), np.float32)
    normalize = l2_normalize if l2_normalized else np.asarray
    vectors = normalize(representations).astype(np.float32)
    if np.ptp(vectors, axis=0).max() <= _TOLERANCE:
        raise InputError(
            f"Expected representations that differ. Received: {len(vectors)} of the "
            "same direction. There is nothing to see: the encoder has collapsed."
        )
    settings = ProjectionSettings(
        method=method,
        num_examples=len(vectors),
        num_centroids=len(centroids),
        l2_normalized=l2_normalized,
        seed=seed,
    )
    # Several threads add up in no fixed order, from which t-SNE's figures diverge.
    with threadpool_limits(1):
        plane, settings = _project(vectors, centroids, settings)
    points, on_plane = np.split(plane.astype(np.float32), [len(vectors)])
    return Projection(points, on_plane if len(centroids) else None, settings)


def _project(
    vectors: np.ndarray, centroids: np.ndarray, settings: ProjectionSettings
) -> tuple[np.ndarray, ProjectionSettings]:
    """Returns points and centroids on one plane, and what the method adds."""
    method, seed = settings.method, settings.seed
    stacked = np.concatenate([vectors, centroids])
    if method == "pca" or not 2 <= vectors.shape[1] <= _NUM_AXES:
        num_axes = min(2 if method == "pca" else _NUM_AXES, *vectors.shape)
        pca = PCA(num_axes, random_state=seed).fit(vectors)
        # A plane's axes that the points do not have are zeros.
        missing = max(0, 2 - num_axes)
        stacked = np.pad(pca.transform(stacked), ((0, 0), (0, missing)))
        ratios = (*pca.explained_variance_ratio_.tolist(), *[0.0] * missing)
    if method == "pca":
        return stacked, dataclasses.replace(settings, explained_variance_ratio=ratios)
    if method == "tsne":
        # Where there are few vectors, a third of the others.
        perplexity = min(_PERPLEXITY, max(1.0, (len(stacked) - 1) / 3))
        tsne = TSNE(init="pca", perplexity=perplexity, random_state=seed)
        settings = dataclasses.replace(settings, perplexity=perplexity)
        return tsne.fit_transform(stacked), settings
    check_packages("method=umap", {"umap": "umap-learn"})
    from umap import UMAP

    num_neighbors = min(_NUM_NEIGHBORS, len(stacked) - 1)
    # With a seed it runs in one thread whatever it is told, and warns if not told.
    umap = UMAP(n_neighbors=num_neighbors, random_state=seed, n_jobs=1)
    settings = dataclasses.replace(settings, num_neighbors=num_neighbors)
    return umap.fit_transform(stacked), settings
