"""Tests of putting points on a plane: who is near whom, and where centroids go."""

import sys
import types
import warnings

import numpy as np
import pytest
from sklearn.decomposition import PCA

from vicreg_keras.evaluate import projection
from vicreg_keras.evaluate.projection import project
from vicreg_keras.modes.options import ClusterOptions
from vicreg_keras.settings.options import fields


def blobs(num_blobs, num_each=20, width=16, spread=0.08, seed=0):
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(num_blobs), num_each)
    rows = np.eye(width)[labels] + spread * random.normal(size=(len(labels), width))
    rows *= random.uniform(0.1, 10, size=(len(labels), 1))
    return rows.astype(np.float32), labels


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def means(rows, labels):
    return np.stack([unit(rows)[labels == one].mean(axis=0) for one in set(labels)])


@pytest.fixture
def fake_umap(monkeypatch):
    """Stands in for the optional package; notes how it was called."""
    calls = []

    class UMAP:
        def __init__(self, **arguments):
            calls.append(arguments)

        def fit_transform(self, rows):
            calls.append(rows)
            return rows[:, :2].astype(np.float64)

    monkeypatch.setitem(
        sys.modules, "umap", types.SimpleNamespace(UMAP=UMAP, __spec__="a stand-in")
    )
    return calls


# In two of PCA's axes no more than three blobs can all lie apart.
@pytest.mark.parametrize("method,num_blobs", [("pca", 3), ("tsne", 6)])
def test_centroids_are_amid_their_points(method, num_blobs, monkeypatch):
    monkeypatch.setattr(projection, "_PERPLEXITY", 8.0)
    rows, labels = blobs(num_blobs)
    found = project(rows, method=method, centroids=means(rows, labels))
    assert found.points.shape == (len(rows), 2)
    assert found.centroids.shape == (num_blobs, 2)
    assert found.points.dtype == found.centroids.dtype == np.float32
    for number, centroid in enumerate(found.centroids):
        distances = np.linalg.norm(found.points - centroid, axis=1)
        assert set(labels[np.argsort(distances)[:10]]) == {number}
    assert found.settings.method == method
    assert found.settings.num_examples == len(rows)
    assert found.settings.num_centroids == num_blobs
    assert found.settings.centroids


def test_tsne_embeds_centroids_with_the_points(monkeypatch):
    # Brought to length 1 once more, rows may change in their last bit.
    monkeypatch.setattr(projection, "l2_normalize", lambda rows: rows)
    rows, labels = blobs(3)
    rows, centroids = unit(rows), unit(means(rows, labels))
    beside = project(rows, centroids=centroids)
    among = project(np.concatenate([rows, centroids]))
    np.testing.assert_array_equal(beside.points, among.points[: len(rows)])
    np.testing.assert_array_equal(beside.centroids, among.points[len(rows) :])
    averaged = [beside.points[labels == one].mean(axis=0) for one in range(3)]
    assert np.abs(beside.centroids - averaged).max() > 1e-3
    assert "together" in beside.settings.centroids


def test_pca_matches_sklearn():
    # Blobs of the same spread have axes of nearly the same, which rounding turns.
    rows, labels = blobs(4)
    centroids = means(rows, labels)
    found = project(rows, method="pca", centroids=centroids)
    pca = PCA(2).fit(unit(rows))
    np.testing.assert_allclose(found.points, pca.transform(unit(rows)), atol=1e-3)
    np.testing.assert_allclose(found.centroids, pca.transform(centroids), atol=1e-3)
    np.testing.assert_allclose(
        found.settings.explained_variance_ratio,
        pca.explained_variance_ratio_,
        atol=1e-5,
    )


def test_projection_without_centroids():
    found = project(blobs(3)[0], method="pca")
    assert found.centroids is None
    assert found.settings.centroids is None
    assert found.settings.num_centroids == 0


@pytest.mark.parametrize(("width", "num_axes"), [(80, 50), (20, 20)])
def test_wide_representations_are_reduced_to_fifty_axes(width, num_axes, fake_umap):
    rows, labels = blobs(3, width=width)
    project(rows, method="umap", centroids=means(rows, labels))
    _, stacked = fake_umap
    assert stacked.shape == (63, num_axes)
    assert 0.5 < np.var(stacked[:60], axis=0).sum() / np.var(unit(rows), axis=0).sum()


def test_result_depends_on_the_seed_alone():
    rows, _ = blobs(3, width=80)
    first, again = project(rows, seed=3), project(rows, seed=3)
    np.testing.assert_array_equal(first.points, again.points)
    assert first.settings.seed == 3


def test_perplexity_is_lowered_for_few_examples():
    rows, labels = blobs(3, num_each=6)
    found = project(rows, centroids=means(rows, labels))
    assert found.settings.perplexity == pytest.approx(20 / 3)
    assert np.isfinite(found.points).all()


@pytest.mark.parametrize("method", ["pca", "tsne"])
@pytest.mark.parametrize("shape", [(4, 5), (5, 1), (30, 1), (4, 200)])
def test_few_and_narrow_representations(method, shape):
    rows = np.random.default_rng(0).normal(size=shape)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = project(rows, method=method, centroids=unit(rows[:2]))
    assert found.points.shape == (len(rows), 2)
    assert found.centroids.shape == (2, 2)
    assert np.isfinite(found.points).all()


def test_duplicates_share_one_point():
    rows = np.repeat(np.eye(4), 10, axis=0)
    found = project(rows, method="pca")
    assert len(np.unique(np.round(found.points, 4), axis=0)) == 4
    assert np.isfinite(project(rows).points).all()


def test_umap_embeds_centroids_with_the_points(fake_umap):
    rows, labels = blobs(3)
    centroids = means(rows, labels)
    found = project(rows, method="umap", centroids=centroids, seed=5)
    arguments, stacked = fake_umap
    assert arguments == {"n_neighbors": 15, "random_state": 5, "n_jobs": 1}
    expected = np.concatenate([unit(rows), centroids])
    np.testing.assert_allclose(stacked, expected, atol=1e-6)
    np.testing.assert_allclose(found.centroids, centroids[:, :2], atol=1e-6)
    assert found.settings.num_neighbors == 15


def test_each_choice_of_the_option_is_a_method(fake_umap):
    rows, labels = blobs(3)
    for method in fields(ClusterOptions)["projection"].metadata["choices"]:
        found = project(rows, method=method, centroids=means(rows, labels))
        assert found.points.shape == (60, 2) and found.centroids.shape == (3, 2)
        assert found.settings.method == method


def test_umap_of_few_examples(fake_umap):
    found = project(np.eye(4), method="umap")
    assert found.settings.num_neighbors == 3


def test_missing_umap_is_refused_on_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(ValueError, match="pip install umap-learn") as caught:
        project(blobs(3)[0], method="umap")
    assert "\n" not in str(caught.value)


def test_invalid_input_is_refused():
    rows, _ = blobs(2)
    with pytest.raises(ValueError, match="at least 4"):
        project(rows[:3])
    with pytest.raises(ValueError, match="at least 4"):
        project(rows[0])
    with pytest.raises(ValueError, match="finite projected.* 1 of 40"):
        bad = rows.copy()
        bad[7, 2] = np.inf
        project(bad)
    # One direction, whatever the lengths, is a collapse.
    with pytest.raises(ValueError, match="collapsed"):
        project(np.linspace(1, 2, 9)[:, np.newaxis] * [[1.0, 2.0]])


def test_inputs_are_not_modified():
    rows, labels = blobs(3)
    centroids = means(rows, labels)
    before = rows.copy(), centroids.copy()
    for method in ("pca", "tsne"):
        project(rows, method=method, centroids=centroids)
    np.testing.assert_array_equal(rows, before[0])
    np.testing.assert_array_equal(centroids, before[1])
