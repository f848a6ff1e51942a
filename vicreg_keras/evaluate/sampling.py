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
    labels = np.asarray(labels)
    order = _shuffled(len(labels), seed)
    turns = np.empty(len(order), np.int64)
    for label in np.unique(labels):
        (members,) = np.nonzero(labels[order] == label)
        turns[members] = np.arange(len(members))
    return np.sort(order[np.argsort(turns, kind="stable")][:size])


def _shuffled(num_examples, seed):
    # NumPy has frozen RandomState's stream: the same examples under any version.
    return np.random.RandomState(seed).permutation(num_examples)
