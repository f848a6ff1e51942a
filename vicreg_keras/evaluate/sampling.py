"""Random subsets of examples that a seed determines."""

import numpy as np


def draw(num_examples: int, size: int, seed: int) -> np.ndarray:
    """Draws a random subset without replacement.

    A smaller subset is part of a larger one of the same seed.

    Args:
        num_examples: Number of examples to draw from.
        size: Number of examples drawn, at least 1; all of them where there are fewer.
        seed: Seed of the draw.

    Returns:
        int64 array of ascending indices.
    """
    return np.sort(_shuffled(num_examples, seed)[:size])


def draw_balanced(labels: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Draws a random subset with as many examples of each class, plus or minus one.

    Classes take turns, each giving its examples in a random order; one that has no
    more is passed over. So the number of classes times `n` gives `n` examples of each
    class that has so many. A smaller subset is part of a larger one of the same seed.

    Args:
        labels: `(num_examples,)` integers.
        size: Number of examples drawn, at least 1; all of them where there are fewer.
        seed: Seed of the draw.

    Returns:
        int64 array of ascending indices.
    """
    order, turns = _turns(labels, seed)
    return np.sort(order[np.argsort(turns, kind="stable")][:size])


def draw_of_each_class(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Draws a random subset with so many examples of each class that has so many.

    Args:
        labels: `(num_examples,)` integers.
        count: Number of examples of each class, at least 1; of one with fewer, all.
        seed: Seed of the draw. Where no class has fewer, it is that of `draw_balanced`.

    Returns:
        int64 array of ascending indices.
    """
    order, turns = _turns(labels, seed)
    return np.sort(order[turns < count])


def _turns(labels, seed):
    """A random order of examples, and how many of its class are before each."""
    labels = np.asarray(labels)
    order = _shuffled(len(labels), seed)
    turns = np.empty(len(order), np.int64)
    for label in np.unique(labels):
        (members,) = np.nonzero(labels[order] == label)
        turns[members] = np.arange(len(members))
    return order, turns


def _shuffled(num_examples, seed):
    # NumPy has frozen RandomState's stream: the same examples under any version.
    return np.random.RandomState(seed).permutation(num_examples)
