"""Tests of the clustering on groups of points that are easy to see."""

import warnings

import numpy as np
import pytest
from sklearn.metrics import silhouette_score

from vicreg_keras.evaluate import clustering
from vicreg_keras.evaluate.clustering import ClusterMetrics, cluster_eval
from vicreg_keras.evaluate.features import Features


def blobs(num_blobs, num_each=30, width=16, spread=0.05, seed=0):
    """Groups about orthogonal directions, in mixed order and at mixed lengths."""
    random = np.random.default_rng(seed)
    labels = random.permutation(np.repeat(np.arange(num_blobs), num_each))
    rows = np.eye(width)[labels] + spread * random.normal(size=(len(labels), width))
    rows *= random.uniform(0.1, 10, size=(len(labels), 1))
    return Features(rows.astype(np.float32), labels)


@pytest.fixture
def set_constants(monkeypatch):
    """A function that replaces the candidates, the silhouette's sample or both."""

    def replace(candidates=range(2, 21), sample=5000):
        monkeypatch.setattr(clustering, "_CANDIDATES", candidates)
        monkeypatch.setattr(clustering, "_SILHOUETTE_SAMPLE", sample)

    return replace


def agreement(assignments, labels, num_clusters):
    return clustering._with_agreement(
        ClusterMetrics(None), np.array(assignments), np.array(labels), num_clusters
    )


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_blobs_are_found_and_matched():
    features = blobs(6)
    result, assignments, centroids = cluster_eval(features)
    assert result.settings.num_clusters == 6
    assert result.settings.num_clusters_chosen_by == "classes"
    for name in ("adjusted_rand_index", "matched_accuracy"):
        assert getattr(result.metrics, name) == 1.0
    assert result.metrics.normalized_mutual_information == pytest.approx(1.0)
    assert result.metrics.silhouette == pytest.approx(
        result.metrics.silhouette_by_class
    )
    assert np.bincount(assignments).tolist() == [30] * 6
    assert result.settings.silhouettes == {}
    # Which cluster has which number is chance; the matching undoes it.
    names = np.array(result.metrics.cluster_to_class)
    np.testing.assert_array_equal(names[assignments], features.labels)
    assert assignments.dtype == np.int64
    assert centroids.dtype == np.float32


def test_centroids_and_silhouette_match_direct_computation():
    features = blobs(4, spread=0.3)
    result, assignments, centroids = cluster_eval(features)
    rows = unit(features.representations)
    means = [rows[assignments == cluster].mean(axis=0) for cluster in range(4)]
    np.testing.assert_allclose(centroids, means, atol=1e-5)
    distances = np.linalg.norm(rows[:, np.newaxis] - centroids, axis=2)
    np.testing.assert_array_equal(distances.argmin(axis=1), assignments)
    expected = silhouette_score(rows, assignments)
    assert result.metrics.silhouette == pytest.approx(expected, abs=1e-5)
    expected = silhouette_score(rows, features.labels)
    assert result.metrics.silhouette_by_class == pytest.approx(expected, abs=1e-5)


def test_order_of_classes_does_not_matter():
    features = blobs(5, spread=0.35)
    before, assignments, _ = cluster_eval(features)
    renamed = Features(features.representations, (3 * features.labels + 7) % 5)
    after, same_assignments, _ = cluster_eval(renamed)
    np.testing.assert_array_equal(assignments, same_assignments)
    for name in ("adjusted_rand_index", "matched_accuracy"):
        assert 0.2 < getattr(before.metrics, name) < 1
        assert getattr(before.metrics, name) == getattr(after.metrics, name)
    renamed = [(3 * number + 7) % 5 for number in before.metrics.cluster_to_class]
    assert tuple(renamed) == after.metrics.cluster_to_class


def test_more_clusters_than_classes():
    # Two blobs are one class: of its two clusters only the larger can be matched.
    features = blobs(3, num_each=10)
    rows = np.concatenate([features.representations, np.eye(16)[[0] * 5]])
    blob = np.concatenate([features.labels, [0] * 5])
    labels = np.array([0, 0, 1])[blob]
    result, assignments, _ = cluster_eval(Features(rows, labels), num_clusters=3)
    assert result.settings.num_clusters_chosen_by == "given"
    assert result.metrics.matched_accuracy == pytest.approx(25 / 35)
    names = result.metrics.cluster_to_class
    assert names[assignments[blob == 0][0]] == 0
    assert names[assignments[blob == 1][0]] is None
    assert names[assignments[blob == 2][0]] == 1


def test_fewer_clusters_than_classes():
    features = blobs(4, num_each=10)
    result, _, _ = cluster_eval(features, num_clusters=2)
    # Two classes are left without a cluster; all of their examples are wrong.
    assert result.metrics.matched_accuracy == pytest.approx(20 / 40)
    assert len(result.metrics.cluster_to_class) == 2
    assert None not in result.metrics.cluster_to_class


def test_matching_is_the_best_one_to_one():
    # Cluster 0 has most of both classes; matched alone it would take class 0 (5),
    # but then cluster 1 gets class 1 (0): 5. The other way round it is 4 + 3.
    found = agreement([0] * 9 + [1] * 3, [0] * 5 + [1] * 4 + [0] * 3, 2)
    assert found.cluster_to_class == (1, 0)
    assert found.matched_accuracy == pytest.approx(7 / 12)


def test_cluster_without_a_common_example_gets_no_class():
    found = agreement([0, 0, 1], [4, 4, 4], 3)
    assert found.cluster_to_class == (4, None, None)
    found = agreement([0, 0, 2], [1, 1, 0], 3)
    assert found.cluster_to_class == (1, None, 0)


@pytest.mark.parametrize("num_blobs", [3, 7])
def test_silhouette_chooses_the_number_without_labels(num_blobs, set_constants):
    features = blobs(num_blobs)._replace(labels=None)
    set_constants(candidates=[3, 5, 7, 9])
    result, assignments, centroids = cluster_eval(features)
    assert result.settings.num_clusters == num_blobs
    assert result.settings.num_clusters_chosen_by == "silhouette"
    tried = result.settings.silhouettes
    assert list(tried) == [3, 5, 7, 9]
    assert max(tried, key=tried.get) == num_blobs
    assert tried[num_blobs] == pytest.approx(result.metrics.silhouette, abs=1e-6)
    assert len(centroids) == num_blobs
    assert len(np.unique(assignments)) == num_blobs
    for name in ("adjusted_rand_index", "matched_accuracy", "silhouette_by_class"):
        assert getattr(result.metrics, name) is None


def test_clusters_do_not_depend_on_labels():
    features = blobs(5, spread=0.3)
    _, with_labels, _ = cluster_eval(features, num_clusters=4)
    _, without, _ = cluster_eval(features._replace(labels=None), num_clusters=4)
    np.testing.assert_array_equal(with_labels, without)


def test_result_depends_on_the_seed_alone(set_constants):
    random = np.random.default_rng(0)
    features = Features(random.normal(size=(400, 8)).astype(np.float32), None)
    set_constants(sample=100)
    first = cluster_eval(features, num_clusters=6)
    again = cluster_eval(features, num_clusters=6)
    other = cluster_eval(features, num_clusters=6, seed=1)
    assert first.result == again.result
    np.testing.assert_array_equal(first.assignments, again.assignments)
    np.testing.assert_array_equal(first.centroids, again.centroids)
    assert first.result.metrics.silhouette != other.result.metrics.silhouette


def test_silhouette_uses_a_sample(set_constants):
    features = blobs(4, num_each=50, spread=0.3)
    set_constants(sample=60)
    result, assignments, _ = cluster_eval(features)
    assert result.settings.num_examples == 200
    whole = silhouette_score(unit(features.representations), assignments)
    assert result.metrics.silhouette != pytest.approx(whole, abs=1e-6)
    assert result.metrics.silhouette == pytest.approx(whole, abs=0.1)


def test_number_is_searched_on_the_sample_and_all_are_clustered(
    set_constants, monkeypatch
):
    features = blobs(4, num_each=50)._replace(labels=None)
    set_constants(candidates=range(2, 7), sample=60)
    sizes, fit = [], clustering._fit
    monkeypatch.setattr(
        clustering,
        "_fit",
        lambda vectors, *args: (sizes.append(len(vectors)), fit(vectors, *args))[1],
    )
    result, assignments, _ = cluster_eval(features)
    assert sizes == [60] * 5 + [200]
    assert result.settings.num_clusters == 4
    assert np.bincount(assignments).tolist() == [50] * 4


@pytest.mark.slow
def test_number_of_clusters_of_one_class_is_searched():
    features = blobs(3)
    one_class = features._replace(labels=np.full_like(features.labels, 2))
    result, _, _ = cluster_eval(one_class, num_classes=10)
    assert result.settings.num_clusters == 3
    assert result.settings.num_clusters_chosen_by == "silhouette"
    assert result.metrics.adjusted_rand_index == 0.0
    assert result.metrics.normalized_mutual_information == 0.0
    assert result.metrics.matched_accuracy == pytest.approx(1 / 3)
    assert result.metrics.silhouette_by_class is None
    assert result.settings.num_classes == 10


def test_duplicates_are_in_one_cluster():
    rows = np.eye(4, dtype=np.float32)[[0, 0, 0, 1, 1, 2]]
    labels = np.array([0, 0, 0, 1, 1, 2])
    result, _, _ = cluster_eval(Features(rows, labels))
    assert result.metrics.adjusted_rand_index == 1.0
    # No more than three clusters are possible; the search stops there.
    result, _, _ = cluster_eval(Features(rows, None))
    assert list(result.settings.silhouettes) == [2, 3]
    assert result.settings.num_clusters == 3


def test_clusters_of_one_example_have_no_silhouette():
    rows = np.eye(3, dtype=np.float32)
    result, _, _ = cluster_eval(Features(rows, np.arange(3)))
    assert result.metrics.silhouette is None
    assert result.metrics.matched_accuracy is None


def test_inputs_are_not_modified_and_nothing_warns():
    features = blobs(3)
    before = features.representations.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cluster_eval(features)
    np.testing.assert_array_equal(features.representations, before)


def test_invalid_input_is_refused():
    good = blobs(3)
    rows = good.representations
    with pytest.raises(ValueError, match="finite clustered"):
        bad = rows.copy()
        bad[3, 1] = np.nan
        cluster_eval(Features(bad, None))
    with pytest.raises(ValueError, match=r"labels in \[0, 2\)"):
        cluster_eval(good, num_classes=2)
    with pytest.raises(ValueError, match="at least 2"):
        cluster_eval(Features(rows[:1], None), num_clusters=2)
    with pytest.raises(ValueError, match="at least 2"):
        cluster_eval(Features(rows[:0], None))
    with pytest.raises(ValueError, match="for 91 clusters.* 90, which allow 90"):
        cluster_eval(good, num_clusters=91)
    with pytest.raises(ValueError, match="three examples or more.*num_clusters=2"):
        cluster_eval(Features(rows[:2], None))
    assert len(cluster_eval(Features(rows[:2], None), num_clusters=2).centroids) == 2


def test_more_clusters_than_directions_are_refused():
    # Same direction, other lengths: the same row once lengths are 1.
    lengths = np.linspace(1, 9, 40)[:, np.newaxis]
    rows = np.concatenate([lengths * [[1, 2, 3]], lengths * [[3, 2, 1]]])
    features = Features(rows.astype(np.float32), np.arange(80) % 10)
    with pytest.raises(ValueError, match="for 10 clusters.* which allow 2"):
        cluster_eval(features)
    collapsed = Features(np.ones((50, 4), np.float32), None)
    with pytest.raises(ValueError, match="which allow 1.*collapsed"):
        cluster_eval(collapsed)


def test_standardization_instead_of_l2_normalization():
    """Two groups along a line through the origin, in a column of small numbers."""
    random = np.random.default_rng(0)
    groups = np.repeat([0, 1], 50)
    small = 1e-3 * (1 + groups + random.normal(0, 0.05, 100))
    rows = np.stack([small, random.normal(0, 1, 100)], axis=1)
    features = Features(rows.astype(np.float32), groups)
    scaled = cluster_eval(features, l2_normalized=False).result
    assert scaled.metrics.matched_accuracy > 0.95
    assert cluster_eval(features).result.metrics.matched_accuracy < 0.8
    standard = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    expected = silhouette_score(standard, groups)
    assert scaled.metrics.silhouette_by_class == pytest.approx(expected, abs=1e-5)
