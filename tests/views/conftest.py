"""A small table for tests of its views."""

import numpy as np

CATEGORICAL = [False, True, False, False]
UNITS = np.array([10, 0, 1e-3, 1], np.float32)


def table(num_examples, seed=0):
    """Heights about 170, three colors, weights of few grams, a column with gaps."""
    random = np.random.default_rng(seed)
    gaps = random.random(num_examples) < 0.25
    columns = [
        random.normal(170, 10, num_examples),
        random.integers(0, 3, num_examples),
        random.normal(0, 1e-3, num_examples),
        np.where(gaps, np.nan, random.normal(size=num_examples)),
    ]
    return np.stack(columns, axis=1).astype(np.float32)


EXAMPLES = table(64)
