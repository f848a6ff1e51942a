"""Tests of accuracies by hand, and of invalid labels."""

import numpy as np
import pytest

from vicreg_keras.evaluate.accuracy import (
    check_splits,
    log_loss,
    top1_and_top5,
    top_k_accuracy,
)
from vicreg_keras.evaluate.features import Features


def accuracy(scores, labels, k):
    return top_k_accuracy(np.array(scores), np.array(labels), k)


def test_top_k_counts_labels_among_the_best():
    scores = [[3, 2, 1], [1, 3, 2], [1, 2, 3]]
    assert accuracy(scores, [0, 0, 0], 1) == pytest.approx(1 / 3)
    assert accuracy(scores, [1, 2, 0], 2) == pytest.approx(2 / 3)
    assert accuracy(scores, [2, 0, 0], 3) == 1.0
    assert accuracy(scores, [2, 0, 0], 5) == 1.0


def test_top_k_shares_ties():
    scores = [[5.0, 1.0, 1.0, 1.0]]
    assert accuracy(scores, [0], 1) == 1.0
    assert accuracy(scores, [3], 1) == 0.0
    for label in (1, 2, 3):  # The order of classes is no help.
        assert accuracy(scores, [label], 2) == pytest.approx(1 / 3)
    assert accuracy(np.zeros((4, 10)), [0, 3, 6, 9], 1) == pytest.approx(0.1)
    assert accuracy(np.zeros((4, 10)), [0, 3, 6, 9], 5) == pytest.approx(0.5)


def test_top_k_never_counts_an_unseen_class():
    assert accuracy([[1.0, -np.inf]], [1], 5) == 0.0


def test_top_k_refuses_nan():
    with pytest.raises(ValueError, match="NaN"):
        accuracy([[np.nan, 0]], [0], 1)


def test_log_loss_is_the_mean_negative_log_likelihood():
    logits = np.log([[0.5, 0.5], [0.25, 0.75]])
    expected = -np.log([0.5, 0.75]).mean()
    assert log_loss(logits, np.array([0, 1])) == pytest.approx(expected)


def test_top5_is_none_where_it_is_always_right():
    scores = np.eye(6)
    assert top1_and_top5(scores, np.arange(6)) == {"top1": 1.0, "top5": 1.0}
    assert top1_and_top5(np.eye(5), np.arange(5)) == {"top1": 1.0, "top5": None}


def test_features_are_checked():
    def check(rows, labels):
        features = Features(np.array(rows, np.float32), labels)
        return check_splits(2, test=features)

    good = Features(np.array([[1, 2], [3, 4]], np.float32), np.array([0, 1]))
    first, second = check_splits(2, train=good, test=good)
    assert first.tolist() == second.tolist() == [0, 1]
    with pytest.raises(ValueError, match="labels for test.*None"):
        check([[1, 2]], None)
    with pytest.raises(ValueError, match="N above 0"):
        check(np.zeros((0, 2)), np.array([], int))
    with pytest.raises(ValueError, match="one per label"):
        check([[1, 2]], np.array([0, 1]))
    with pytest.raises(ValueError, match="test.* 2 wide"):
        narrow = Features(good.representations[:, :1], good.labels)
        check_splits(2, train=good, test=narrow)
    with pytest.raises(ValueError, match="finite test.* 1 of 2"):
        check([[1, np.nan], [3, 4]], np.array([0, 1]))
    for label in (-1, 2):
        with pytest.raises(ValueError, match=rf"labels in \[0, 2\).*{label}"):
            check([[1, 2]], np.array([label]))
