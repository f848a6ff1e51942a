"""Columns of a table: statistics of the training examples."""

import numpy as np

from vicreg_keras.data.columns import Column, table_statistics

NAN = np.nan
COLUMNS = (
    Column("height"),
    Column("color", ("blue", "red")),
    Column("constant"),
    Column("gaps"),
    Column("nothing"),
)
EXAMPLES = np.array(
    [[1, 0, 0.1, 5, NAN], [2, 1, 0.1, NAN, NAN], [3, 1, 0.1, 7, NAN]], np.float32
)


def test_mean_std_and_missing_values():
    statistics = table_statistics(EXAMPLES, COLUMNS)
    np.testing.assert_allclose(statistics.mean, [2, 0, 0.1, 6, 0], rtol=1e-6)
    np.testing.assert_allclose(statistics.std, [(2 / 3) ** 0.5, 1, 1, 1, 1], rtol=1e-6)
    assert statistics.missing.tolist() == [False, False, False, True, True]
    assert statistics.mean.dtype == statistics.std.dtype == np.float32


def test_large_offsets_keep_their_standard_deviation():
    examples = 1e6 + np.array([[0.0], [2.0]])
    statistics = table_statistics(examples, COLUMNS[:1])
    np.testing.assert_allclose(statistics.std, [1])
