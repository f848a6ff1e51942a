"""Tests of random subsets: sizes, balance and what a seed determines."""

import numpy as np
import pytest

from vicreg_keras.evaluate.sampling import draw, draw_balanced

LABELS = np.random.default_rng(0).permutation([0] * 100 + [3] * 50 + [7] * 4)


def test_subset_is_ascending_without_duplicates_and_determined_by_the_seed():
    for subset in (draw(100, 20, seed=1), draw_balanced(LABELS, 20, seed=1)):
        assert len(subset) == 20 and (np.diff(subset) > 0).all()
    assert list(draw(100, 20, seed=1)) == list(draw(100, 20, seed=1))
    assert list(draw(100, 20, seed=1)) != list(draw(100, 20, seed=2))


@pytest.mark.parametrize("size", [8, 20])
def test_subset_larger_than_the_examples_is_all_of_them(size):
    assert list(draw(8, size, seed=0)) == list(range(8))
    assert list(draw_balanced(np.arange(8) % 3, size, seed=0)) == list(range(8))


def test_smaller_subset_is_part_of_a_larger_one():
    assert set(draw(100, 10, seed=3)) < set(draw(100, 30, seed=3))
    assert set(draw_balanced(LABELS, 10, seed=3)) < set(draw_balanced(LABELS, 30, 3))


@pytest.mark.parametrize(
    ("size", "counts"), [(6, [2, 2, 2]), (12, [4, 4, 4]), (44, [20, 20, 4])]
)
def test_balanced_subset_has_equal_counts_as_far_as_classes_reach(size, counts):
    drawn = LABELS[draw_balanced(LABELS, size, seed=0)]
    assert [(drawn == label).sum() for label in (0, 3, 7)] == counts


def test_balanced_subset_differs_by_one_where_size_is_no_multiple():
    drawn = LABELS[draw_balanced(LABELS, 8, seed=0)]
    assert sorted((drawn == label).sum() for label in (0, 3, 7)) == [2, 3, 3]
