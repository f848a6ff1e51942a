"""Every evaluation on labeled sets as small and uneven as users have them."""

import dataclasses
import math

import numpy as np
import pytest

from vicreg_keras.evaluate.clustering import cluster_eval
from vicreg_keras.evaluate.features import Features
from vicreg_keras.evaluate.few_labels import few_label_probe
from vicreg_keras.evaluate.knn import knn_eval
from vicreg_keras.evaluate.linear_probe import linear_probe
from vicreg_keras.evaluate.projection import project
from vicreg_keras.evaluate.retrieval import (
    chance_precision,
    pick_queries,
    retrieval_eval,
)
from vicreg_keras.evaluate.spectrum import spectrum

# Labels of the training, validation and test split, of three classes.
SPLITS = {
    "12 beside 40 and 40": (
        [0] * 29 + [1] * 29 + [2] * 9,
        [0, 1, 2] * 3,
        [0, 1, 2] * 5,
    ),
    "three of ten": ([0] * 30 + [1] * 30 + [2] * 3, [0, 1], [0, 1, 2]),
    "one training example": ([0] * 20 + [1], [0, 1], [0, 1] * 5),
    "two classes of two": ([0, 1], [0], [1]),
    "only in test": ([0, 1] * 10, [0, 1], [0, 1, 2] * 3),
    "only in training": ([0, 1, 2] * 10, [0, 1], [0, 1] * 3),
    "only in validation": ([0, 1] * 10, [2, 2], [0, 1, 2]),
    "none in validation": ([0, 1, 2] * 10, [0], [0, 1, 2]),
    "other classes in test": ([0, 1] * 10, [0, 1], [2, 2]),
}


@pytest.fixture(params=SPLITS)
def splits(request):
    random = np.random.default_rng(0)

    def features(labels):
        noise = random.normal(scale=0.1, size=(len(labels), 5))
        return Features(
            (np.eye(5)[labels] + noise).astype(np.float32), np.array(labels, np.int64)
        )

    return [features(labels) for labels in SPLITS[request.param]]


def known(train, test):
    """The fraction of test examples whose class has a training example."""
    return np.isin(test.labels, train.labels).mean()


def check(metrics):
    """Every number is finite; returns top-1 where there is one."""
    for value in dataclasses.asdict(metrics).values():
        for number in value.values() if isinstance(value, dict) else [value]:
            assert not isinstance(number, float) or math.isfinite(number)
    return getattr(metrics, "top1", None)


def test_classifiers(splits):
    train, validation, test = splits
    bank = np.concatenate([train.labels, validation.labels])
    found = np.isin(test.labels, bank).mean()
    linear = linear_probe(*splits, num_classes=3)
    # A class without an example is missed.
    assert check(linear.metrics) <= found
    assert check(knn_eval(*splits, num_classes=3).metrics) <= found
    few = few_label_probe(train, test, num_classes=3, labels_per_class=10)
    assert check(few.metrics) <= known(train, test)
    part = linear_probe(*splits, num_classes=3, label_fraction=0.01)
    assert check(part.metrics) <= known(train, test)


def test_retrieval_and_spectrum(splits):
    train, _, test = splits
    metrics = retrieval_eval(train, test, num_classes=3)
    check(metrics)
    assert metrics.hit_rate[1] == pytest.approx(known(train, test))
    assert len(pick_queries(test.labels, 0)) == len(np.unique(test.labels))
    check(spectrum(train.representations))


def test_clusters_and_map(splits):
    for features in splits:
        if len(features.labels) < 4:  # Said and left out by `--mode=evaluate`.
            continue
        clustering = cluster_eval(features, num_classes=3)
        check(clustering.result.metrics)
        vectors = features.representations
        assert np.isfinite(
            project(vectors, centroids=clustering.centroids).points
        ).all()


def test_clusters_of_one_example_each_tell_nothing():
    features = Features(np.eye(3, dtype=np.float32), np.array([0, 1, 2]))
    metrics = cluster_eval(features, num_classes=3).result.metrics
    assert metrics == type(metrics)(silhouette=None)


def test_chance_precision_is_that_of_a_random_order():
    labels = np.array([0] * 6 + [1] * 2)
    assert chance_precision(labels, np.array([0, 1, 1, 2])) == (0.75 + 0.5) / 4
    constant = Features(np.ones((8, 2), np.float32), labels)
    metrics = retrieval_eval(constant, constant, num_classes=2)
    assert metrics.precision[5] == pytest.approx(chance_precision(labels, labels))
